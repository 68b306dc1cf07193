package field

import (
	"strings"
	"testing"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "a\r\nb": "a__b", "\x1b[31m": "_[31m", "é": "é", "\x80": "_", "a\u2028b": "a_b",
		strings.Repeat("x", 300): strings.Repeat("x", 256),
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}
