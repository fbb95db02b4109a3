package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/render"
	"github.com/epwatch/epwatch/server"
)

func TestMatchJournal(t *testing.T) {
	entry := func(at event.Time, fd, result int32) server.Record {
		return server.Record{Time: at, Kind: server.ReadDone, FD: fd, Result: result, TID: 1}
	}
	splice := func(at event.Time, fd, result int32) server.Record {
		return server.Record{Time: at, Kind: server.SpliceDone, FD: fd, Result: result, TID: 1}
	}
	listening := server.Record{Time: 1, Kind: server.Listening, FD: 4, Result: 8080, TID: 1}
	receive := func(at event.Time, fd int32, ret int64) event.Event {
		return event.Event{Kind: event.KindRecv, Time: at, FD: fd, Ret: ret}
	}
	peek := receive(15, 7, 16)
	peek.Flags = event.Peek
	noEntry := func(n uint64) render.Unmatched { return render.Unmatched{Reason: entryWithoutReceive, Count: n} }
	noReceive := func(n uint64) render.Unmatched { return render.Unmatched{Reason: receiveWithoutEntry, Count: n} }

	for _, c := range []struct {
		name    string
		records []server.Record
		events  []event.Event
		want    render.Journal
	}{
		{
			"each read has its receive, empty ones too",
			[]server.Record{listening, entry(20, 7, 16), entry(30, 7, 4), entry(40, 7, -11), entry(50, 7, 0)},
			[]event.Event{receive(19, 7, 16), receive(29, 7, 4), receive(39, 7, -11), receive(49, 7, 0)},
			render.Journal{Entries: 4, Receives: 4, Matched: 4},
		},
		{
			"a hook that sees no empty receives is not blamed for them",
			[]server.Record{entry(20, 7, 16), entry(40, 7, -11)},
			[]event.Event{receive(19, 7, 16)},
			render.Journal{Entries: 1, Receives: 1, Matched: 1},
		},
		{
			"but one that sees some is",
			[]server.Record{entry(20, 7, 16), entry(40, 7, -11), entry(50, 7, -11)},
			[]event.Event{receive(19, 7, 16), receive(39, 7, -11)},
			render.Journal{Entries: 3, Receives: 2, Matched: 2, Unmatched: []render.Unmatched{noEntry(1)}},
		},
		{
			"a splice whose receive no hook sees",
			[]server.Record{entry(20, 7, 16), splice(30, 7, 4)},
			[]event.Event{receive(19, 7, 16)},
			render.Journal{Entries: 1, Receives: 1, Matched: 1},
		},
		{
			"a splice whose receive is seen",
			[]server.Record{entry(20, 7, 16), splice(30, 7, 4)},
			[]event.Event{receive(19, 7, 16), receive(29, 7, 4)},
			render.Journal{Entries: 2, Receives: 2, Matched: 2},
		},
		{
			"a read that the end of the process cut short",
			[]server.Record{entry(20, 7, 16)},
			[]event.Event{receive(19, 7, 16), receive(29, 7, -512)},
			render.Journal{Entries: 1, Receives: 1, Matched: 1},
		},
		{
			"another size",
			[]server.Record{entry(20, 7, 16)},
			[]event.Event{receive(19, 7, 15)},
			render.Journal{Entries: 1, Receives: 1, Unmatched: []render.Unmatched{noEntry(1), noReceive(1)}},
		},
		{
			"another descriptor",
			[]server.Record{entry(20, 7, 16)},
			[]event.Event{receive(19, 8, 16)},
			render.Journal{Entries: 1, Receives: 1, Unmatched: []render.Unmatched{noEntry(1), noReceive(1)}},
		},
		{
			"a receive after the call that it should be inside",
			[]server.Record{entry(20, 7, 16)},
			[]event.Event{receive(21, 7, 16)},
			render.Journal{Entries: 1, Receives: 1, Unmatched: []render.Unmatched{noEntry(1), noReceive(1)}},
		},
		{
			"swapped sizes",
			[]server.Record{entry(20, 7, 16), entry(30, 7, 4)},
			[]event.Event{receive(19, 7, 4), receive(29, 7, 16)},
			render.Journal{Entries: 2, Receives: 2, Unmatched: []render.Unmatched{noEntry(2), noReceive(2)}},
		},
		{
			"a lost receive is missed once, although another one would fit",
			[]server.Record{entry(20, 7, 16), entry(30, 7, 16)},
			[]event.Event{receive(29, 7, 16)},
			render.Journal{Entries: 2, Receives: 1, Matched: 1, Unmatched: []render.Unmatched{noEntry(1)}},
		},
		{
			"a peek is not a read, and what is no receive does not count",
			[]server.Record{entry(20, 7, 16)},
			[]event.Event{peek, receive(19, 7, 16), {Kind: event.KindRead, Time: 20, FD: 7, Ret: 16}},
			render.Journal{Entries: 1, Receives: 1, Matched: 1},
		},
		{
			"records out of order",
			[]server.Record{entry(30, 7, 4), entry(20, 7, 16)},
			[]event.Event{receive(19, 7, 16), receive(29, 7, 4)},
			render.Journal{Entries: 2, Receives: 2, Matched: 2},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(&c.want, matchJournal(c.records, c.events, 0)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
