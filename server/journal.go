package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"golang.org/x/sys/unix"

	"github.com/epwatch/epwatch/internal/event"
)

// RecordSize is the size of one journal record. Records are little endian: time int64, kind uint32, fd int32,
// result int32, tid uint32. A pipe takes a record whole or not at all.
const RecordSize = 24

// RecordKind says what a journal record tells.
type RecordKind uint32

const (
	// Listening: the server listens on FD; Result is the port. The first record, and once.
	Listening RecordKind = 1
	// ReadDone: a read of FD returned Result, bytes or a negative errno.
	ReadDone RecordKind = 2
	// SpliceDone: the same of a splice, whose receives not every way to observe can see.
	SpliceDone RecordKind = 3
)

// Record is one entry of the journal, the server's own word for what it did.
type Record struct {
	Time   event.Time // after the call returned
	Kind   RecordKind
	FD     int32
	Result int32
	TID    uint32 // the loop's thread
}

func (r Record) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(r.Time))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Kind))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.FD))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.Result))
	return binary.LittleEndian.AppendUint32(b, r.TID)
}

func decodeRecord(b []byte) (Record, error) {
	r := Record{
		Time:   event.Time(binary.LittleEndian.Uint64(b)),
		Kind:   RecordKind(binary.LittleEndian.Uint32(b[8:])),
		FD:     int32(binary.LittleEndian.Uint32(b[12:])),
		Result: int32(binary.LittleEndian.Uint32(b[16:])),
		TID:    binary.LittleEndian.Uint32(b[20:]),
	}
	if r.Kind < Listening || r.Kind > SpliceDone {
		return r, fmt.Errorf("unknown record kind %d", r.Kind)
	}
	return r, nil
}

// ReadJournal yields the records of a journal as they come, and an error last when the journal ends in the middle of a
// record, cannot be read, or holds something else.
func ReadJournal(r io.Reader) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var b [RecordSize]byte
		for {
			_, err := io.ReadFull(r, b[:])
			if errors.Is(err, io.EOF) {
				return
			}
			var rec Record
			if err == nil {
				rec, err = decodeRecord(b[:])
			}
			if err != nil {
				yield(Record{}, fmt.Errorf("reading the journal: %w", err))
				return
			}
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// journal writes records to a descriptor; 0 is none.
type journal struct {
	fd  int
	buf [RecordSize]byte
}

func (j *journal) listen(fd, port int) error {
	return j.write(Record{Kind: Listening, FD: int32(fd), Result: int32(port)})
}

func (j *journal) read(fd, n int, err error) error { return j.done(ReadDone, fd, n, err) }

func (j *journal) splice(fd, n int, err error) error { return j.done(SpliceDone, fd, n, err) }

func (j *journal) done(kind RecordKind, fd, n int, err error) error {
	result := int32(n)
	var errno unix.Errno
	if errors.As(err, &errno) {
		result = -int32(errno)
	}
	return j.write(Record{Kind: kind, FD: int32(fd), Result: result})
}

func (j *journal) write(r Record) error {
	if j.fd == 0 {
		return nil
	}
	r.Time, r.TID = now(), uint32(unix.Gettid())
	if err := writeAll(j.fd, r.append(j.buf[:0])); err != nil {
		return fmt.Errorf("writing the journal: %w", err)
	}
	return nil
}

// now reads the clock of the events.
func now() event.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return event.Time(ts.Nano())
}
