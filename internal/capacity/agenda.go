package capacity

// what an appointment is about.
type what uint8

const (
	ask    what = iota // user number who means to ask
	arrive             // the next arrival of an open loop or a trace
	finish             // request number who is answered
	begin              // the measured time begins
)

// appointment is one future event.
type appointment struct {
	at   int64 // ns since the epoch
	seq  uint32
	who  int32
	what what
}

func (a *appointment) before(b *appointment) bool {
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}

// agenda is a binary heap of appointments, the next first. Those of one moment come
// in the order in which they were made.
type agenda struct {
	heap []appointment
	seq  uint32
}

func (h *agenda) add(at int64, what what, who int32) {
	h.seq++
	h.heap = append(h.heap, appointment{at: at, seq: h.seq, who: who, what: what})
	i := len(h.heap) - 1
	for i > 0 && h.heap[i].before(&h.heap[(i-1)/2]) {
		h.heap[i], h.heap[(i-1)/2] = h.heap[(i-1)/2], h.heap[i]
		i = (i - 1) / 2
	}
}

func (h *agenda) take() appointment {
	first, last := h.heap[0], len(h.heap)-1
	h.heap[0] = h.heap[last]
	h.heap = h.heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return first
		}
		if child+1 < last && h.heap[child+1].before(&h.heap[child]) {
			child++
		}
		if !h.heap[child].before(&h.heap[i]) {
			return first
		}
		h.heap[i], h.heap[child] = h.heap[child], h.heap[i]
		i = child
	}
}
