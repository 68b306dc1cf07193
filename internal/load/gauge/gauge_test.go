package gauge

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// near reports whether got is want but for a relative error.
func near(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance*want }

func TestHistogram(t *testing.T) {
	h := NewHistogram()
	if h.Summary() != (Summary{}) || len(h.Curve()) != 0 {
		t.Errorf("empty: %+v", h.Summary())
	}
	for i := 1; i <= 1000; i++ {
		h.Observe(time.Duration(i) * time.Millisecond)
	}
	s := h.Summary()
	for _, v := range [][2]float64{{s.P50, 500}, {s.P90, 900}, {s.P95, 950}, {s.P99, 990}, {s.Max, 1000}, {s.Mean, 500.5}} {
		if !near(v[0], v[1], 0.001) {
			t.Errorf("%v, want %v", v[0], v[1])
		}
	}
	curve := h.Curve()
	if last, before := curve[len(curve)-1], curve[len(curve)-2]; last.Percent != 100 || !near(last.MS, 1000, 0.001) || before.Percent != 99.5 {
		t.Errorf("curve %v", curve)
	}
	h.Observe(-time.Second)
	h.Observe(1000 * time.Hour)
	if s := h.Summary(); s.Count != 1002 || s.Max < 7.2e6*0.999 || h.Quantile(0) > time.Microsecond {
		t.Errorf("out of range: %+v", s)
	}
	if h.Reset(); h.Count() != 0 {
		t.Error("not forgotten")
	}
}

func TestI1QuantilesAreClose(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(0, int64(2*time.Hour)), 1, 200).Draw(t, "values")
		exponent := rapid.Float64Range(0.3, 1).Draw(t, "exponent") // small values too
		h, s := NewHistogram(), new(Sketch)
		for i, v := range values {
			values[i] = int64(math.Pow(float64(v), exponent))
			h.Observe(time.Duration(values[i]))
			s.Observe(time.Duration(values[i]))
		}
		slices.Sort(values)
		percent := float64(rapid.IntRange(1, 100).Draw(t, "percent"))
		rank := max(int(math.Ceil(percent/100*float64(len(values)))), 1)
		want := float64(values[rank-1]) / 1e6
		if got := s.Quantile(percent); math.Abs(got-want) > 0.1*want+0.1 {
			t.Fatalf("the sketch says %v ms at %v %% of %d, want %v", got, percent, len(values), want)
		}
		got, below := float64(h.Quantile(percent))/1e6, float64(values[max(rank-2, 0)])/1e6 // its ranks are rounded
		if math.Abs(got-want) > 0.001*want+0.001 && math.Abs(got-below) > 0.001*below+0.001 {
			t.Fatalf("the histogram says %v ms at %v %% of %d, want %v", got, percent, len(values), want)
		}
		if s.Count() != int64(len(values)) {
			t.Fatal("some were not counted")
		}
	})
}

func TestEmptySketch(t *testing.T) {
	var s Sketch
	if s.Quantile(50) != 0 {
		t.Error("a quantile of nothing")
	}
	s.Observe(-time.Second)
	s.Observe(1000 * time.Hour)
	if low, high := s.Quantile(1), s.Quantile(100); low != 0 || !near(high, 7.2e6, 0.1) {
		t.Errorf("%v and %v", low, high)
	}
}

func TestI2EveryEventInOnePoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		begun := time.Unix(1_700_000_000, 0)
		s := NewSeries(begun, time.Second)
		now, started, answered, errors, tokens := begun, int64(0), int64(0), int64(0), int64(0)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "gap")) * time.Millisecond)
			if rapid.Bool().Draw(t, "start") {
				s.Start(now)
				started++
				continue
			}
			e := Ended{Answered: rapid.Bool().Draw(t, "answered"), Latency: time.Second, Wait: -1, Tokens: 3}
			e.Error = !e.Answered
			if s.End(now, e); e.Answered {
				answered++
				tokens += 3
			} else {
				errors++
			}
		}
		var sum Point
		for i, p := range s.Points(now) {
			if p.At != float64(i) {
				t.Fatalf("point %d is at %v", i, p.At)
			}
			sum.Started += p.Started
			sum.Answered += p.Answered
			sum.Errors += p.Errors
			sum.Tokens += p.Tokens
		}
		if want := (Point{Started: started, Answered: answered, Errors: errors, Tokens: tokens}); sum != want {
			t.Fatalf("the points hold %+v, want %+v", sum, want)
		}
	})
}

func TestSeries(t *testing.T) {
	begun := time.Unix(0, 0)
	s := NewSeries(begun, 2*time.Second)
	at := func(d time.Duration) time.Time { return begun.Add(d) }
	s.Start(at(0))
	s.Start(at(time.Second))
	s.End(at(5*time.Second), Ended{Answered: true, Latency: 5 * time.Second, Wait: 3 * time.Second, Tokens: 9})
	s.End(at(5*time.Second), Ended{Error: true, Wait: -1})
	got := s.Points(at(7 * time.Second))
	if len(got) != 4 || got[0] != (Point{Started: 2, InFlight: 2}) || got[1] != (Point{At: 2, InFlight: 2}) || got[3] != (Point{At: 6}) {
		t.Fatalf("%+v", got)
	}
	p := got[2]
	if !near(p.P50, 5000, 0.001) || !near(p.Wait, 3000, 0.001) || p.Answered != 1 || p.Errors != 1 || p.Tokens != 9 || p.InFlight != 2 {
		t.Errorf("%+v", p)
	}
	if last := s.Last(at(7 * time.Second)); last != p {
		t.Errorf("the last that is over: %+v", last)
	}
	if fresh := NewSeries(begun, time.Minute); fresh.Last(at(0)) != (Point{}) {
		t.Error("something happened in no time")
	}
	if s.Every() != 2*time.Second {
		t.Error("another interval")
	}
}

func TestI3SeriesIsBounded(t *testing.T) {
	s := NewSeries(time.Unix(0, 0), time.Millisecond)
	s.Start(time.Unix(5, 0))
	s.Start(time.Unix(6, 0))
	points := s.Points(time.Unix(7, 0))
	if len(points) != maxPoints || points[maxPoints-1].Started != 2 {
		t.Errorf("%d points, the last with %+v", len(points), points[len(points)-1])
	}
}
