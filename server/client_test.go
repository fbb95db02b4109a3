package server

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// peer listens and does to its one connection what the test says.
func peer(t *testing.T, do func(*net.TCPConn)) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { close(ended); l.Close() })
	go func() {
		c, err := l.Accept()
		if err == nil {
			do(c.(*net.TCPConn))
			<-ended
			c.Close() // a connection that nobody holds would be closed by the garbage collector
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func TestClientRefused(t *testing.T) {
	fd, port, err := listen("", 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
	_, err = Client(context.Background(), ClientOptions{Variant: lt(), Port: port})
	want := "connecting to 127.0.0.1:" + strconv.Itoa(port) + ": connection refused (is the server running on that port?)"
	if err == nil || err.Error() != want || !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestClientCancelled(t *testing.T) {
	for _, at := range []string{Connected, AfterSend, AfterFirstWait, AfterClose} {
		t.Run(at, func(t *testing.T) {
			port := peer(t, func(*net.TCPConn) {})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			o := ClientOptions{Variant: oneshot(), Port: port, Timeout: time.Hour}
			if at != Connected && at != AfterSend {
				o.Timeout = shortTimeout
			}
			var began time.Time
			o.OnStep = func(m Moment) {
				if m.Name == at {
					began = time.Now()
					time.AfterFunc(20*time.Millisecond, cancel)
				}
			}
			_, err := Client(ctx, o)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if d := time.Since(began); d > patience {
				t.Errorf("it took %v", d)
			}
		})
	}
}

func TestClientConnectCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Client(ctx, ClientOptions{Variant: lt(), Port: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestClientSeesTheEnd(t *testing.T) {
	tests := []struct {
		name       string
		do         func(*net.TCPConn)
		reset, eof bool
		want       string
	}{
		{"reset", func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 4)); c.Close() }, true, false,
			"waiting for the echo: connection reset by peer"},
		{"fin", func(c *net.TCPConn) { _, _ = c.Read(make([]byte, 64)); c.Close() }, false, true,
			"waiting for the echo: the server closed the connection"},
	}
	for _, test := range tests {
		port := peer(t, test.do)
		got, err := Client(context.Background(), ClientOptions{Variant: lt(), Port: port, Timeout: patience})
		if err == nil || err.Error() != test.want || got.Reset != test.reset || got.EOF != test.eof {
			t.Errorf("%s: got %v, reset %v, EOF %v", test.name, err, got.Reset, got.EOF)
		}
	}
}

// TestClientWaitIsIdleTime: each arrival starts the time-out anew.
func TestClientWaitIsIdleTime(t *testing.T) {
	const pieces, gap = 5, shortTimeout / 2
	port := peer(t, func(c *net.TCPConn) {
		for range pieces {
			_, _ = c.Write([]byte("x\x1b"))
			time.Sleep(gap)
		}
		_, _ = c.Read(make([]byte, 64))
	})
	var out bytes.Buffer
	got, err := Client(context.Background(), ClientOptions{Variant: lt(), Port: port, Timeout: 2 * shortTimeout, Out: &out})
	if err != nil {
		t.Fatal(err)
	}
	if got.Echo() != strings.Repeat("x\x1b", pieces) {
		t.Errorf("got %q", got.Echo())
	}
	if took := got.Moments[2].Time.Sub(got.Sent[0].Time); took < (pieces-1)*gap+2*shortTimeout {
		t.Errorf("the wait took %v", took)
	}
	if !strings.Contains(out.String(), `received 2 bytes: x\x1b`) {
		t.Errorf("printed %q", out.String())
	}
	for i, c := range got.Received {
		if c.Time <= got.Sent[0].Time {
			t.Errorf("chunk %d came at %v", i, c.Time)
		}
	}
}
