package quota

import (
	"testing"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

func threePaced(t testing.TB, counted CountedAt) *Quota {
	return mustNew(t, start, Options{
		Limits: []Limit{{Dim: Requests, Max: 60_000}, {Dim: Total, Max: 400_000_000}, {Dim: Output, Max: 100_000_000}},
		Seats:  100, Meter: Meter{CountedAt: counted},
	})
}

func BenchmarkReserveSettle(b *testing.B) {
	for _, c := range []struct {
		name    string
		counted CountedAt
	}{{"start", AtStart}, {"produced", AsProduced}} {
		b.Run(c.name, func(b *testing.B) {
			q, now := threePaced(b, c.counted), start
			need, actual := Amount{1, 5000, 1000, 6000}, Amount{1, 5100, 700, 5800}
			b.ReportAllocs()
			refused := 0
			for b.Loop() {
				now = now.Add(1100 * time.Microsecond)
				r, ok := q.Reserve(now, need)
				if !ok {
					refused++
				}
				q.Settle(now, r, actual)
			}
			if refused > b.N/10 {
				b.Errorf("%d of %d refused: the wrong path was measured", refused, b.N)
			}
		})
	}
}

func BenchmarkNext(b *testing.B) {
	q, now := threePaced(b, AtStart), start
	need := Amount{1, 5000, 1000, 6000}
	for {
		if _, ok := q.Reserve(now, need); !ok {
			break
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		q.Next(now, need)
	}
}

func BenchmarkNextFullRing(b *testing.B) {
	q := mustNew(b, start, Options{Limits: []Limit{{Dim: Total, Max: 1000, Kind: Sliding}}, Start: Fresh})
	for i := range 1000 {
		q.Reserve(start.Add(time.Duration(i)*60*time.Millisecond), Amount{Total: 1})
	}
	now := start.Add(60 * time.Second)
	b.ReportAllocs()
	for b.Loop() {
		q.Next(now, Amount{Total: 990})
	}
}

// TestI13NoAllocations covers every call of a request's life.
func TestI13NoAllocations(t *testing.T) {
	q, now := threePaced(t, AsProduced), start
	m, _ := MeterFor("usage")
	s := llm.Size{TextBytes: 20_000, Input: 5000, Output: 500, MaxOutput: 1000}
	hints := []Hint{{Dim: Total, Limit: -1, Remaining: 1 << 40, Reset: -1}}
	refused := 0
	life := func() {
		now = now.Add(2 * time.Millisecond)
		need := m.Charge(s)
		q.Saturate(now, now.Nanosecond()%4e6 == 0)
		q.Next(now, need)
		r, ok := q.Reserve(now, need)
		if !ok {
			refused++
		}
		q.Answered(now, r)
		q.Observe(now, r, hints)
		q.Cost(need, time.Second)
		q.Settle(now, r, m.Actual(need, llm.Usage{Input: 4000, Output: 300}, s))
	}
	if allocs := testing.AllocsPerRun(2000, life); allocs != 0 || refused > 0 {
		t.Errorf("%v allocations per request, %d refused; want 0, 0", allocs, refused)
	}
	throttled := func() {
		r, _ := q.Reserve(now, Amount{})
		q.Throttled(now, r, Dims(Total), false)
		q.Cancel(now, r)
	}
	if allocs := testing.AllocsPerRun(100, throttled); allocs != 0 {
		t.Errorf("%v allocations per 429, want 0", allocs)
	}
}
