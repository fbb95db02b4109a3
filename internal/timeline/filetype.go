package timeline

import "github.com/epwatch/epwatch/internal/event"

// FileType is what an open file is, as far as the tracer tells.
type FileType uint8

// The types. FileOther is everything that is neither a socket nor an epoll instance: pipes, counters, timers, terminals.
const (
	FileUnknown FileType = iota
	FileSocket
	FileEpoll
	FileOther
)

// learnType takes what a record says about the kind of file. Only records of calls on the file say by silence that it is
// neither a socket nor an epoll instance.
func (f *File) learnType(ev *event.Event) {
	switch {
	case ev.Has(event.IsEpoll):
		f.Type = FileEpoll
	case ev.Has(event.IsSocket) || ev.SockAddr != 0:
		f.Type = FileSocket
	case f.Type == FileUnknown && ev.FileAddr != 0:
		f.Type = FileOther
	}
}
