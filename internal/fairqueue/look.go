package fairqueue

import (
	"cmp"
	"math"
	"slices"

	"github.com/millrace/millrace/internal/flow"
)

// Flow is one flow as people see it.
type Flow struct {
	Key              flow.Key
	Waiting, Running int
	Weight           float64 // its class's times its tenant's
	Share            float64 // of what was dispatched lately, 0 to 1
	FairShare        float64 // 0 to 1: what it would get if all active flows got their due
	MovedUp          bool    // its head goes next of its class

	node *node
}

// Each calls visit for every waiting request of the flow, in no order, but for the head,
// which is first. It is valid until the queue changes.
func (f *Flow) Each(visit func(*Item)) {
	for _, it := range f.node.items {
		visit(it)
	}
}

// Look returns a flow; false if the queue does not know it.
func (q *Queue) Look(key flow.Key) (Flow, bool) {
	u := q.find(key)
	if u == nil {
		return Flow{}, false
	}
	return q.show(u), true
}

func (q *Queue) show(u *node) Flow {
	tenant := u.parent
	class := tenant.parent
	return Flow{
		Key:     flow.Key{Class: flow.Class(class.name), Tenant: tenant.name, User: u.name},
		Waiting: u.waiting, Running: u.inflight,
		Weight: u.weight * tenant.weight * class.weight, Share: q.share(u), FairShare: due(u),
		MovedUp: u.first > 0, node: u,
	}
}

// Weight is that of a class.
func (q *Queue) Weight(class flow.Class) float64 {
	if n := q.root.children[string(class)]; n != nil {
		return n.weight
	}
	return 1
}

// AppendWaiting appends flows that wait, at most most of them: those whose heads the
// fluid system would finish first if all others had enough to do, the first first. It
// does not look at all flows.
func (q *Queue) AppendWaiting(dst []Flow, most int) []Flow {
	l := look{most: most, best: q.looked[:0]}
	l.classes(q.root)
	slices.SortFunc(l.best, compare)
	for _, c := range l.best {
		dst = append(dst, q.show(c.node))
	}
	clear(l.best)
	q.looked = l.best[:0]
	return dst
}

// heaps are those in which children with something waiting stand.
func (n *node) heaps() [3]*nodeHeap { return [3]*nodeHeap{&n.readyHeap, &n.laterHeap, &n.parkedHeap} }

// candidate is a flow, and what places it.
type candidate struct {
	rank   float64 // when its head would be finished, in work; below zero for those moved up
	tenant float64 // its tenant's tag and turn
	since  uint64
	tag    float64 // its own
	turn   uint64
	node   *node
}

func compare(a, b candidate) int {
	return cmp.Or(
		cmp.Compare(a.rank, b.rank), cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.since, b.since),
		cmp.Compare(a.tag, b.tag), cmp.Compare(a.turn, b.turn),
	)
}

// look gathers the best candidates: a heap with the worst on top.
type look struct {
	most    int
	shelved bool // only shelved flows
	best    []candidate
}

func (l *look) classes(root *node) {
	for _, c := range root.children {
		if c.waiting == 0 {
			continue
		}
		for _, h := range c.heaps() {
			l.tenants(h, 0)
		}
	}
}

// hopeless reports whether nobody at c's place or beyond it will be among the best.
func (l *look) hopeless(c candidate) bool {
	return len(l.best) >= l.most && (l.most == 0 || compare(c, l.best[0]) >= 0)
}

// tenants looks at the tenants at place i of a heap and beneath. Who stands beneath
// another is beyond him, but for those that were moved up.
func (l *look) tenants(h *nodeHeap, i int) {
	if i >= h.len() {
		return
	}
	t := h.nodes[i]
	c := candidate{tenant: t.edge(h), tag: math.Inf(-1)}
	if h.finish {
		c.since = t.turn
	}
	c.rank = t.outrank(c.tenant)
	if t.first == 0 && l.hopeless(c) {
		return
	}
	c.since = t.turn
	users := t.heaps()
	for _, h := range users {
		if !l.shelved || h == users[2] { // who is shelved is parked
			l.users(h, 0, c)
		}
	}
	l.tenants(h, 2*i+1)
	l.tenants(h, 2*i+2)
}

func (l *look) users(h *nodeHeap, i int, c candidate) {
	if i >= h.len() {
		return
	}
	u := h.nodes[i]
	c.node, c.tag, c.turn = u, u.edge(h), 0
	if h.finish {
		c.turn = u.turn
	}
	c.rank = u.outrank(c.tag)
	if u.first == 0 && l.hopeless(c) {
		return
	}
	c.tag, c.turn = u.start+u.items[0].Cost/u.weight, u.turn
	c.rank = u.outrank(c.tag)
	if u.first > 0 && u.place == ready {
		c.rank = -float64(u.first)
	}
	if u.shelved || !l.shelved {
		l.offer(c)
	}
	l.users(h, 2*i+1, c)
	l.users(h, 2*i+2, c)
}

// edge is the tag by which a heap is ordered.
func (n *node) edge(h *nodeHeap) float64 {
	if h.finish {
		return n.finish
	}
	return n.start
}

// outrank is when what is finished at the tag would be, in work of all, if everyone
// had enough to do. Of two tags of siblings the larger never ranks before.
func (n *node) outrank(tag float64) float64 {
	work := 0.0
	for ; n.parent != nil; n = n.parent {
		all := n.parent.sumW
		if all <= 0 {
			all = 1
		}
		work = max(n.parent.head(), (tag-n.parent.vtime)*all)
		tag = n.parent.start + work/n.parent.weight
	}
	return work
}

func (l *look) offer(c candidate) {
	if len(l.best) < l.most {
		l.best = append(l.best, c)
		for i := len(l.best) - 1; i > 0 && compare(l.best[(i-1)/2], l.best[i]) < 0; i = (i - 1) / 2 {
			l.best[i], l.best[(i-1)/2] = l.best[(i-1)/2], l.best[i]
		}
		return
	}
	if l.most == 0 || compare(c, l.best[0]) >= 0 {
		return
	}
	l.best[0] = c
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(l.best) {
			return
		}
		if child+1 < len(l.best) && compare(l.best[child+1], l.best[child]) > 0 {
			child++
		}
		if compare(l.best[child], l.best[i]) <= 0 {
			return
		}
		l.best[i], l.best[child] = l.best[child], l.best[i]
		i = child
	}
}
