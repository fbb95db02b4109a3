//go:build linux

package sockdiag

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// The kernel says when data came in last, and answers about the sockets that were asked for and no others.
func TestDetails(t *testing.T) {
	needDiag(t)
	for _, address := range []string{"127.0.0.1", "::1"} {
		s := setScene(t, address)
		const age = 120 * time.Millisecond
		time.Sleep(age / 2)
		if _, err := unix.Write(s.accepted, []byte("x")); err != nil { // the answer to it is no data
			t.Fatal(err)
		}
		time.Sleep(age / 2)
		listed, err := Diag(context.Background(), Filter{Port: s.port})
		if err != nil {
			t.Fatal(err)
		}
		own := s.own(listed)
		found, err := Details(context.Background(), Filter{}, own)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) != len(own) {
			t.Errorf("%s: asked for %d, got %d", address, len(own), len(found))
		}
		accepted := inode(t, s.accepted)
		for _, was := range own {
			d := found[was.Cookie]
			if d.Socket != was {
				t.Errorf("%s: listed %+v, detail %+v", address, was, d.Socket)
			}
			if d.Timed == (was.State == event.Listen) {
				t.Errorf("%s: %v has a time: %v", address, was.State, d.Timed)
			}
			if was.Inode == accepted && (d.LastReceived < age-20*time.Millisecond || d.LastReceived > time.Minute) {
				t.Errorf("%s: data came in %v ago", address, d.LastReceived)
			}
		}
		many := make([]Socket, manyDetails+1)
		many[0] = own[0]
		if found, err = Details(context.Background(), Filter{}, many); err != nil || len(found) != 1 {
			t.Errorf("%s: of one among many that are gone: %v, %v", address, found, err)
		}
	}
}

func TestDecodeDetail(t *testing.T) {
	b := make([]byte, answerSize)
	b[0], b[1] = byte(IPv4), byte(event.Established)
	attribute := make([]byte, 4+lastDataReceived+4)
	binary.NativeEndian.PutUint16(attribute, uint16(len(attribute)))
	binary.NativeEndian.PutUint16(attribute[2:], attributeInfo)
	binary.NativeEndian.PutUint32(attribute[4+lastDataReceived:], 1234)
	d, err := decodeDetail(append(b, attribute...))
	if err != nil || !d.Timed || d.LastReceived != 1234*time.Millisecond {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := decodeDetail(b); err != nil || d.Timed {
		t.Errorf("without the attribute: %+v, %v", d, err)
	}
	if _, err := decodeDetail(append(b, 200, 0, attributeInfo, 0)); err == nil {
		t.Error("an attribute longer than the answer was taken")
	}
	if _, err := decodeDetail(b[:answerSize-1]); err == nil {
		t.Error("a short answer was taken")
	}
}
