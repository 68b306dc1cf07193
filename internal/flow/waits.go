package flow

import (
	"iter"
	"time"
)

// reasons are what a wait can be for, in the order in which they are told.
var reasons = [...]Reason{
	ReasonTurn, ReasonRequests, ReasonInput, ReasonOutput, ReasonTokens, ReasonSeats, ReasonRamp, ReasonBreaker,
	ReasonRate, ReasonTenant, ReasonTasks, ReasonPaused,
}

// Reasons lists every reason but ReasonNone.
func Reasons() []Reason { return append([]Reason(nil), reasons[:]...) }

// Waits is a time in the queue, shared out by what was waited for, in the order of
// Reasons. The zero value is no wait.
type Waits [len(reasons)]time.Duration

// place is where a reason stands in a Waits; what is not known counts as its turn.
func (r Reason) place() int {
	for i := range reasons {
		if reasons[i] == r {
			return i
		}
	}
	return 0
}

// Add counts a time to a reason.
func (w *Waits) Add(r Reason, d time.Duration) { w[r.place()] += d }

// Of is the time that was waited for a reason.
func (w *Waits) Of(r Reason) time.Duration { return w[r.place()] }

// Total is the whole of it.
func (w *Waits) Total() time.Duration {
	sum := time.Duration(0)
	for _, d := range w {
		sum += d
	}
	return sum
}

// Plus is both together.
func (w Waits) Plus(v Waits) Waits {
	for i, d := range v {
		w[i] += d
	}
	return w
}

// Minus is what came since an earlier reading of the same sums.
func (w Waits) Minus(earlier Waits) Waits {
	for i, d := range earlier {
		w[i] -= d
	}
	return w
}

// Fit shares a total out in the same proportions, to the nanosecond. Where nothing
// is known of it, it was waited for its turn.
func (w Waits) Fit(total time.Duration) Waits {
	whole := w.Total()
	if whole == total {
		return w
	}
	if whole <= 0 {
		return Waits{total}
	}
	scale, most := float64(total)/float64(whole), 0
	fit, left := Waits{}, total
	for i, d := range w {
		fit[i] = time.Duration(float64(d) * scale)
		left -= fit[i]
		if d > w[most] {
			most = i
		}
	}
	fit[most] += left
	return fit
}

// All are the reasons that were waited for, and how long.
func (w *Waits) All() iter.Seq2[Reason, time.Duration] {
	return func(yield func(Reason, time.Duration) bool) {
		for i, d := range w {
			if d > 0 && !yield(reasons[i], d) {
				return
			}
		}
	}
}
