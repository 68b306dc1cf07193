package fairqueue

// maxSiblings bounds how many siblings of a level the fluid model reads; of more,
// an even sample stands for all.
const maxSiblings = 1024

// Ahead returns what the fluid system (which serves every backlogged flow at
// once, by weight) dispatches until it has finished the request, the request
// itself included: requests, and seconds of the bottleneck quota. Divided by
// the rate, which is 1 where costs are in seconds of the whole quota, the work is
// the expected time to finish.
func (q *Queue) Ahead(it *Item) (requests int, work float64) {
	u := it.flow
	head := u.items[0]
	work = it.Cost
	if arrived := u.arrived - head.ahead; arrived > 0 { // of which some may have left, or are priced anew
		work += max(it.ahead-head.ahead, 0) * u.backlog / arrived
	}
	count := 1 + float64(len(u.items)-1)*min(1, (work-it.Cost)/max(u.backlog-it.Cost, it.Cost))
	next := u.first > 0 && it == head // it goes before its siblings, and its tenant
	for n := u; n.parent != nil; n = n.parent {
		if next && n.parent.parent != nil {
			continue
		}
		others, othersWork := n.parent.fluid(n, n.start+work/n.weight)
		count += others
		work += othersWork
	}
	for _, m := range q.moved {
		if m == u || m.first == 0 || m.parent.parent != u.parent.parent || next && m.first < u.first {
			continue
		}
		if next || m.parent != u.parent || m.finish > u.start+work/u.weight { // not counted among the siblings
			count++
			work += m.items[0].Cost
		}
	}
	return int(count + 0.5), work
}

// fluid is what the children other than skip are given until their virtual
// finish reaches f. Of those that are parked only one that is so itself reads.
func (n *node) fluid(skip *node, f float64) (requests, work float64) {
	all := n.heaps()
	heaps := all[:2]
	if skip.place == parked {
		heaps = all[:]
	}
	total := 0
	for _, h := range heaps {
		total += h.len()
	}
	step := 1 + total/maxSiblings
	for _, h := range heaps {
		for i := 0; i < len(h.nodes); i += step {
			c := h.nodes[i]
			if c == skip || c.start >= f || c.backlog <= 0 {
				continue
			}
			w := min(c.backlog, (f-c.start)*c.weight)
			work += w * float64(step)
			requests += float64(c.waiting) * w / c.backlog * float64(step)
		}
	}
	return requests, work
}
