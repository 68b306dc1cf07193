package dispatch

import (
	"errors"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// bytesPerToken turns counted text into tokens for the records alone; what the
// books are charged is the gate's to say.
const bytesPerToken = 4

// tell writes the attempt's record and adds it to the request's.
func (a *attempt) tell(result *admission.Result) {
	r := a.run
	e := &a.story
	*e = event.Attempt{
		Waits:   e.Waits, // of open
		Request: r.id(), Number: r.meta.Attempts, Class: r.req.Ask.Flow.Class, Model: a.model,
		Operation: r.req.Call.Operation, Stream: r.req.Call.Stream, Kind: a.kind, RetryAfter: result.RetryAfter,
		Queued: r.paused, Started: a.start, FirstByte: a.firstByte, FirstPiece: a.first, Total: time.Since(a.start), Estimated: a.grant.Size,
	}
	if a.up != nil {
		e.Upstream, e.Provider = a.up.Name, a.up.Provider
	}
	if r.paused > 0 {
		e.Reason = a.grant.Reason
	}
	if a.answer != nil {
		e.Status = a.answer.Status
	} else if failed := failureOf(a.err); failed != nil {
		e.Status = failed.Status
	}
	if result.Sent {
		e.Used, e.Counted = a.used()
	}
	r.last, r.record.Estimated = a.kind, a.grant.Size
	r.record.Counted = r.record.Counted || e.Counted
	add(&r.record.Used, e.Used)
	r.d.deps.Sink.Attempt(e)
}

// used is what the attempt consumed as far as is known here, and whether that
// is our own count. An attempt that produced nothing counts as nothing.
func (a *attempt) used() (llm.Usage, bool) {
	if !a.usage.IsZero() || a.counted == 0 {
		return a.usage, false
	}
	return llm.Usage{Input: a.grant.Size.Input, Output: (a.counted + bytesPerToken - 1) / bytesPerToken}, true
}

func add(sum *llm.Usage, u llm.Usage) {
	sum.Input += u.Input
	sum.CacheRead += u.CacheRead
	sum.CacheWrite += u.CacheWrite
	sum.Output += u.Output
}

// id is the request's own, or that of the one to whom a shared call belongs.
func (r *run) id() string {
	if r.makes != nil {
		return r.makes.owner()
	}
	return r.req.ID
}

// finish tells the client how it ended, then everybody else.
func (r *run) finish(outcome flow.Outcome, err error) flow.Outcome {
	e := &r.record
	e.Status = r.end(err)
	e.ID, e.Key, e.Model = r.req.ID, r.req.Ask.Flow, r.req.Ask.Model
	if i, routes := r.req.Ask.Route, r.d.table.Load().Routes; i >= 0 && i < len(routes) {
		e.Route = routes[i]
	}
	e.Operation, e.Stream = r.req.Call.Operation, r.req.Call.Stream
	e.Outcome, e.Kind, e.Cause = outcome, r.last, causeOf(err)
	if outcome == flow.OutcomeServed || outcome == flow.OutcomeCoalesced {
		e.Kind = llm.KindNone
	}
	e.Upstream, e.Attempts = r.meta.Upstream, r.meta.Attempts
	e.Arrived, e.Queued, e.Total = r.req.Arrived, r.meta.Waited, time.Since(r.req.Arrived)
	e.Cache = r.meta.Cache
	if hold := r.req.Ask.Hold; !hold.IsZero() {
		e.Hold = hold.Sub(r.req.Arrived)
	}
	r.explain(err)
	if r.waits != (flow.Waits{}) {
		e.Waits = r.waits.Fit(e.Queued)
	}
	r.d.deps.Sink.Record(e)
	return outcome
}

// explain writes down what it waited for, and what it was told of that.
func (r *run) explain(err error) {
	e := &r.record
	if entry := r.meta.Entry; entry != (admission.Status{}) {
		e.First, e.Reason = entry.Reason, entry.Reason
		if !entry.Unknown { // else nothing was promised
			e.Quoted, e.Position, e.EtaP50, e.EtaP90 = true, entry.Position, entry.ETA, entry.ETAP90
		}
	}
	if r.meta.Reason != flow.ReasonNone {
		e.Reason = r.meta.Reason
	}
	if refusal, ok := errors.AsType[*admission.Refusal](err); ok {
		e.Detail, e.Expected, e.RetryAfter = refusal.Detail, refusal.ETA, refusal.RetryAfter
		if refusal.Reason != flow.ReasonNone {
			e.Reason = refusal.Reason
		}
		if refusal.Waits != (flow.Waits{}) {
			r.waits = refusal.Waits
		}
	}
}

// end gives the client its last word. The request is settled by now, so a
// defect here costs that word alone.
func (r *run) end(err error) (status int) {
	defer func() {
		if p := recover(); p != nil {
			_ = r.panicked(p)
		}
	}()
	return r.reply.End(err, &r.meta)
}

// causes are the fixed words of the sentinels.
var causes = [...]struct {
	err  error
	word string
}{
	{flow.ErrQueueFull, "queue_full"},
	{flow.ErrFlowFull, "flow_full"},
	{flow.ErrTooLong, "too_long"},
	{flow.ErrTooLarge, "too_large"},
	{flow.ErrDraining, "draining"},
	{flow.ErrNoUpstream, "no_upstream"},
	{flow.ErrHold, "hold"},
	{flow.ErrDrained, "drained"},
	{flow.ErrRemoved, "removed"},
	{flow.ErrCanceled, "client_left"},
	{ErrHardLimit, "hard_limit"},
	{ErrSoftLimit, "soft_limit"},
	{flow.ErrReplaced, "replaced"},
	{errBehind, "behind"},
}

// causeOf is the fixed word for an error that is not the upstream's.
func causeOf(err error) string {
	if err == nil {
		return ""
	}
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return c.word
		}
	}
	return ""
}
