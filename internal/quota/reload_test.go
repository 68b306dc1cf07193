package quota

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestI14ReloadForgetsNothing: after any use and any change of the limits, what was
// counted and is held stays so, no more is let through than a judge of the new
// limit allows, and what is in flight can be settled.
func TestI14ReloadForgetsNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := drawLimit(rt)
		meter, _ := MeterFor(DefaultMeter)
		now := time.Date(2026, 1, 1, 12, 0, 30, 0, time.UTC)
		q, err := New(now, Options{Limits: []Limit{l}, Seats: 50, Meter: meter})
		if err != nil {
			rt.Fatal(err)
		}
		need := Amount{}
		need[l.Dim] = rapid.Int64Range(1, max(q.windows[0].largest()/8, 1)).Draw(rt, "need")
		var flying []Reservation
		for range rapid.IntRange(0, 20).Draw(rt, "calls") {
			if r, ok := q.Reserve(now, need); ok {
				flying = append(flying, r)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 900).Draw(rt, "ms")) * time.Millisecond)
		}
		for len(flying) > 0 && rapid.Bool().Draw(rt, "settle") {
			q.Settle(now, flying[0], need)
			flying = flying[1:]
		}
		before := q.Snapshot(now)[0]
		l.Max = rapid.Int64Range(60, 5000).Draw(rt, "new max")
		if err := q.Reconfigure(now, Options{Limits: []Limit{l}, Seats: 40, Meter: meter}); err != nil {
			rt.Fatal(err)
		}
		after := q.Snapshot(now)[0]
		if after.Used < before.Used || after.Reserved != before.Reserved || q.Outstanding() != len(flying) {
			rt.Fatalf("counted %d and held %d by %d calls before; %d and %d by %d after",
				before.Used, before.Reserved, len(flying), after.Used, after.Reserved, q.Outstanding())
		}
		if after.Configured != l.withDefaults().Max && l.Kind != Slice || after.Learned > after.Configured {
			rt.Fatalf("the new limit is %d, learned %d, want %d", after.Configured, after.Learned, l.Max)
		}
		for _, r := range flying {
			q.Settle(now, r, Amount{})
		}
		if end := q.Snapshot(now)[0]; end.Reserved != 0 || q.Outstanding() != 0 {
			rt.Fatalf("%d held, %d outstanding when all are settled", end.Reserved, q.Outstanding())
		}
	})
}

func TestReconfigure(t *testing.T) {
	meter, _ := MeterFor(DefaultMeter)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	minute := Limit{Dim: Requests, Max: 10, Kind: Sliding}
	q, err := New(now, Options{Limits: []Limit{minute}, Meter: meter})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Reconfigure(now, Options{Seats: -1}); err == nil {
		t.Error("wrong options are accepted")
	}
	day := Limit{Dim: Requests, Max: 100, Span: 24 * time.Hour, Kind: Sliding}
	one := Amount{Requests: 1}
	for range 10 {
		if _, ok := q.Reserve(now, one); !ok {
			t.Fatal("the minute is used up too soon")
		}
	}
	if err := q.Reconfigure(now, Options{Limits: []Limit{day, minute}, Seats: 12, Meter: meter}); err != nil {
		t.Fatal(err)
	}
	if _, ok := q.Reserve(now, one); ok {
		t.Error("the minute was forgotten when a limit of the day came before it")
	}
	if used, most := q.Seats(); used != 10 || most != 12 {
		t.Errorf("%d of %d seats, want 10 of 12", used, most)
	}
	if err := q.Reconfigure(now, Options{Meter: meter}); err != nil {
		t.Fatal(err)
	}
	if _, ok := q.Reserve(now, one); !ok {
		t.Error("a limit that was removed still holds")
	}
}
