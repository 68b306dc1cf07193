package quota

// aligned counts in windows that begin at whole multiples of the span of the
// wall clock. What is counted within skew of a boundary may fall on either
// side of it at the provider, so it is counted on both.
type aligned struct {
	span, skew      int64
	start, end      int64 // of the current window
	prev, cur, next int64 // sums
	offset          int64 // wall clock minus our time
	since           int64 // entries before it are not given back
}

// boundary returns the first boundary after t.
func (a *aligned) boundary(t int64) int64 {
	past := (t + a.offset) % a.span
	if past < 0 {
		past += a.span
	}
	return t + a.span - past
}

func (a *aligned) advance(t, offset int64) {
	switch {
	case a.end == 0:
		a.offset = offset
		a.end = a.boundary(t)
		a.start = a.end - a.span
	case abs(offset-a.offset) > a.skew:
		a.shift(t, offset)
	}
	for range 3 {
		if t < a.end {
			return
		}
		a.roll(offset)
	}
	if t >= a.end { // idle for long: all sums are zero by now
		a.end = a.boundary(t)
		a.start = a.end - a.span
	}
}

func (a *aligned) roll(offset int64) {
	a.prev, a.cur, a.next = a.cur, a.next, 0
	a.offset = offset
	a.start = a.end
	a.end = a.boundary(a.start + a.span/2)
}

// shift follows a step of the wall clock. The current window is prolonged to
// the first new boundary after its old end, so that neither reading of the
// clock sees more than the limit in it.
func (a *aligned) shift(t, offset int64) {
	a.offset = offset
	a.end = a.boundary(a.end - 1)
	a.since = t
}

func abs(n int64) int64 { return max(n, -n) }

func (a *aligned) add(t, n int64) {
	a.cur = min(a.cur+n, maxSum)
	if t >= a.end-a.skew {
		a.next = min(a.next+n, maxSum)
	}
	if t < a.start+a.skew {
		a.prev = min(a.prev+n, maxSum)
	}
}

// remove takes back n that was counted at time at.
func (a *aligned) remove(at, n int64) {
	if at < a.since {
		return
	}
	if at >= a.start-a.skew {
		a.cur = max(a.cur-n, 0)
	}
	if at >= a.end-a.skew {
		a.next = max(a.next-n, 0)
	}
	if at < a.start+a.skew && at >= a.start-a.span {
		a.prev = max(a.prev-n, 0)
	}
}

// worst is the largest sum that an entry at t would join, if nothing else is
// counted before t.
func (a *aligned) worst(t int64) int64 {
	prev, cur, next, start, end := a.prev, a.cur, a.next, a.start, a.end
	for range 3 {
		if t < end {
			break
		}
		prev, cur, next = cur, next, 0
		start, end = end, end+a.span
	}
	if t >= end {
		return 0
	}
	sum := cur
	if t >= end-a.skew {
		sum = max(sum, next)
	}
	if t < start+a.skew {
		sum = max(sum, prev)
	}
	return sum
}

// edges are the only times after t at which worst can fall.
func (a *aligned) edges() [5]int64 {
	return [5]int64{a.start + a.skew, a.end, a.end + a.skew, a.end + a.span, a.end + a.span + a.skew}
}
