package sim

import (
	"math"
	"math/bits"
	"time"
)

// Every time in this file is a count of nanoseconds since the provider was
// made, read from the monotonic clock.

// A window decides how much of one limit is free at a moment. It is exact: no
// slots, no rounding in the caller's favor or against it.
type window interface {
	// wait is how long until cost fits; 0 when it fits now.
	wait(now, cost int64) int64
	// add charges cost whether or not it fits.
	add(now, cost int64)
	// remaining is the largest cost that fits now; it may be negative in debt.
	remaining(now int64) int64
	// reset is how long until nothing charged so far weighs any more.
	reset(now int64) int64
	// rescale changes the limit; what was charged stays charged.
	rescale(now, limit int64)
}

// bucket refills at limit/span and holds what refills in burst. Its state is
// the time at which it will be full, as an exact fraction full + rem/limit.
// A cost above the capacity fits only a full bucket, which then is in debt.
type bucket struct {
	limit, span int64
	wanted      int64 // capacity as configured, as the time to refill it
	burst       int64 // the same, but at least one
	full, rem   int64
}

func newBucket(limit, span, burst int64) *bucket {
	return &bucket{limit: limit, span: span, wanted: burst, burst: max(burst, ceilDiv(span, limit))}
}

func (b *bucket) wait(now, cost int64) int64 {
	debt, rem := b.debt(now)
	ns, part := b.drain(cost)
	if ns > b.burst || ns == b.burst && part > 0 {
		return ceilPart(debt, rem)
	}
	debt, rem = b.sum(debt, rem, ns, part)
	return max(0, ceilPart(debt, rem)-b.burst)
}

func (b *bucket) add(now, cost int64) {
	debt, rem := b.debt(now)
	ns, part := b.drain(cost)
	debt, rem = b.sum(debt, rem, ns, part)
	b.full, b.rem = now+debt, rem
}

func (b *bucket) remaining(now int64) int64 {
	debt, rem := b.debt(now)
	free := b.burst - ceilPart(debt, rem)
	if free < 0 {
		return -int64(mulDiv(-free, b.limit, b.span))
	}
	return int64(mulDiv(free, b.limit, b.span))
}

func (b *bucket) reset(now int64) int64 {
	return ceilPart(b.debt(now))
}

func (b *bucket) rescale(now, limit int64) {
	debt, rem := b.debt(now)
	b.full, b.rem = now+int64(mulDiv(ceilPart(debt, rem), b.limit, limit)), 0
	b.limit, b.burst = limit, max(b.wanted, ceilDiv(b.span, limit))
}

func (b *bucket) debt(now int64) (ns, rem int64) {
	if b.full < now {
		return 0, 0
	}
	return b.full - now, b.rem
}

// maxDrain keeps sums of times within an int64; it is about 70 years.
const maxDrain = math.MaxInt64 / 4

// drain is the time in which cost refills, as ns + part/limit.
func (b *bucket) drain(cost int64) (ns, part int64) {
	hi, lo := bits.Mul64(uint64(cost), uint64(b.span))
	if hi >= uint64(b.limit) {
		return maxDrain, 0
	}
	q, r := bits.Div64(hi, lo, uint64(b.limit))
	if q > maxDrain {
		return maxDrain, 0
	}
	return int64(q), int64(r)
}

func (b *bucket) sum(ns, rem, ns2, rem2 int64) (total, part int64) {
	total, part = ns+ns2, rem+rem2
	if part >= b.limit {
		return total + 1, part - b.limit
	}
	return total, part
}

// sliding allows limit in any span: a charge at t weighs in [t, t+span).
type sliding struct {
	limit int64
	log   ledger
}

func (s *sliding) wait(now, cost int64) int64 {
	s.log.expire(now)
	return s.log.until(now, s.limit-cost)
}

func (s *sliding) add(now, cost int64) { s.log.add(now, cost) }

func (s *sliding) remaining(now int64) int64 {
	s.log.expire(now)
	return s.limit - s.log.sum()
}

func (s *sliding) reset(now int64) int64 {
	s.log.expire(now)
	return s.log.until(now, 0)
}

func (s *sliding) rescale(_, limit int64) { s.limit = limit }

// aligned allows quota in each period of the wall clock. With carry, what was
// charged above the quota weighs on the following periods and a cost above the
// quota fits an untouched period; without, each period starts at nothing.
type aligned struct {
	limit, span   int64 // as configured, before it was cut into periods
	quota, period int64
	origin        int64 // wall clock at time 0
	carry         bool
	index, used   int64
}

func newAligned(limit int64, span, period, origin int64) *aligned {
	a := &aligned{span: span, period: period, origin: origin, carry: period < span}
	a.rescale(0, limit)
	return a
}

func (a *aligned) wait(now, cost int64) int64 {
	a.roll(now)
	if a.used+cost <= a.quota || a.carry && a.used == 0 {
		return 0
	}
	periods := int64(1)
	if a.carry {
		periods = max(1, ceilDiv(a.used+min(cost, a.quota)-a.quota, a.quota))
	}
	return (a.index+periods)*a.period - (a.origin + now)
}

func (a *aligned) add(now, cost int64) {
	a.roll(now)
	a.used += cost
}

func (a *aligned) remaining(now int64) int64 {
	a.roll(now)
	return a.quota - a.used
}

func (a *aligned) reset(now int64) int64 {
	a.roll(now)
	if a.used == 0 {
		return 0
	}
	periods := int64(1)
	if a.carry {
		periods = ceilDiv(a.used, a.quota)
	}
	return (a.index+periods)*a.period - (a.origin + now)
}

func (a *aligned) rescale(_, limit int64) {
	a.limit, a.quota = limit, max(1, int64(mulDiv(limit, a.period, a.span)))
}

func (a *aligned) roll(now int64) {
	index := (a.origin + now) / a.period
	switch {
	case index == a.index:
	case a.carry && index-a.index < a.used/a.quota+1:
		a.used -= a.quota * (index - a.index)
	default:
		a.used = 0
	}
	a.index = index
}

// ledger is the log of charges of the last span, with running totals so that
// sums and search cost no walk. It is a ring that grows and never shrinks.
type ledger struct {
	span  int64
	ring  []entry // len is a power of two or 0
	head  int     // index of the oldest entry
	count int
	gone  int64 // total of all that has left
	total int64 // total of all that ever came
}

type entry struct {
	at    int64
	total int64 // of the log up to and with this entry
}

func (l *ledger) add(now, cost int64) {
	l.expire(now)
	l.total += cost
	if l.count > 0 && l.at(l.count-1).at == now {
		l.at(l.count - 1).total = l.total
		return
	}
	if l.count == len(l.ring) {
		l.grow()
	}
	l.count++
	*l.at(l.count - 1) = entry{at: now, total: l.total}
}

func (l *ledger) at(i int) *entry { return &l.ring[(l.head+i)&(len(l.ring)-1)] }

func (l *ledger) grow() {
	bigger := make([]entry, max(64, 2*len(l.ring)))
	for i := range l.count {
		bigger[i] = *l.at(i)
	}
	l.ring, l.head = bigger, 0
}

func (l *ledger) expire(now int64) {
	for l.count > 0 && l.at(0).at <= now-l.span {
		l.gone = l.at(0).total
		l.head = (l.head + 1) & (len(l.ring) - 1)
		l.count--
	}
}

func (l *ledger) sum() int64 { return l.total - l.gone }

// until is how long until the sum is at most room.
func (l *ledger) until(now, room int64) int64 {
	if l.sum() <= room {
		return 0
	}
	low, high := 0, l.count-1
	for low < high {
		mid := (low + high) / 2
		if l.total-l.at(mid).total <= room {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return l.at(low).at + l.span - now
}

func ceilDiv(a, b int64) int64 {
	if a <= 0 {
		return 0
	}
	return (a-1)/b + 1
}

func ceilPart(ns, rem int64) int64 {
	if rem > 0 {
		return ns + 1
	}
	return ns
}

// mulDiv is a*b/c, rounded down, without overflow between; it saturates.
func mulDiv(a, b, c int64) uint64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi >= uint64(c) {
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, uint64(c))
	return min(q, math.MaxInt64)
}

// newWindows builds what enforces one limit. The shape has been validated.
func newWindows(s Shape, limit int64, span time.Duration, origin int64) []window {
	switch s.Kind {
	case WindowSliding:
		return []window{newSliding(limit, int64(span))}
	case WindowFixed:
		return []window{newAligned(limit, int64(span), int64(span), origin)}
	case WindowSlice:
		return []window{newAligned(limit, int64(span), int64(s.Slice), origin)}
	case WindowPaced:
		return []window{newSliding(limit, int64(span)), newBucket(limit, int64(span), int64(s.Burst))}
	case WindowBucket:
	}
	return []window{newBucket(limit, int64(span), int64(s.Burst))}
}

func newSliding(limit, span int64) *sliding {
	return &sliding{limit: limit, log: ledger{span: span}}
}
