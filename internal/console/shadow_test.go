package console_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/console"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func newShadow(t *testing.T, q quota.Options) *console.Shadow {
	t.Helper()
	s, err := console.NewShadow(noon, gate.Options{
		Upstreams: []gate.Upstream{{Name: "main", Quota: q}}, Routes: []gate.Route{{Upstreams: []int{0}}},
	}, []string{"*"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sent is a request that arrived some time after noon, waited and ran.
func sent(after, waited, ran time.Duration) event.Record {
	return event.Record{
		Route: "*", Outcome: flow.OutcomeServed, Attempts: 1, Arrived: noon.Add(after), Queued: waited, Total: waited + ran, Used: llm.Usage{Input: 100, Output: 100},
	}
}

// TestI9AvoidedIsWhatWouldHaveBeenRefused: 25 at once at 10 a minute are 15
// refused; what is refused takes nothing, so a minute later 10 fit again.
func TestI9AvoidedIsWhatWouldHaveBeenRefused(t *testing.T) {
	s := newShadow(t, quota.Options{Limits: []quota.Limit{{Dim: quota.Requests, Max: 10}}})
	var all []event.Record
	for i := range 25 {
		all = append(all, sent(time.Duration(i)*time.Millisecond, time.Duration(i)*6*time.Second, time.Second))
		all = append(all, sent(70*time.Second+time.Duration(i)*time.Millisecond, time.Duration(i)*6*time.Second, time.Second))
	}
	slices.SortFunc(all, func(a, b event.Record) int { return a.Arrived.Add(a.Total).Compare(b.Arrived.Add(b.Total)) }) // told as they end
	for i := range all {
		s.Record(&all[i])
	}
	if n := s.Avoided(noon.Add(time.Hour)); n != 30 {
		t.Errorf("avoided %d, want 30", n)
	}
	if n := s.Avoided(noon.Add(13 * time.Hour)); n != 0 {
		t.Errorf("the next day %d", n)
	}
}

func TestI9SeatsAreFreeWhenTheyWouldHaveBeen(t *testing.T) {
	s := newShadow(t, quota.Options{Seats: 1})
	// Each runs for 2 s. Without a queue the second (1 s) is refused; the third (2.5 s) fits, although here it ran much later.
	for _, r := range []event.Record{sent(0, 3*time.Second, 2*time.Second), sent(time.Second, time.Second, 2*time.Second), sent(2500*time.Millisecond, 10*time.Second, 2*time.Second)} {
		s.Record(&r)
	}
	if n := s.Avoided(noon.Add(time.Minute)); n != 1 {
		t.Errorf("avoided %d, want 1", n)
	}
}

// TestI9OrderOfTellingDoesNotMatter: it is the arrivals that count.
func TestI9OrderOfTellingDoesNotMatter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	options := quota.Options{Seats: 3, Limits: []quota.Limit{{Dim: quota.Requests, Max: 40}, {Dim: quota.Total, Max: 6000}}}
	var all []event.Record
	for range 400 {
		all = append(all, sent(time.Duration(random.IntN(300_000))*time.Millisecond, time.Duration(random.IntN(60_000))*time.Millisecond, time.Duration(random.IntN(5000))*time.Millisecond))
	}
	first := all[0]
	first.Arrived, first.Queued, first.Total = noon, 64*time.Second, 65*time.Second // tells how long one may be
	count := func(less func(a, b event.Record) int) int64 {
		s := newShadow(t, options)
		s.Record(&first)
		slices.SortFunc(all, less)
		for i := range all {
			s.Record(&all[i])
		}
		return s.Avoided(noon.Add(time.Hour))
	}
	byArrival := count(func(a, b event.Record) int { return a.Arrived.Compare(b.Arrived) })
	byEnd := count(func(a, b event.Record) int { return a.Arrived.Add(a.Total).Compare(b.Arrived.Add(b.Total)) })
	if byArrival != byEnd || byEnd == 0 || byEnd == 400 {
		t.Errorf("avoided %d in the order of arrivals, %d in that of ends", byArrival, byEnd)
	}
}

func TestI9OnlyTheAnsweredCount(t *testing.T) {
	s := newShadow(t, quota.Options{Limits: []quota.Limit{{Dim: quota.Requests, Max: 1}}})
	for i, o := range []flow.Outcome{flow.OutcomeServed, flow.OutcomeRefused, flow.OutcomeCanceled, flow.OutcomeFailed, flow.OutcomeCoalesced} {
		r := sent(time.Duration(i)*time.Second, 0, time.Second)
		r.Outcome = o
		s.Record(&r)
	}
	lost := sent(6*time.Second, 0, time.Second)
	lost.Route = "" // a name that no route has
	s.Record(&lost)
	if n := s.Avoided(noon.Add(time.Minute)); n != 1 {
		t.Errorf("avoided %d, want the last one alone", n)
	}
}

func TestShadowTellsAllFaults(t *testing.T) {
	_, err := console.NewShadow(noon, gate.Options{
		Upstreams: []gate.Upstream{{Name: "main", Quota: quota.Options{Seats: -1}}}, Routes: []gate.Route{{Upstreams: []int{3}}},
	}, []string{"*"})
	if err == nil {
		t.Error("no error")
	}
}
