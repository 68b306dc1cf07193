package dispatch

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/coalesce"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/respcache"
)

// maxUnread is how many bytes of a shared answer may wait for its fastest reader.
const maxUnread = 64 << 10

// endless is the hold of a client that names none.
const endless = 24 * time.Hour

// waiter is a request's part in a shared call.
type waiter = coalesce.Waiter[*call]

// shared is what requests share: answers that are kept, and calls under way. One
// lock guards both, so that an answer is always found in one of them.
type shared struct {
	mu    sync.Mutex
	cache *respcache.Cache
	book  *coalesce.Book[*call]
}

// call is a call that several requests may wait for. It is made in a goroutine of
// its own, for whoever waits, and ends when that is nobody any more. The Dispatcher's
// shared.mu guards what has no guard of its own.
type call struct {
	d      *Dispatcher
	flight *coalesce.Flight[*call]
	run    *run // that makes it
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when the goroutine has ended
	room   chan struct{} // receives when a reader has made room for more

	news    chan struct{} // closed when there is something new to see
	awaited bool          // somebody waits for the news
	stalled bool          // the goroutine waits for room

	ticket *admission.Ticket // nil before it has entered the queue
	queued time.Duration     // in the queue, up to since
	since  time.Time         // waiting in the queue since then; zero when it is not

	answer  *llm.Answer // nil until it has begun
	meta    Meta        // as of then, or of the end
	ended   bool
	outcome flow.Outcome
	err     error
	payer   *waiter // to whom it belonged at its end

	passing sync.Mutex // held while the ticket is adjusted; before shared.mu
	hold    time.Time  // guarded by passing: what the ticket was told
	flow    flow.Key
}

// find looks for an answer that is kept, then for a call to join. Without either, the
// request runs alone. The caller starts the call if it is the first.
func (r *run) find() (e *respcache.Entry, w *waiter, first bool) {
	s, req := &r.d.shared, r.req
	s.mu.Lock()
	defer s.mu.Unlock()
	r.meta.Cache = ""
	if !req.Cache.IsZero() {
		if e, ok := s.cache.Get(time.Now(), req.Cache); ok {
			r.meta.Cache = CacheHit
			return e, nil, false
		}
		r.meta.Cache = CacheMiss
	}
	if req.Share.IsZero() {
		return nil, nil, false
	}
	key := coalesce.Key{Share: req.Share, Class: req.Ask.Flow.Class, Soft: req.Soft, Task: req.Ask.Task}
	w, first = s.book.Join(key, req.Ask.Flow, req.Ask.Hold)
	if w == nil {
		return nil, nil, false
	}
	w.ID = req.ID
	if first {
		w.Flight.Call = r.newCall(w)
	} else {
		r.meta.Cache = CacheCoalesced
	}
	c := w.Flight.Call
	r.carried, r.before = r.meta.Waited, c.waited()
	r.joined.Store(c)
	return nil, w, first
}

// newCall makes a call out of the run of the first who wants it. The call outlives
// its request if others join, so it shares no memory with it.
func (r *run) newCall(w *waiter) *call {
	c := &call{
		d: r.d, flight: w.Flight, done: make(chan struct{}), room: make(chan struct{}, 1), news: make(chan struct{}),
		hold: r.req.Ask.Hold, flow: r.req.Ask.Flow,
	}
	req := *r.req
	c.run = &run{d: r.d, req: &req, makes: c}
	c.run.ctx, c.cancel = context.WithCancelCause(context.WithoutCancel(r.ctx))
	c.run.reply = c
	if k := r.d.keep(&req, c); k != nil {
		c.run.reply = k
	}
	return c
}

// start makes the call. Its request's memory is left behind here, without the lock.
func (c *call) start() {
	req := c.run.req
	req.Call.Body, req.Call.Header = bytes.Clone(req.Call.Body), req.Call.Header.Clone()
	go func() {
		defer close(c.done)
		defer c.cancel(nil)
		c.finish(c.run.serve())
	}()
}

// finish tells all waiters how it ended. From here on nobody joins, and who asks
// the same finds the answer in the cache, if it is kept.
func (c *call) finish(outcome flow.Outcome, err error) {
	s := &c.d.shared
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := c.run.reply.(*keeper); ok && outcome == flow.OutcomeServed {
		k.put(s.cache)
	}
	c.flight.Close()
	c.ended, c.outcome, c.err = true, outcome, err
	c.meta = c.run.meta
	if owner := c.flight.Owner(); owner != nil {
		c.payer = owner
	}
	c.tell()
}

// tell wakes all who wait for news. The lock is held.
func (c *call) tell() {
	if c.awaited {
		close(c.news)
		c.news, c.awaited = make(chan struct{}), false
	}
}

// enter notes the place in the queue.
func (c *call) enter(t *admission.Ticket) {
	c.d.shared.mu.Lock()
	c.ticket, c.since = t, time.Now()
	c.tell()
	c.d.shared.mu.Unlock()
	c.pass() // others may have joined by now
}

// turn notes that an attempt has begun, or that another one is waited for.
func (c *call) turn(running bool) {
	c.d.shared.mu.Lock()
	defer c.d.shared.mu.Unlock()
	if running {
		c.queued, c.since = c.waited(), time.Time{}
	} else {
		c.since = time.Now()
	}
	c.tell()
}

// phase is how far a call has come.
type phase uint8

const (
	outside phase = iota // not in the queue yet
	waiting
	running // an attempt is under way
)

func (c *call) phase() phase {
	switch {
	case c.run.running.Load():
		return running
	case c.ticket != nil:
		return waiting
	}
	return outside
}

// waited is how long it has been in the queue. The lock is held.
func (c *call) waited() time.Duration {
	if c.since.IsZero() {
		return c.queued
	}
	return c.queued + time.Since(c.since)
}

// status is where it stands in the queue.
func (c *call) status() admission.Status {
	c.d.shared.mu.Lock()
	t := c.ticket
	c.d.shared.mu.Unlock()
	if t == nil || c.run.running.Load() {
		return admission.Status{}
	}
	return t.Status()
}

// owner is the id of the request to which it belongs.
func (c *call) owner() string {
	c.d.shared.mu.Lock()
	defer c.d.shared.mu.Unlock()
	if w := c.flight.Owner(); w != nil {
		return w.ID
	}
	if c.payer != nil {
		return c.payer.ID
	}
	return c.run.req.ID
}

// pass tells the gate for whom the call is, and until when, where that has changed.
func (c *call) pass() {
	c.passing.Lock() // the last one to tell tells the latest
	defer c.passing.Unlock()
	c.d.shared.mu.Lock()
	t, owner, hold := c.ticket, c.flight.Owner(), c.flight.Hold()
	c.d.shared.mu.Unlock()
	if t == nil || owner == nil || owner.Flow == c.flow && hold.Equal(c.hold) {
		return
	}
	c.flow, c.hold = owner.Flow, hold
	if hold.IsZero() {
		hold = time.Now().Add(endless) // the gate has a bound of its own
	}
	t.Adjust(hold, owner.Flow)
}

// Queued implements Reply; the waiters have notes of their own.
func (c *call) Queued(admission.Status) error { return nil }

// Begin implements Reply.
func (c *call) Begin(a *llm.Answer, m *Meta) {
	c.d.shared.mu.Lock()
	defer c.d.shared.mu.Unlock()
	c.answer = &llm.Answer{Status: a.Status, Header: a.Header.Clone(), Stream: a.Stream}
	c.meta = *m
	c.tell()
}

// Write implements Reply: it records the piece, and waits while not even the fastest
// reader has come near. Who is slower than that holds up nobody.
func (c *call) Write(p []byte) error {
	c.d.shared.mu.Lock()
	defer c.d.shared.mu.Unlock()
	c.flight.Append(p)
	c.tell()
	for c.flight.Unread() > maxUnread {
		c.stalled = true
		c.d.shared.mu.Unlock()
		select {
		case <-c.room:
		case <-c.run.ctx.Done():
		}
		c.d.shared.mu.Lock()
		if c.run.ctx.Err() != nil {
			return context.Cause(c.run.ctx)
		}
	}
	return nil
}

// End implements Reply; finish says more.
func (c *call) End(error, *Meta) int { return 0 }

// move lets the goroutine look again whether there is room. The lock is held.
func (c *call) move() {
	if c.stalled {
		c.stalled = false
		c.room <- struct{}{} // holds one, and is sent to once for each wait
	}
}

// lonely reports whether a shared call ended with something that concerns only the
// one to whom it belonged, so that another, whose hold lasts until then, should try.
func lonely(err error, hold time.Time) bool {
	switch {
	case errors.Is(err, flow.ErrHold):
		return hold.IsZero() || time.Now().Before(hold)
	case errors.Is(err, flow.ErrTooLong), errors.Is(err, flow.ErrFlowFull), errors.Is(err, flow.ErrReplaced), errors.Is(err, flow.ErrRemoved):
		return true
	}
	return false
}
