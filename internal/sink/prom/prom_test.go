package prom

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

func newSink(t *testing.T, o Options) *Sink {
	t.Helper()
	if o.Classes == nil {
		o.Classes, o.Upstreams = []string{"chat", "batch"}, []string{"main"}
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// page returns the series of the metrics page, without comments.
func page(t *testing.T, s *Sink) []string {
	t.Helper()
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
	if rec.Code != 200 {
		t.Fatalf("status %d: %s", rec.Code, rec.Body)
	}
	return slices.DeleteFunc(strings.Split(strings.TrimSpace(rec.Body.String()), "\n"), func(line string) bool {
		return strings.HasPrefix(line, "#")
	})
}

func has(t *testing.T, lines []string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !slices.Contains(lines, w) {
			t.Errorf("page lacks %q", w)
		}
	}
}

func TestRecordAndAttemptAreCounted(t *testing.T) {
	s := newSink(t, Options{})
	s.Record(&event.Record{
		Key: flow.Key{Class: "chat"}, Outcome: flow.OutcomeServed, Attempts: 1, Queued: 2 * time.Second,
		FirstByte: 3 * time.Second, Total: 5 * time.Second, Quoted: true, EtaP90: 2 * time.Second,
	})
	s.Record(&event.Record{Key: flow.Key{Class: "chat"}, Outcome: flow.OutcomeHoldExpired, Queued: time.Minute, Quoted: true, EtaP90: time.Second})
	s.Record(&event.Record{Key: flow.Key{Class: "chat"}, Outcome: flow.OutcomeCanceled, Queued: time.Minute, Quoted: true, EtaP90: time.Second})
	in := event.Record{Key: flow.Key{Class: "chat"}, Outcome: flow.OutcomeCanceled, Queued: 9 * time.Second}
	in.Waits.Add(flow.ReasonSeats, 7*time.Second)
	in.Waits.Add(flow.ReasonTenant, 2*time.Second)
	s.Record(&in)
	s.Attempt(&event.Attempt{Upstream: "main", Kind: llm.KindThrottle})
	s.Attempt(&event.Attempt{Upstream: "main", Used: llm.Usage{Input: 10, Output: 20, CacheRead: 30, CacheWrite: -40}})
	has(t, page(t, s),
		`millrace_requests_total{class="chat",outcome="served"} 1`,
		`millrace_requests_total{class="chat",outcome="hold_expired"} 1`,
		`millrace_requests_total{class="chat",outcome="canceled"} 2`,
		`millrace_queue_wait_seconds_count{class="chat"} 1`,
		`millrace_queue_wait_seconds_sum{class="chat"} 2`,
		`millrace_queue_wait_reason_seconds_total{class="chat",reason="seats"} 7`,
		`millrace_queue_wait_reason_seconds_total{class="chat",reason="tenant"} 2`,
		`millrace_queue_wait_reason_seconds_total{class="chat",reason="turn"} 0`,
		`millrace_time_to_first_byte_seconds_sum{class="chat"} 3`,
		`millrace_request_duration_seconds_sum{class="chat"} 5`,
		`millrace_eta_quoted_total{class="chat",held="true"} 1`,
		`millrace_eta_quoted_total{class="chat",held="false"} 1`,
		`millrace_attempts_total{kind="throttle",upstream="main"} 1`,
		`millrace_attempts_total{kind="none",upstream="main"} 1`,
		`millrace_tokens_total{direction="input",upstream="main"} 10`,
		`millrace_tokens_total{direction="output",upstream="main"} 20`,
		`millrace_tokens_total{direction="cache_read",upstream="main"} 30`,
		`millrace_tokens_total{direction="cache_write",upstream="main"} 0`,
	)
}

func TestI1StrangeNamesAreOther(t *testing.T) {
	s := newSink(t, Options{})
	before := len(page(t, s))
	for i := range 100 {
		name := fmt.Sprint("mallory", i)
		s.Record(&event.Record{ID: name, Key: flow.Key{Class: flow.Class(name), Tenant: name, User: name}, Model: name, Upstream: name, Outcome: flow.OutcomeServed})
		s.Attempt(&event.Attempt{Request: name, Upstream: name, Model: name, Kind: llm.KindAuth})
	}
	s.Record(&event.Record{Outcome: 255})
	s.Attempt(&event.Attempt{Kind: 255})
	lines := page(t, s)
	has(t, lines,
		`millrace_requests_total{class="other",outcome="served"} 100`,
		`millrace_attempts_total{kind="auth",upstream="other"} 100`,
	)
	if len(lines) != before {
		t.Errorf("%d series became %d", before, len(lines))
	}
	if strings.Contains(strings.Join(lines, "\n"), "mallory") {
		t.Error("a name from a request is on the page")
	}
}

// TestI6StraysAreNoDemand: who scans the gateway turns no figure of the demand.
func TestI6StraysAreNoDemand(t *testing.T) {
	s := newSink(t, Options{})
	for _, stray := range event.Strays() {
		s.Record(&event.Record{Outcome: flow.OutcomeRefused, Stray: stray})
	}
	s.Record(&event.Record{Outcome: flow.OutcomeRefused, Stray: 255})
	s.Record(&event.Record{Outcome: flow.OutcomeRefused, Cause: "draining"})
	lines := page(t, s)
	has(t, lines, `millrace_requests_total{class="other",outcome="refused"} 2`)
	for _, stray := range event.Strays() {
		has(t, lines, fmt.Sprintf("millrace_unrouted_total{cause=%q} 1", stray))
	}
}

func TestI2EverySeriesExistsFromTheStart(t *testing.T) {
	lines := page(t, newSink(t, Options{}))
	for _, class := range []string{"chat", "batch", "other"} {
		for _, o := range flow.Outcomes() {
			has(t, lines, fmt.Sprintf("millrace_requests_total{class=%q,outcome=%q} 0", class, o))
		}
	}
	for _, k := range llm.Kinds() {
		has(t, lines, fmt.Sprintf("millrace_attempts_total{kind=%q,upstream=%q} 0", k, "main"))
	}
}

func TestI3NoAllocations(t *testing.T) {
	s := newSink(t, Options{})
	r := &event.Record{Key: flow.Key{Class: "chat"}, Outcome: flow.OutcomeServed, Attempts: 1, FirstByte: 1, Quoted: true}
	a := &event.Attempt{Upstream: "main", Used: llm.Usage{Input: 1, Output: 1}}
	if n := testing.AllocsPerRun(1000, func() { s.Record(r); s.Attempt(a) }); n != 0 {
		t.Errorf("%v allocations, want 0", n)
	}
}

func TestI4BadSnapshotsCostOnlyThemselves(t *testing.T) {
	good := Gauge{Name: "queue_depth", Help: "Waiting.", Labels: []Label{{"class", "chat"}}, Value: 7}
	want := `millrace_queue_depth{class="chat"} 7`
	with := func(change func(*Gauge)) Gauge {
		g := good
		g.Labels = slices.Clone(g.Labels)
		change(&g)
		return g
	}
	for name, bad := range map[string]Gauge{
		"repeated":                   with(func(g *Gauge) { g.Value = 8 }),
		"other help":                 with(func(g *Gauge) { g.Help = "No."; g.Labels[0].Value = "x" }),
		"other type":                 with(func(g *Gauge) { g.Counter = true; g.Labels[0].Value = "x" }),
		"other labels":               with(func(g *Gauge) { g.Labels[0].Name = "kind" }),
		"no name":                    {Help: "x"},
		"bad name":                   {Name: "\xff", Help: "x"},
		"bad label":                  {Name: "a", Help: "x", Labels: []Label{{"\xff", "x"}}},
		"label twice":                {Name: "a", Help: "x", Labels: []Label{{"b", "x"}, {"b", "y"}}},
		"value no UTF8 like another": {Name: "queue_depth", Help: "Waiting.", Labels: []Label{{"class", "\xff"}}},
		"value no UTF8":              {Name: "a", Help: "x", Labels: []Label{{"b", "\xff"}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSink(t, Options{Snapshot: func() []Gauge { return []Gauge{good, bad, bad} }})
			has(t, page(t, s), want)
			if _, err := s.registry.Gather(); err != nil {
				t.Errorf("the scrape failed: %v", err)
			}
		})
	}
	s := newSink(t, Options{Snapshot: func() []Gauge { panic("snapshot") }})
	has(t, page(t, s), `millrace_requests_total{class="chat",outcome="served"} 0`)
}

func TestI5Lint(t *testing.T) {
	s := newSink(t, Options{Runtime: true, Snapshot: func() []Gauge {
		return []Gauge{
			{Name: "quota_used_tokens", Help: "Tokens used of the window.", Labels: []Label{{"upstream", "main"}, {"window", "60s"}}, Value: 1},
			{Name: "sink_panics_total", Help: "Panics of sinks.", Counter: true},
		}
	}})
	s.Record(&event.Record{Key: flow.Key{Class: "chat"}, Outcome: flow.OutcomeServed, Attempts: 1})
	problems, err := testutil.GatherAndLint(s.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, namespace) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	s := newSink(t, Options{Snapshot: func() []Gauge { return []Gauge{{Name: "x_ratio", Help: "X."}} }})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				s.Record(&event.Record{Key: flow.Key{Class: "chat"}, Outcome: flow.OutcomeServed})
				s.Attempt(&event.Attempt{Upstream: "main"})
			}
			page(t, s)
		})
	}
	wg.Wait()
	has(t, page(t, s), `millrace_requests_total{class="chat",outcome="served"} 800`)
}

func TestNewRefusesBadNames(t *testing.T) {
	if _, err := New(Options{Classes: []string{"\xff"}, Upstreams: make([]string, maxNames+1)}); err == nil {
		t.Fatal("accepted")
	} else if n := strings.Count(err.Error(), "metrics:"); n != 2 {
		t.Errorf("%d faults, want 2: %v", n, err)
	}
}

func BenchmarkRecord(b *testing.B) {
	s, err := New(Options{Classes: []string{"chat"}, Upstreams: []string{"main"}})
	if err != nil {
		b.Fatal(err)
	}
	r := &event.Record{Key: flow.Key{Class: "chat"}, Outcome: flow.OutcomeServed, Attempts: 1, FirstByte: 1, Quoted: true}
	a := &event.Attempt{Upstream: "main", Used: llm.Usage{Input: 1, Output: 1}}
	b.ReportAllocs()
	for b.Loop() {
		s.Record(r)
		s.Attempt(a)
	}
}

func TestI1NamesOfALaterConfiguration(t *testing.T) {
	s := newSink(t, Options{})
	record := &event.Record{Key: flow.Key{Class: "chat"}, Outcome: flow.OutcomeServed, Attempts: 1}
	attempt := &event.Attempt{Upstream: "spare"}
	s.Record(record)
	s.Attempt(attempt)
	if err := s.Name([]string{"chat", "reports"}, []string{"spare"}); err != nil {
		t.Fatal(err)
	}
	s.Record(record)
	s.Record(&event.Record{Key: flow.Key{Class: "reports"}, Outcome: flow.OutcomeServed, Attempts: 1})
	s.Attempt(attempt)
	has(t, page(t, s),
		`millrace_requests_total{class="chat",outcome="served"} 2`,
		`millrace_requests_total{class="reports",outcome="served"} 1`,
		`millrace_attempts_total{kind="none",upstream="other"} 1`,
		`millrace_attempts_total{kind="none",upstream="spare"} 1`,
	)
	s.Record(&event.Record{Key: flow.Key{Class: "batch"}, Outcome: flow.OutcomeServed, Attempts: 1}) // named before, and by no one since
	s.Record(&event.Record{Key: flow.Key{Class: "stranger"}, Outcome: flow.OutcomeServed, Attempts: 1})
	s.Attempt(&event.Attempt{Upstream: "main"})
	has(t, page(t, s),
		`millrace_requests_total{class="batch",outcome="served"} 1`,
		`millrace_requests_total{class="other",outcome="served"} 1`,
		`millrace_attempts_total{kind="none",upstream="main"} 1`,
	)
	if err := s.Name([]string{"\xff"}, nil); err == nil {
		t.Error("a name that is no text is accepted")
	}
}
