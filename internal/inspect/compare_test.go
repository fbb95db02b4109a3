package inspect

import (
	"testing"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/proc"
	"github.com/epwatch/epwatch/internal/sockdiag"
)

// Whatever can be seen to change means that an item did not stand still.
func TestStood(t *testing.T) {
	i := proc.Interest{FD: 7, Events: event.In, Data: 7, Inode: 9, Dev: 1}
	moment := func() *sample {
		return &sample{
			descriptors: map[int32]proc.Descriptor{7: {FD: 7, Kind: proc.KindSocket, Inode: 9}},
			tcp:         map[uint64]sockdiag.Socket{9: {State: event.Established, RecvQueue: 4, Cookie: 5}},
			queues:      map[uint64]unixQueue{9: {UnixQueue: sockdiag.UnixQueue{Received: 4}}},
			udp:         map[uint64]sockdiag.Socket{9: {RecvQueue: 768}},
		}
	}
	if !stood(i, i, moment(), moment()) {
		t.Error("nothing changed")
	}
	armed := i
	armed.Events |= event.OneShot
	if stood(i, armed, moment(), moment()) {
		t.Error("the mask changed")
	}
	for name, change := range map[string]func(*sample){
		"the queue grew":           func(s *sample) { s.tcp[9] = sockdiag.Socket{State: event.Established, RecvQueue: 5, Cookie: 5} },
		"the inode is used again":  func(s *sample) { s.tcp[9] = sockdiag.Socket{State: event.Established, RecvQueue: 4, Cookie: 6} },
		"the socket is gone":       func(s *sample) { delete(s.tcp, 9) },
		"a UNIX queue grew":        func(s *sample) { s.queues[9] = unixQueue{UnixQueue: sockdiag.UnixQueue{Received: 5}} },
		"a UNIX peer read":         func(s *sample) { s.queues[9] = unixQueue{UnixQueue: sockdiag.UnixQueue{Received: 4}, sent: 1} },
		"a UDP queue is empty":     func(s *sample) { s.udp[9] = sockdiag.Socket{} },
		"the descriptor is closed": func(s *sample) { delete(s.descriptors, 7) },
	} {
		now := moment()
		change(now)
		if stood(i, i, moment(), now) || stood(i, i, now, moment()) {
			t.Errorf("%s, and that went unnoticed", name)
		}
	}
}

// Items without an inode, and files whose inode all of their kind share, are never called another file by inode alone.
func TestItemLink(t *testing.T) {
	s := &sample{descriptors: map[int32]proc.Descriptor{
		3: {FD: 3, Kind: proc.KindSocket, Inode: 9}, 4: {FD: 4, Kind: proc.KindEventfd}, 5: {FD: 5, Kind: proc.KindPipe, Inode: 8},
	}}
	for want, items := range map[Link][]proc.Interest{
		LinkSame:    {{FD: 3, Inode: 9}},
		LinkReused:  {{FD: 3, Inode: 10}, {FD: 5, Inode: 9}},
		LinkUnknown: {{FD: 3}, {FD: 4, Inode: 1030}, {FD: 5, Inode: 8}},
		LinkClosed:  {{FD: 6, Inode: 9}},
	} {
		for _, i := range items {
			if got := s.item(i).Link; got != want {
				t.Errorf("%+v: %v, want %v", i, got, want)
			}
		}
	}
}
