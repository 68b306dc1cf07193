package agenda

// Appointment is one future event.
type Appointment struct {
	At   int64 // ns since the simulation began
	seq  uint32
	Who  int32
	What uint8
}

func (a *Appointment) before(b *Appointment) bool {
	return a.At < b.At || a.At == b.At && a.seq < b.seq
}

// Agenda holds appointments. The zero value is empty.
type Agenda struct {
	heap []Appointment
	seq  uint32
}

// Next is the time of the next appointment; false if there is none.
func (h *Agenda) Next() (at int64, ok bool) {
	if len(h.heap) == 0 {
		return 0, false
	}
	return h.heap[0].At, true
}

// Add makes an appointment.
func (h *Agenda) Add(at int64, what uint8, who int32) {
	h.seq++
	h.heap = append(h.heap, Appointment{At: at, seq: h.seq, Who: who, What: what})
	i := len(h.heap) - 1
	for i > 0 && h.heap[i].before(&h.heap[(i-1)/2]) {
		h.heap[i], h.heap[(i-1)/2] = h.heap[(i-1)/2], h.heap[i]
		i = (i - 1) / 2
	}
}

// Take returns the next appointment, which is kept no longer.
func (h *Agenda) Take() Appointment {
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
