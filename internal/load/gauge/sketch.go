package gauge

import (
	"math"
	"time"
)

// The buckets of a Sketch: powers of 2^(1/4), from a tenth of a millisecond.
const (
	perOctave = 4
	octaves   = 27 // up to 3.7 h
	smallest  = 100 * time.Microsecond
)

// Sketch is a coarse distribution of durations in 440 bytes. The zero value is
// empty.
type Sketch struct {
	buckets [perOctave*octaves + 1]uint32
	count   int64
}

// Observe counts a duration.
func (s *Sketch) Observe(d time.Duration) {
	s.buckets[bucket(d)]++
	s.count++
}

func bucket(d time.Duration) int {
	if d < smallest {
		return 0
	}
	i := 1 + int(perOctave*math.Log2(float64(min(d, longest))/float64(smallest)))
	return min(i, perOctave*octaves)
}

// Count is how many were observed.
func (s *Sketch) Count() int64 { return s.count }

// Quantile is the value, in milliseconds, that a percentage, 0..100, of all do
// not exceed; 0 for none.
func (s *Sketch) Quantile(percent float64) float64 {
	if s.count == 0 {
		return 0
	}
	rank := max(int64(math.Ceil(percent/100*float64(s.count))), 1)
	for i, n := range s.buckets {
		if rank -= int64(n); rank <= 0 {
			return middle(i)
		}
	}
	return middle(perOctave * octaves)
}

// middle is what a bucket is shown as, in milliseconds: the geometric mean of
// its edges.
func middle(i int) float64 {
	if i == 0 {
		return 0
	}
	return math.Exp2((float64(i)-0.5)/perOctave) * float64(smallest) / float64(time.Millisecond)
}
