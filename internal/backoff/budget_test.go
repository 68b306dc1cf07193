package backoff

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestI3DelayIsWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		attempt := rapid.IntRange(-3, 2000).Draw(t, "attempt")
		o := Options{
			Base: time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "base")),
			Cap:  time.Duration(rapid.Int64Range(1, math.MaxInt64/2).Draw(t, "cap")),
		}
		share := rapid.Float64Range(0, 1).Draw(t, "share")
		limit := min(float64(o.Cap), float64(o.Base)*math.Pow(2, float64(max(attempt, 0))))
		got := Delay(attempt, o, func() float64 { return share })
		if got < 0 || float64(got) > limit {
			t.Fatalf("Delay = %v, want 0..%v", got, time.Duration(limit))
		}
	})
}

func TestDelayGrowsAndSpreads(t *testing.T) {
	all := func() float64 { return 1 }
	for attempt, want := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 30 * time.Second, 30 * time.Second} {
		if got := Delay(attempt, Options{}, all); got != want {
			t.Errorf("attempt %d: at most %v, want %v", attempt, got, want)
		}
	}
	if got := Delay(2, Options{}, func() float64 { return 0 }); got != 0 {
		t.Errorf("at least %v, want 0: the jitter is full", got)
	}
	if got := Delay(0, Options{}, func() float64 { return math.NaN() }); got != 500*time.Millisecond {
		t.Errorf("with a broken source: %v", got)
	}
}

// naive is a Budget that remembers every event.
type naive struct{ requests, retries []time.Duration }

func since(events []time.Duration, start time.Duration) (n int64) {
	for _, at := range events {
		if at >= start {
			n++
		}
	}
	return n
}

func TestI4RetriesStayWithinBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := BudgetOptions{Ratio: rapid.SampledFrom([]float64{0.1, 0.5, -1}).Draw(t, "ratio"), Floor: rapid.SampledFrom([]int{-1, 1, 3}).Draw(t, "floor")}
		ratio, floor := max(o.Ratio, 0), float64(max(o.Floor, 0))
		b := NewBudget(o)
		var model naive
		at := time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			at += time.Duration(rapid.IntRange(0, 4000).Draw(t, "ms")) * time.Millisecond
			if rapid.IntRange(0, 2).Draw(t, "what") > 0 {
				model.requests = append(model.requests, at)
				b.Request(now.Add(at))
				continue
			}
			// Slots of a second begin at the first event, so the oldest one counted
			// began 59 s before the present one.
			first := earliest(model, at)
			start := first + (at - first).Truncate(time.Second) - 59*time.Second
			bound := int64(floor + ratio*float64(since(model.requests, start)))
			want := since(model.retries, start) < bound
			if got := b.Allow(now.Add(at)); got != want {
				t.Fatalf("at %v: allowed %v, want %v (%d requests, %d retries)", at, got, want, since(model.requests, start), since(model.retries, start))
			}
			if want {
				model.retries = append(model.retries, at)
			}
		}
	})
}

func earliest(m naive, at time.Duration) time.Duration {
	for _, events := range [...][]time.Duration{m.requests, m.retries} {
		if len(events) > 0 {
			at = min(at, events[0])
		}
	}
	return at
}

func TestI4UnderTotalFailureAttemptsStayNearRequests(t *testing.T) {
	b := NewBudget(BudgetOptions{})
	requests, retries := 0, 0
	for second := range 600 {
		for range 20 {
			at := now.Add(time.Duration(second) * time.Second)
			b.Request(at)
			requests++
			for range 3 {
				if b.Allow(at) {
					retries++
				}
			}
		}
	}
	if limit := requests/10 + 10*600/60 + 10; retries > limit {
		t.Errorf("%d retries of %d requests, want at most %d", retries, requests, limit)
	}
	if retries < requests/10 {
		t.Errorf("%d retries of %d requests: the budget was not given out", retries, requests)
	}
}

func TestBudgetDefaultsAndClock(t *testing.T) {
	b := NewBudget(BudgetOptions{})
	if got := b.Left(now); got != 10 {
		t.Errorf("Left = %d, want the floor of 10", got)
	}
	for range 10 {
		b.Allow(now)
	}
	if b.Allow(now) || b.Allow(now.Add(-time.Hour)) {
		t.Error("allowed beyond the floor")
	}
	if !b.Allow(now.Add(time.Minute)) {
		t.Error("refused a minute later")
	}
	if !b.Allow(now.Add(1000 * time.Hour)) {
		t.Error("refused after a long pause")
	}
}

func TestBudgetAllocatesNothing(t *testing.T) {
	b, at := NewBudget(BudgetOptions{}), now
	if n := testing.AllocsPerRun(200, func() { at = at.Add(time.Second); b.Request(at); b.Allow(at) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestBudgetValidate(t *testing.T) {
	if err := (BudgetOptions{}).Validate(); err != nil {
		t.Errorf("zero options: %v", err)
	}
	for _, o := range []BudgetOptions{{Ratio: math.NaN()}, {Ratio: 11}, {Window: -1}} {
		if o.Validate() == nil {
			t.Errorf("%+v passes", o)
		}
	}
}

func BenchmarkBudget(b *testing.B) {
	budget, at := NewBudget(BudgetOptions{}), now
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(time.Millisecond)
		budget.Request(at)
		budget.Allow(at)
	}
}
