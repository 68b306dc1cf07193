package quota

import "math/bits"

const (
	peakSteps = 32
	second    = int64(1e9)

	// maxDebt is in times the limit. One absurd report must not close an
	// upstream for good.
	maxDebt = 64
)

// bucket is a token bucket in whole units with an exact remainder. It may be
// in debt. How far it rises is learned.
type bucket struct {
	units int64
	frac  int64 // refill below one unit, in 1/span of a unit
	at    int64 // the time units stands for

	deepest  int64 // how far it may go into debt
	size     int64 // how far it may rise; learned
	roof     int64 // how far size may be learned
	provider int64 // what the provider's bucket holds; 0 when unknown
	heard    bool  // a header has told provider
	cautious bool  // a 429 has cut the size: grow slowly from now on
	full     bool  // it has been full since the size last changed
	probe    int64 // when the whole size was last spent; 0 when not

	// peaks[i] is when the level last stood in the i-th part of the provider's
	// bucket just before it was spent from.
	peaks [peakSteps]int64
}

// refill raises the level to what it is at t, at rate units per span, not
// above top.
func (b *bucket) refill(t, rate, span, top int64) {
	dt := t - b.at
	b.at = t
	if b.units < top && dt > 0 {
		b.pour(dt, rate, span, top)
	}
	if b.units >= top {
		b.frac = 0
	}
	if b.units >= b.size {
		b.full = true
	}
}

func (b *bucket) pour(dt, rate, span, top int64) {
	hi, lo := bits.Mul64(uint64(dt), uint64(rate))
	lo, carry := bits.Add64(lo, uint64(b.frac), 0)
	hi += carry
	room := uint64(top - b.units)
	if hi >= uint64(span) {
		b.units, b.frac = top, 0
		return
	}
	n, rest := bits.Div64(hi, lo, uint64(span))
	if n >= room {
		b.units, b.frac = top, 0
		return
	}
	b.units += int64(n)
	b.frac = int64(rest)
}

// reaches returns when the level is want, if nothing is spent.
func (b *bucket) reaches(want, rate, span int64) int64 {
	if want <= b.units {
		return b.at
	}
	hi, lo := bits.Mul64(uint64(want-b.units), uint64(span))
	lo, borrow := bits.Sub64(lo, uint64(b.frac), 0)
	hi -= borrow
	lo, carry := bits.Add64(lo, uint64(rate-1), 0) // round up
	hi += carry
	if hi >= uint64(rate) {
		return far
	}
	dt, _ := bits.Div64(hi, lo, uint64(rate))
	return b.at + int64(min(dt, uint64(far-b.at)))
}

// spend takes n. Before that it drops what stands above clamp: the part that
// the provider, who counts later, may not have refilled.
func (b *bucket) spend(n, clamp int64) {
	if b.units >= clamp {
		n += b.units - clamp
		b.frac = 0
	}
	b.lower(n)
	if b.full && b.units <= b.size/4 {
		b.full, b.probe = false, b.at
	}
}

func (b *bucket) lower(n int64) {
	if b.provider > 0 {
		b.peaks[b.step()] = b.at
	}
	b.units = max(b.units-n, -b.deepest)
}

// refund gives back n that was spent at since. Had it never been spent, the
// level could not have stood above clamp when it was next spent from: what the
// provider's bucket could not hold in the meantime is lost to it, and so to us.
func (b *bucket) refund(n, since, clamp, top int64) {
	if b.provider > 0 {
		n = min(n, max(min(b.provider, clamp)-b.peak(since), 0))
	}
	b.units = max(b.units, min(b.units+n, top))
}

// peak bounds from above how high the level stood whenever it was spent from
// after since; far below zero when it was not.
func (b *bucket) peak(since int64) int64 {
	for i := peakSteps - 1; i >= 0; i-- {
		if b.peaks[i] > since {
			return mulDiv(int64(i)+1, b.provider, peakSteps)
		}
	}
	return -maxSum
}

func (b *bucket) step() int {
	if b.units <= 0 {
		return 0
	}
	return int(min(mulDiv(b.units, peakSteps, b.provider), peakSteps-1))
}

// grow doubles the size after a round in which the whole of it was spent and
// answered; after a first 429 it grows by an eighth.
func (b *bucket) grow() {
	add := b.size
	if b.cautious {
		add = b.size / 8
	}
	b.resize(min(b.size+max(add, 1), max(b.roof, b.size)))
}

func (b *bucket) resize(size int64) {
	b.size, b.full, b.probe = size, false, 0
	b.units = min(b.units, size)
}

// learn takes what an answer told of the provider's bucket.
func (b *bucket) learn(provider, roof int64) {
	if provider != b.provider {
		b.provider = provider
		b.peaks = [peakSteps]int64{peakSteps - 1: b.at} // old peaks are in other steps
	}
	b.roof = roof
	size := roof
	if b.cautious {
		size = min(b.size, roof)
	}
	if size != b.size {
		// What was spent of a larger burst is missing from the part that is now
		// kept in hand.
		b.lower(max(b.size-size, 0))
		b.resize(size)
	}
}
