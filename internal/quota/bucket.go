package quota

import "math/bits"

const (
	second = int64(1e9)

	// maxPeaks is enough for levels from 0 to full that differ by a thirty-second
	// of the provider's bucket.
	peakSteps = 32
	maxPeaks  = peakSteps + 2

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

	// peaks are levels that it stood at just before it was spent from, had nothing
	// been spent that was given back since: only those that no later one exceeds,
	// oldest and highest first.
	peaks  [maxPeaks]peak
	npeaks int
}

type peak struct{ at, level int64 }

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
		b.saw(peak{b.at, b.units + 1}) // what is below one unit counts as one
	}
	b.units = max(b.units-n, -b.deepest)
}

// saw adds a peak. Levels that hardly differ become one: the later and higher.
func (b *bucket) saw(p peak) {
	p.level = min(max(p.level, 0), b.provider)
	for b.npeaks > 0 {
		last := b.peaks[b.npeaks-1]
		if last.level-p.level > b.provider/peakSteps && b.npeaks < maxPeaks {
			break
		}
		p.level = max(p.level, last.level)
		b.npeaks--
	}
	b.peaks[b.npeaks] = p
	b.npeaks++
}

// refund gives back n that was spent at since. Had it never been spent, the
// level could not have stood above clamp when it was next spent from: what the
// provider's bucket could not hold in the meantime is lost to it, and so to us.
func (b *bucket) refund(n, since, clamp, top int64) {
	if b.provider > 0 {
		n = min(n, max(min(b.provider, clamp)-b.peak(since), 0))
		b.lift(since, n)
	}
	b.units = max(b.units, min(b.units+n, top))
}

// peak bounds from above how high the level stood whenever it was spent from
// after since; far below zero when it was not.
func (b *bucket) peak(since int64) int64 {
	for _, p := range b.peaks[:b.npeaks] {
		if p.at > since {
			return p.level
		}
	}
	return -maxSum
}

// lift raises the peaks after since by n, which turned out not to be spent.
func (b *bucket) lift(since, n int64) {
	old, count := b.peaks, b.npeaks
	b.npeaks = 0
	for _, p := range old[:count] {
		if p.at > since {
			p.level += n
		}
		b.saw(p)
	}
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
	known := b.provider > 0
	b.provider = provider
	if !known {
		b.saw(peak{b.at, provider}) // nothing is known of before
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
