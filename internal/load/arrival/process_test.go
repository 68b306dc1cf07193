package arrival

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func profile(t *testing.T, stages string) Profile {
	t.Helper()
	parsed, err := ParseStages(stages, func(s string) (float64, error) { return strconv.ParseFloat(s, 64) })
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewProfile(parsed)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// count is how many arrivals come before a time, on average over the seeds.
func count(p Profile, cv float64, until time.Duration, seeds int) float64 {
	n := 0
	for seed := range seeds {
		process := NewProcess(p, cv, uint64(seed))
		for at, ok := process.Next(); ok && at < until; at, ok = process.Next() {
			n++
		}
	}
	return float64(n) / float64(seeds)
}

func TestI1MeanIsTheArea(t *testing.T) {
	for _, c := range []struct {
		name, stages string
		until        time.Duration
		want         float64
	}{
		{"constant", "0s:50", 20 * time.Second, 1000},
		{"a ramp", "20s:100", 20 * time.Second, 1000},
		{"half a ramp", "20s:100", 10 * time.Second, 250},
		{"up, stay and down", "10s:50,10s:50,10s:0", time.Minute, 1000},
		{"steps", "0s:10,10s:10,0s:90,10s:90", 20 * time.Second, 1000},
		{"behind the end", "10s:100", 15 * time.Second, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := profile(t, c.stages)
			if got := p.Area(c.until); math.Abs(got-c.want) > 1e-6 {
				t.Errorf("the area is %v, want %v", got, c.want)
			}
			for _, cv := range []float64{0.3, 1, 3} {
				// The count of a renewal process spreads as cv * sqrt(mean); a gamma
				// process begins with a whole gap, which costs (cv^2 - 1) / 2 arrivals.
				const seeds = 400
				want := c.want + (cv*cv-1)/2
				spread := cv * math.Sqrt(c.want/seeds)
				if got := count(p, cv, c.until, seeds); math.Abs(got-want) > 4*spread+1 {
					t.Errorf("cv %v: %v arrivals, want %v +- %v", cv, got, want, 4*spread)
				}
			}
		})
	}
}

func TestI2GapsHaveTheirSpread(t *testing.T) {
	for _, cv := range []float64{0.1, 0.5, 1, 2, 4} {
		process := NewProcess(Constant(20), cv, 7)
		rows := make([]Row, 200_000)
		for i := range rows {
			at, ok := process.Next()
			if !ok {
				t.Fatal("it ended")
			}
			rows[i].At = at
		}
		mean, spread := gapsOf(rows)
		if math.Abs(mean*20-1) > 0.03 || math.Abs(spread/cv-1) > 0.05 {
			t.Errorf("cv %v: mean gap %v s, want 0.05; spread %v", cv, mean, spread)
		}
	}
}

func drawnProfile(t *rapid.T) Profile {
	stages := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Stage {
		return Stage{
			Over: time.Duration(rapid.IntRange(0, 60_000).Draw(t, "over")) * time.Millisecond,
			To:   float64(rapid.IntRange(0, 200).Draw(t, "to")),
		}
	}), 1, 8).Draw(t, "stages")
	p, err := NewProfile(stages)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestI3WhenIsTheInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawnProfile(t)
		at := time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(t, "at"))
		back, ok := p.When(p.Area(at))
		if !ok && p.last > 0 {
			t.Fatalf("the area up to %v is never reached", at)
		}
		if p.At(at) > 1 && p.At(max(at-time.Millisecond, 0)) > 1 && (back-at).Abs() > 10*time.Microsecond {
			t.Fatalf("When(Area(%v)) = %v", at, back)
		}
		if later, ok := p.When(p.Area(at) + 5); ok && math.Abs(p.Area(later)-p.Area(at)-5) > 0.01 {
			t.Fatalf("five arrivals after %v end at %v, with an area of %v", at, later, p.Area(later)-p.Area(at))
		}
	})
}

func TestAbove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawnProfile(t)
		level := float64(rapid.IntRange(0, 200).Draw(t, "level"))
		from := time.Duration(rapid.Int64Range(0, int64(5*time.Minute)).Draw(t, "from"))
		at, ok := p.Above(level, from)
		if ok && (at < from || p.At(at) <= level-1e-6) {
			t.Fatalf("Above(%v, %v) = %v, where it is %v", level, from, at, p.At(at))
		}
		end := p.Length() + time.Second
		if ok {
			end = at
		}
		for probe := from; probe < end; probe += max((end-from)/200, 1) {
			if p.At(probe) > level+1e-3 {
				t.Fatalf("Above(%v, %v) = %v, %v, but at %v it is %v", level, from, at, ok, probe, p.At(probe))
			}
		}
	})
}

func TestI4SameSeedSameArrivals(t *testing.T) {
	draw := func(seed uint64) (all []time.Duration) {
		process := NewProcess(Constant(5), 2, seed)
		for range 100 {
			at, _ := process.Next()
			all = append(all, at)
		}
		return all
	}
	if !cmp.Equal(draw(3), draw(3)) || cmp.Equal(draw(3), draw(4)) {
		t.Error("the arrivals do not depend on the seed alone")
	}
}

func TestProfile(t *testing.T) {
	p := profile(t, "10s:100, 0s:20, 10s:20")
	for _, c := range []struct {
		at    time.Duration
		level float64
	}{{0, 0}, {5 * time.Second, 50}, {10 * time.Second, 20}, {15 * time.Second, 20}, {time.Hour, 20}} {
		if got := p.At(c.at); got != c.level {
			t.Errorf("at %v: %v, want %v", c.at, got, c.level)
		}
	}
	if p.Length() != 20*time.Second || p.Most() != 100 {
		t.Errorf("length %v, most %v", p.Length(), p.Most())
	}
	if _, ok := Constant(0).When(1); ok {
		t.Error("a rate of 0 has an arrival")
	}
	if _, ok := Constant(1e-12).When(1); ok {
		t.Error("an arrival in a million years is told")
	}
}

func TestStageFaults(t *testing.T) {
	number := func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }
	for want, in := range map[string]string{
		`stage 1: "20" is not DURATION:LEVEL`: "20",
		`stage 2: "x" is no duration`:         "1s:2,x:3",
		"stage 1: strconv":                    "1s:y",
	} {
		if _, err := ParseStages(in, number); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", in, err, want)
		}
	}
	_, err := NewProfile([]Stage{{-1, math.NaN()}, {2000 * time.Hour, 1}})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("error %v, want three faults", err)
	}
	if _, err := NewProfile(make([]Stage, maxStages+1)); err == nil {
		t.Error("stages are not bounded")
	}
}
