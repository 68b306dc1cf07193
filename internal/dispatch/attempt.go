package dispatch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/backoff"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// errEnded is with what the context of an attempt that is over is canceled.
var errEnded = errors.New("the attempt ended")

// writeError is a failure on the client's side of the relay.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write to the client: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// attempt is one granted try at one upstream.
type attempt struct {
	run    *run
	table  *table
	grant  admission.Grant
	up     *Upstream
	model  string
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer // nil where no limit applies

	start     time.Time
	firstByte time.Duration
	first     time.Duration // until the first piece was handed on
	answer    *llm.Answer   // nil until one has begun
	err       error         // why it failed; nil for a whole answer
	kind      llm.ErrorKind
	again     bool // wanted
	usage     llm.Usage
	counted   int64
	limits    [8]backoff.Limit // room for what the header says
	story     event.Attempt
}

// attempt takes the grant and makes one try of it. The deferred calls are the
// only place where an attempt ends: the exchange is closed, then the grant is
// settled, whatever happens between here and there.
func (r *run) attempt() (v verdict) {
	grant, err := r.ticket.Grant()
	if err != nil {
		return evicted(err)
	}
	a := &attempt{run: r, table: r.d.table.Load(), grant: grant, kind: llm.KindInternal, start: time.Now()}
	defer a.settle(&v)
	defer a.close()
	a.open()
	a.err = a.exchange()
	a.judge(&v)
	return v
}

// open prepares the books and the clocks of the attempt.
func (a *attempt) open() {
	r := a.run
	up := &a.table.Upstreams[a.grant.Upstream]
	a.up, a.model = up, up.Model
	if a.model == "" {
		a.model = r.req.Ask.Model
	}
	r.meta.Upstream = up.Name
	r.waitedFor(a.grant.Reason)
	a.story.Waits = a.grant.Waits.Minus(r.waits).Fit(r.paused)
	r.waits = a.grant.Waits
	if r.meta.Attempts++; r.meta.Attempts == 1 {
		r.d.count(a.start) // what never ran must not pay for the retries of others
	}
	a.ctx, a.cancel = context.WithCancelCause(r.ctx)
	if r.meta.Attempts == 1 {
		r.limit(a.start, a.table.Limits[r.req.Ask.Flow.Class])
	}
	a.arm()
	r.turn(true)
}

// arm sets the one timer of the attempt, to the limit of the whole request.
func (a *attempt) arm() {
	if end := a.run.endAt; !end.IsZero() {
		a.watch = time.AfterFunc(end.Sub(a.start), a.expire)
	}
}

func (a *attempt) expire() { a.cancel(a.run.endErr) }

// exchange sends the call and relays the answer. It returns nil only if the
// answer reached the client whole.
func (a *attempt) exchange() error {
	r := a.run
	call := r.req.Call
	call.Model = a.table.Upstreams[a.grant.Upstream].Model
	answer, err := a.table.providers[a.grant.Upstream].Do(a.ctx, &call)
	if err != nil {
		return err
	}
	a.answer, a.firstByte = answer, time.Since(a.start)
	piece, err := answer.Body.Next()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	r.pulse.stop()
	if r.ctx.Err() != nil {
		return r.ctx.Err()
	}
	return a.relay(piece, err)
}

// relay passes the answer on, beginning with its first piece.
func (a *attempt) relay(piece []byte, err error) error {
	r, body := a.run, a.answer.Body
	r.begun = true
	if a.grant.Probe {
		r.ticket.Began()
	}
	now := time.Now()
	r.record.FirstByte, a.first = now.Sub(r.req.Arrived), now.Sub(a.start)
	r.reply.Begin(a.answer, &r.meta)
	for err == nil {
		if failed := r.reply.Write(piece); failed != nil {
			return &writeError{failed}
		}
		r.record.BytesOut += int64(len(piece))
		piece, err = body.Next()
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// judge decides what the end of the exchange means. The order matters: what the
// client or a limit of ours has ended says nothing about the upstream.
func (a *attempt) judge(v *verdict) {
	if a.err == nil {
		a.kind, v.outcome = llm.KindNone, flow.OutcomeServed
		return
	}
	r := a.run
	switch cause := context.Cause(a.ctx); {
	case errors.As(a.err, new(*writeError)):
		a.kind, v.outcome, v.err = llm.KindCanceled, flow.OutcomeDisconnected, flow.ErrCanceled
		return
	case r.ctx.Err() != nil:
		a.kind, *v = llm.KindCanceled, r.departed()
		return
	case errors.Is(cause, ErrHardLimit), errors.Is(cause, ErrSoftLimit):
		a.kind, v.outcome, v.err = llm.KindCanceled, flow.OutcomeDeadline, cause
		if !r.begun {
			a.kind = llm.KindTimeout
		}
		return
	}
	failed := failureOf(a.err)
	if failed == nil {
		failed = &llm.Error{Kind: llm.KindTransient, Message: "the provider failed", Err: a.err}
	}
	a.kind, v.outcome, v.err = failed.Kind, outcomeOf(failed.Kind), failed
	a.again = r.mayRetry(a.kind, time.Now())
}

// failureOf is the *llm.Error within err, if there is one.
func failureOf(err error) *llm.Error {
	if err == nil {
		return nil
	}
	if failed, ok := errors.AsType[*llm.Error](err); ok {
		return failed
	}
	return nil
}

// outcomeOf is how a request ends when its last attempt failed with kind.
func outcomeOf(kind llm.ErrorKind) flow.Outcome {
	switch kind {
	case llm.KindInvalid, llm.KindTooLarge:
		return flow.OutcomeRejected
	case llm.KindNone, llm.KindThrottle, llm.KindExhausted, llm.KindOverload, llm.KindTransient,
		llm.KindTimeout, llm.KindCanceled, llm.KindAuth, llm.KindInternal:
		return flow.OutcomeFailed
	}
	return flow.OutcomeFailed
}

// close ends the exchange. It reads the meters first, since a closed body may
// have given its memory back; a failed exchange is cut off before it is closed.
func (a *attempt) close() {
	if a.watch != nil {
		a.watch.Stop()
	}
	if a.cancel == nil {
		return
	}
	defer a.cancel(errEnded)
	if a.answer == nil {
		return
	}
	defer a.answer.Body.Close()
	a.usage, a.counted = a.answer.Body.Usage(), a.answer.Body.Counted()
	if a.kind != llm.KindNone {
		a.cancel(errEnded)
	}
}

// settle hands the grant back with what became of it, and tells the attempt's
// story. A wanted retry that is not to be had leaves the verdict as it is.
func (a *attempt) settle(v *verdict) {
	r := a.run
	result := a.result()
	defer a.tell(&result)
	if !a.again {
		r.ticket.Settle(result)
		return
	}
	r.turn(false)
	v.again = r.ticket.Again(result) == nil
}

// result is the attempt as the gate's books need it.
func (a *attempt) result() admission.Result {
	res := admission.Result{Kind: a.kind, Sent: a.answer != nil || maybeSent(a.err), Usage: a.usage, Counted: a.counted}
	var header http.Header
	if a.answer != nil {
		header = a.answer.Header
	}
	failed := failureOf(a.err)
	if failed != nil {
		res.RetryAfter, res.Ramp = failed.RetryAfter, backoff.IsRamp(failed)
		if header == nil {
			header = failed.Header
		}
	}
	if header != nil {
		res.Limits = backoff.AppendLimits(a.limits[:0], time.Now(), header)
	}
	if a.kind == llm.KindThrottle && failed != nil {
		res.Dims = throttled(failed, res.Limits)
	}
	return res
}

// maybeSent reports whether the request may have reached the upstream. Only an
// error that says so itself means that it has not.
func maybeSent(err error) bool {
	if err == nil {
		return true
	}
	var origin interface{ Sent() bool }
	return !errors.As(err, &origin) || origin.Sent()
}
