package server

import (
	"testing"
	"time"
)

func TestNames(t *testing.T) {
	want := []string{"et-drain", "et-partial", "lt", "oneshot", "et-fair", "oneshot-rearm"}
	for i, v := range Variants() {
		if v.Name != want[i] {
			t.Errorf("variant %d is %s", i, v.Name)
		}
		got, ok := ByName(v.Name)
		if !ok || got.Name != v.Name || v.Title == "" || v.Teaches == "" || v.Reading.String() == "" || v.HangUp.String() == "" {
			t.Errorf("%s is incomplete", v.Name)
		}
		documented := 5 * time.Second
		if v.Name == "oneshot" || v.Name == "oneshot-rearm" {
			documented = time.Second
		}
		if v.Documented() != documented {
			t.Errorf("%s: documented time-out %v", v.Name, v.Documented())
		}
		ids := map[string]bool{}
		for _, c := range v.Claims {
			if ids[c.ID] || c.Text == "" {
				t.Errorf("%s: claim %q is there twice or says nothing", v.Name, c.ID)
			}
			ids[c.ID] = true
		}
	}
	if _, ok := ByName("nosuch"); ok {
		t.Error("nosuch exists")
	}
}
