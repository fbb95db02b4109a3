package timeline

import (
	"testing"

	"github.com/epwatch/epwatch/internal/event"
)

func TestAcrossAGapNothingIsKnown(t *testing.T) {
	mask := etMask | event.OneShot
	s, f, i := connected(t, mask)
	s.enter()
	s.wakeup(20, mask, 0)
	s.deliver(event.In, 5)
	s.play(event.Event{Kind: event.KindSignal, FD: event.NoFD, EpFD: event.NoFD, CPU: 3})
	from := s.now
	s.play(event.Event{Kind: event.KindSignal, FD: event.NoFD, EpFD: event.NoFD, CPU: 3, Lost: 2})
	if _, known := f.Sock.Unread(); known || i.Armed() != Unknown || i.Due() != Unknown || i.Told() {
		t.Errorf("across a gap: unread known %v, armed %v, due %v, told %v", known, i.Armed(), i.Due(), i.Told())
	}
	gap := s.tl.Gap()
	if gap.From != from || gap.To != s.now || gap.CPU != 3 || gap.Records != 2 || gap.Seq != uint64(len(s.seen)) {
		t.Errorf("the gap is %+v", gap)
	}
	if ev := s.seen[len(s.seen)-1]; !ev.Has(event.AfterGap) {
		t.Error("the event after the gap is not marked")
	}
	if st := s.tl.Stats(); st.Lost != 2 || st.Gaps != 1 {
		t.Errorf("%d lost in %d gaps, want 2 in 1", st.Lost, st.Gaps)
	}
	// Seen again, known again.
	s.wakeup(27, event.ET|event.OneShot, event.Disarmed)
	if n, known := f.Sock.Unread(); n != 27 || !known || i.Armed() != No {
		t.Errorf("after the next wakeup: unread %d (known %v), armed %v", n, known, i.Armed())
	}
}

// The event that reports the loss is itself newer than the loss.
func TestEventAfterAGapTeaches(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.play(event.Event{Kind: event.KindWakeup, EpFD: 4, EpollAddr: epollAddr, FD: 5, FileAddr: connFile, SockAddr: connSock, Events: etMask,
		Data: 5, Unread: 9, Flags: event.HasUnread, Lost: 1})
	if n, known := f.Sock.Unread(); n != 9 || !known {
		t.Errorf("unread is %d (known %v), want 9", n, known)
	}
}

func TestLateEventIsAGap(t *testing.T) {
	s, f, _ := connected(t, etMask)
	s.wakeup(20, etMask, 0)
	ev := s.play(event.Event{Kind: event.KindRecv, FD: event.NoFD, EpFD: event.NoFD, SockAddr: connSock, Time: s.now - 500, Ret: 16, Unread: 4,
		Flags: event.HasUnread})
	if !ev.Has(event.AfterGap) {
		t.Error("a late event is not marked")
	}
	if _, known := f.Sock.Unread(); known {
		t.Error("a late event's old news pass for known")
	}
	if st := s.tl.Stats(); st.Late != 1 {
		t.Errorf("%d events were late, want 1", st.Late)
	}
}
