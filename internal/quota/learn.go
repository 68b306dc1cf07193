package quota

import (
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// calm is how long a limit must go without a 429 before it rises by a
// hundredth of what is configured.
const calm = 10 * second

// Hint is what one answer's header told of one limit.
type Hint struct {
	Dim       Dim
	Span      time.Duration // of the limit meant; 0 = the shortest of the dimension, up to an hour
	Limit     int64         // per span; -1 = unknown
	Remaining int64         // units; -1 = unknown
	Reset     time.Duration // until it is full again; negative = unknown
}

// Saturate tells whether anyone waits. While someone does, a paced bucket holds
// one second's worth: what it saved up while idle would be missing a span later.
func (q *Quota) Saturate(now time.Time, waiting bool) {
	if waiting == q.waiting {
		return
	}
	q.advance(q.tick(now))
	q.waiting = waiting
	q.tune()
}

func (q *Quota) tune() {
	for i := range q.windows {
		q.windows[i].tune(q.waiting)
	}
}

// Answered tells that the provider accepted the call of r: a burst that was
// spent before it or with it was not too large.
func (q *Quota) Answered(now time.Time, r Reservation) {
	if r.at == 0 {
		return
	}
	for i := range q.windows {
		w := &q.windows[i]
		if w.bucket.probe == 0 || r.at < w.bucket.probe || !w.bucketed() {
			continue
		}
		w.advance(q.tick(now), q)
		w.bucket.grow()
		w.tune(q.waiting)
	}
}

// Pause sends nothing before until, as a Retry-After demands.
func (q *Quota) Pause(now, until time.Time) {
	t := q.tick(now)
	q.paused = max(q.paused, t+max(int64(until.Sub(now)), 0))
}

// Throttled tells that the provider refused the call of r with 429 because of
// the given dimensions (0 = unknown). Where our own sum is near the limit the
// limit is taken to be lower, but for the first time; elsewhere the burst was too large. Calls sent
// before the last lesson teach nothing new. It comes before the Settle of r. With ramp the provider complained
// of a steep increase, not of a limit. In any case nothing is sent at once.
func (q *Quota) Throttled(now time.Time, r Reservation, dims DimSet, ramp bool) {
	t := q.tick(now)
	q.advance(t)
	if dims&everyDim == 0 {
		dims = everyDim
	}
	if !ramp || !q.slow(t, r.at) {
		q.teach(t, r.at, dims)
	}
	q.stop(t, &r.need, dims)
	q.tune()
}

// slow holds the slope; false when no ramp is configured.
func (q *Quota) slow(t, sent int64) bool {
	any := false
	for i := range q.windows {
		w := &q.windows[i]
		if !w.ramp.on() || w.conf.Shadow {
			continue
		}
		any = true
		if sent >= w.cutAt {
			w.cutAt = t
			w.ramp.slow(t, w.sum(t))
		}
	}
	return any
}

func (q *Quota) teach(t, sent int64, dims DimSet) {
	near := false
	for i := range q.windows {
		w := &q.windows[i]
		if !dims.Has(w.conf.Dim) || w.conf.Shadow || w.sum(t)+w.held < w.limit-w.limit/10 {
			continue
		}
		near = true
		// Who sends all he may is always near the limit. A first 429 may as well
		// tell of the burst, which costs nothing to lower.
		if int(q.primary[w.conf.Dim]) == i && !w.bucket.cautious && w.bucket.size > w.leastBurst() && w.bucketed() {
			w.cutBurst(t, sent)
		} else {
			w.cutLimit(t, sent)
		}
	}
	if near {
		return
	}
	for d, p := range q.primary {
		if p >= 0 && dims.Has(Dim(d)) {
			q.windows[p].cutBurst(t, sent)
		}
	}
}

// stop empties what could be sent at once, now and when back is given back.
func (q *Quota) stop(t int64, back *Amount, dims DimSet) {
	wait := int64(0)
	known := false
	for i := range q.windows {
		w := &q.windows[i]
		if !dims.Has(w.conf.Dim) || w.conf.Shadow {
			continue
		}
		if !known {
			known, q.pausedFor = true, dimReasons[w.conf.Dim]
		}
		if !w.bucketed() {
			wait = max(wait, w.skew)
			continue
		}
		level := -back[w.conf.Dim]
		if w.top == 0 {
			level--
		}
		excess := max(w.ready()-level, 0)
		w.bucket.lower(excess)
		if int(q.primary[w.conf.Dim]) == i {
			q.spent[w.conf.Dim] += excess // earlier answers explain it
		}
	}
	if !known { // nothing configured explains it
		wait, q.pausedFor = second, flow.ReasonRequests
	}
	q.paused = max(q.paused, t+wait)
}

// cutLimit lowers the learned limit by a tenth, not below a tenth of what is
// configured.
func (w *window) cutLimit(t, sent int64) {
	w.recoverAt = t + calm
	if sent < w.cutAt {
		return
	}
	w.cutAt = t
	w.limit = max(w.limit-(w.limit+9)/10, min(w.limit, (w.max+9)/10), 1)
}

// cutBurst halves the burst. Where that is as small as it gets and the last
// lesson is fresh, somebody else spends from the limit.
func (w *window) cutBurst(t, sent int64) {
	if sent < w.cutAt {
		return
	}
	least := w.leastBurst()
	switch {
	case w.bucketed() && w.bucket.size > least:
		w.bucket.cautious = true
		w.bucket.resize(max(w.bucket.size/2, least))
		w.cutAt = t
	case w.cutAt > 0 && t-w.cutAt < calm:
		w.cutLimit(t, sent)
	default:
		w.cutAt = t
	}
}

// leastBurst is how small 429s can make the burst: 5/6 of one second's worth, or half
// of what may be used of a bucket that is known, where that is less.
func (w *window) leastBurst() int64 {
	least := mulDiv(w.perSecond(), 5, 6)
	if w.bucket.provider > 0 {
		least = min(least, w.bucket.roof/2)
	}
	return least
}

// recover raises the learned limit for the time that has passed without a 429.
func (w *window) recover(t int64) {
	steps := (t-w.recoverAt)/calm + 1
	w.recoverAt += steps * calm
	w.limit = min(w.told, w.limit+mulDiv(steps, max(w.max/100, 1), 1))
	if w.limit == w.told {
		w.recoverAt = far
	}
}

// Observe takes what an answer to the call of r told of the limits. It may
// lower a limit below what is configured and tell what the provider's bucket
// holds. Where less remains than our own calls explain, somebody else spends
// from the quota too, and as much is taken from our level.
func (q *Quota) Observe(now time.Time, r Reservation, hints []Hint) {
	t := q.tick(now)
	for _, h := range hints {
		w := q.meant(h)
		if w == nil {
			continue
		}
		w.advance(t, q)
		size := w.bucket.size
		w.hear(t, r.counted.split(h.Dim, &r.need).start, h)
		w.tune(q.waiting)
		if shrunk := size - w.bucket.size; shrunk > 0 && w == &q.windows[q.primary[h.Dim]] {
			q.spent[h.Dim] += shrunk // that the provider's bucket is smaller explains as much
		}
		if r.at == 0 || h.Remaining < 0 || !w.bucketed() || w != &q.windows[q.primary[h.Dim]] {
			continue
		}
		// What is taken counts as spent, so that answers to calls sent before
		// it do not take it again.
		if missing := r.mark[h.Dim] - q.spent[h.Dim] - h.Remaining; missing > 0 {
			w.bucket.lower(missing)
			q.spent[h.Dim] += missing
		}
	}
}

// meant returns the window a hint is about, one that is enforced first; nil when there
// is none. What names no span is about a minute or so: told of a day, it would be wrong
// by a factor of a thousand.
func (q *Quota) meant(h Hint) *window {
	if h.Dim >= NumDims || q.primary[h.Dim] < 0 {
		return nil
	}
	var meant *window
	if h.Span == 0 {
		if w := &q.windows[q.primary[h.Dim]]; w.conf.Span <= pacedSpan {
			meant = w
		}
		return meant
	}
	for i := range q.windows {
		w := &q.windows[i]
		if w.conf.Dim == h.Dim && w.conf.Span == h.Span && (meant == nil || meant.conf.Shadow && !w.conf.Shadow) {
			meant = w
		}
	}
	return meant
}

// hear lowers the limit to what the provider states, and derives from what
// remains after it counted a call how much its bucket holds.
func (w *window) hear(t, counted int64, h Hint) {
	if h.Limit > 0 {
		told := min(w.max, max(w.conf.perWindow(h.Limit), 1))
		w.bucket.heard = w.bucket.heard && told == w.told
		w.told = told
		w.limit = min(w.limit, w.told)
		if w.limit < w.told {
			w.recoverAt = min(w.recoverAt, t+calm)
		}
	}
	if !w.bucketed() || h.Remaining < 0 || h.Reset < 0 {
		return
	}
	if holds := w.holds(h, counted); holds > 0 && holds != w.bucket.provider {
		w.bucket.learn(holds, w.roofFor(holds))
	}
	w.bucket.heard = true
}

// holds is what the provider's bucket is now taken to hold; 0 when that is still
// unknown. What remains and what comes back until the reset is all of a bucket, but
// more in a window that is none: a sliding minute beside a small bucket states when
// the minute is free. What remained before a call, however, was let through at once
// wherever it came from, so of all answers the largest such counts.
func (w *window) holds(h Hint, counted int64) int64 {
	known := w.bucket.provider
	all := min(clamp(h.Remaining)+mulDiv(int64(h.Reset), w.told, w.span), w.largest())
	if !w.bucket.heard && known > 0 && all > 0 {
		known = min(known, all)
	}
	if w.conf.Burst > 0 {
		return known
	}
	before := clamp(h.Remaining)
	if before >= counted { // or else the call may have been refused
		before += counted
	}
	before = min(before, all)
	if before-known <= known/peakSteps { // hardly more
		return known
	}
	return before
}

// roofFor is how much of the provider's bucket may be used at once. Of a paced one
// a sixth is left for requests that arrive bunched.
func (w *window) roofFor(holds int64) int64 {
	if w.conf.Kind == Bucket {
		return holds
	}
	return max(mulDiv(holds, 5, 6), min(holds, 1))
}
