package quota

import "time"

// Reconfigure changes the limits while calls are in flight. What was used of a
// limit of the same dimension, kind and span stays counted, and so does what was
// learned, as far as it is below the new limit; a limit of another kind or span
// recalls what one of its dimension counted; one of a new dimension begins as o.Start
// says. Calls in flight keep their seats, and may be more than there are from now on.
// If it fails nothing has changed.
func (q *Quota) Reconfigure(now time.Time, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	t := q.tick(now)
	for _, l := range o.Limits {
		q.aligned = q.aligned || l.Kind == Fixed
	}
	q.tick(now) // for the offset, which Fixed windows need
	q.advance(t)
	all, old := q.windows, q.windows
	q.version++
	q.windows, q.primary = nil, [NumDims]int8{-1, -1, -1, -1}
	for i, l := range o.Limits {
		w := newWindow(t, q.offset, l.withDefaults(), o.Ramp)
		w.version = q.version
		if j := heir(&w, old); j >= 0 {
			w.inherit(t, now, &old[j])
			w.version = old[j].version
			old = append(old[:j:j], old[j+1:]...)
		} else if j := kin(&w, all); j >= 0 {
			w.recall(t, now, &all[j])
		} else if o.Start == Unknown && w.span <= assumable {
			w.assumeSpent(t)
		}
		q.windows = append(q.windows, w)
		q.elect(i)
	}
	q.setSeats(o)
	q.counted = o.Meter.CountedAt
	q.tune()
	return nil
}

// heir is the window that w goes on with; -1 for none.
func heir(w *window, old []window) int {
	for j := range old {
		a, b := &w.conf, &old[j].conf
		if a.Dim == b.Dim && a.Kind == b.Kind && a.Span == b.Span && a.Slice == b.Slice {
			return j
		}
	}
	return -1
}

// kin is the window of w's dimension that knows best what w should have counted: the
// shortest that reaches as far back, else the longest; -1 for none.
func kin(w *window, all []window) int {
	best := -1
	for j := range all {
		if all[j].conf.Dim != w.conf.Dim {
			continue
		}
		span := all[j].span
		if best < 0 || all[best].span < w.span && span > all[best].span || span >= w.span && span < all[best].span {
			best = j
		}
	}
	return best
}

// recall counts what a window of another kind or span has counted: the provider has
// not forgotten it.
func (w *window) recall(t int64, now time.Time, old *window) {
	wall := now.UnixNano() - t
	s := old.save(wall)
	w.replay(t, wall, &s)
	w.bucket.full = false
	w.bucket.lower(min(w.sum(t), w.bucket.size))
}

// inherit takes over what old counted, learned and holds.
func (w *window) inherit(t int64, now time.Time, old *window) {
	if w.conf == old.conf && w.ramp.conf == old.ramp.conf {
		*w = *old
		return
	}
	held := old.held
	old.held = 0 // saved apart: a call that is settled later gives it back
	wall := now.UnixNano() - t
	s := old.save(wall)
	w.restore(t, t, wall, &s)
	w.held = held
	w.recoverAt = old.recoverAt
	w.cutAt = old.cutAt
	w.exceeded = old.exceeded
}
