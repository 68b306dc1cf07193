package admission

import (
	"slices"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
)

// pool is a gate with its lock, its timer and the tickets of its requests.
type pool struct {
	upstreams []int // global indices, by local index
	routes    []int

	mu      sync.Mutex
	gate    *gate.Gate
	tickets map[uint64]*Ticket
	lastID  uint64
	timer   *time.Timer
	wake    time.Time // for which the timer is set; zero when it is not
	closed  bool
}

func newPool(now time.Time, o Options, members []int) (*pool, error) {
	p := &pool{upstreams: members, tickets: make(map[uint64]*Ticket)}
	options := gate.Options{
		Classes: o.Classes, MaxQueue: o.MaxQueue, MaxFlow: o.MaxFlow,
		Hold: o.Hold, Attempts: o.Attempts, Estimate: o.Estimate,
	}
	for _, u := range members {
		options.Upstreams = append(options.Upstreams, o.Upstreams[u])
	}
	for i, r := range o.Routes {
		if !slices.Contains(members, r.Upstreams[0]) {
			continue
		}
		p.routes = append(p.routes, i)
		local := make([]int, len(r.Upstreams))
		for j, u := range r.Upstreams {
			local[j] = slices.Index(members, u)
		}
		r.Upstreams = local
		options.Routes = append(options.Routes, r)
	}
	if len(options.Routes) == 0 { // no route leads here: nothing will ever enter
		options.Routes = []gate.Route{{Upstreams: []int{0}}}
	}
	g, err := gate.New(now, options)
	if err != nil {
		return nil, err
	}
	p.gate = g
	p.timer = time.AfterFunc(time.Hour, p.alarm)
	p.timer.Stop()
	return p, nil
}

func (p *pool) enter(a *Ask) (*Ticket, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, &Refusal{Err: flow.ErrDraining, RetryAfter: time.Second}
	}
	p.lastID++
	t := &Ticket{pool: p, id: p.lastID, ready: make(chan struct{}, 1)}
	p.tickets[t.id] = t
	p.step(gate.Event{Kind: gate.Arrive, ID: t.id, Ask: a})
	if t.refusal != nil && t.state == ended {
		return nil, t.refusal
	}
	return t, nil
}

// step drives the gate by one event and hands out what it says. mu is held.
func (p *pool) step(ev gate.Event) {
	now := time.Now()
	for _, a := range p.gate.Step(now, ev) {
		t := p.tickets[a.ID]
		if t == nil {
			continue
		}
		if a.Kind == gate.Dispatch {
			t.state, t.grant = granted, a.Grant
			t.grant.Upstream = p.upstreams[a.Grant.Upstream]
		} else {
			t.state, t.refusal = ended, a.Refusal
			delete(p.tickets, a.ID)
		}
		t.signal()
	}
	p.arm(now)
}

// arm sets the timer for the gate's next wake-up. mu is held.
func (p *pool) arm(now time.Time) {
	at := p.gate.Wake()
	if p.closed {
		at = time.Time{}
	}
	if at.Equal(p.wake) {
		return
	}
	p.wake = at
	if at.IsZero() {
		p.timer.Stop()
		return
	}
	p.timer.Reset(max(at.Sub(now), 0))
}

// alarm is what the timer calls.
func (p *pool) alarm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wake = time.Time{}
	if !p.closed {
		p.step(gate.Event{Kind: gate.Wake})
	}
}

func (p *pool) drain() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.step(gate.Event{Kind: gate.Drain})
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	p.step(gate.Event{Kind: gate.Drain})
	for id, t := range p.tickets {
		if t.state != waiting {
			continue
		}
		t.state, t.refusal = ended, &Refusal{Err: flow.ErrDrained, RetryAfter: time.Second}
		delete(p.tickets, id)
		p.step(gate.Event{Kind: gate.Leave, ID: id})
		t.signal()
	}
}

func (p *pool) ready() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gate.Ready(time.Now())
}

func (p *pool) limits(dst []gate.Limit, route int) []gate.Limit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gate.AppendLimits(dst, time.Now(), route)
}

func (p *pool) snapshot(s *Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.gate.Snapshot(time.Now())
	for local, u := range state.Upstreams {
		s.Upstreams[p.upstreams[local]] = u
		s.Outstanding += u.Outstanding
	}
	for class, n := range state.Classes {
		s.Classes[class] += n
	}
	s.Waiting += state.Waiting
	s.Flows += state.Flows
	s.Late += state.Late
}

func (p *pool) save(into map[string]gate.Saved) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gate.Save(time.Now(), into)
}

func (p *pool) restore(saved map[string]gate.Saved) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gate.Restore(time.Now(), saved)
}

// ticketState is where a ticket is.
type ticketState uint8

const (
	waiting ticketState = iota
	granted             // an attempt may run, or runs
	ended
)

// Ticket is a request's place: in the queue, or at an upstream.
type Ticket struct {
	pool  *pool
	id    uint64
	ready chan struct{}

	// Guarded by the pool's lock.
	state   ticketState
	grant   Grant
	refusal *Refusal
}

// signal wakes whoever waits for the ticket. The pool's lock is held.
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
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
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
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	s, _ := t.pool.gate.Status(time.Now(), t.id)
	return s
}

// Leave gives up the place, or an attempt of which nothing was sent. A ticket that
// has ended is left alone.
func (t *Ticket) Leave() {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
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
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	if t.state == granted {
		t.end(gate.Event{Kind: gate.Settle, ID: t.id, Result: r})
	}
}

// end is the ticket's last event. The pool's lock is held.
func (t *Ticket) end(ev gate.Event) {
	t.state = ended
	delete(t.pool.tickets, t.id)
	t.pool.step(ev)
}

// Again ends a failed attempt and goes back to the head of the line for another;
// Ready tells when. The error, a *Refusal, means that no upstream is left or the
// attempts are used up: the attempt is settled, and the request is over.
func (t *Ticket) Again(r Result) error {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	if t.state != granted {
		return &Refusal{Err: flow.ErrCanceled}
	}
	if t.pool.closed { // nobody would wake it
		t.end(gate.Event{Kind: gate.Settle, ID: t.id, Result: r})
		return &Refusal{Err: flow.ErrDrained, RetryAfter: time.Second}
	}
	t.state = waiting
	t.pool.step(gate.Event{Kind: gate.Again, ID: t.id, Result: r})
	if t.state == ended {
		return t.refusal
	}
	return nil
}
