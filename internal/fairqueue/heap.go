package fairqueue

// nodeHeap is a binary heap of nodes. A node is in at most one heap at a time,
// so its place is kept in the node itself, and removal costs O(log n).
type nodeHeap struct {
	nodes  []*node
	finish bool // ordered by finish tag, else by start tag
}

func (h *nodeHeap) len() int { return len(h.nodes) }

func (h *nodeHeap) top() *node { return h.nodes[0] }

// before breaks ties by the order in which the nodes became active, so that
// equal users take turns.
func (h *nodeHeap) before(a, b *node) bool {
	x, y := a.start, b.start
	if h.finish {
		if a.first != b.first {
			return a.first > b.first
		}
		x, y = a.finish, b.finish
	}
	if x != y {
		return x < y
	}
	return a.turn < b.turn
}

// soonest is the least finish tag at or beneath place i. Beneath one that was not moved
// up nobody has less.
func (h *nodeHeap) soonest(i int) float64 {
	least := h.nodes[i].finish
	if h.nodes[i].first > 0 {
		for child := 2*i + 1; child <= 2*i+2 && child < len(h.nodes); child++ {
			least = min(least, h.soonest(child))
		}
	}
	return least
}

// behind reports whether at or beneath place i somebody stands whose start is not
// beyond v.
func (h *nodeHeap) behind(v float64, i int) bool {
	if i >= len(h.nodes) {
		return false
	}
	if n := h.nodes[i]; n.first == 0 || n.start <= v {
		return true
	}
	return h.behind(v, 2*i+1) || h.behind(v, 2*i+2)
}

func (h *nodeHeap) push(n *node) {
	n.index = len(h.nodes)
	h.nodes = append(h.nodes, n)
	h.up(n.index)
}

func (h *nodeHeap) remove(n *node) {
	i, last := n.index, len(h.nodes)-1
	if i != last {
		h.swap(i, last)
	}
	h.nodes[last] = nil
	h.nodes = h.nodes[:last]
	n.index = -1
	if i != last {
		h.fix(i)
	}
}

func (h *nodeHeap) fix(i int) {
	if !h.down(i) {
		h.up(i)
	}
}

func (h *nodeHeap) swap(i, j int) {
	h.nodes[i], h.nodes[j] = h.nodes[j], h.nodes[i]
	h.nodes[i].index, h.nodes[j].index = i, j
}

func (h *nodeHeap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.before(h.nodes[i], h.nodes[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *nodeHeap) down(i int) bool {
	from := i
	for {
		child := 2*i + 1
		if child >= len(h.nodes) {
			break
		}
		if right := child + 1; right < len(h.nodes) && h.before(h.nodes[right], h.nodes[child]) {
			child = right
		}
		if !h.before(h.nodes[child], h.nodes[i]) {
			break
		}
		h.swap(i, child)
		i = child
	}
	return i > from
}

// itemHeap keeps the requests of one flow, by rank and then by arrival.
type itemHeap []*Item

func (h itemHeap) before(i, j int) bool { return h[i].Before(h[j]) }

func (h itemHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *itemHeap) push(it *Item) {
	it.index = len(*h)
	*h = append(*h, it)
	h.up(it.index)
}

func (h *itemHeap) remove(it *Item) {
	i, last := it.index, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	it.index = -1
	if i != last {
		h.down(i)
		h.up(i)
	}
}

func (h itemHeap) up(i int) {
	for i > 0 && h.before(i, (i-1)/2) {
		h.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

func (h itemHeap) down(i int) {
	for {
		child := 2*i + 1
		if child >= len(h) {
			return
		}
		if child+1 < len(h) && h.before(child+1, child) {
			child++
		}
		if !h.before(child, i) {
			return
		}
		h.swap(i, child)
		i = child
	}
}
