package gate

import (
	"time"

	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// settle ends the attempt and the request.
func (g *Gate) settle(now time.Time, id uint64, r Result) {
	e := g.entries[id]
	if e == nil || e.state != running {
		g.late++
		return
	}
	g.finish(now, e, r)
	g.forget(e)
}

// began takes a probe's answer that has begun for a success: a long one would else keep
// all others away from an upstream that is back, for as long as it lasts.
func (g *Gate) began(now time.Time, id uint64) {
	e := g.entries[id]
	if e == nil || e.state != running || !e.pass.Probe() {
		return
	}
	up := &g.upstreams[e.upstream]
	up.breaker.Done(now, e.pass, llm.KindNone)
	e.pass = breaker.Pass{} // how it ends is no verdict any more
	up.pool.resume = true
}

// again ends the attempt and puts the request back at the head of its line, or
// refuses that if no upstream is left for it.
func (g *Gate) again(now time.Time, id uint64, r Result) {
	e := g.entries[id]
	if e == nil || e.state != running {
		g.late++
		return
	}
	e.retryAt = time.Time{}
	if !g.another(now, e, r) {
		g.finish(now, e, r)
		g.forget(e)
		g.actions = append(g.actions, Action{Kind: Refuse, ID: id, Refusal: &Refusal{Err: flow.ErrNoUpstream}})
		return
	}
	if e.booked != e.pool.queue { // the queue that it came from is no more
		g.finish(now, e, r)
		e.arrived = now
		e.pool.restore(e)
	} else {
		e.arrived = now
		e.pool.restore(e) // before the settlement: the flow keeps its tag
		g.finish(now, e, r)
	}
	e.state = queued
	g.renew(now, e) // the options may have changed while it ran
}

// another reports whether the request may try again, and notes where not.
func (g *Gate) another(now time.Time, e *entry, r Result) bool {
	if e.attempts >= g.options.Attempts || g.measure(e) != nil { // no quota is large enough any more
		return false
	}
	if r.Kind == llm.KindThrottle {
		return true // the books were corrected: the same upstream, when they say so
	}
	bit := uint64(1) << e.upstream
	e.failed |= bit
	for _, u := range g.routes[e.ask.Route].Upstreams {
		if (e.failed|e.tooLarge)&(1<<u) == 0 {
			return true
		}
	}
	if r.Kind.Faulty() && e.retries < soleRetries {
		wait := backoff.Delay(e.retries, backoff.Options{}, func() float64 { return 1 })
		e.retryAt = now.Add(max(wait, min(r.RetryAfter, maxRetryAfter)))
		e.retries++
		return !e.retryAt.After(e.ask.Hold) // else how it failed says more than that its hold ended
	}
	return false
}

// finish replaces the reservation by the truth, everywhere that keeps a book.
func (g *Gate) finish(now time.Time, e *entry, r Result) {
	up := &g.upstreams[e.upstream]
	took := now.Sub(e.since)
	g.learn(now, e, r, took) // first: a refund must not undo what a throttle stops
	spent := g.charge(now, e, r)
	e.booked.Settle(&e.item, g.share(e, spent, took))
	up.pool.dirty = true // not the entry's: its route may have moved since
	g.release(now, e, r)
	before := up.breaker.State(now)
	up.breaker.Done(now, e.pass, r.Kind)
	if up.breaker.State(now) != before || e.pass.Probe() {
		up.pool.resume = true
	}
}

// release gives back what a request holds beside an upstream: its part of its
// tenant's quota, and its place among the tasks and those that run. Whoever was parked for one of
// these is looked at again.
func (g *Gate) release(now time.Time, e *entry, r Result) {
	if e.ask.Task {
		g.runTasks(-1)
	}
	last := len(g.runs) - 1
	g.runs[e.run] = g.runs[last]
	g.runs[e.run].run = e.run
	g.runs[last] = nil
	g.runs = g.runs[:last]
	e.tenant.settle(now, e, r)
	for _, p := range g.pools {
		if e.ask.Task && p.queue.Shelved() > 0 {
			p.putBack(1)
			p.dirty = true
		}
		if e.tenant != nil && len(p.halted) > 0 {
			p.unhalt(now, e.tenant)
		}
	}
}

// charge settles the quota and returns what the flow pays.
func (g *Gate) charge(now time.Time, e *entry, r Result) quota.Amount {
	up := &g.upstreams[e.upstream]
	switch {
	case !r.Sent:
		up.quota.Cancel(now, e.grant)
		return quota.Amount{}
	case r.Kind == llm.KindThrottle:
		spent := up.meter.Refused()
		up.quota.Settle(now, e.grant, spent)
		return spent
	case !r.Usage.IsZero():
		spent := up.meter.Actual(e.reserved, r.Usage, e.size)
		up.quota.Settle(now, e.grant, spent)
		return spent
	}
	up.quota.Settle(now, e.grant, up.meter.Unconfirmed(e.reserved, countedTokens(r.Counted)))
	return up.meter.Actual(e.reserved, counted(e.size, r.Counted), e.size)
}

// learn passes on what the answer told: about the windows, and about sizes.
func (g *Gate) learn(now time.Time, e *entry, r Result, took time.Duration) {
	up := &g.upstreams[e.upstream]
	if !r.Sent {
		return
	}
	if len(r.Limits) > 0 {
		var hints [8]quota.Hint
		up.quota.Observe(now, e.grant, appendHints(hints[:0], r.Limits))
	}
	switch r.Kind {
	case llm.KindThrottle:
		up.quota.Throttled(now, e.grant, r.Dims, r.Ramp)
		if r.RetryAfter > 0 {
			up.quota.Pause(now, now.Add(r.RetryAfter))
		}
	case llm.KindNone:
		up.quota.Answered(now, e.grant)
		one := r.Usage // what is predicted is one answer
		one.Output /= max(e.ask.Size.Choices, 1)
		g.estimate.Learn(e.key(), e.ask.Size, one, took)
		if !r.Usage.IsZero() {
			g.timed++
		}
	default:
	}
}

func appendHints(dst []quota.Hint, limits []backoff.Limit) []quota.Hint {
	for _, l := range limits {
		if dim, ok := dims[l.Dim]; ok {
			dst = append(dst, quota.Hint{Dim: dim, Span: l.Window, Limit: l.Limit, Remaining: l.Remaining, Reset: l.Reset})
		}
	}
	return dst
}

// dims maps what headers count to what quotas count.
var dims = map[backoff.Dim]quota.Dim{
	backoff.Requests: quota.Requests,
	backoff.Tokens:   quota.Total,
	backoff.Input:    quota.Input,
	backoff.Output:   quota.Output,
}
