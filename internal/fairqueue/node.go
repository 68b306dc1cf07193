package fairqueue

// place says where a node stands in its parent.
type place uint8

const (
	idle   place = iota // nothing waits, and V has passed its tag: not active
	linger              // nothing waits, but it was served ahead of V: active
	later               // backlogged, S > V: active, not eligible
	ready               // backlogged, S <= V: active and eligible
	parked              // something waits, but nothing of it can run: not active
)

// node is a class, a tenant or a user; the root has no parent.
type node struct {
	parent *node
	name   string
	weight float64
	start  float64 // S
	finish float64 // F of the head, while ready or later
	turn   uint64  // order of becoming active or of the last dispatch, for ties
	place  place
	index  int // in the parent's heap of its place

	waiting  int     // requests waiting beneath
	backlog  float64 // their cost
	inflight int     // requests beneath that were dispatched and not settled
	stopped  bool    // parked by the caller
	apart    bool    // ahead of V by spare capacity: it counts in no mean until V passes it
	pinned   bool    // weighed by the caller: never dropped
	first    uint64  // not 0: moved up, and goes before its siblings; of several, the largest; a tenant has that of its next user

	// A user has these.
	items   itemHeap
	arrived float64 // cost of all that ever arrived, for the work ahead in FIFO order
	given   ledger  // what it was given lately
	shelved bool    // stopped, until Unshelve finds that it is next

	// The others have these.
	vtime      float64 // V
	active     int     // children in the mean
	sumW       float64 // weights of the active children
	sumWS      float64 // and their weighted start tags
	accrued    float64 // what has been saved up for a blocked head beneath
	readyHeap  nodeHeap
	laterHeap  nodeHeap
	lingerHeap nodeHeap
	parkedHeap nodeHeap
	children   map[string]*node
	leaves     int // users beneath
}

func newParent(parent *node, name string, weight float64) *node {
	return &node{
		parent: parent, name: name, weight: weight, index: -1,
		readyHeap: nodeHeap{finish: true}, parkedHeap: nodeHeap{finish: true},
		children: make(map[string]*node),
	}
}

func (n *node) leaf() bool { return n.children == nil }

// head is the cost of the request that the node would send next, or of one that is
// parked if nothing can run.
func (n *node) head() float64 {
	for !n.leaf() {
		switch {
		case n.readyHeap.len() > 0:
			n = n.readyHeap.top()
		case n.parkedHeap.len() > 0:
			n = n.parkedHeap.top()
		default:
			return 0
		}
	}
	if len(n.items) == 0 {
		return 0
	}
	return n.items[0].Cost
}

// runnable reports whether something beneath can be dispatched.
func (n *node) runnable() bool {
	if n.stopped || n.waiting == 0 {
		return false
	}
	return n.leaf() || n.readyHeap.len()+n.laterHeap.len() > 0
}

// heap is the heap of the parent in which the node stands, if any.
func (n *node) heap() *nodeHeap {
	switch n.place {
	case ready:
		return &n.parent.readyHeap
	case later:
		return &n.parent.laterHeap
	case linger:
		return &n.parent.lingerHeap
	case parked:
		return &n.parent.parkedHeap
	case idle:
	}
	return nil
}

// inMean reports whether the node counts in its parent's mean, unless it is apart.
func (n *node) inMean() bool { return n.place == ready || n.place == later || n.place == linger }

// detach takes the node out of the parent's order and mean.
func (n *node) detach() {
	h := n.heap()
	if h == nil {
		return
	}
	h.remove(n)
	if n.inMean() {
		n.weigh(-1)
	}
}

// weigh enters the node in the parent's mean, or takes it out, unless it is apart.
func (n *node) weigh(sign float64) {
	p := n.parent
	if n.apart {
		return
	}
	p.active += int(sign)
	p.sumW += sign * n.weight
	p.sumWS += sign * n.weight * n.start
	if p.active == 0 {
		p.sumW, p.sumWS = 0, 0 // rounding errors end with the busy period
	}
}

// setApart takes a node that was served out of turn out of the mean: what it got was
// not at the cost of the others, and V must not run ahead of them for it.
func (n *node) setApart() {
	if n.apart || n.start <= n.parent.vtime {
		return
	}
	if n.inMean() {
		n.weigh(-1)
	}
	n.apart = true
}

// attach puts the node where its state belongs. keep retains a start tag below
// V: the node was not idle, it was parked or its request came back.
func (n *node) attach(keep bool) {
	p := n.parent
	switch {
	case n.runnable():
		if !keep {
			n.start = max(n.start, p.entrance())
		}
		n.finish = n.start + n.head()/n.weight
		n.place = later
		if n.start <= p.vtime || n.first > 0 {
			n.place = ready
		}
	case n.waiting > 0:
		n.finish = n.start + n.head()/n.weight
		n.place = parked
	case n.apart: // it owes nobody what nobody could have used
		n.start, n.apart, n.place = min(n.start, p.vtime), false, idle
	case n.start > p.vtime:
		n.place = linger
	default:
		n.place = idle
	}
	if h := n.heap(); h != nil {
		if n.place == ready && n.start <= p.vtime {
			n.apart = false
		}
		if n.inMean() {
			n.weigh(1)
		}
		h.push(n)
	}
}

// entrance is the start tag of a child that becomes backlogged: V, but not beyond
// the finish of the head that is next. V runs ahead of flows that wait while
// somebody's large request is served; a newcomer that started there would let them
// pass for all of that, and no bound in the two flows' own requests would hold.
func (n *node) entrance() float64 {
	if n.readyHeap.len() > 0 {
		return min(n.vtime, n.readyHeap.soonest(0))
	}
	return n.vtime
}

// eligible reports whether a child may run in the fair order: those that were moved up
// stand among the ready although they may be ahead of V.
func (n *node) eligible() bool {
	h := &n.readyHeap
	return h.len() > 0 && (h.top().first == 0 || h.behind(n.vtime, 0))
}

// update re-places the node and all its ancestors after a change beneath it.
func (n *node) update(keep bool) {
	for ; n.parent != nil; n = n.parent {
		// Only a node that had nothing waiting starts afresh at V.
		chained := keep || n.place == ready || n.place == later || n.place == parked
		n.detach()
		n.lead()
		n.attach(chained)
		n.parent.advance()
		n.parent.drop(n)
	}
}

// lead brings the mark of a move up in line: a user's ends with its last request, and a
// tenant goes before its siblings as long as its next user was moved up.
func (n *node) lead() {
	switch {
	case n.leaf():
		if n.waiting == 0 {
			n.first = 0
		}
	case n.parent.parent != nil:
		n.first = 0
		if n.readyHeap.len() > 0 {
			n.first = n.readyHeap.top().first
		}
	}
}

// advance moves V to the mean of the active children and re-sorts those that it
// passes.
func (n *node) advance() {
	n.raise()
	if n.laterHeap.len() > 0 && !n.eligible() {
		n.vtime = max(n.vtime, n.laterHeap.top().start)
	}
	for n.laterHeap.len() > 0 && n.laterHeap.top().start <= n.vtime {
		c := n.laterHeap.top()
		n.laterHeap.remove(c)
		c.place = ready
		if c.apart {
			c.apart = false
			c.weigh(1)
		}
		n.readyHeap.push(c)
	}
}

// raise sets V to the mean. A child that lingers leaves where V passes its tag;
// the mean of the others then rises, as the fluid system serves them faster.
func (n *node) raise() {
	for {
		if n.sumW <= 0 {
			return
		}
		mean := (n.sumWS + n.accrued) / n.sumW
		busy := n.readyHeap.len()+n.laterHeap.len() > 0
		if n.lingerHeap.len() == 0 || busy && n.lingerHeap.top().start > mean {
			n.vtime = max(n.vtime, mean)
			return
		}
		c := n.lingerHeap.top()
		n.vtime = max(n.vtime, c.start)
		c.detach()
		c.place = idle
		n.drop(c)
	}
}

// drop forgets a child that holds nothing: no request, no call in flight, no
// debt, no configuration.
func (n *node) drop(c *node) {
	if c.place == idle && c.waiting == 0 && c.inflight == 0 && len(c.children) == 0 && !c.pinned && !c.stopped && n.children[c.name] == c {
		delete(n.children, c.name)
		if c.leaf() {
			for p := n; p != nil; p = p.parent {
				p.leaves--
			}
		}
	}
}

// spare finds the least served of the heads that want something.
func (n *node) spare(want func(*Item) bool) *Item {
	if n.leaf() {
		if want(n.items[0]) {
			return n.items[0]
		}
		return nil
	}
	best, chosen := (*node)(nil), (*Item)(nil)
	for _, h := range [...]*nodeHeap{&n.readyHeap, &n.laterHeap} {
		for _, c := range h.nodes {
			if best != nil && (c.start > best.start || c.start == best.start && c.turn > best.turn) {
				continue
			}
			if it := c.spare(want); it != nil {
				best, chosen = c, it
			}
		}
	}
	return chosen
}

// serve moves the tags of the node and its ancestors by cost, which may be
// negative for a settlement.
func (n *node) serve(cost float64) {
	for ; n.parent != nil; n = n.parent {
		n.shift(cost / n.weight)
	}
}

// shift moves S and F, keeping the parent's sums true. The heaps are put in
// order by the update that follows.
func (n *node) shift(by float64) {
	n.start += by
	n.finish += by
	if n.inMean() && !n.apart {
		n.parent.sumWS += n.weight * by
	}
}
