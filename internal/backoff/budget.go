package backoff

import (
	"errors"
	"fmt"
	"time"
)

// budgetSlots is how many parts the window of a Budget is kept in.
const budgetSlots = 60

// BudgetOptions bounds retries.
type BudgetOptions struct {
	Ratio  float64       // retries per request; 0 = 0.1, negative = none but Floor
	Floor  int           // retries that are always allowed in a window; 0 = 10, negative = none
	Window time.Duration // how far back both are counted; 0 = 60 s
}

// Validate returns everything that makes no sense in o, joined.
func (o BudgetOptions) Validate() error {
	var faults []error
	if o.Ratio != o.Ratio || o.Ratio > 10 {
		faults = append(faults, fmt.Errorf("retry budget: ratio %v is out of range; use 0 to 10 retries per request", o.Ratio))
	}
	if o.Window < 0 {
		faults = append(faults, fmt.Errorf("retry budget: window %v is negative; use 0 for 60s", o.Window))
	}
	return errors.Join(faults...)
}

// Budget counts requests and retries over a sliding window and says whether one
// more retry is within bounds. All methods are O(1) and allocate nothing.
type Budget struct {
	ratio float64
	floor float64
	width time.Duration // of one slot

	start  time.Time // of the newest slot; zero before the first event
	newest int
	slot   [budgetSlots]struct{ requests, retries int64 }

	requests, retries int64 // sums over all slots
}

// NewBudget returns an empty budget. Values of o that make no sense count as
// zero.
func NewBudget(o BudgetOptions) *Budget {
	if o.Ratio == 0 || o.Ratio != o.Ratio || o.Ratio > 10 {
		o.Ratio = 0.1
	}
	if o.Floor == 0 {
		o.Floor = 10
	}
	width := max(orDefault(o.Window, time.Minute)/budgetSlots, 1)
	return &Budget{ratio: max(o.Ratio, 0), floor: float64(max(o.Floor, 0)), width: width}
}

// Request counts a request, once, at its first attempt.
func (b *Budget) Request(now time.Time) {
	b.begin(now)
	b.slot[b.newest].requests++
	b.requests++
}

// Allow reports whether one more retry is within bounds and counts it if so.
func (b *Budget) Allow(now time.Time) bool {
	if b.Left(now) < 1 {
		return false
	}
	b.begin(now)
	b.slot[b.newest].retries++
	b.retries++
	return true
}

// Left is how many retries would be allowed now.
func (b *Budget) Left(now time.Time) int64 {
	b.advance(now)
	return max(int64(b.floor+b.ratio*float64(b.requests))-b.retries, 0)
}

// begin makes the slot of now the newest; the first event lays the first slot.
func (b *Budget) begin(now time.Time) {
	if b.start.IsZero() {
		b.start = now
	}
	b.advance(now)
}

// advance drops the slots that have left the window. A time before the newest
// slot changes nothing, so a clock that steps back loses no count.
func (b *Budget) advance(now time.Time) {
	if b.start.IsZero() {
		return
	}
	steps := int64(now.Sub(b.start) / b.width)
	if steps <= 0 {
		return
	}
	b.start = b.start.Add(time.Duration(steps) * b.width)
	for range min(steps, budgetSlots) {
		b.newest = (b.newest + 1) % budgetSlots
		old := &b.slot[b.newest]
		b.requests -= old.requests
		b.retries -= old.retries
		old.requests, old.retries = 0, 0
	}
}
