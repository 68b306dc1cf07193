package gauge

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the longest duration that is told apart.
const longest = 2 * time.Hour

// Histogram is a distribution of durations. Use NewHistogram.
type Histogram struct{ h *hdrhistogram.Histogram }

// NewHistogram returns an empty one; it takes 200 KB.
func NewHistogram() *Histogram {
	return &Histogram{hdrhistogram.New(1, longest.Microseconds(), 3)}
}

// Observe counts a duration.
func (h *Histogram) Observe(d time.Duration) {
	_ = h.h.RecordValue(min(max(d.Microseconds(), 0), h.h.HighestTrackableValue())) // within its range: it cannot fail
}

// Count is how many were observed.
func (h *Histogram) Count() int64 { return h.h.TotalCount() }

// Reset forgets all.
func (h *Histogram) Reset() { h.h.Reset() }

// Quantile is the value that a percentage, 0..100, of all do not exceed; 0 for none.
func (h *Histogram) Quantile(percent float64) time.Duration {
	return time.Duration(h.h.ValueAtQuantile(percent)) * time.Microsecond
}

func (h *Histogram) ms(percent float64) float64 { return float64(h.h.ValueAtQuantile(percent)) / 1000 }

// Summary is a distribution of durations, in milliseconds.
type Summary struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// Summary sums up; it is zero where nothing was observed.
func (h *Histogram) Summary() Summary {
	if h.Count() == 0 {
		return Summary{}
	}
	return Summary{
		Count: h.Count(), Mean: h.h.Mean() / 1000,
		P50: h.ms(50), P90: h.ms(90), P95: h.ms(95), P99: h.ms(99), Max: float64(h.h.Max()) / 1000,
	}
}

// Quantile is one point of a distribution.
type Quantile struct {
	Percent float64 `json:"percent"`
	MS      float64 `json:"ms"`
}

// Curve is the distribution at growing percentages, closer together towards 100;
// nothing where nothing was observed. It ends where single values begin.
func (h *Histogram) Curve() []Quantile {
	var curve []Quantile
	for _, percent := range [...]float64{0, 5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 97.5, 98, 99, 99.5, 99.9, 99.95, 99.99, 99.999} {
		if float64(h.Count())*(100-percent) < 100 {
			break
		}
		curve = append(curve, Quantile{percent, h.ms(percent)})
	}
	if len(curve) > 0 {
		curve = append(curve, Quantile{100, float64(h.h.Max()) / 1000})
	}
	return curve
}
