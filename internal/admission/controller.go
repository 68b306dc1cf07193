package admission

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/estimate"
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
type Options struct {
	Upstreams []gate.Upstream
	Routes    []gate.Route
	Classes   []gate.Class
	MaxQueue  int              // requests waiting per pool; 0 means gate.DefaultMaxQueue
	MaxFlow   int              // requests waiting per flow; 0 means gate.DefaultMaxFlow
	Hold      time.Duration    // longest wait of a request that names none; 0 means gate.DefaultHold
	Attempts  int              // attempts per request; 0 means gate.DefaultAttempts
	Estimate  estimate.Options // how sizes are predicted
}

// Controller admits requests to all pools.
type Controller struct {
	pools  []*pool
	routes []place // by route
	homes  []place // by upstream
}

// place is a route or upstream within its pool.
type place struct {
	pool  *pool
	index int
}

// New returns a controller that admits at once. It fails if the options are wrong.
func New(o Options) (*Controller, error) {
	if err := check(o); err != nil {
		return nil, err
	}
	c := &Controller{routes: make([]place, len(o.Routes)), homes: make([]place, len(o.Upstreams))}
	now := time.Now()
	for _, members := range components(o) {
		p, err := newPool(now, o, members)
		if err != nil {
			return nil, err
		}
		c.pools = append(c.pools, p)
		for local, global := range p.upstreams {
			c.homes[global] = place{p, local}
		}
		for local, global := range p.routes {
			c.routes[global] = place{p, local}
		}
	}
	return c, nil
}

// check validates as the gate does, before routes are split over pools.
func check(o Options) error {
	return gate.Options{
		Upstreams: o.Upstreams, Routes: o.Routes, Classes: o.Classes,
		MaxQueue: o.MaxQueue, MaxFlow: o.MaxFlow, Hold: o.Hold, Attempts: o.Attempts,
	}.Validate()
}

// components groups upstreams that routes connect; each group is a pool.
func components(o Options) [][]int {
	group := make([]int, len(o.Upstreams))
	for i := range group {
		group[i] = i
	}
	find := func(i int) int {
		for group[i] != i {
			i = group[i]
		}
		return i
	}
	for _, r := range o.Routes {
		for _, u := range r.Upstreams[1:] {
			group[find(u)] = find(r.Upstreams[0])
		}
	}
	members := make([][]int, len(group))
	for i := range group {
		root := find(i)
		members[root] = append(members[root], i)
	}
	var pools [][]int
	for _, m := range members {
		if len(m) > 0 {
			pools = append(pools, m)
		}
	}
	return pools
}

// Enter puts a request into the queue, or grants it an attempt at once. The error
// is a *Refusal.
func (c *Controller) Enter(a Ask) (*Ticket, error) {
	if a.Route < 0 || a.Route >= len(c.routes) {
		return nil, &Refusal{Err: flow.ErrNoUpstream, Detail: fmt.Sprintf("there is no route %d", a.Route)}
	}
	at := c.routes[a.Route]
	a.Route = at.index
	return at.pool.enter(&a)
}

// Drain refuses newcomers from now on. What waits goes on.
func (c *Controller) Drain() {
	for _, p := range c.pools {
		p.drain()
	}
}

// Close evicts all that waits and stops the timers. Attempts that run may still be
// settled.
func (c *Controller) Close() {
	for _, p := range c.pools {
		p.close()
	}
}

// Snapshot is the state of all pools at one moment each.
func (c *Controller) Snapshot() Snapshot {
	s := Snapshot{Upstreams: make([]gate.UpstreamState, len(c.homes)), Classes: make(map[flow.Class]int)}
	for _, p := range c.pools {
		p.snapshot(&s)
	}
	return s
}

// Snapshot is what the controller holds.
type Snapshot struct {
	Upstreams   []gate.UpstreamState // in the order of Options.Upstreams
	Classes     map[flow.Class]int   // requests waiting, by class
	Waiting     int                  // requests waiting in all
	Outstanding int                  // attempts granted and not settled
	Flows       int                  // users with something waiting or running
	Late        int64                // events for requests that had ended
}

// AppendLimits appends the state of the limits of a route's first upstream, for
// response headers. A caller's slice makes it free of allocation.
func (c *Controller) AppendLimits(dst []gate.Limit, route int) []gate.Limit {
	if route < 0 || route >= len(c.routes) {
		return dst
	}
	at := c.routes[route]
	return at.pool.limits(dst, at.index)
}

// Ready reports whether any upstream's breaker lets requests through.
func (c *Controller) Ready() bool {
	for _, p := range c.pools {
		if p.ready() {
			return true
		}
	}
	return false
}

// Save returns what a later start can resume from: windows, debts and learned
// limits, by upstream name.
func (c *Controller) Save() map[string]gate.Saved {
	saved := make(map[string]gate.Saved)
	for _, p := range c.pools {
		p.save(saved)
	}
	return saved
}

// Restore resumes from what Save returned. Upstreams that it does not name keep
// their start; one whose state does not fit is reported and keeps it too.
func (c *Controller) Restore(saved map[string]gate.Saved) error {
	var errs []error
	for _, p := range c.pools {
		errs = append(errs, p.restore(saved))
	}
	return errors.Join(errs...)
}
