package timeline

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/event"
)

func TestMatching(t *testing.T) {
	noCall := func(s *script) { s.recv(5, 0, 0); s.now += 100; s.read(-11, 1) }
	tests := []struct {
		name string
		play func(*script)
		want map[Class]uint64
	}{
		{"one to one", func(s *script) { s.recv(16, 4, 0); s.read(16, 5) }, map[Class]uint64{ClassMatched: 1}},
		{"peek", func(s *script) { s.recv(16, 16, event.Peek); s.read(16, 5) }, map[Class]uint64{ClassMatched: 1}},
		{"nothing to read", func(s *script) { s.recv(-11, 0, 0); s.read(-11, 5); s.read(0, 1) }, map[Class]uint64{}},
		{"several receives", func(s *script) {
			start := s.now
			s.recv(16, 4, 0)
			s.recv(4, 0, 0)
			s.read(20, s.now-start)
		}, map[Class]uint64{ClassMatched: 2}},
		{"messages", func(s *script) {
			start := s.now
			s.recv(16, 4, 0)
			s.recv(4, 0, 0)
			s.recv(-11, 0, 0)
			s.play(event.Event{Kind: event.KindRead, Call: event.CallRecvmmsg, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Start: start, Ret: 2})
		}, map[Class]uint64{ClassMatched: 2}},
		{"size differs", func(s *script) { s.recv(16, 4, 0); s.read(17, 5) }, map[Class]uint64{ClassSizeDiffers: 1}},
		{"bytes for an error", func(s *script) { s.recv(16, 4, 0); s.read(-14, 5) }, map[Class]uint64{ClassSizeDiffers: 1}},
		{"no call", noCall, map[Class]uint64{ClassNoCall: 1}},
		{"the end cuts a call off", func(s *script) { s.recv(5, 0, 0); s.tl.Close(0) }, map[Class]uint64{ClassCutOff: 1}},
		{"the beginning cut a call off", func(s *script) {
			s.play(event.Event{Kind: event.KindRecv, FD: event.NoFD, EpFD: event.NoFD, TID: 101, SockAddr: connSock, Ret: 5})
			s.play(event.Event{Kind: event.KindRead, Call: event.CallRead, TID: 101, FD: 5, EpFD: event.NoFD, FileAddr: connFile,
				Start: s.now + 100, Time: s.now + 200, Ret: -11})
		}, map[Class]uint64{ClassCutOff: 1}},
		{"a receive between two calls of a thread", func(s *script) {
			for range 2 {
				s.play(event.Event{Kind: event.KindRead, Call: event.CallRead, TID: 101, FD: 5, EpFD: event.NoFD, FileAddr: connFile,
					Start: s.now + 500, Ret: -11})
				s.play(event.Event{Kind: event.KindRecv, FD: event.NoFD, EpFD: event.NoFD, TID: 101, SockAddr: connSock, Ret: 5})
			}
			s.play(event.Event{Kind: event.KindExit, FD: event.NoFD, EpFD: event.NoFD, TID: 101})
		}, map[Class]uint64{ClassNoCall: 2}},
		{"io_uring", func(s *script) {
			s.play(event.Event{Kind: event.KindUnseen, FD: event.NoFD, EpFD: event.NoFD, Call: event.CallIOUring})
			s.recv(5, 0, 0)
			s.play(event.Event{Kind: event.KindRecv, FD: event.NoFD, EpFD: event.NoFD, TID: 101, SockAddr: connSock, Ret: 5})
			s.play(event.Event{Kind: event.KindExit, FD: event.NoFD, EpFD: event.NoFD, TID: 101})
			s.tl.Close(0)
		}, map[Class]uint64{ClassNoCall: 2}},
		{"another thread's call", func(s *script) {
			s.recv(5, 0, 0)
			s.play(event.Event{Kind: event.KindRead, Call: event.CallRead, TID: 101, FD: 5, EpFD: event.NoFD, FileAddr: connFile,
				Start: s.now - 5, Ret: 5})
			s.tl.Close(0)
		}, map[Class]uint64{ClassCutOff: 1, ClassNoReceive: 1}},
		{"no receive", func(s *script) { s.read(16, 5) }, map[Class]uint64{ClassNoReceive: 1}},
		{"splice without a hook", func(s *script) { s.splice(16) }, map[Class]uint64{ClassNotHooked: 1}},
		{"splice with a hook", func(s *script) { s.recv(16, 4, 0); s.splice(16) }, map[Class]uint64{ClassMatched: 1}},
		{"splice whose receive is missing", func(s *script) { s.recv(16, 4, 0); s.splice(16); s.splice(4) },
			map[Class]uint64{ClassMatched: 1, ClassNoReceive: 1}},
		{"not TCP", func(s *script) {
			s.play(event.Event{Kind: event.KindRead, Call: event.CallRead, FD: 20, EpFD: event.NoFD, FileAddr: 0x77, Start: s.now, Ret: 8})
		}, map[Class]uint64{ClassNotHooked: 1}},
		{"a socket that is not TCP", func(s *script) {
			s.play(event.Event{Kind: event.KindRead, Call: event.CallRead, FD: 20, EpFD: event.NoFD, FileAddr: 0x77, SockAddr: 0x78, Start: s.now, Ret: 8})
		}, map[Class]uint64{ClassNotHooked: 1}},
		{"lost", func(s *script) {
			s.recv(16, 4, 0)
			s.play(event.Event{Kind: event.KindLost, FD: event.NoFD, EpFD: event.NoFD, Lost: 2, Flags: event.AfterGap})
			s.read(16, 5000)
		}, map[Class]uint64{ClassLost: 2}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			s, _, _ := connected(t, etMask)
			tc.play(s)
			got := map[Class]uint64{}
			for _, m := range s.matches {
				got[m.Class]++
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("matches (-want +got):\n%s", diff)
			}
			st := s.tl.Stats()
			for _, c := range Classes() {
				if st.Unmatched[c] != tc.want[c] {
					t.Errorf("%v counts %d, want %d", c, st.Unmatched[c], tc.want[c])
				}
			}
			if st.Matched != tc.want[ClassMatched] {
				t.Errorf("%d matched, want %d", st.Matched, tc.want[ClassMatched])
			}
			if n := st.UnmatchedTotal(); (n == 0) != (tc.want[ClassNoCall]+tc.want[ClassNoReceive]+tc.want[ClassSizeDiffers]+tc.want[ClassLost]+tc.want[ClassCutOff] == 0) {
				t.Errorf("the total of unmatched is %d", n)
			}
		})
	}
}

func TestMatchNamesBothSides(t *testing.T) {
	s, _, _ := connected(t, etMask)
	s.recv(16, 4, 0)
	recv := s.seen[len(s.seen)-1].Seq
	read := s.read(16, 5).Seq
	if diff := cmp.Diff([]Match{{ClassMatched, read, recv, 16}}, s.matches); diff != "" {
		t.Errorf("match (-want +got):\n%s", diff)
	}
}

func TestReceivesOfOneThreadAreBounded(t *testing.T) {
	s, _, _ := connected(t, etMask)
	for range 3 * maxReceives {
		s.recv(1, 0, 0)
	}
	if n := len(s.tl.threads[tid].receives); n > maxReceives {
		t.Errorf("%d receives are held, want at most %d", n, maxReceives)
	}
}

// splice is a read by splice that returned so much.
func (s *script) splice(n int64) {
	s.play(event.Event{Kind: event.KindRead, Call: event.CallSplice, FD: 5, EpFD: event.NoFD, FileAddr: connFile, Start: s.now - 5, Ret: n})
}
