package admission

import (
	"sync"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
)

// Names of the gate that callers of this package meet.
type (
	// Ask is a request that wants to run.
	Ask = gate.Ask
	// Grant is the right to make one attempt; Grant.Upstream is an index into
	// Options.Upstreams.
	Grant = gate.Grant
	// Refusal says why a request does not run.
	Refusal = gate.Refusal
	// Result is how an attempt ended.
	Result = gate.Result
	// Status is where a waiting request stands.
	Status = gate.Status
)

// Options configure a Controller.
type Options = gate.Options

// Controller admits requests to all upstreams.
type Controller struct {
	mu      sync.Mutex
	gate    *gate.Gate
	tickets map[uint64]*Ticket
	lastID  uint64
	timer   *time.Timer
	wake    time.Time // for which the timer is set; zero when it is not
	closed  bool
}

// New returns a controller that admits at once. It fails if the options are wrong.
func New(o Options) (*Controller, error) {
	g, err := gate.New(time.Now(), o)
	if err != nil {
		return nil, err
	}
	c := &Controller{gate: g, tickets: make(map[uint64]*Ticket)}
	c.timer = time.AfterFunc(time.Hour, c.alarm)
	c.timer.Stop()
	return c, nil
}

// Reconfigure changes the options while requests wait and run; see
// gate.Gate.Reconfigure. If it fails nothing has changed. Upstreams that are new resume
// from left before anything runs there, as by Restore, whose error is unfit.
func (c *Controller) Reconfigure(o Options, left map[string]gate.Saved) (unfit, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if err := c.gate.Reconfigure(now, o); err != nil {
		return nil, err
	}
	unfit = c.gate.Restore(now, left)
	c.step(gate.Event{Kind: gate.Wake})
	return unfit, nil
}

// Enter puts a request into the queue, or grants it an attempt at once. The error
// is a *Refusal.
func (c *Controller) Enter(a Ask) (*Ticket, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, &Refusal{Err: flow.ErrDraining, RetryAfter: time.Second}
	}
	c.lastID++
	t := &Ticket{control: c, id: c.lastID, ready: make(chan struct{}, 1)}
	c.tickets[t.id] = t
	c.step(gate.Event{Kind: gate.Arrive, ID: t.id, Ask: &a})
	if t.refusal != nil && t.state == ended {
		return nil, t.refusal
	}
	return t, nil
}

// step drives the gate by one event and hands out what it says. mu is held.
func (c *Controller) step(ev gate.Event) {
	now := time.Now()
	for _, a := range c.gate.Step(now, ev) {
		t := c.tickets[a.ID]
		if t == nil {
			continue
		}
		if a.Kind == gate.Dispatch {
			t.state, t.grant = granted, a.Grant
		} else {
			t.state, t.refusal = ended, a.Refusal
			delete(c.tickets, a.ID)
		}
		t.signal()
	}
	c.arm(now)
}

// arm sets the timer for the gate's next wake-up. mu is held.
func (c *Controller) arm(now time.Time) {
	at := c.gate.Wake()
	if c.closed {
		at = time.Time{}
	}
	if at.Equal(c.wake) {
		return
	}
	c.wake = at
	if at.IsZero() {
		c.timer.Stop()
		return
	}
	c.timer.Reset(max(at.Sub(now), 0))
}

// alarm is what the timer calls.
func (c *Controller) alarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wake = time.Time{}
	if !c.closed {
		c.step(gate.Event{Kind: gate.Wake})
	}
}

// Drain refuses newcomers from now on. What waits goes on.
func (c *Controller) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.step(gate.Event{Kind: gate.Drain})
}

// Close evicts all that waits and stops the timer. Attempts that run may still be
// settled.
func (c *Controller) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	c.step(gate.Event{Kind: gate.Drain})
	for id, t := range c.tickets {
		if t.state != waiting {
			continue
		}
		t.state, t.refusal = ended, &Refusal{Err: flow.ErrDrained, RetryAfter: time.Second}
		delete(c.tickets, id)
		c.step(gate.Event{Kind: gate.Leave, ID: id})
		t.signal()
	}
}

// Snapshot is the state at one moment.
func (c *Controller) Snapshot() gate.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate.Snapshot(time.Now())
}

// AppendFlows appends at most most flows: those that wait, in the order in which they
// will be served, then those that only run. Snapshot has the totals. A caller's slice
// makes it free of allocation.
func (c *Controller) AppendFlows(dst []gate.FlowState, most int) []gate.FlowState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate.AppendFlows(dst, time.Now(), most)
}

// AppendLimits appends the state of the limits of a route's first upstream, for
// response headers. A caller's slice makes it free of allocation.
func (c *Controller) AppendLimits(dst []gate.Limit, route int) []gate.Limit {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate.AppendLimits(dst, time.Now(), route)
}

// Ready reports whether any upstream's breaker lets requests through.
func (c *Controller) Ready() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate.Ready(time.Now())
}

// Reset closes the breakers of all upstreams and returns how many were not closed.
func (c *Controller) Reset() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.gate.Reset(time.Now())
	c.step(gate.Event{Kind: gate.Wake})
	return n
}

// Save returns what a later start can resume from: windows, debts and learned
// limits, by upstream name.
func (c *Controller) Save() map[string]gate.Saved {
	c.mu.Lock()
	defer c.mu.Unlock()
	saved := make(map[string]gate.Saved)
	c.gate.Save(time.Now(), saved)
	return saved
}

// Restore resumes from what Save returned. Upstreams that it does not name keep
// their start; one whose state does not fit is reported and keeps it too.
func (c *Controller) Restore(saved map[string]gate.Saved) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gate.Restore(time.Now(), saved)
}
