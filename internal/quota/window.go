package quota

import (
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// window enforces one limit. What a call in flight holds and what is not yet
// counted by the provider is in held; it counts in full and has no time.
type window struct {
	conf Limit // as configured, defaults filled in
	span int64 // of what is enforced: the slice for kind Slice; ns
	skew int64

	version  uint32 // of the options that began it
	exceeded int64  // calls that it had no room for, being a shadow

	max   int64 // configured
	told  int64 // the same, or less where the provider says so
	limit int64 // learned: at most told
	bound int64 // what the sum may reach now

	held    int64
	ring    *ring    // every kind but Fixed; for Bucket it only observes
	aligned *aligned // Fixed
	paced   bool     // the bucket shapes what the ring allows
	bucket  bucket   // Bucket, and Paced up to an hour
	top     int64    // how far the bucket rises now
	clamp   int64    // what of it may be spent at once

	ramp      ramp
	cutAt     int64 // when a 429 last taught something
	recoverAt int64 // when the learned limit next rises
}

func newWindow(t, offset int64, conf Limit, r Ramp) window {
	w := window{conf: conf, span: int64(conf.Span), max: conf.perWindow(conf.Max), recoverAt: far}
	w.skew = skew(w.span)
	if conf.Kind == Slice {
		w.span = int64(conf.Slice)
		w.skew = max(w.span/60, int64(20*time.Millisecond))
	}
	w.told, w.limit = w.max, w.max
	w.paced = conf.Kind == Paced && conf.Span <= pacedSpan
	if conf.Dim == Input || conf.Dim == Total {
		w.ramp = ramp{conf: r, floor: r.Above, until: t + int64(r.Every)}
	}
	if conf.Kind == Fixed {
		w.aligned = &aligned{span: w.span, skew: w.skew}
		w.aligned.advance(t, offset)
	} else {
		w.ring = newRing(t, w.span+w.skew)
	}
	w.bucket = w.newBucket(t)
	w.tune(false)
	return w
}

// newBucket returns a full bucket of the size that is assumed at first.
func (w *window) newBucket(t int64) bucket {
	b := bucket{at: t, full: true, provider: w.conf.Burst}
	b.size = w.roofFor(b.provider)
	b.roof = b.size
	if b.provider == 0 {
		b.size, b.roof = w.perSecond(), w.max
	}
	b.units = b.size
	b.deepest = min(maxDebt*max(w.max, b.size), maxSum)
	return b
}

func (w *window) bucketed() bool { return w.paced || w.conf.Kind == Bucket }

// perSecond is one second's worth of the learned limit.
func (w *window) perSecond() int64 { return mulDiv(w.limit, min(second, w.span), w.span) }

// tune recomputes what follows from the learned values.
func (w *window) tune(waiting bool) {
	w.bound = w.limit
	w.top, w.clamp = w.bucket.size, far
	if w.conf.Kind == Bucket {
		w.bound = far
		// The provider counts up to skew after us, and does not refill a full
		// bucket meanwhile.
		w.clamp = w.top - min(mulDiv(w.limit, w.skew, w.span), w.top/6)
	} else if waiting {
		w.top = min(w.top, w.perSecond())
	}
	if w.ramp.on() {
		w.bound = min(w.bound, w.ramp.ceiling())
	}
}

func (w *window) advance(t int64, q *Quota) {
	if w.aligned != nil {
		w.aligned.advance(t, q.offset)
	} else {
		w.ring.advance(t)
	}
	if w.bucketed() {
		w.bucket.refill(t, w.limit, w.span, w.top)
	}
	if t >= w.recoverAt {
		w.recover(t)
		w.tune(q.waiting)
	}
	if w.ramp.on() && t >= w.ramp.until {
		w.ramp.turn(t, w.sum(t))
		w.tune(q.waiting)
	}
}

// sum is what counts against the bound at t, without what is held.
func (w *window) sum(t int64) int64 {
	if w.aligned != nil {
		return w.aligned.worst(t)
	}
	return w.ring.total
}

// room reports whether n more fits on top of sum. Where learning has brought
// the bound below n, it may go alone.
func (w *window) room(sum, n int64) bool {
	return sum+n <= w.bound || sum == 0 && n <= w.told
}

// largest is the largest amount that can ever pass.
func (w *window) largest() int64 {
	if w.conf.Kind == Bucket {
		return w.conf.Burst
	}
	return w.told
}

// ready is what the bucket holds that no call in flight has a claim on. A paced
// bucket is spent from at the start, a provider's own when it counts.
func (w *window) ready() int64 {
	if w.paced {
		return w.bucket.units
	}
	return w.bucket.units - w.held
}

func (w *window) fits(t, n int64) bool {
	if n == 0 {
		return true
	}
	if n > w.largest() || !w.room(w.sum(t)+w.held, n) {
		return false
	}
	return !w.bucketed() || w.ready() >= min(n, w.top)
}

// next returns when n fits if nothing else is sent, and what it waits for.
// False means that time alone does not help: a call in flight must end first.
//
// keep is how many seconds' refill are to be left in a bucket.
func (w *window) next(t, n int64, keep float64) (int64, flow.Reason, bool) {
	reason := dimReasons[w.conf.Dim]
	if n == 0 {
		return t, reason, true
	}
	at, ok := w.nextSum(t, n)
	if ok && at > t && w.bound < w.limit {
		reason = flow.ReasonRamp
	}
	if !ok || !w.bucketed() {
		return at, reason, ok
	}
	want := min(n, w.top)
	if !w.paced {
		want += w.held
	}
	if keep > 0 && want <= w.top {
		inflow := keep * float64(w.limit) * float64(second) / float64(w.span)
		want = min(want+min(int64(inflow), w.top/2), w.top)
	}
	if want > w.top || n > w.largest() {
		return t, dimReasons[w.conf.Dim], false
	}
	if ready := w.bucket.reaches(want, w.limit, w.span); ready > at {
		return ready, dimReasons[w.conf.Dim], true
	}
	return at, reason, true
}

func (w *window) nextSum(t, n int64) (int64, bool) {
	sum := w.sum(t)
	switch {
	case w.room(sum+w.held, n):
		return t, true
	case !w.room(w.held, n):
		return t, false
	case w.ring != nil:
		return w.ring.frees(sum - max(w.bound-w.held-n, 0)), true
	}
	for _, at := range w.aligned.edges() {
		if at > t && w.room(w.aligned.worst(at)+w.held, n) {
			return at, true
		}
	}
	return t, false
}

// take reserves n, of which the provider counts late only later.
func (w *window) take(t, n, late int64) {
	w.held = min(w.held+late, maxSum)
	w.count(t, n-late)
	if w.paced {
		w.bucket.spend(n, w.clamp)
	} else if n > late {
		w.bucket.spend(n-late, w.clamp)
	}
}

func (w *window) count(t, n int64) {
	if n == 0 {
		return
	}
	if w.aligned != nil {
		w.aligned.add(t, n)
	} else {
		w.ring.add(n)
	}
	w.ramp.saw(w.sum(t) + w.held)
}

// settle replaces what was reserved at since by what was charged, each split
// into what counts at the start and what counts late.
func (w *window) settle(t, since int64, reserved, actual split) {
	w.held = max(w.held-reserved.late, 0)
	w.count(t, actual.late)
	back := reserved.start - actual.start
	if back >= 0 {
		w.forget(since, back)
	} else {
		w.count(t, -back)
	}
	switch {
	case w.paced:
		w.correct(since, back+reserved.late-actual.late)
	case w.conf.Kind == Bucket:
		w.correct(since, -actual.late)
		w.correct(since, back)
	}
}

// correct gives n back to the bucket, or takes more where n is negative.
func (w *window) correct(since, n int64) {
	if n > 0 {
		w.bucket.refund(n, since, w.clamp, w.top)
	} else if n < 0 {
		w.bucket.lower(-n)
	}
}

// forget takes back n that was counted at since.
func (w *window) forget(since, n int64) {
	if n == 0 {
		return
	}
	if w.aligned != nil {
		w.aligned.remove(since, n)
	} else {
		w.ring.remove(since, n)
	}
}

// assumable is the longest span that is taken as spent where nothing is known. To stand
// still for a day after a crash is worse than a 429, which tells what is left of the day.
const assumable = int64(time.Hour)

// assumeSpent starts the window as a predecessor may have left it at worst.
func (w *window) assumeSpent(t int64) {
	switch {
	case w.aligned != nil:
		w.aligned.add(t, w.limit)
	case w.paced:
		w.ring.assume(w.limit, w.bucket.size, w.span)
	default:
		w.ring.add(w.limit)
	}
	w.bucket.full = false
	w.bucket.units = -w.bucket.size
	if w.conf.Kind == Bucket {
		w.bucket.units = w.clamp - w.bucket.size
	}
}

// split is an amount of one dimension, by when it counts.
type split struct{ start, late int64 }
