package config

import "testing"

func TestDumb(t *testing.T) {
	for term, want := range map[string]bool{"dumb": true, "xterm-256color": false, "": false} {
		t.Setenv("TERM", term)
		if got := Dumb(); got != want {
			t.Errorf("TERM=%q: %v", term, got)
		}
	}
}
