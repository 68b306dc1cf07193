package gate

import (
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/estimate"
	"github.com/millrace/millrace/internal/fairqueue"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// Gate is the state machine. See the package comment.
type Gate struct {
	options   Options
	upstreams []upstream
	routes    []Route
	lines     []int // requests waiting, by route
	classes   map[flow.Class]*class
	limited   []*class // those with a rate
	queue     *fairqueue.Queue
	estimate  *estimate.Estimator

	entries map[uint64]*entry
	places  map[string]*entry // kept places, by flow and name
	due     dueHeap           // entries by the time at which something is due
	parked  []*entry          // heads that only an event can help
	turned  []*entry          // kept places whose turn came in the running search

	wake     time.Time // of the last search: when a blocked head will fit
	unpark   time.Time // when a parked head may be helped by time
	resume   bool      // an event may have helped a parked head
	waiting  bool      // what the quotas were last told
	draining bool
	timed    int   // answers whose service time was learned
	late     int64 // events for requests that were not there
	actions  []Action
}

type upstream struct {
	name    string
	quota   *quota.Quota
	breaker *breaker.Breaker
	meter   quota.Meter
	mix     mix
}

type class struct {
	name    flow.Class
	rate    Rate
	starts  *starts
	maxWait time.Duration
	quotes  calibration
}

// state is where a request is.
type state uint8

const (
	queued  state = iota
	running       // granted, not settled
	kept          // its client left, its place is kept
)

// entry is one request.
type entry struct {
	item  fairqueue.Item
	id    uint64
	ask   Ask
	class *class
	state state
	away  bool // kept, and its turn has come: it stands in no queue

	size    llm.Size      // with the predictions
	took    time.Duration // predicted service time
	arrived time.Time     // of this waiting
	waited  time.Duration // before it
	since   time.Time     // of the running attempt
	reason  flow.Reason

	attempts int
	retries  int    // on a sole upstream
	failed   uint64 // upstreams on which it failed
	tooLarge uint64 // upstreams whose whole quota it exceeds
	spill    bool   // it may use later upstreams

	expected  float64 // the fluid model's wait at arrival, in seconds
	p50, p90  time.Duration
	upstream  int
	reserved  quota.Amount
	grant     quota.Reservation
	pass      breaker.Pass
	dueAt     time.Time
	dueIndex  int
	placeName string
}

func (e *entry) key() estimate.Key {
	return estimate.Key{Model: e.ask.Model, Class: e.ask.Flow.Class, Kind: e.ask.Kind}
}

// New returns an idle gate.
func New(now time.Time, o Options) (*Gate, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o.defaults()
	g := &Gate{
		options: o, routes: o.Routes, lines: make([]int, len(o.Routes)),
		classes:  make(map[flow.Class]*class),
		queue:    fairqueue.New(fairqueue.Options{}),
		estimate: estimate.New(o.Estimate),
		entries:  make(map[uint64]*entry),
		places:   make(map[string]*entry),
	}
	for _, u := range o.Upstreams {
		q, err := quota.New(now, u.Quota)
		if err != nil {
			return nil, fmt.Errorf("upstream %s: %w", u.Name, err)
		}
		g.upstreams = append(g.upstreams, upstream{name: u.Name, quota: q, breaker: breaker.New(u.Breaker), meter: u.Quota.Meter})
	}
	for _, c := range o.Classes {
		g.addClass(c)
	}
	return g, nil
}

func (g *Gate) addClass(c Class) *class {
	k := &class{name: c.Name, rate: c.Rate, starts: newStarts(c.Rate), maxWait: c.MaxWait, quotes: newCalibration()}
	g.classes[c.Name] = k
	if k.starts != nil {
		g.limited = append(g.limited, k)
	}
	g.queue.Weigh(c.Name, "", c.Weight)
	return k
}

// class finds the class of a flow. One that the configuration does not name is
// treated as chat, so that a client cannot make up classes.
func (g *Gate) class(name flow.Class) *class {
	if c := g.classes[name]; c != nil {
		return c
	}
	if c := g.classes[flow.Chat]; c != nil {
		return c
	}
	return g.addClass(Class{Name: flow.Chat})
}

// Step changes the state by one event and returns what to do. The actions are
// valid until the next Step. now must not go back.
func (g *Gate) Step(now time.Time, ev Event) []Action {
	g.actions = g.actions[:0]
	switch ev.Kind {
	case Arrive:
		g.arrive(now, ev.ID, ev.Ask)
	case Leave:
		g.leave(ev.ID)
	case Settle:
		g.settle(now, ev.ID, ev.Result)
	case Again:
		g.again(now, ev.ID, ev.Result)
	case Drain:
		g.draining = true
	case Wake:
	}
	g.expire(now)
	g.pump(now)
	return g.actions
}

// Wake is when the next Step is due if no event comes before; the zero time means
// never.
func (g *Gate) Wake() time.Time {
	at := g.wake
	if len(g.due) > 0 {
		at = earlier(at, g.due[0].dueAt)
	}
	if len(g.parked) > 0 {
		at = earlier(at, g.unpark)
	}
	return at
}

// earlier is the earlier of two times of which the zero time means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// arrive refuses the request, or puts it into the queue.
func (g *Gate) arrive(now time.Time, id uint64, ask *Ask) {
	if e := g.adopt(now, id, ask); e != nil {
		return
	}
	e := &entry{id: id, ask: *ask, class: g.class(ask.Flow.Class), arrived: now, reason: flow.ReasonTurn, dueIndex: -1}
	e.ask.Flow.Class = e.class.name
	if refusal := g.admit(now, e); refusal != nil {
		g.actions = append(g.actions, Action{Kind: Refuse, ID: id, Refusal: refusal})
		return
	}
	e.item.Owner = e
	e.item.Cost = g.cost(e)
	g.entries[id] = e
	g.queue.Push(e.ask.Flow, &e.item, 0)
	g.lines[e.ask.Route]++
	if refusal := g.quote(now, e); refusal != nil {
		g.queue.Remove(&e.item)
		g.lines[e.ask.Route]--
		delete(g.entries, id)
		g.actions = append(g.actions, Action{Kind: Refuse, ID: id, Refusal: refusal})
		return
	}
	g.schedule(e)
}

// admit checks what can be known before the request stands in the queue.
func (g *Gate) admit(now time.Time, e *entry) *Refusal {
	if g.draining {
		return &Refusal{Err: flow.ErrDraining, RetryAfter: time.Second}
	}
	if e.ask.Route < 0 || e.ask.Route >= len(g.routes) {
		return &Refusal{Err: flow.ErrNoUpstream, Detail: fmt.Sprintf("there is no route %d", e.ask.Route)}
	}
	g.predict(e)
	if refusal := g.measure(e); refusal != nil {
		return refusal
	}
	if g.queue.Len() >= g.options.MaxQueue {
		return &Refusal{Err: flow.ErrQueueFull, RetryAfter: 5 * time.Second, Detail: fmt.Sprintf("%d requests wait", g.queue.Len())}
	}
	if _, mine := g.queue.Waiting(e.ask.Flow); mine >= g.options.MaxFlow {
		return &Refusal{Err: flow.ErrFlowFull, RetryAfter: 5 * time.Second, Detail: fmt.Sprintf("%d requests wait", mine)}
	}
	hold := g.options.Hold
	if e.class.maxWait > 0 {
		hold = e.class.maxWait
	}
	if bound := now.Add(hold); e.ask.Hold.IsZero() || e.ask.Hold.After(bound) {
		e.ask.Hold = bound
	}
	return nil
}

// measure notes the upstreams whose whole quota the request exceeds, and refuses it
// if that leaves none.
func (g *Gate) measure(e *entry) *Refusal {
	detail, left := "", false
	for _, u := range g.routes[e.ask.Route].Upstreams {
		need := g.need(u, e)
		limit, over := g.upstreams[u].quota.TooLarge(need)
		if !over {
			left = true
			continue
		}
		e.tooLarge |= 1 << u
		detail = fmt.Sprintf("it needs %d %s, and %s allows %d", need[limit.Dim], limit.Dim, g.upstreams[u].name, limit.Max)
	}
	if left {
		return nil
	}
	return &Refusal{Err: flow.ErrTooLarge, Detail: detail}
}

// quote sets the expected wait, and refuses the request if its client cannot be
// held that long.
func (g *Gate) quote(now time.Time, e *entry) *Refusal {
	position, wait := g.expect(now, e)
	e.expected = wait
	e.p50, e.p90 = e.class.quotes.quote(wait)
	if wait == 0 {
		e.p50, e.p90 = 0, 0
	}
	if route := g.routes[e.ask.Route]; route.Spill && e.p50 > route.SpillAfter {
		e.spill = true
	}
	if now.Add(e.p90).After(e.ask.Hold) && !e.spill {
		retry := min(max(now.Add(e.p90).Sub(e.ask.Hold), time.Second), 59*time.Second)
		return &Refusal{
			Err: flow.ErrTooLong, RetryAfter: retry, ETA: e.p90, Reason: e.reason,
			Detail: fmt.Sprintf("place %d, about %s", position, e.p90.Round(time.Second)),
		}
	}
	return nil
}

// leave takes a request out of the queue, if it still waits.
func (g *Gate) leave(id uint64) {
	e := g.entries[id]
	if e == nil || e.state != queued {
		g.late++
		return
	}
	g.remove(e)
}

// remove forgets an entry that does not run.
func (g *Gate) remove(e *entry) {
	if !e.away {
		g.queue.Remove(&e.item)
		g.lines[e.ask.Route]--
	}
	g.forget(e)
}

func (g *Gate) forget(e *entry) {
	g.due.remove(e)
	delete(g.entries, e.id)
	if e.placeName != "" {
		delete(g.places, e.placeName)
		e.placeName = ""
	}
}

// Status says where a request stands; false if it does not wait.
func (g *Gate) Status(now time.Time, id uint64) (Status, bool) {
	e := g.entries[id]
	if e == nil || e.state != queued {
		return Status{}, false
	}
	position, wait := g.expect(now, e)
	s := Status{Position: max(position, 1), Reason: e.reason}
	s.ETA, s.ETAP90 = e.class.quotes.quote(wait)
	return s, true
}

// need is what the request takes of an upstream's quota.
func (g *Gate) need(u int, e *entry) quota.Amount { return g.upstreams[u].meter.Charge(e.size) }
