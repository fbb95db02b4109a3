package diagnose

import (
	"slices"

	"github.com/epwatch/epwatch/internal/event"
	"github.com/epwatch/epwatch/internal/timeline"
)

// leastProof is how many events a proof should have to be read as a story.
const leastProof = 5

// prove fills in the events behind the finding's evidence, as far as they are still kept, those it had already included.
// Where the evidence is short, what else happened to the file just before fills it up.
func (f *Finding) prove(tl *timeline.Timeline) {
	if f.proven() {
		return
	}
	proof := make([]event.Event, 0, maxEvidence)
	for _, seq := range f.Evidence {
		if i := slices.IndexFunc(f.Proof, func(ev event.Event) bool { return ev.Seq == seq }); i >= 0 {
			proof = append(proof, f.Proof[i])
		} else if ev, ok := tl.Recall(f.file, seq); ok {
			proof = append(proof, f.name(ev))
		}
	}
	f.Proof = proof
	if f.file == nil || len(proof) == 0 {
		return
	}
	last := proof[len(proof)-1].Seq
	for _, ev := range slices.Backward(slices.Collect(f.file.Recent())) {
		if len(f.Proof) >= leastProof {
			break
		}
		if ev.Seq < last && !slices.ContainsFunc(f.Proof, func(p event.Event) bool { return p.Seq == ev.Seq }) {
			f.Proof = append(f.Proof, f.name(ev))
		}
	}
	slices.SortFunc(f.Proof, func(a, b event.Event) int { return int(a.Seq) - int(b.Seq) })
}

// name gives an event of the finding's own file the addresses that were not kept with it.
func (f *Finding) name(ev event.Event) event.Event {
	if ev.FD == event.NoFD && ev.File != 0 && ev.File == f.File {
		ev.Local, ev.Peer = f.Local, f.Peer
	}
	return ev
}

// proven reports whether the proof has all of the evidence.
func (f *Finding) proven() bool {
	for _, seq := range f.Evidence {
		if !slices.ContainsFunc(f.Proof, func(ev event.Event) bool { return ev.Seq == seq }) {
			return false
		}
	}
	return true
}
