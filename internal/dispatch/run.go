package dispatch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// run is one request under way. It belongs to the goroutine that called Do.
type run struct {
	d     *Dispatcher
	req   *Request
	reply Reply
	ctx   context.Context // the caller's, or one below it that also ends when the client is found gone

	ticket  *admission.Ticket
	place   atomic.Pointer[admission.Ticket] // the ticket, for those who look from outside
	paused  time.Duration                    // before the grant that came last
	pulse   *pulse                           // nil unless the client is told where it stands
	eager   bool                             // the Reply is a listener
	running atomic.Bool
	endAt   time.Time // when a limit ends it; zero before the first dispatch, or without one
	endErr  error     // which limit that is
	begun   bool      // the client was handed a piece of an answer

	makes   *call                // the shared call that this run makes; nil for one that runs for itself
	joined  atomic.Pointer[call] // the shared call whose answer it waits for; nil for none
	carried time.Duration        // time in the queue with calls before that one
	before  time.Duration        // time that call had spent in the queue already

	meta   Meta
	waits  flow.Waits    // meta.Waited by what it was for, as far as that is known
	last   llm.ErrorKind // of the last attempt
	record event.Record
}

// serve runs the request up to its outcome. What it returns beside the outcome
// is what the client is told.
func (r *run) serve() (outcome flow.Outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			outcome, err = flow.OutcomeFailed, r.panicked(p)
		}
	}()
	ticket, err := r.d.deps.Admission.Enter(r.req.Ask)
	if err != nil {
		return flow.OutcomeRefused, err
	}
	r.ticket = ticket
	r.place.Store(ticket)
	r.joined.Store(nil) // the pulse may have looked at a call that is over
	defer ticket.Leave()
	if r.makes != nil {
		r.makes.enter(ticket)
	} else {
		r.listen()
		defer r.pulse.release()
		if r.eager {
			r.pulse.beat()
		}
	}
	for {
		r.wait()
		if r.ctx.Err() != nil { // looked at last: nothing is sent for a client that has left
			r.stood(ticket.Status())
			v := r.departed()
			if v.outcome == flow.OutcomeCanceled {
				ticket.Abandon()
			}
			return v.outcome, v.err
		}
		if r.tooLate(time.Now()) {
			r.stood(ticket.Status())
			return flow.OutcomeDeadline, r.endErr
		}
		if v := r.attempt(); !v.again {
			return v.outcome, v.err
		}
	}
}

// limit starts the clock of the limits of its class.
func (r *run) limit(now time.Time, l Limits) {
	if l.Hard > 0 {
		r.endAt, r.endErr = now.Add(l.Hard), ErrHardLimit
	}
	if r.req.Soft && l.Soft > 0 && (l.Hard <= 0 || l.Soft < l.Hard) {
		r.endAt, r.endErr = now.Add(l.Soft), ErrSoftLimit
	}
}

// tooLate reports whether a limit of its class has passed.
func (r *run) tooLate(now time.Time) bool { return !r.endAt.IsZero() && !now.Before(r.endAt) }

// turn notes that an attempt has begun, or that another one is waited for.
func (r *run) turn(running bool) {
	r.running.Store(running)
	if r.makes != nil {
		r.makes.turn(running)
	} else if r.eager {
		r.pulse.beat()
	}
}

// isRunning reports whether an attempt is under way for it.
func (r *run) isRunning() bool {
	if c := r.joined.Load(); c != nil {
		return c.run.running.Load()
	}
	return r.running.Load()
}

// wait returns when the ticket has been granted or evicted, or early when the
// request's context ends or, for one that has run before, a limit of its class passes.
func (r *run) wait() {
	r.paused = 0
	ready := r.ticket.Ready()
	select {
	case <-ready:
		return
	default:
	}
	since := time.Now()
	if r.meta.Attempts == 0 {
		r.meta.Entry = r.ticket.Status()
	}
	var late <-chan time.Time
	if !r.endAt.IsZero() {
		timer := time.NewTimer(r.endAt.Sub(since))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-ready:
	case <-r.ctx.Done():
	case <-late:
	}
	r.paused = time.Since(since)
	r.meta.Waited += r.paused
}

// waitedFor notes what it waited for, if that is known.
func (r *run) waitedFor(why flow.Reason) {
	if why != flow.ReasonNone {
		r.meta.Reason = why
	}
}

// stood notes how it stood when it gave up its place.
func (r *run) stood(s admission.Status) {
	r.waitedFor(s.Reason)
	if s.Waits != (flow.Waits{}) {
		r.waits = s.Waits
	}
}

// departed is the verdict on a request whose context has ended.
func (r *run) departed() verdict {
	var broken *llm.Error
	switch cause := context.Cause(r.ctx); {
	case errors.Is(cause, flow.ErrDrained):
		return verdict{outcome: flow.OutcomeEvicted, err: cause}
	case errors.As(cause, &broken):
		return verdict{outcome: flow.OutcomeFailed, err: cause}
	case r.begun:
		return verdict{outcome: flow.OutcomeDisconnected, err: flow.ErrCanceled}
	}
	return verdict{outcome: flow.OutcomeCanceled, err: flow.ErrCanceled}
}

// verdict is how an attempt left its request.
type verdict struct {
	outcome flow.Outcome
	err     error // what the client is told
	again   bool  // the request is back in the queue
}

// evicted is the verdict on a request that came out of the queue without a grant.
func evicted(err error) verdict {
	if errors.Is(err, flow.ErrHold) {
		return verdict{outcome: flow.OutcomeHoldExpired, err: err}
	}
	return verdict{outcome: flow.OutcomeEvicted, err: err}
}

// mayRetry reports whether an attempt that failed with kind may be followed by
// another one. Where it would run, and whether there is such a place, is the
// gate's to say.
func (r *run) mayRetry(kind llm.ErrorKind, now time.Time) bool {
	if r.begun || r.tooLate(now) || kind != llm.KindThrottle && !kind.Fallback() {
		return false
	}
	// The budget is there so that nobody multiplies the load; who was throttled waits
	// for the windows like a newcomer, and adds none.
	return kind == llm.KindThrottle || r.d.allow(now)
}

func (r *run) panicked(p any) error {
	r.d.deps.Log.Error("panic while a request ran", "request", r.req.ID, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
	return &llm.Error{Kind: llm.KindInternal, Message: "internal error"}
}
