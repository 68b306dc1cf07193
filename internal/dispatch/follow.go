package dispatch

import (
	"context"
	"net/http"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/respcache"
)

// errBehind ends a client that reads a shared answer too slowly to go on with it.
var errBehind = &llm.Error{Kind: llm.KindCanceled, Message: "the client fell too far behind the answer"}

// Bounds of the Retry-After of a hold that ended, as the gate has them.
const (
	minRetry = time.Second
	maxRetry = 59 * time.Second
)

// share serves a request that may be answered by more than a call of its own.
func (r *run) share() (outcome flow.Outcome, err error) {
	defer func() {
		if p := recover(); p != nil {
			outcome, err = flow.OutcomeFailed, r.panicked(p)
		}
	}()
	defer func() { r.pulse.release() }()
	for {
		entry, w, first := r.find()
		switch {
		case entry != nil:
			return r.replay(entry)
		case w == nil:
			return r.alone()
		case first:
			w.Flight.Call.start()
		default:
			r.join(w.Flight.Call)
		}
		r.listen()
		if v := r.follow(w); !v.again {
			return v.outcome, v.err
		}
	}
}

// join makes the hold of the newcomer known and notes where it stands.
func (r *run) join(c *call) {
	c.pass()
	if s := c.status(); s != (admission.Status{}) && r.meta.Entry == (admission.Status{}) {
		r.meta.Entry = s
	}
}

// follow waits for the answer of a shared call and relays it. However it ends, the
// waiter has left then, and where it was the last the call has ended.
func (r *run) follow(w *waiter) (v verdict) {
	defer func() {
		if p := recover(); p != nil {
			v = verdict{outcome: flow.OutcomeFailed, err: r.panicked(p)}
		}
		r.leave(w, &v)
	}()
	phase := outside
	for {
		s := r.look(w)
		if r.eager && s.phase != phase {
			phase = s.phase
			r.pulse.beat()
		}
		switch {
		case !s.whole:
			return verdict{outcome: flow.OutcomeDisconnected, err: errBehind}
		case s.ended && len(s.piece) == 0 && (s.answer == nil || r.begun):
			return r.ended(w)
		case r.ctx.Err() != nil:
			return r.departed()
		case s.answer != nil && !r.begun:
			r.pulse.stop()
			r.begin(w, s.answer)
			fallthrough
		case len(s.piece) > 0:
			if err := r.pass(s.piece); err != nil {
				return verdict{outcome: flow.OutcomeDisconnected, err: flow.ErrCanceled}
			}
		case r.expired(w, &s):
			return verdict{outcome: flow.OutcomeHoldExpired, err: r.holdEnded(w.Flight.Call)}
		default:
			r.pause(&s)
		}
	}
}

// sight is what a waiter sees of its call at a moment.
type sight struct {
	piece  []byte
	whole  bool // it has not missed anything
	answer *llm.Answer
	phase  phase
	ended  bool
	news   <-chan struct{}
}

func (r *run) look(w *waiter) sight {
	c := w.Flight.Call
	r.d.shared.mu.Lock()
	defer r.d.shared.mu.Unlock()
	s := sight{answer: c.answer, phase: c.phase(), ended: c.ended, news: c.news}
	s.piece, s.whole = w.Read()
	if len(s.piece) > 0 {
		c.move()
	}
	c.awaited = true
	return s
}

// begin hands the beginning of the answer to the client. What in the header is about
// one request is for the one who made the call alone.
func (r *run) begin(w *waiter, a *llm.Answer) {
	c, mine := w.Flight.Call, *a
	r.d.shared.mu.Lock()
	r.describe(w, c.ended && c.payer == w || !c.ended && w.Flight.Owner() == w)
	r.d.shared.mu.Unlock()
	if r.meta.Cache == CacheCoalesced {
		mine.Header = http.Header(respcache.Shared(a.Header))
	}
	r.begun = true
	r.record.FirstByte = time.Since(r.req.Arrived)
	r.reply.Begin(&mine, &r.meta)
}

// pass hands bytes of the answer to the client, if there are any.
func (r *run) pass(piece []byte) error {
	if len(piece) == 0 {
		return nil
	}
	if err := r.reply.Write(piece); err != nil {
		return err
	}
	r.record.BytesOut += int64(len(piece))
	return nil
}

// describe takes over what is known of how the call went. The lock is held.
func (r *run) describe(w *waiter, owner bool) {
	c := w.Flight.Call
	r.meta.Upstream = c.meta.Upstream
	r.waitedFor(c.meta.Reason)
	r.meta.Waited = r.carried + c.waited() - r.before
	if r.meta.Attempts = 0; owner {
		r.meta.Attempts = c.meta.Attempts
	}
	if r.meta.Cache != CacheCoalesced && r.meta.Entry == (admission.Status{}) {
		r.meta.Entry = c.meta.Entry
	}
}

// pause waits for news, the end of the client's context or of its hold.
func (r *run) pause(s *sight) {
	var late <-chan time.Time
	if hold := r.req.Ask.Hold; s.phase != running && !hold.IsZero() {
		if left := time.Until(hold); left > 0 {
			timer := time.NewTimer(left)
			defer timer.Stop()
			late = timer.C
		}
	}
	select {
	case <-s.news:
	case <-r.ctx.Done():
	case <-late:
	}
}

// expired reports whether its hold has ended while the call still waits, and then
// leaves it to the others. The last one stays: its hold is the call's, which the gate
// ends and whose place it keeps.
func (r *run) expired(w *waiter, s *sight) bool {
	hold := r.req.Ask.Hold
	if s.phase == running || hold.IsZero() || time.Now().Before(hold) {
		return false
	}
	c := w.Flight.Call
	r.d.shared.mu.Lock()
	defer r.d.shared.mu.Unlock()
	if c.ended || c.run.running.Load() || w.Flight.Living() == 1 {
		return false
	}
	w.Leave()
	return true
}

// holdEnded tells a client whose hold has ended when to ask again.
func (r *run) holdEnded(c *call) error {
	s := c.status()
	after := min(max(s.ETA, minRetry), maxRetry)
	if s.Unknown {
		after = maxRetry
	}
	return &admission.Refusal{Err: flow.ErrHold, RetryAfter: after, ETA: s.ETAP90, Reason: s.Reason}
}

// ended is the verdict of a call that has ended: for the one to whom it belonged as
// it is; the others had part in a whole answer, and share in a failure. What went
// wrong for the owner alone is no verdict on the others.
func (r *run) ended(w *waiter) verdict {
	c := w.Flight.Call
	r.d.shared.mu.Lock()
	defer r.d.shared.mu.Unlock()
	v := verdict{outcome: c.outcome, err: c.err}
	if c.payer == w {
		return v
	}
	if c.outcome == flow.OutcomeServed {
		v.outcome = flow.OutcomeCoalesced
	}
	v.again = !r.begun && lonely(c.err, r.req.Ask.Hold)
	return v
}

// leave ends the waiter's part. The last one ends the call, and sees it to its end;
// the one to whom it belonged answers for its attempts.
func (r *run) leave(w *waiter, v *verdict) {
	c, s := w.Flight.Call, &r.d.shared
	s.mu.Lock()
	last := w.Leave()
	abandoned := last && !c.ended
	if abandoned {
		c.payer = w
	}
	mine := c.payer == w
	r.describe(w, mine)
	c.move() // it may have been the fastest
	s.mu.Unlock()
	if abandoned {
		c.cancel(r.causeOf(v))
	}
	if !last {
		c.pass()
	} else {
		<-c.done
	}
	if mine {
		r.answerFor(c)
	}
}

// causeOf is with what the call ends whose last waiter left like this.
func (r *run) causeOf(v *verdict) error {
	if r.ctx.Err() != nil {
		return context.Cause(r.ctx)
	}
	return v.err
}

// answerFor takes the attempts of the call over into the request's own record.
func (r *run) answerFor(c *call) {
	made := c.run
	r.meta.Attempts, r.meta.Upstream, r.last = made.meta.Attempts, made.meta.Upstream, made.last
	r.waitedFor(made.meta.Reason)
	if r.before == 0 && r.carried == 0 { // it was there from the beginning
		r.waits = made.waits
	}
	if r.meta.Entry == (admission.Status{}) {
		r.meta.Entry = made.meta.Entry
	}
	r.record.Estimated, r.record.Used, r.record.Counted = made.record.Estimated, made.record.Used, made.record.Counted
}
