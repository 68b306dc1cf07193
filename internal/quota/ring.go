package quota

import "time"

const (
	ringSlots  = 512
	ringBlock  = 16 // slots summed together, so that a search skips empty time
	ringBlocks = ringSlots / ringBlock
)

// ring is the sum of what was counted in the last stretch of time, at least
// 511 and at most 512 slots long. Entries leave late by up to one slot, never
// early.
type ring struct {
	width  int64 // of a slot, ns
	end    int64 // when the current slot ends
	cur    int   // index of the current slot
	total  int64
	blocks [ringBlocks]int64
	slots  [ringSlots]int64
}

// newRing returns a ring that remembers every entry for at least keep.
func newRing(t, keep int64) *ring {
	width := (keep + ringSlots - 2) / (ringSlots - 1)
	return &ring{width: width, end: t + width}
}

// advance drops what has left by t.
func (r *ring) advance(t int64) {
	if t < r.end {
		return
	}
	if behind := t - r.end; behind >= ringSlots*r.width {
		*r = ring{width: r.width, end: t + r.width - behind%r.width}
		return
	}
	for t >= r.end {
		r.cur = (r.cur + 1) % ringSlots
		r.take(r.cur, r.slots[r.cur])
		r.end += r.width
	}
}

func (r *ring) put(i int, n int64) {
	r.slots[i] += n
	r.blocks[i/ringBlock] += n
	r.total += n
}

func (r *ring) take(i int, n int64) { r.put(i, -n) }

// add counts n now.
func (r *ring) add(n int64) { r.put(r.cur, min(n, maxSum-r.total)) }

// slot returns the index of the slot that holds time t, and whether it is
// still inside.
func (r *ring) slot(t int64) (int, bool) {
	age := max(r.end-1-t, 0) / r.width
	if age >= ringSlots {
		return 0, false
	}
	return (r.cur - int(age) + ringSlots) % ringSlots, true
}

// remove takes back n that was counted at time t. What has left is gone.
func (r *ring) remove(t, n int64) {
	if i, ok := r.slot(t); ok {
		r.take(i, min(n, r.slots[i]))
	}
}

// place counts n at the past time t.
func (r *ring) place(t, n int64) {
	if i, ok := r.slot(t); ok {
		r.put(i, min(n, maxSum-r.total))
	}
}

// frees returns when at least n of the total has left; 0 < n <= total.
func (r *ring) frees(n int64) int64 {
	for j := 1; j <= ringSlots; {
		i := (r.cur + j) % ringSlots
		if i%ringBlock == 0 && r.blocks[i/ringBlock] < n {
			n -= r.blocks[i/ringBlock]
			j += ringBlock
			continue
		}
		if n -= r.slots[i]; n <= 0 {
			return r.end + int64(j-1)*r.width
		}
		j++
	}
	return r.end + (ringSlots-1)*r.width
}

// empties returns when the last entry leaves; t when there is none.
func (r *ring) empties(t int64) int64 {
	if r.total == 0 {
		return t
	}
	return r.frees(r.total)
}

// assume fills the ring as if limit units had been spent as fast as a bucket
// of the given burst lets through rate units per span, the newest last.
func (r *ring) assume(limit, burst, span int64) {
	rest := limit - min(burst, limit)
	r.add(limit - rest)
	perSlot := mulDiv(limit, r.width, span) + 1
	for j := 0; j < ringSlots && rest > 0; j++ {
		n := min(perSlot, rest)
		r.put((r.cur-j+ringSlots)%ringSlots, n)
		rest -= n
	}
}

// skew is how much later than we the provider may count.
func skew(span int64) int64 { return min(int64(time.Second), span/60) }
