package fairqueue

import (
	"math"
	"slices"

	"github.com/millrace/millrace/internal/flow"
)

// Item is one waiting request. The caller embeds it in its own record, sets
// Cost (and Owner, to find the record again) and leaves the rest alone.
type Item struct {
	// Cost is what the request is thought to take, in seconds of the bottleneck
	// quota. It may be set anew with Recost.
	Cost float64
	// Owner is the caller's record of the request.
	Owner any

	flow  *node
	rank  int64
	order uint64
	ahead float64 // cost that had arrived in the flow before this request
	index int     // in the flow's heap; -1 when not waiting
}

// Waiting reports whether the item stands in a queue.
func (it *Item) Waiting() bool { return it.flow != nil && it.index >= 0 }

// Before reports whether the item goes before another one of its flow.
func (it *Item) Before(other *Item) bool {
	return it.rank < other.rank || it.rank == other.rank && it.order < other.order
}

// Modest reports whether the request is all that its flow has, waiting or running.
func (it *Item) Modest() bool { return it.flow.waiting+it.flow.inflight <= 1 }

// Verdict is what the caller's try function says of a head.
type Verdict uint8

// The verdicts.
const (
	Run        Verdict = iota // it can run now
	Pass                      // it cannot yet; others may try
	Stop                      // it cannot yet, and nobody else may go before it
	Park                      // nothing but an event can help it: take it out of the order
	ParkTenant                // the same, for all of its tenant: see StopTenant
	Shelve                    // the same, until Unshelve finds that it is next
)

// maxLook bounds how many blocked heads one search looks past. Blocked heads stand
// at the front of the order, so the bound costs small requests nothing until as
// many large ones wait at once.
const maxLook = 64

// Queue is the fair queue. The zero value is not usable; see New.
type Queue struct {
	root    *node
	front   uint64 // order of the next request that returns to the head, falling
	back    uint64 // order of the next arrival, rising
	turns   uint64
	tries   int       // heads tried in the running search
	aside   [][]*node // per level: nodes set aside in the running search
	parking []*node   // flows to park when it ends
	edf     bool

	blocked *Item // the head that is being saved up for

	shelved int

	waiters int     // users that have something waiting
	moves   uint64  // how many flows were ever moved up
	moved   []*node // the last of them
	given   ledger  // what was dispatched lately
	laps    lap

	looked []candidate // by AppendWaiting, for the next time
}

// Options configure a queue. The zero value is first come, first served inside
// a flow.
type Options struct {
	// Deadlines orders the requests of a flow by Item deadline instead of arrival.
	Deadlines bool
}

// New returns an empty queue.
func New(o Options) *Queue {
	const middle = 1 << 63
	return &Queue{
		root: newParent(nil, "", 1), front: middle - 1, back: middle,
		aside: make([][]*node, 3), edf: o.Deadlines,
	}
}

// Len is the number of waiting requests.
func (q *Queue) Len() int { return q.root.waiting }

// Flows is the number of users that have something waiting, running or owed.
func (q *Queue) Flows() int { return q.root.leaves }

// Waiters is the number of users that have something waiting.
func (q *Queue) Waiters() int { return q.waiters }

// Backlog is the cost of all waiting requests, in seconds.
func (q *Queue) Backlog() float64 { return q.root.backlog }

// Waiting is the number of requests of a class, and of one user of it, that
// wait.
func (q *Queue) Waiting(key flow.Key) (class, user int) {
	c := q.root.children[string(key.Class)]
	if c == nil {
		return 0, 0
	}
	if t := c.children[key.Tenant]; t != nil {
		if u := t.children[key.User]; u != nil {
			user = u.waiting
		}
	}
	return c.waiting, user
}

// Weigh sets the weight of a class, or of a tenant within it if one is named.
// Weights that are not positive and finite count as 1, which is every node's own: the
// queue remembers no other node for longer than something of it waits, runs or is owed.
func (q *Queue) Weigh(class flow.Class, tenant string, weight float64) {
	n := q.child(q.root, string(class))
	if tenant != "" {
		n = q.child(n, tenant)
	}
	q.setWeight(n, weight)
}

// setWeight weighs a node, and pins it while it has a weight of its own: it holds
// configuration.
func (q *Queue) setWeight(n *node, weight float64) {
	if !(weight > 0) || math.IsInf(weight, 1) {
		weight = 1
	}
	n.pinned = weight != 1
	keep := n.place != idle && n.place != linger
	n.detach()
	n.place = idle
	// What the node is ahead of the others or behind them must fit the new weight's
	// bound: of a larger weight, less is normal.
	level := n.parent.entrance()
	n.start = level + (n.start-level)*min(1, n.weight/weight)
	n.weight = weight
	n.update(keep)
}

func (q *Queue) child(parent *node, name string) *node {
	c := parent.children[name]
	if c == nil {
		c = newParent(parent, name, 1)
		parent.children[name] = c
	}
	return c
}

// user finds or makes the leaf of a flow.
func (q *Queue) user(key flow.Key) *node {
	tenant := q.child(q.child(q.root, string(key.Class)), key.Tenant)
	u := tenant.children[key.User]
	if u == nil {
		u = &node{parent: tenant, name: key.User, weight: 1, index: -1}
		tenant.children[key.User] = u
		for n := tenant; n != nil; n = n.parent {
			n.leaves++
		}
	}
	return u
}

// Push appends a request to its flow. deadline orders the requests of a flow if
// the queue was made so (any monotone number); otherwise it is ignored.
func (q *Queue) Push(key flow.Key, it *Item, deadline int64) {
	u := q.user(key)
	it.rank = 0
	if q.edf {
		it.rank = deadline
	}
	it.order = q.back
	q.back++
	it.Cost = sane(it.Cost)
	it.ahead = u.arrived
	u.arrived += it.Cost
	q.insert(u, it, false)
}

// Return puts a request at the head of its flow: one whose attempt failed, before
// that attempt is settled, so that the flow is never idle in between and keeps
// its tag; or one whose kept place is taken up again.
func (q *Queue) Return(key flow.Key, it *Item) {
	u := q.user(key)
	it.rank = math.MinInt64
	it.order = q.front
	q.front--
	it.Cost = sane(it.Cost)
	it.ahead = u.arrived - it.Cost
	if len(u.items) > 0 {
		it.ahead = u.items[0].ahead - it.Cost
	}
	q.insert(u, it, u.inflight > 0)
}

func (q *Queue) insert(u *node, it *Item, keep bool) {
	it.flow = u
	if u.waiting == 0 {
		q.turns++
		u.turn = q.turns
	}
	u.items.push(it)
	if it.index == 0 {
		q.unstop(u) // the head that had to be parked is not the head any more
	}
	if u.waiting == 0 {
		q.waiters++
	}
	u.count(1, it.Cost)
	u.update(keep)
}

// Remove takes a waiting request out: its client left, or its hold ended.
func (q *Queue) Remove(it *Item) {
	q.forget(it)
	u := it.flow
	if it.index == 0 {
		q.unstop(u) // it was the head that had to be parked
	}
	u.items.remove(it)
	if u.waiting == 1 {
		q.waiters--
	}
	u.count(-1, -it.Cost)
	u.update(false)
}

// Recost replaces the estimate of a waiting request.
func (q *Queue) Recost(it *Item, cost float64) {
	cost = sane(cost)
	u := it.flow
	u.count(0, cost-it.Cost)
	it.Cost = cost
	u.update(false)
}

// Dispatch takes the request out to run and charges its flow. Each dispatched
// request needs one Settle.
func (q *Queue) Dispatch(it *Item) {
	q.forget(it)
	u := it.flow
	u.items.remove(it)
	if u.waiting == 1 {
		q.waiters--
	}
	u.count(-1, -it.Cost)
	for n := u; n.parent != nil; n = n.parent {
		n.inflight++
	}
	q.turns++
	u.turn = q.turns
	u.first = 0
	q.give(u, it.Cost)
	u.serve(it.Cost)
	u.update(false)
}

// DispatchSpare is Dispatch for what Spare returned.
func (q *Queue) DispatchSpare(it *Item) {
	for n := it.flow; n.parent != nil; n = n.parent {
		n.setApart()
	}
	q.Dispatch(it)
}

// Settle replaces the estimate of a dispatched request by what it really cost,
// in seconds.
func (q *Queue) Settle(it *Item, actual float64) {
	u := it.flow
	for n := u; n.parent != nil; n = n.parent {
		n.inflight--
	}
	q.give(u, actual-it.Cost)
	u.serve(actual - it.Cost)
	u.update(false)
}

// Transfer makes a dispatched request that of another flow: the one gets back what
// it was charged, the other pays.
func (q *Queue) Transfer(it *Item, key flow.Key) {
	q.Settle(it, 0)
	u := q.user(key)
	it.flow = u
	for n := u; n.parent != nil; n = n.parent {
		if n.place == idle {
			n.start = max(n.start, n.parent.entrance()) // or the charge would be lost in the past
		}
		n.inflight++
	}
	q.give(u, it.Cost)
	u.serve(it.Cost)
	u.update(false)
}

// Each calls visit for every waiting request of a flow, in no order.
func (q *Queue) Each(key flow.Key, visit func(*Item)) {
	if u := q.find(key); u != nil {
		for _, it := range u.items {
			visit(it)
		}
	}
}

// find is the leaf of a flow, if it has one.
func (q *Queue) find(key flow.Key) *node {
	n := q.root
	for _, name := range [...]string{string(key.Class), key.Tenant, key.User} {
		if n = n.children[name]; n == nil {
			return nil
		}
	}
	return n
}

// Resume puts the flow of a parked request back into the order, with its tag.
func (q *Queue) Resume(it *Item) {
	if u := it.flow; u.stopped {
		q.unstop(u)
		u.update(true)
	}
}

// unstop ends the parking of a user.
func (q *Queue) unstop(u *node) {
	u.stopped = false
	if u.shelved {
		u.shelved = false
		q.shelved--
	}
}

// Shelved is how many flows are shelved.
func (q *Queue) Shelved() int { return q.shelved }

// Unshelve puts the first most of the shelved flows back into the order, with their
// tags, and beside these all that were moved up.
func (q *Queue) Unshelve(most int) {
	if q.shelved == 0 || most <= 0 {
		return
	}
	for _, u := range q.moved {
		if u.first > 0 && u.shelved {
			q.unstop(u)
			u.update(true)
		}
	}
	l := look{most: most, shelved: true, best: q.looked[:0]}
	l.classes(q.root)
	for _, c := range l.best {
		q.unstop(c.node)
		c.node.update(true)
	}
	clear(l.best)
	q.looked = l.best[:0]
}

// Accrue says that of the cost of a blocked head the given part has been saved up,
// in seconds: the refill since it could have run, had it been smaller. The fluid
// system would have served it by as much, so V counts it as served; without that, V
// would stand still for as long as the upstream saves up for a large request, and small
// ones would wait with it. It reports whether that made anyone eligible. One head
// accrues at a time.
func (q *Queue) Accrue(it *Item, saved float64) bool {
	if q.blocked != it {
		q.forget(q.blocked)
		q.blocked = it
	}
	saved = min(max(saved, 0), it.Cost)
	eligible := false
	for n := it.flow.parent; n != nil; n = n.parent {
		before := n.readyHeap.len()
		n.accrued = saved
		n.advance()
		eligible = eligible || n.readyHeap.len() > before
	}
	return eligible
}

// Accrual is how much more must be saved up for the blocked head until somebody
// becomes eligible, in seconds; false if nobody would.
func (q *Queue) Accrual() (float64, bool) {
	if q.blocked == nil {
		return 0, false
	}
	least, some := math.Inf(1), false
	for n := q.blocked.flow.parent; n != nil; n = n.parent {
		if n.laterHeap.len() == 0 || n.sumW <= 0 {
			continue
		}
		mean := (n.sumWS + n.accrued) / n.sumW
		least, some = min(least, (n.laterHeap.top().start-mean)*n.sumW), true
	}
	return max(least, 0), some
}

// forget ends the accrual of a head that runs or leaves.
func (q *Queue) forget(it *Item) {
	if it == nil || q.blocked != it {
		return
	}
	q.blocked = nil
	for n := it.flow.parent; n != nil; n = n.parent {
		n.accrued = 0
	}
}

// Stop takes a whole class out of the order (its rate is used up), or puts it
// back; it keeps its tag and blocks nobody.
func (q *Queue) Stop(class flow.Class, stopped bool) {
	n := q.root.children[string(class)]
	if n == nil && stopped {
		n = q.child(q.root, string(class))
	}
	if n != nil && n.stopped != stopped {
		n.stopped = stopped
		n.update(true)
	}
}

// StopTenant is Stop for a tenant of a class.
func (q *Queue) StopTenant(class flow.Class, tenant string, stopped bool) {
	c := q.root.children[string(class)]
	if c == nil {
		return
	}
	if n := c.children[tenant]; n != nil && n.stopped != stopped {
		n.stopped = stopped
		n.update(true)
	}
}

// maxMoved bounds the flows that are moved up at a time, so that looking past them
// costs next to nothing.
const maxMoved = 16

// Promote lets the head of a flow go next of its class, once; of several flows the last
// goes first, and all but the last 16 lose it again. Nobody passes that head on the
// upstreams that it waits for. Dispatching it charges the flow as ever. It reports whether
// anything of the flow waits.
func (q *Queue) Promote(key flow.Key) bool {
	u := q.find(key)
	if u == nil || u.waiting == 0 {
		return false
	}
	q.moved = slices.DeleteFunc(q.moved, func(n *node) bool { return n == u || n.first == 0 })
	if len(q.moved) == maxMoved {
		q.moved[0].first = 0
		q.moved[0].update(true)
		q.moved = slices.Delete(q.moved, 0, 1)
	}
	q.moves++
	u.first = q.moves
	q.moved = append(q.moved, u)
	u.update(true)
	return true
}

// Next returns the request that is to run now, without removing it, or nil. It
// asks try of each head in the fair order until one can run or none may;
// overdue heads may not be passed. try must not change the queue.
func (q *Queue) Next(try func(it *Item, overdue bool) Verdict) *Item {
	for {
		q.tries = 0
		it, verdict := q.search(q.root, 0, false, try)
		again := len(q.parking) > 0 && verdict != Stop
		q.park()
		if verdict == Run {
			return it
		}
		if !again {
			return nil
		}
	}
}

// Spare returns, of the heads that want an upstream for which nobody in the fair order
// waits, the one whose flow was served least; or nil. It looks at flows that are not
// eligible too: flows with other upstreams set the pace of V while those are full, and
// held to that pace the rest would leave theirs idle. It looks at all flows: O(n).
func (q *Queue) Spare(want func(*Item) bool) *Item { return q.root.spare(want) }

// search descends in the fair order. Heads that cannot run are set aside, and
// put back at the end, so that the order and the means stay as they are.
func (q *Queue) search(n *node, depth int, overdue bool, try func(*Item, bool) Verdict) (*Item, Verdict) {
	if n.leaf() {
		q.tries++
		verdict := try(n.items[0], overdue)
		switch verdict {
		case Park:
			q.parking = append(q.parking, n)
		case Shelve:
			q.parking = append(q.parking, n)
			n.shelved = true
			q.shelved++
		case ParkTenant:
			q.parking = append(q.parking, n.parent)
		case Run, Pass, Stop:
		}
		return n.items[0], verdict
	}
	aside := q.aside[depth][:0]
	it, verdict := (*Item)(nil), Pass
	for n.readyHeap.len() > 0 && q.tries < maxLook {
		c := n.readyHeap.top()
		it, verdict = q.search(c, depth+1, overdue || n.vtime > c.finish || c.leaf() && c.first > 0, try)
		if verdict == Run || verdict == Stop || verdict == ParkTenant && c.leaf() {
			break
		}
		n.readyHeap.remove(c)
		aside = append(aside, c)
	}
	for i, c := range aside {
		n.readyHeap.push(c)
		aside[i] = nil
	}
	q.aside[depth] = aside[:0]
	return it, verdict
}

// park takes the flows and tenants out of the order whose heads nothing but an event
// can help.
func (q *Queue) park() {
	for i, u := range q.parking {
		u.stopped = true
		u.update(true)
		q.parking[i] = nil
	}
	q.parking = q.parking[:0]
}

// count moves the lengths and backlogs from n to the root.
func (n *node) count(requests int, cost float64) {
	for ; n != nil; n = n.parent {
		n.waiting += requests
		n.backlog += cost
		if n.waiting == 0 {
			n.backlog = 0 // rounding errors end with the busy period
		}
	}
}

func sane(cost float64) float64 {
	const least = 1e-9
	if !(cost > least) || math.IsInf(cost, 1) {
		return least
	}
	return cost
}
