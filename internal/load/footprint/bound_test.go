package footprint

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestBound(t *testing.T) {
	first := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(first)
	for _, c := range []struct{ was, want int64 }{{math.MaxInt64, softBound}, {100 << 20, 100 << 20}, {4 << 30, 4 << 30}} {
		debug.SetMemoryLimit(c.was)
		undo := Bound()
		if got := debug.SetMemoryLimit(-1); got != c.want {
			t.Errorf("of %d it makes %d, want %d", c.was, got, c.want)
		}
		undo()
		if got := debug.SetMemoryLimit(-1); got != c.was {
			t.Errorf("%d became %d", c.was, got)
		}
	}
}
