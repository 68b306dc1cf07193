package quota

import "time"

// State is one limit as people see it. Used + Reserved + Free is Learned,
// unless the limit is in debt, exceeded as a shadow, or of kind Bucket, where Free is
// what the bucket holds.
type State struct {
	Dim        Dim
	Kind       Kind
	Span       time.Duration // of what is enforced: the slice for kind Slice
	Configured int64         // units per Span
	Learned    int64         // the same, lowered by headers and 429s
	Used       int64         // counted in the span that ends now
	Reserved   int64         // held by calls in flight and not yet counted
	Free       int64         // what is left, not below 0
	Burst      int64         // what may be sent at once; 0 = not bounded apart
	Full       time.Time     // when all is free again, but for Reserved
	Shadow     bool          // it only watches: see Limit.Shadow
	Exceeded   int64         // calls that were sent although it, being a shadow, had no room for them
}

// Snapshot returns the state of every limit, in the order of Options.Limits.
func (q *Quota) Snapshot(now time.Time) []State {
	t := q.tick(now)
	q.advance(t)
	states := make([]State, len(q.windows))
	for i := range q.windows {
		w := &q.windows[i]
		s := State{
			Dim: w.conf.Dim, Kind: w.conf.Kind, Span: time.Duration(w.span),
			Configured: w.max, Learned: w.limit, Used: w.sum(t), Reserved: w.held,
			Shadow: w.conf.Shadow, Exceeded: w.exceeded,
		}
		s.Free = max(w.limit-s.Used-s.Reserved, 0)
		if w.conf.Kind == Bucket {
			s.Free = max(w.ready(), 0)
		}
		if w.bucketed() {
			s.Burst = w.bucket.size
		}
		s.Full = q.time(w.allFree(t))
		states[i] = s
	}
	return states
}

// allFree returns when nothing counts any more and the bucket is full.
func (w *window) allFree(t int64) int64 {
	at := t
	switch {
	case w.aligned != nil:
		for _, edge := range w.aligned.edges() {
			if w.aligned.worst(at) > 0 && edge > at {
				at = edge
			}
		}
	case w.conf.Kind != Bucket:
		at = w.ring.empties(t)
	}
	if w.bucketed() {
		at = max(at, w.bucket.reaches(w.top, w.limit, w.span))
	}
	return at
}
