package tracer

import "testing"

// TestProbe asks this kernel and holds the answers against what Open then does.
func TestProbe(t *testing.T) {
	needPrivileges(t)
	r, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	if r.BTF.Answer != Yes || r.RingBuffer.Answer != Yes || !r.Attached {
		t.Errorf("BTF %+v, ring buffer %+v, attached %t", r.BTF, r.RingBuffer, r.Attached)
	}
	usable := make(map[string]bool)
	for _, row := range r.Rows {
		if row.Answer == Yes {
			usable[row.Event+" "+string(row.Family)] = true
			if len(row.Programs) == 0 {
				t.Errorf("%s by %s: yes, but nothing to hook", row.Event, row.Family)
			}
		} else if row.Detail == "" {
			t.Errorf("%s by %s: %s without a reason", row.Event, row.Family, row.Answer)
		}
	}
	tr, err := Open(Options{PIDs: []uint32{1}})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for _, h := range tr.Hooks() {
		if h.Family != "" && !usable[h.Event+" "+string(h.Family)] {
			t.Errorf("%s was hooked by %s, which the probe does not allow", h.Event, h.Family)
		}
	}
}
