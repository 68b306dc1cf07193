package quota

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestI15ShadowChangesNothing: two quotas get the same calls, one with limits that only
// watch; nothing that decides differs, whatever is reserved, settled, heard or learned.
func TestI15ShadowChangesNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		plain := Options{Seats: rapid.IntRange(0, 3).Draw(rt, "seats")}
		plain.Meter.CountedAt = CountedAt(rapid.IntRange(0, 2).Draw(rt, "counted"))
		plain.Limits = append(plain.Limits, drawLimit(rt))
		watched := plain
		watched.Limits = nil
		add := func() {
			for range rapid.IntRange(0, 2).Draw(rt, "shadows") {
				l := drawLimit(rt)
				l.Shadow = true
				watched.Limits = append(watched.Limits, l)
			}
		}
		add()
		watched.Limits = append(watched.Limits, plain.Limits...)
		add()
		if plain.Seats == 0 {
			watched.Seats, watched.SeatsShadow = rapid.IntRange(0, 2).Draw(rt, "watched seats"), true
		}
		p := &twins{rt: rt, now: start}
		for i, o := range []Options{plain, watched} {
			q, err := New(start, o)
			if err != nil {
				rt.Fatal(err)
			}
			p.quotas[i] = q
		}
		for range rapid.IntRange(5, 60).Draw(rt, "steps") {
			p.step()
			p.check()
		}
	})
}

// twins are two quotas that must decide alike.
type twins struct {
	rt     *rapid.T
	quotas [2]*Quota
	now    time.Time
	held   [][2]Reservation
}

func (p *twins) step() {
	rt := p.rt
	p.now = p.now.Add(time.Duration(rapid.IntRange(0, 20_000).Draw(rt, "ms")) * time.Millisecond)
	op := rapid.IntRange(0, 6).Draw(rt, "op")
	if op < 3 || len(p.held) == 0 {
		need := drawAmount(rt, "need", 200)
		a, ok := p.quotas[0].Reserve(p.now, need)
		b, also := p.quotas[1].Reserve(p.now, need)
		if ok != also {
			rt.Fatalf("reserved %v without the shadows, %v with them", ok, also)
		}
		if ok {
			p.held = append(p.held, [2]Reservation{a, b})
		}
		return
	}
	i := rapid.IntRange(0, len(p.held)-1).Draw(rt, "which")
	dims := DimSet(rapid.IntRange(0, 15).Draw(rt, "dims"))
	actual := drawAmount(rt, "actual", 300)
	hint := Hint{
		Dim: Dim(rapid.IntRange(0, NumDims-1).Draw(rt, "dim")), Limit: rapid.Int64Range(-1, 100).Draw(rt, "limit"),
		Remaining: rapid.Int64Range(-1, 100).Draw(rt, "remaining"), Reset: time.Duration(rapid.IntRange(-1, 60).Draw(rt, "reset")) * time.Second,
	}
	waiting := rapid.Bool().Draw(rt, "waiting")
	for k, q := range p.quotas {
		r := p.held[i][k]
		switch op {
		case 3:
			q.Throttled(p.now, r, dims, false)
		case 4:
			q.Observe(p.now, r, []Hint{hint})
		case 5:
			q.Answered(p.now, r)
			q.Saturate(p.now, waiting)
		}
		q.Settle(p.now, r, actual)
	}
	p.held = append(p.held[:i], p.held[i+1:]...)
}

func (p *twins) check() {
	rt := p.rt
	a, b := p.quotas[0], p.quotas[1]
	need := drawAmount(rt, "asked", 200)
	at, why := a.NextKeeping(p.now, need, 2)
	at2, why2 := b.NextKeeping(p.now, need, 2)
	_, large := a.TooLarge(need)
	_, large2 := b.TooLarge(need)
	used, most := a.Seats()
	used2, most2 := b.Seats()
	if !at.Equal(at2) || why != why2 || large != large2 || used != used2 || most != most2 || a.Cost(need, time.Second) != b.Cost(need, time.Second) {
		rt.Fatalf("without the shadows: %v %q %v %d/%d %g, with them: %v %q %v %d/%d %g",
			at.Sub(p.now), why, large, used, most, a.Cost(need, time.Second), at2.Sub(p.now), why2, large2, used2, most2, b.Cost(need, time.Second))
	}
	for d := range Dim(NumDims) {
		if a.Rate(d) != b.Rate(d) {
			rt.Fatalf("rate of %s: %g without the shadows, %g with them", d, a.Rate(d), b.Rate(d))
		}
	}
	var seen []State
	for _, s := range b.Snapshot(p.now) {
		if !s.Shadow {
			seen = append(seen, s)
		}
	}
	if diff := cmp.Diff(a.Snapshot(p.now), seen); diff != "" {
		rt.Fatalf("the limits that hold (-without +with shadows):\n%s", diff)
	}
}

// TestI15ShadowCounts: five a minute are watched, and seven sent; two were too many. The
// count and what is used outlive reloads, and once the limit holds, it holds.
func TestI15ShadowCounts(t *testing.T) {
	o := Options{
		Limits: []Limit{{Dim: Requests, Max: 5, Kind: Sliding, Shadow: true}},
		Seats:  1, SeatsShadow: true,
	}
	q, err := New(start, o)
	if err != nil {
		t.Fatal(err)
	}
	want := func(used, exceeded int64) {
		t.Helper()
		if s := q.Snapshot(start)[0]; s.Used != used || s.Exceeded != exceeded || s.Shadow != o.Limits[0].Shadow {
			t.Errorf("%d used, %d exceeded, shadow %v; want %d, %d", s.Used, s.Exceeded, s.Shadow, used, exceeded)
		}
	}
	for range 7 {
		if _, ok := q.Reserve(start, Amount{Requests: 1}); !ok {
			t.Fatal("a shadow held a call up")
		}
	}
	want(7, 2)
	if seats, exceeded := q.ShadowSeats(); seats != 1 || exceeded != 6 {
		t.Errorf("%d seats are watched, %d calls beyond them", seats, exceeded)
	}
	o.Limits[0].Shadow, o.SeatsShadow = false, false
	if err := q.Reconfigure(start, o); err != nil {
		t.Fatal(err)
	}
	want(7, 2)
	if _, most := q.Seats(); most != 1 || q.Fits(start, Amount{Requests: 1}) {
		t.Errorf("enforced, and exceeded: %d seats, and another call fits", most)
	}
	o.Limits[0].Shadow, o.SeatsShadow = true, true
	if err := q.Reconfigure(start, o); err != nil {
		t.Fatal(err)
	}
	if _, ok := q.Reserve(start, Amount{Requests: 1}); !ok {
		t.Error("a shadow again, and it holds calls up")
	}
	want(8, 3)
}
