package quota

import (
	"errors"
	"fmt"
	"time"
)

// Ramp caps how fast use of Input and Total may rise, for providers that
// refuse a sudden increase even inside the limits. The zero value is off.
type Ramp struct {
	Above  int64         // units per window up to which any increase is allowed
	Growth float64       // by how much of the previous period's peak it may rise
	Every  time.Duration // length of a period; 0 = off
}

func (r Ramp) validate() error {
	var faults []error
	if r.Every < 0 || r.Every > maxSpan {
		faults = append(faults, fmt.Errorf("ramp: every is %s; set it to 0 (off) .. %s", r.Every, maxSpan))
	}
	if r.Every > 0 && !(r.Growth > 0 && r.Growth <= 1000) {
		faults = append(faults, fmt.Errorf("ramp: growth is %v; set it above 0, such as 0.5", r.Growth))
	}
	if r.Every > 0 && (r.Above < 1 || r.Above > most) {
		faults = append(faults, fmt.Errorf("ramp: above is %d; set it to 1 .. %d", r.Above, most))
	}
	return errors.Join(faults...)
}

// ramp is the state of a Ramp in one window.
type ramp struct {
	conf  Ramp
	floor int64 // Above, or less after a provider found that too steep
	prev  int64 // largest sum of the previous period
	peak  int64 // largest sum of this period
	until int64 // when this period ends
}

func (r *ramp) on() bool { return r.conf.Every > 0 }

func (r *ramp) ceiling() int64 { return max(r.floor, r.grown(r.prev), 1) }

func (r *ramp) grown(n int64) int64 { return int64(float64(n) * (1 + r.conf.Growth)) }

func (r *ramp) saw(sum int64) { r.peak = max(r.peak, sum) }

// turn begins a new period. After several without a call, what the window
// still holds is all that is known of the past.
func (r *ramp) turn(t, sum int64) {
	periods := (t-r.until)/int64(r.conf.Every) + 1
	r.prev = r.peak
	if periods > 1 {
		r.prev = sum
	}
	r.peak = sum
	r.until += periods * int64(r.conf.Every)
	r.floor = min(r.conf.Above, r.grown(r.floor)+1)
}

// slow holds the use at sum for one period: the provider called the increase
// too steep.
func (r *ramp) slow(t, sum int64) {
	r.floor = min(r.floor, sum)
	r.prev = int64(float64(sum) / (1 + r.conf.Growth))
	r.peak = sum
	r.until = t + int64(r.conf.Every)
}
