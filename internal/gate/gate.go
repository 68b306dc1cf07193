package gate

import (
	"fmt"
	"math"
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
	lines     []int            // requests waiting, by route
	crowds    map[string]int   // likewise, by tenant, beside tasks
	own       map[flow.Key]int // tasks waiting, by flow
	pools     []*pool          // each upstream is in one
	homes     []*pool          // by route
	classes   map[flow.Class]*class
	limited   []*class              // those with a rate, and those that were paused
	gone      map[flow.Class]*class // that the last configuration took away
	tenants   map[string]*tenant    // those with a quota of their own
	estimate  *estimate.Estimator

	entries map[uint64]*entry
	places  map[string]*entry // kept places, by flow and name
	due     dueHeap           // entries by the time at which something is due
	runs    []*entry          // that run, in no order

	now       time.Time // of the running Step or Reconfigure
	tasks     int       // that run
	taskClock clock
	taskLine  line
	draining  bool
	timed     int   // answers whose service time was learned
	late      int64 // events for requests that were not there
	actions   []Action

	looked []fairqueue.Flow // by AppendFlows, for the next time
	rows   map[flow.Key]int
}

type upstream struct {
	name    string
	pool    *pool
	options Upstream // as configured, to tell what changes
	quota   *quota.Quota
	breaker *breaker.Breaker
	meter   quota.Meter
	mix     mix

	rates [quota.NumDims]float64 // by which those who wait are priced
	clock clock
	asked int         // the search in which a head was kept from it last
	why   flow.Reason // and by what
}

type class struct {
	name    flow.Class
	rate    Rate
	starts  *starts
	maxWait time.Duration
	quotes  calibration

	clock    clock         // how long its rate, or an operator, kept it from starting
	full     time.Duration // how long too many tasks ran while it was not kept, until it last was
	fullFrom time.Duration // what the clock of the tasks showed when it last began not to be
	paused   bool
	held     bool      // its rate kept it from starting, when it was last looked at
	freed    time.Time // when that ended last
	exceeded int64     // starts that the rate, being a shadow, would have delayed
	first    *entry    // of those that stand in a queue, by arrival
	last     *entry
	near     *entry // who joined them last: a reload makes all join anew, one after the other
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
	item   fairqueue.Item
	id     uint64
	ask    Ask
	pool   *pool
	class  *class
	tenant *tenant // nil without a quota of its own
	older  *entry  // in its class's line
	newer  *entry
	run    int                        // its place in Gate.runs
	number struct{ task, tenant int } // in the lines of these
	state  state
	away   bool // kept, and its turn has come: it stands in no queue

	size    llm.Size      // with the predictions
	took    time.Duration // predicted service time
	arrived time.Time     // of this waiting
	waited  time.Duration // before it
	waits   flow.Waits    // before it joined the queue last
	mark    mark          // of when it did
	since   time.Time     // of the running attempt
	reason  flow.Reason
	refusal *Refusal // why it is to be evicted at once; nil for no reason

	attempts int
	retries  int       // on a sole upstream
	failed   uint64    // upstreams on which it failed
	retryAt  time.Time // when it may try the last of them again; zero for never
	tooLarge uint64    // upstreams whose whole quota it exceeds
	spill    bool      // it may use later upstreams

	expected  float64 // the fluid model's wait at arrival, in seconds
	p50, p90  time.Duration
	upstream  int
	booked    *fairqueue.Queue // where the running attempt is charged
	reserved  quota.Amount
	grant     quota.Reservation
	tenancy   quota.Reservation // of the tenant's own quota
	pass      breaker.Pass
	dueAt     time.Time
	dueIndex  int
	placeName string
}

// stands is 1 for an entry that stands in a queue, else 0.
func (e *entry) stands() int {
	if e.item.Waiting() {
		return 1
	}
	return 0
}

func (e *entry) key() estimate.Key {
	return estimate.Key{Model: e.ask.Model, Class: e.ask.Flow.Class, Kind: e.ask.Kind}
}

// New returns an idle gate.
func New(now time.Time, o Options) (*Gate, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	g := &Gate{
		classes: make(map[flow.Class]*class), tenants: make(map[string]*tenant),
		estimate: estimate.New(o.Estimate),
		entries:  make(map[uint64]*entry),
		places:   make(map[string]*entry),
		rows:     make(map[flow.Key]int),
		crowds:   make(map[string]int),
		own:      make(map[flow.Key]int),
	}
	if err := g.configure(now, o); err != nil {
		return nil, err
	}
	return g, nil
}

// class finds the class of a flow. One that the configuration does not name is
// treated as chat, so that a client cannot make up classes.
func (g *Gate) class(name flow.Class) *class {
	if c := g.classes[name]; c != nil {
		return c
	}
	return g.classes[flow.Chat] // configure sees to it that there is one
}

// Step changes the state by one event and returns what to do. The actions are
// valid until the next Step. now must not go back.
func (g *Gate) Step(now time.Time, ev Event) []Action {
	g.actions, g.now = g.actions[:0], now
	switch ev.Kind {
	case Arrive:
		g.arrive(now, ev.ID, ev.Ask)
	case Leave:
		g.leave(ev.ID)
	case Settle:
		g.settle(now, ev.ID, ev.Result)
	case Again:
		g.again(now, ev.ID, ev.Result)
	case Adjust:
		g.adjust(now, ev.ID, ev.Ask)
	case Abandon:
		g.abandon(now, ev.ID)
	case Began:
		g.began(now, ev.ID)
	case Drain:
		g.draining = true
	case Wake:
	}
	g.expire(now)
	for _, p := range g.pools {
		if p.touched(now) {
			p.pump(now)
		}
	}
	return g.actions
}

// Wake is when the next Step is due if no event comes before; the zero time means
// never.
func (g *Gate) Wake() time.Time {
	at := time.Time{}
	if len(g.due) > 0 {
		at = g.due[0].dueAt
	}
	for _, p := range g.pools {
		at = earlier(at, p.next())
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
	e := &entry{id: id, ask: *ask, arrived: now, reason: flow.ReasonTurn, dueIndex: -1}
	g.belong(e)
	if refusal := g.admit(now, e); refusal != nil {
		g.actions = append(g.actions, Action{Kind: Refuse, ID: id, Refusal: refusal})
		return
	}
	e.item.Owner = e
	e.item.Cost = g.cost(e)
	e.pool = g.homes[e.ask.Route]
	if e.ask.Task {
		e.number.task = g.taskLine.join()
	}
	g.entries[id] = e
	e.pool.push(e)
	if refusal := g.quote(now, e); refusal != nil {
		e.pool.take(e)
		delete(g.entries, id)
		g.actions = append(g.actions, Action{Kind: Refuse, ID: id, Refusal: refusal})
		return
	}
	g.schedule(e)
}

// belong finds the class and the tenant of an entry's flow.
func (g *Gate) belong(e *entry) {
	e.class = g.class(e.ask.Flow.Class)
	e.ask.Flow.Class = e.class.name
	if e.tenant = g.tenants[e.ask.Flow.Tenant]; e.tenant != nil {
		e.number.tenant = e.tenant.line.join()
	}
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
	e.ask.Hold = g.held(now, e, e.ask.Hold)
	if e.ask.Task {
		return nil // it was accepted, and who accepted it has a bound of his own
	}
	waiting, mine := g.waiting(e.ask.Flow)
	if waiting >= g.options.MaxQueue {
		return &Refusal{Err: flow.ErrQueueFull, RetryAfter: 5 * time.Second, Detail: fmt.Sprintf("%d requests wait", waiting)}
	}
	if mine >= g.options.MaxFlow {
		return &Refusal{Err: flow.ErrFlowFull, RetryAfter: 5 * time.Second, Detail: fmt.Sprintf("%d requests wait", mine)}
	}
	if most := g.options.MaxTenant; most > 0 && g.crowds[e.ask.Flow.Tenant] >= most {
		return &Refusal{Err: flow.ErrFlowFull, RetryAfter: 5 * time.Second, Detail: fmt.Sprintf("%d requests of its tenant wait", most)}
	}
	return nil
}

// held is until when an entry may wait that asks for hold.
func (g *Gate) held(now time.Time, e *entry, hold time.Time) time.Time {
	most := g.options.Hold
	if e.class.maxWait > 0 {
		most = e.class.maxWait
	} else if e.ask.Task {
		most = max(most, taskHold)
	}
	if bound := now.Add(most); hold.IsZero() || hold.After(bound) {
		return bound
	}
	return hold
}

// waiting is how many requests wait in all, and of one flow, beside tasks: whoever
// accepted those has a bound of his own.
func (g *Gate) waiting(of flow.Key) (all, mine int) {
	for _, p := range g.pools {
		_, n := p.queue.Waiting(of)
		all, mine = all+p.queue.Len(), mine+n
	}
	return all - g.taskLine.waiting, mine - g.own[of]
}

// measure notes the upstreams whose whole quota the request exceeds, and refuses it
// if that leaves none.
func (g *Gate) measure(e *entry) *Refusal {
	if refusal := e.tenant.measure(e); refusal != nil {
		return refusal
	}
	e.tooLarge = 0
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
	position, wait, why := g.expect(now, e)
	if math.IsInf(wait, 1) {
		return nil // nobody knows, and nobody is refused for that
	}
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
			Err: flow.ErrTooLong, RetryAfter: retry, ETA: e.p90, Reason: why,
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
	e.pool.dirty = true
	g.remove(e)
}

// remove forgets an entry that does not run.
func (g *Gate) remove(e *entry) {
	if !e.away {
		e.pool.take(e)
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
	s := g.status(now, e)
	s.Waits = g.shares(now, e)
	return s, true
}

func (g *Gate) status(now time.Time, e *entry) Status {
	position, wait, why := g.expect(now, e)
	s := Status{Position: max(position, 1), Reason: why, Unknown: math.IsInf(wait, 1)}
	if !s.Unknown {
		s.ETA, s.ETAP90 = e.class.quotes.quote(wait)
	}
	return s
}

// need is what the request takes of an upstream's quota.
func (g *Gate) need(u int, e *entry) quota.Amount { return g.upstreams[u].meter.Charge(e.size) }
