package sim

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The references below do the same by the book: they keep every charge for
// ever and compute with fractions.

type charge struct{ at, cost int64 }

type reference interface {
	fits(charges []charge, now, cost int64) bool
}

type refSliding struct{ limit, span int64 }

func (r refSliding) fits(charges []charge, now, cost int64) bool {
	sum := cost
	for _, c := range charges {
		if c.at > now-r.span {
			sum += c.cost
		}
	}
	return sum <= r.limit
}

// refBucket replays the level of a bucket, in tokens.
type refBucket struct{ limit, span, burst int64 }

func (r refBucket) fits(charges []charge, now, cost int64) bool {
	rate := big.NewRat(r.limit, r.span)
	capacity := new(big.Rat).Mul(rate, new(big.Rat).SetInt64(r.burst))
	if capacity.Cmp(big.NewRat(1, 1)) < 0 {
		// At least one fits: the time for it, in whole nanoseconds.
		capacity.Mul(rate, new(big.Rat).SetInt64(ceilDiv(r.span, r.limit)))
	}
	level, last := new(big.Rat).Set(capacity), int64(0)
	advance := func(to int64) {
		level.Add(level, new(big.Rat).Mul(rate, new(big.Rat).SetInt64(to-last)))
		if level.Cmp(capacity) > 0 {
			level.Set(capacity)
		}
		last = to
	}
	for _, c := range charges {
		advance(c.at)
		level.Sub(level, new(big.Rat).SetInt64(c.cost))
	}
	advance(now)
	want := new(big.Rat).SetInt64(cost)
	if want.Cmp(capacity) > 0 {
		return level.Cmp(capacity) == 0
	}
	return level.Cmp(want) >= 0
}

// refAligned walks the periods one by one.
type refAligned struct {
	quota, period, origin int64
	carry                 bool
}

func (r refAligned) fits(charges []charge, now, cost int64) bool {
	index := func(at int64) int64 { return (r.origin + at) / r.period }
	used, period := int64(0), index(0)
	advance := func(to int64) {
		for ; period < to; period++ {
			if r.carry {
				used = max(0, used-r.quota)
			} else {
				used = 0
			}
		}
	}
	for _, c := range charges {
		advance(index(c.at))
		used += c.cost
	}
	advance(index(now))
	return used+cost <= r.quota || r.carry && used == 0
}

type both []reference

func (b both) fits(charges []charge, now, cost int64) bool {
	for _, r := range b {
		if !r.fits(charges, now, cost) {
			return false
		}
	}
	return true
}

func drawWindow(t *rapid.T) (*limit, reference) {
	n := rapid.Int64Range(7, 300).Draw(t, "limit")
	origin := rapid.Int64Range(0, int64(time.Hour)).Draw(t, "origin")
	span := int64(time.Minute)
	s := Shape{
		Kind:  rapid.SampledFrom(Windows()).Draw(t, "kind"),
		Burst: time.Duration(rapid.Int64Range(1, int64(20*time.Second)).Draw(t, "burst")),
		Slice: rapid.SampledFrom([]time.Duration{10 * time.Second, 20 * time.Second, time.Minute}).Draw(t, "slice"),
	}
	l := &limit{
		dim: dimTokens, configured: n, current: n, span: time.Minute, shape: s,
		windows: newWindows(s, n, time.Minute, origin), admitted: ledger{span: span},
	}
	bucket := refBucket{limit: n, span: span, burst: int64(s.Burst)}
	switch s.Kind {
	case WindowSliding:
		return l, refSliding{limit: n, span: span}
	case WindowFixed:
		return l, refAligned{quota: n, period: span, origin: origin}
	case WindowSlice:
		quota := max(1, n*int64(s.Slice)/span)
		return l, refAligned{quota: quota, period: int64(s.Slice), origin: origin, carry: s.Slice < time.Minute}
	case WindowPaced:
		return l, both{refSliding{limit: n, span: span}, bucket}
	}
	return l, bucket
}

func TestI1WindowsMatchTheReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l, ref := drawWindow(t)
		var charges []charge
		now := int64(0)
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			cost := rapid.Int64Range(1, l.current).Draw(t, "cost")
			d := l.refuse(now, cost)
			if got, want := d == nil, ref.fits(charges, now, cost); got != want {
				t.Fatalf("at %d cost %d after %v: fits %v, want %v", now, cost, charges, got, want)
			}
			if d == nil {
				l.charge(now, cost, true)
				charges = append(charges, charge{now, cost})
			} else {
				tight(t, ref, charges, charge{now, cost}, int64(d.wait))
			}
			if rapid.IntRange(0, 3).Draw(t, "forced") == 0 { // output counted as it comes
				extra := rapid.Int64Range(1, l.current).Draw(t, "extra")
				l.charge(now, extra, true)
				charges = append(charges, charge{now, extra})
			}
			free := l.remaining(now)
			if free > 0 && !ref.fits(charges, now, free) {
				t.Fatalf("remaining says %d at %d after %v, and it does not fit", free, now, charges)
			}
			if d != nil && rapid.Bool().Draw(t, "wait") {
				now += int64(d.wait)
				continue
			}
			now += rapid.Int64Range(0, int64(15*time.Second)).Draw(t, "gap")
		}
	})
}

// tight checks that a wait is the shortest.
func tight(t *rapid.T, ref reference, charges []charge, next charge, wait int64) {
	now, cost := next.at, next.cost
	if !ref.fits(charges, now+wait, cost) {
		t.Fatalf("at %d cost %d after %v: told to wait %d, and it still does not fit", now, cost, charges, wait)
	}
	if ref.fits(charges, now+wait-1, cost) {
		t.Fatalf("at %d cost %d after %v: told to wait %d, and it fitted before", now, cost, charges, wait)
	}
}

// TestI1WorstSpan: the statistics find the largest sum in any span.
func TestI1WorstSpan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l, _ := drawWindow(t)
		var charges []charge
		now, want := int64(0), int64(0)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			now += rapid.Int64Range(0, int64(40*time.Second)).Draw(t, "gap")
			c := charge{now, rapid.Int64Range(1, 50).Draw(t, "cost")}
			charges = append(charges, c)
			l.charge(c.at, c.cost, true)
			sum := int64(0)
			for _, other := range charges {
				if other.at > now-int64(time.Minute) {
					sum += other.cost
				}
			}
			want = max(want, sum)
		}
		if l.worst != want {
			t.Fatalf("worst %d, want %d", l.worst, want)
		}
	})
}

// TestBucketAdmitsAtTheNanosecond: a caller who waits exactly as told is let
// in, whatever the rate.
func TestBucketAdmitsAtTheNanosecond(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{7, 60, 601, 1_800_000, 999_983} {
		b := newBucket(n, int64(time.Minute), int64(6*time.Second))
		now, cost := int64(0), max(1, n/50)
		for range 1000 {
			wait := b.wait(now, cost)
			if wait > 0 && b.wait(now+wait-1, cost) == 0 {
				t.Fatalf("limit %d: %d ns too long", n, wait)
			}
			now += wait
			if b.wait(now, cost) != 0 {
				t.Fatalf("limit %d: %d ns was not enough", n, wait)
			}
			b.add(now, cost)
		}
		if allowed := int64(mulDiv(now+b.burst, n, int64(time.Minute))); 1000*cost > allowed {
			t.Errorf("limit %d: admitted %d in %d ns, at most %d is right", n, 1000*cost, now, allowed)
		}
	}
}

func TestRescaleKeepsTheCharge(t *testing.T) {
	t.Parallel()
	for _, kind := range Windows() {
		s := Shape{Kind: kind, Burst: time.Minute, Slice: time.Minute}
		l := &limit{current: 600, windows: newWindows(s, 600, time.Minute, 0), admitted: ledger{span: int64(time.Minute)}}
		l.charge(1, 200, true)
		l.current = 300
		for _, w := range l.windows {
			w.rescale(1, 300)
		}
		if free := l.remaining(1); free != 100 {
			t.Errorf("%s: %d free after the limit fell from 600 to 300 with 200 used, want 100", kind, free)
		}
	}
}
