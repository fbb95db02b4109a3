package server

import "slices"

// The gallery: small servers that each make one mistake, every one beside a twin that differs in one line and does not make
// it, and innocents that do on purpose what looks like a mistake. Both halves of a pair run the same code; the line that is
// the mistake is marked BUG with the guilty server's name, and runs only there. Each has a client of its own, says what a run
// must show, and which findings it must give.

// Gallery returns the gallery: the pairs in the order of the checks, the guilty server first, then the innocents.
func Gallery() []Variant {
	vs := slices.Concat(
		shortRead(), datagramOnce(), rearmSkipped(), lostEOF(), earlyReply(), hangUpBeforeData(),
		acceptOnce(), fileLimit(), dupKept(), twoThreads(), writeInterest(), emptyMask(), counterUnread(), crowd(), herd(),
		blockingCall(), longCompute(),
		innocents(),
	)
	for i := range vs {
		vs[i].Timeout = DefaultTimeout
	}
	return vs
}

// half is what the two servers of a pair do not share.
type half struct {
	Name, Title, Teaches string
	Claims               []Claim
	Expect               []ExpectedFinding // none for the twin
}

// pair makes a guilty server and its twin out of what they share.
func pair(shared Variant, guilty, twin half) []Variant {
	a, b := guilty.of(shared), twin.of(shared)
	a.Partner, b.Partner = b.Name, a.Name
	return []Variant{a, b}
}

func (h half) of(shared Variant) Variant {
	shared.Name, shared.Title, shared.Teaches, shared.Claims, shared.Expect = h.Name, h.Title, h.Teaches, h.Claims, h.Expect
	return shared
}
