package footprint

import (
	"math"
	"runtime/debug"
)

// softBound is far above what ten thousand users need at a time: what lies beyond it is
// garbage of prompts and answers, which fast users make by the gigabyte.
const softBound = 1 << 30

// Bound has garbage collected before this process holds more than 1 GiB, unless
// GOMEMLIMIT says otherwise. It returns what undoes that.
func Bound() (undo func()) {
	was := debug.SetMemoryLimit(-1)
	if was == math.MaxInt64 {
		debug.SetMemoryLimit(softBound)
	}
	return func() { debug.SetMemoryLimit(was) }
}
