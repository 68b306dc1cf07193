package admission

import (
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
)

// ticketState is where a ticket is.
type ticketState uint8

const (
	waiting ticketState = iota
	granted             // an attempt may run, or runs
	ended
)

// Ticket is a request's place: in the queue, or at an upstream.
type Ticket struct {
	control *Controller
	id      uint64
	ready   chan struct{}

	// Guarded by the controller's lock.
	state   ticketState
	grant   Grant
	refusal *Refusal
}

// signal wakes whoever waits for the ticket. The controller's lock is held.
func (t *Ticket) signal() {
	select {
	case t.ready <- struct{}{}:
	default:
	}
}

// Ready receives once for each grant, and once when the request was evicted.
func (t *Ticket) Ready() <-chan struct{} { return t.ready }

// Grant is the attempt that may run. The error is a *Refusal if the request was
// evicted.
func (t *Ticket) Grant() (Grant, error) {
	t.control.mu.Lock()
	defer t.control.mu.Unlock()
	if t.state == granted {
		return t.grant, nil
	}
	if t.refusal != nil {
		return Grant{}, t.refusal
	}
	return Grant{}, &Refusal{Err: flow.ErrCanceled}
}

// Status says where the request stands; the zero value if it does not wait.
func (t *Ticket) Status() Status {
	t.control.mu.Lock()
	defer t.control.mu.Unlock()
	s, _ := t.control.gate.Status(time.Now(), t.id)
	return s
}

// Leave gives up the place, or an attempt of which nothing was sent. A ticket that
// has ended is left alone.
func (t *Ticket) Leave() {
	t.control.mu.Lock()
	defer t.control.mu.Unlock()
	switch t.state {
	case waiting:
		t.end(gate.Event{Kind: gate.Leave, ID: t.id})
	case granted:
		t.end(gate.Event{Kind: gate.Settle, ID: t.id, Result: Result{Kind: llm.KindCanceled}})
	case ended:
	}
}

// Settle ends the attempt and the request. Only the first of Settle, Again and Leave
// counts for a grant.
func (t *Ticket) Settle(r Result) {
	t.control.mu.Lock()
	defer t.control.mu.Unlock()
	if t.state == granted {
		t.end(gate.Event{Kind: gate.Settle, ID: t.id, Result: r})
	}
}

// end is the ticket's last event. The controller's lock is held.
func (t *Ticket) end(ev gate.Event) {
	t.state = ended
	delete(t.control.tickets, t.id)
	t.control.step(ev)
}

// Again ends a failed attempt and goes back to the head of the line for another;
// Ready tells when. The error, a *Refusal, means that no upstream is left or the
// attempts are used up: the attempt is settled, and the request is over.
func (t *Ticket) Again(r Result) error {
	t.control.mu.Lock()
	defer t.control.mu.Unlock()
	if t.state != granted {
		return &Refusal{Err: flow.ErrCanceled}
	}
	if t.control.closed { // nobody would wake it
		t.end(gate.Event{Kind: gate.Settle, ID: t.id, Result: r})
		return &Refusal{Err: flow.ErrDrained, RetryAfter: time.Second}
	}
	t.state = waiting
	t.control.step(gate.Event{Kind: gate.Again, ID: t.id, Result: r})
	if t.state == ended {
		return t.refusal
	}
	return nil
}

// Began says that the answer of the attempt has begun. It matters where Grant.Probe is
// set.
func (t *Ticket) Began() {
	t.control.mu.Lock()
	defer t.control.mu.Unlock()
	if t.state == granted {
		t.control.step(gate.Event{Kind: gate.Began, ID: t.id})
	}
}

// Adjust says for whom the request is now, and until when its longest waiting
// client can be held: a call that several clients share passes to the oldest of
// those that are left. While it runs, that one pays for it.
func (t *Ticket) Adjust(hold time.Time, owner flow.Key) {
	t.control.mu.Lock()
	defer t.control.mu.Unlock()
	if t.state != ended {
		t.control.step(gate.Event{Kind: gate.Adjust, ID: t.id, Ask: &Ask{Hold: hold, Flow: owner}})
	}
}

// Abandon is Leave for a client that left without a word: a waiting request keeps
// its place for a moment, in case the client's SDK asks again.
func (t *Ticket) Abandon() {
	t.control.mu.Lock()
	defer t.control.mu.Unlock()
	if t.state == waiting {
		t.end(gate.Event{Kind: gate.Abandon, ID: t.id})
	}
}
