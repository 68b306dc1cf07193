package sim

import (
	"math"
	"time"
)

// clock tells the simulator's own time, which passes speed times as fast as
// that of the machine. Windows, books and fault scripts know no other; only
// what a client must wait by its own clock is turned back.
type clock struct {
	origin time.Time // when both clocks showed the same
	speed  float64
}

func newClock(speed float64) clock { return clock{origin: time.Now(), speed: speed} }

// now is the time since the origin.
func (c clock) now() time.Duration {
	passed := time.Since(c.origin)
	if c.speed == 1 {
		return passed
	}
	return time.Duration(math.Round(float64(passed) * c.speed))
}

// perReal is what of a limit comes back in one span by the machine's clock.
func (c clock) perReal(limit int64) int64 { return int64(math.Round(float64(limit) * c.speed)) }

// real is how long d takes by the machine's clock, rounded up: who waits so
// long does not come too early.
func (c clock) real(d time.Duration) time.Duration {
	if c.speed == 1 {
		return d
	}
	return time.Duration(math.Ceil(float64(d) / c.speed))
}
