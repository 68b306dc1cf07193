package estimate

import "math"

const (
	buckets  = 128
	halfLife = 50   // samples after which a sample counts half
	renorm   = 1e12 // weight at which all are scaled back
)

// growth makes each sample weigh more than the one before, which is decay
// without touching the old ones.
var growth = math.Exp2(1.0 / halfLife)

// histogram is a decayed distribution of positive values over logarithmic
// buckets. Its memory is fixed and adding to it is O(1).
type histogram struct {
	weight   [buckets]float64
	low      [buckets]float32 // least value in the bucket
	high     [buckets]float32 // greatest value in the bucket
	next     float64          // weight of the next sample; 0 before the first
	total    float64
	samples  int64
	cached   bool
	p50, p90 float64
}

// scale maps values to buckets: perOctave buckets for each doubling, from 2^from.
type scale struct {
	from      float64
	perOctave float64
}

// The scales. Each covers 128/perOctave doublings.
var (
	factorScale = scale{from: -8, perOctave: 8}  // 1/256 .. 256
	tokenScale  = scale{from: 0, perOctave: 5}   // 1 .. 50 M tokens
	timeScale   = scale{from: -10, perOctave: 5} // 1 ms .. 13 h, in seconds
)

func (s scale) bucket(v float64) int {
	if !(v > 0) {
		return 0
	}
	i := int(min((math.Log2(v)-s.from)*s.perOctave, buckets))
	return min(max(i, 0), buckets-1)
}

// add books a value that is finite and not negative.
func (h *histogram) add(s scale, v float64) {
	if h.next == 0 {
		h.next = 1
	}
	i, f := s.bucket(v), float32(v)
	if h.weight[i] == 0 {
		h.low[i], h.high[i] = f, f
	}
	h.low[i], h.high[i] = min(h.low[i], f), max(h.high[i], f)
	h.weight[i] += h.next
	h.total += h.next
	h.samples++
	h.cached = false
	if h.next *= growth; h.next > renorm {
		h.rescale()
	}
}

func (h *histogram) rescale() {
	for i := range h.weight {
		h.weight[i] /= h.next
		if h.weight[i] < 1/renorm {
			h.weight[i] = 0 // and with it the bucket's extremes
		}
	}
	h.total /= h.next
	h.next = 1
}

// quantiles returns the median and the 90th percentile; zeros while empty.
func (h *histogram) quantiles() (p50, p90 float64) {
	if h.cached || h.samples == 0 {
		return h.p50, h.p90
	}
	// Half a sample is added above, for the next value is as likely to lie
	// beyond the greatest of n as between any two of them.
	half, most := 0.5*h.total, min(0.9*h.total+0.45*h.next/growth, h.total)
	sum, i := 0.0, 0
	h.p50, sum, i = h.reach(half, sum, i)
	h.p90, _, _ = h.reach(most, sum, i)
	h.p90 = max(h.p90, h.p50)
	h.cached = true
	return h.p50, h.p90
}

// reach walks on from bucket i, below which lies the weight sum, to where the
// weight reaches target. It returns the value there, and where it stopped.
func (h *histogram) reach(target, sum float64, i int) (float64, float64, int) {
	last := i
	for ; i < buckets; i++ {
		w := h.weight[i]
		if w == 0 {
			continue
		}
		if sum+w >= target {
			return h.inside(i, (target-sum)/w), sum, i
		}
		sum += w
		last = i
	}
	return float64(h.high[last]), sum, last // rounding kept sum below target
}

// inside is the value at a share of the weight of a bucket.
func (h *histogram) inside(i int, share float64) float64 {
	low, high := float64(h.low[i]), float64(h.high[i])
	return low + (high-low)*min(max(share, 0), 1)
}
