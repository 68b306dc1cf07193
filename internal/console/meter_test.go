package console_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/console"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// shown is what the tests read of a frame.
type shown struct {
	Verdict struct{ Level, Text string }
	Waiting int
	Today   struct {
		Finished, Served, Waited, Refused, Throttled int64
		Told429                                      int64 `json:"told_429"`
	}
	Lately struct {
		Finished, Refused int64
		P50               float64 `json:"wait_p50_ms"`
		P95               float64 `json:"wait_p95_ms"`
		Series            struct {
			Start, Step int64
			Finished    []int64
		}
	}
	Upstreams []struct {
		Name                          string
		Attempts, Throttles, Failures int64
		Breaker                       struct{ State, Reason string }
	}
}

func frameOf(t interface{ Fatal(...any) }, w *httptest.ResponseRecorder) (s shown) {
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestMeterAgreesWithAList compares the figures of the last five minutes with
// those of a plain list of all waits.
func TestMeterAgreesWithAList(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSite(t, false, console.Options{})
			type end struct {
				at   time.Time
				wait time.Duration
			}
			var all []end
			for range rapid.IntRange(1, 60).Draw(rt, "requests") {
				<-time.After(time.Duration(rapid.IntRange(0, 20_000).Draw(rt, "pause")) * time.Millisecond)
				wait := time.Duration(math.Exp(rapid.Float64Range(0, 12).Draw(rt, "wait"))) * time.Millisecond
				now := time.Now()
				s.meter.Record(&event.Record{Key: flow.Key{Class: flow.Chat}, Outcome: flow.OutcomeServed, Attempts: 1, Arrived: now.Add(-wait), Queued: wait, Total: wait})
				all = append(all, end{now, wait})
			}
			now := time.Now()
			from := now.Truncate(5 * time.Second).Add(-295 * time.Second)
			var waits []time.Duration
			for _, e := range all {
				if !e.at.Before(from) {
					waits = append(waits, e.wait)
				}
			}
			slices.Sort(waits)
			got := frameOf(t, s.ask("GET", statePath, ""))
			if got.Lately.Finished != int64(len(waits)) {
				rt.Fatalf("finished %d, want %d", got.Lately.Finished, len(waits))
			}
			exact := float64(waits[int(math.Ceil(0.95*float64(len(waits))))-1]) / 1e6
			if exact > 1 && (got.Lately.P95 < exact-1 || got.Lately.P95 > exact*1.1+1) {
				rt.Fatalf("p95 %v, want %v within 10 %%", got.Lately.P95, exact)
			}
			if n := len(got.Lately.Series.Finished); n != 59 {
				rt.Fatalf("%d points", n)
			}
		})
	})
}

func TestTodayBeginsAtMidnight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // it begins at midnight UTC
		s := newSite(t, false, console.Options{})
		tell := func(o flow.Outcome, status int, waited time.Duration) {
			s.meter.Record(&event.Record{Key: flow.Key{Class: flow.Chat}, Outcome: o, Status: status, Queued: waited, Arrived: time.Now()})
		}
		<-time.After(23 * time.Hour)
		tell(flow.OutcomeServed, 200, 0)
		tell(flow.OutcomeServed, 200, time.Second)
		tell(flow.OutcomeHoldExpired, 429, time.Minute)
		tell(flow.OutcomeRefused, 503, 0)
		tell(flow.OutcomeCanceled, 0, 0)
		s.meter.Attempt(&event.Attempt{Upstream: "main", Kind: llm.KindThrottle, Status: 429, Started: time.Now()})
		got := frameOf(t, s.ask("GET", statePath, "")).Today
		if got.Finished != 5 || got.Served != 2 || got.Waited != 1 || got.Refused != 2 || got.Told429 != 1 || got.Throttled != 1 {
			t.Errorf("%+v", got)
		}
		<-time.After(time.Hour)
		if got := frameOf(t, s.ask("GET", statePath, "")).Today; got.Finished != 0 || got.Throttled != 0 {
			t.Errorf("the next day: %+v", got)
		}
	})
}

// TestVerdict: what is broken comes first, then who waits.
func TestVerdict(t *testing.T) {
	open := func(now time.Time) gate.Snapshot {
		s := snapshot(now)
		s.Upstreams[0].Breaker = breaker.Snapshot{State: breaker.Open, NextProbe: now.Add(30 * time.Second)}
		return s
	}
	rated := func(now time.Time) gate.Snapshot { // the class holds them up, not the upstream
		s := snapshot(now)
		c := &s.ByClass[0]
		c.Rate, c.Started, c.Next = gate.Rate{Max: 30, Per: time.Minute}, 30, now.Add(20*time.Second)
		return s
	}
	idle := func(now time.Time) gate.Snapshot {
		s := snapshot(now)
		s.Waiting = 0
		return s
	}
	watched := func(now time.Time) gate.Snapshot { // both are full, and hold nobody up
		s := idle(now)
		u := &s.Upstreams[0]
		u.InUse, u.SeatsShadow = 12, true
		u.Windows = append(u.Windows, quota.State{Dim: quota.Total, Span: time.Minute, Configured: 100, Learned: 100, Used: 300, Shadow: true})
		return s
	}
	wrong := func(now time.Time) gate.Snapshot { // more is configured than the provider allows
		s := snapshot(now)
		s.Upstreams[0].Windows[0].Configured = 600
		return s
	}
	for _, tc := range []struct {
		name     string
		snapshot func(time.Time) gate.Snapshot
		throttle bool
		level    string
		words    []string
	}{
		{"waits", snapshot, false, "busy", []string{"3 requests wait", "main requests/min, 88 % used"}},
		{"waits for less than was said", wrong, false, "busy", []string{"88 % used. main allows 50 of the 600 requests/min that are configured."}},
		{"idle", idle, false, "good", []string{"All clear", "88 %"}},
		{"watched", watched, false, "good", []string{"Tightest: main requests/min, 88 %"}},
		{"down", open, true, "bad", []string{"main is down", "again in 30 s", "3 requests wait"}},
		{"throttled", idle, true, "busy", []string{"main answered 429 2.0 s ago"}},
		{"class rate", rated, false, "busy", []string{"Tightest: the rate of class chat, 100 % used."}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				meter := console.NewMeter()
				c, err := console.New(console.Options{}, console.Deps{
					Snapshot: func() gate.Snapshot { return tc.snapshot(time.Now()) }, Settings: func() []console.Setting { return nil },
					Requests: &bunch{}, Meter: meter,
				})
				if err != nil {
					t.Fatal(err)
				}
				if tc.throttle {
					meter.Attempt(&event.Attempt{Upstream: "main", Kind: llm.KindThrottle, Status: 429, Started: time.Now()})
				}
				<-time.After(2 * time.Second)
				w := httptest.NewRecorder()
				for _, m := range c.Mounts() {
					if m.Pattern == "GET "+statePath {
						m.Handler(w, httptest.NewRequest("GET", "http://localhost/", nil), "")
					}
				}
				got := frameOf(t, w).Verdict
				if got.Level != tc.level {
					t.Errorf("level %s: %s", got.Level, got.Text)
				}
				for _, words := range tc.words {
					if !strings.Contains(got.Text, words) {
						t.Errorf("%q does not say %q", got.Text, words)
					}
				}
			})
		})
	}
}

// TestVerdictTellsOfLostRequests: a gateway at which nobody waits because nobody is let
// in, or because everything fails at once, is not all clear.
func TestVerdictTellsOfLostRequests(t *testing.T) {
	for _, tc := range []struct {
		name          string
		outcome       flow.Outcome
		lost, served  int
		later         time.Duration
		level, phrase string
		route         string
	}{
		{"no such path", flow.OutcomeRefused, 30, 0, 0, "busy", "3 requests wait", ""},
		{"failed", flow.OutcomeFailed, 30, 0, 0, "bad", "30 of the 30 requests of the last minute failed", "*"},
		{"too long", flow.OutcomeDeadline, 1, 9, 0, "bad", "1 of the 10 requests of the last minute failed", "*"},
		{"refused", flow.OutcomeRefused, 9, 3, 0, "bad", "9 of the 12 requests of the last minute were turned away", "*"},
		{"held in vain", flow.OutcomeHoldExpired, 9, 3, 0, "bad", "Tightest: main requests/min, 88 % used", "*"},
		{"next to none", flow.OutcomeRefused, 1, 99, 0, "busy", "3 requests wait", "*"},
		{"long ago", flow.OutcomeFailed, 30, 0, 70 * time.Second, "busy", "3 requests wait", "*"},
		{"an operator's doing", flow.OutcomeEvicted, 30, 0, 0, "busy", "3 requests wait", "*"},
		{"who left", flow.OutcomeCanceled, 30, 0, 0, "busy", "3 requests wait", "*"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSite(t, false, console.Options{})
				for i := range tc.lost + tc.served {
					r := event.Record{Route: tc.route, Key: flow.Key{Class: flow.Chat}, Outcome: flow.OutcomeServed, Arrived: time.Now()}
					if i < tc.lost {
						r.Outcome = tc.outcome
					}
					s.meter.Record(&r)
				}
				<-time.After(tc.later)
				got := frameOf(t, s.ask("GET", statePath, "")).Verdict
				if got.Level != tc.level || !strings.Contains(got.Text, tc.phrase) {
					t.Errorf("%s: %q does not say %q, or is not %s", got.Level, got.Text, tc.phrase, tc.level)
				}
			})
		})
	}
}

func TestUpstreamsAreCounted(t *testing.T) {
	s := newSite(t, false, console.Options{})
	now := time.Now()
	for _, kind := range []llm.ErrorKind{llm.KindNone, llm.KindThrottle, llm.KindOverload, llm.KindCanceled, llm.KindInvalid} {
		s.meter.Attempt(&event.Attempt{Upstream: "main", Kind: kind, Status: 503, Started: now})
	}
	u := frameOf(t, s.ask("GET", statePath, "")).Upstreams[0]
	if u.Attempts != 5 || u.Throttles != 1 || u.Failures != 2 || u.Breaker.Reason != "" {
		t.Errorf("%+v", u)
	}
}

// BenchmarkFrame is what a second of open pages costs.
func BenchmarkFrame(b *testing.B) {
	now := time.Now()
	recent := &bunch{}
	meter := console.NewMeter()
	for i := range 1024 {
		r := event.Record{ID: "r", Key: flow.Key{Class: flow.Chat, Tenant: "t", User: string(rune(0x4e00 + i))}, Outcome: flow.OutcomeServed, Arrived: now, Attempts: 1, Used: llm.Usage{Input: int64(i)}}
		recent.records = append(recent.records, r)
		meter.Record(&r)
	}
	c, err := console.New(console.Options{}, console.Deps{
		Snapshot: func() gate.Snapshot { return snapshot(now) }, Settings: func() []console.Setting { return nil }, Requests: recent, Meter: meter,
		Reset: func(string) error { return nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	handler := map[string]console.Mount{}
	for _, m := range c.Mounts() {
		handler[m.Pattern] = m
	}
	reset, state := handler["POST /api/v1/console/upstreams/{name}/reset"], handler["GET "+statePath]
	for b.Loop() {
		reset.Handler(httptest.NewRecorder(), httptest.NewRequest("POST", "http://localhost/", nil), "") // makes the next frame a new one
		state.Handler(httptest.NewRecorder(), httptest.NewRequest("GET", "http://localhost/", nil), "")
	}
}

// TestEveryConfiguredClassIsCounted: as many as a configuration may have.
func TestEveryConfiguredClassIsCounted(t *testing.T) {
	s := newSite(t, false, console.Options{})
	for i := range 64 {
		s.meter.Record(&event.Record{Key: flow.Key{Class: flow.Class(fmt.Sprintf("c%02d", i))}, Outcome: flow.OutcomeServed, Arrived: time.Now()})
	}
	var frame struct {
		Classes []struct {
			Name   string
			Served int64
		}
	}
	if err := json.Unmarshal(s.ask("GET", statePath, "").Body.Bytes(), &frame); err != nil {
		t.Fatal(err)
	}
	for _, c := range frame.Classes {
		if c.Name != string(flow.Chat) && c.Served != 1 {
			t.Errorf("%s has served %d", c.Name, c.Served)
		}
	}
}
