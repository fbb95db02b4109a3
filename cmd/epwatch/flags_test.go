package main

import "testing"

func TestSizeFlag(t *testing.T) {
	for in, want := range map[string]int{
		"1": 1, "4096": 4096, "512K": 512 << 10, "512k": 512 << 10, "8M": 8 << 20, "8MiB": 8 << 20, "8MB": 8 << 20, "1G": 1 << 30,
	} {
		var n int
		if err := (sizeFlag{&n}).Set(in); err != nil || n != want {
			t.Errorf("Set(%q) = %d, %v; want %d", in, n, err, want)
		}
	}
	for _, in := range []string{"", "K", "-1", "0", "2G", "1.5M", "8T", "9223372036854775807K"} {
		var n int
		if err := (sizeFlag{&n}).Set(in); err == nil {
			t.Errorf("Set(%q) = %d, want an error", in, n)
		}
	}
	for n, want := range map[int]string{0: "", 1: "1", 1536: "1536", 512 << 10: "512K", 8 << 20: "8M", 1 << 30: "1G"} {
		if got := (sizeFlag{&n}).String(); got != want {
			t.Errorf("String of %d = %q, want %q", n, got, want)
		}
	}
}
