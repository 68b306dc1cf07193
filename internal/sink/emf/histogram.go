package emf

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// Bounds of a histogram: 8 steps for each doubling, so that a percentile is exact
// to 1/8, from 1 ms up to 18 hours.
const (
	stepBits = 3
	steps    = 1 << stepBits
	slots    = steps * 24
)

// histogram counts waits. It may be used by many goroutines at once.
type histogram struct {
	counts  [slots]atomic.Int64
	longest atomic.Int64 // nanoseconds
}

func (h *histogram) observe(d time.Duration) {
	h.counts[slotOf(d)].Add(1)
	for {
		old := h.longest.Load()
		if int64(d) <= old || h.longest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// slotOf is the slot of a wait: by whole milliseconds up to 8, then by its three
// leading bits after the first.
func slotOf(d time.Duration) int {
	n := uint64(max(d, 0) / time.Millisecond)
	if n < steps {
		return int(n)
	}
	shift := bits.Len64(n) - 1 - stepBits
	return min(shift*steps+int(n>>shift), slots-1)
}

// upper is the end of a slot, in milliseconds.
func upper(slot int) float64 {
	if slot < steps {
		return float64(slot)
	}
	shift := slot/steps - 1
	return float64(uint64(slot%steps+steps+1)<<shift) - 1
}

// summary is what a histogram held, in milliseconds.
type summary struct {
	count         int64
	p50, p95, max float64
}

// take empties the histogram and tells what it held.
func (h *histogram) take() summary {
	var counts [slots]int64
	var s summary
	for i := range h.counts {
		counts[i] = h.counts[i].Swap(0)
		s.count += counts[i]
	}
	s.max = float64(h.longest.Swap(0)) / 1e6
	s.p50, s.p95 = quantile(&counts, s.count, 0.5), quantile(&counts, s.count, 0.95)
	s.p50, s.p95 = min(s.p50, s.max), min(s.p95, s.max)
	return s
}

func quantile(counts *[slots]int64, total int64, q float64) float64 {
	rank := int64(math.Ceil(q * float64(total)))
	for i, n := range counts {
		if rank -= n; rank <= 0 {
			return upper(i)
		}
	}
	return 0
}
