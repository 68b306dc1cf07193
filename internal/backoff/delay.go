package backoff

import (
	"math"
	"time"
)

// Options says how delays between attempts grow.
type Options struct {
	Base time.Duration // upper bound of the first delay; 0 = 500 ms
	Cap  time.Duration // upper bound of every delay; 0 = 30 s
}

// Delay is how long to wait before retry number attempt, which starts at 0. It
// is spread over the whole span from 0 to min(Cap, Base * 2^attempt), so that
// many who failed together do not come back together. rnd returns numbers in
// [0, 1).
func Delay(attempt int, o Options, rnd func() float64) time.Duration {
	limit := float64(orDefault(o.Cap, 30*time.Second))
	base := float64(orDefault(o.Base, 500*time.Millisecond))
	// Ldexp overflows to +Inf, which min then cuts.
	limit = min(limit, math.Ldexp(base, max(attempt, 0)))
	share := rnd()
	if !(share >= 0 && share <= 1) { // NaN fails both
		share = 1
	}
	return time.Duration(share * limit)
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}
