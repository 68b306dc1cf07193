package breaker

import "time"

// slots is how many parts a window is kept in: it looks back between 9 and 10
// tenths of its span.
const slots = 10

// window counts verdicts over a sliding span, in slots.
type window struct {
	width     time.Duration // of one slot
	start     time.Time     // of the newest slot
	newest    int
	slot      [slots]struct{ good, bad int64 }
	good, bad int64 // sums over all slots
}

// add books a verdict. A time before the newest slot is booked there: a clock
// that steps back must not lose verdicts.
func (w *window) add(now time.Time, failed bool) {
	if w.start.IsZero() {
		w.start = now
	}
	w.advance(now)
	s := &w.slot[w.newest]
	if failed {
		s.bad++
		w.bad++
		return
	}
	s.good++
	w.good++
}

// advance drops the slots that have left the span at now. Before the first
// verdict there are none, and looking must not lay the first one.
func (w *window) advance(now time.Time) {
	if w.start.IsZero() {
		return
	}
	steps := int64(now.Sub(w.start) / w.width)
	if steps <= 0 {
		return
	}
	w.start = w.start.Add(time.Duration(steps) * w.width)
	for range min(steps, slots) {
		w.newest = (w.newest + 1) % slots
		old := &w.slot[w.newest]
		w.good -= old.good
		w.bad -= old.bad
		old.good, old.bad = 0, 0
	}
}

func (w *window) clear() { *w = window{width: w.width} }
