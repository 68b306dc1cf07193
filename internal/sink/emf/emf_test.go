package emf

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// sheet is a writer that keeps what it gets.
type sheet struct {
	mu     sync.Mutex
	text   bytes.Buffer
	writes []time.Time
	err    error
}

func (s *sheet) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = append(s.writes, time.Now())
	if s.err != nil {
		return 0, s.err
	}
	return s.text.Write(p)
}

// take returns the documents since the last time.
func (s *sheet) take(t testing.TB) []map[string]any {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []map[string]any
	for line := range strings.Lines(s.text.String()) {
		document := map[string]any{}
		if err := json.Unmarshal([]byte(line), &document); err != nil || !strings.HasSuffix(line, "\n") {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, document)
	}
	s.text.Reset()
	return all
}

func build(t testing.TB, o Options) (*Sink, *sheet) {
	t.Helper()
	if o.Classes == nil {
		o.Classes, o.Upstreams = []string{"chat", "batch"}, []string{"main"}
	}
	out := &sheet{}
	s, err := New(o, Deps{Out: out})
	if err != nil {
		t.Fatal(err)
	}
	return s, out
}

// state has everything that a snapshot can have.
func state() State {
	return State{Waiting: map[string]int{"chat": 7}, Upstreams: []Upstream{
		{Name: "main", Seats: 4, SeatsUsed: 3, Open: true, Windows: []Window{
			{Limit: "tokens", Span: "1m", Configured: 1000, Learned: 900, Used: 400, Reserved: 100},
			{Limit: "requests", Span: "24h"},
		}},
		{Name: "stranger", Windows: []Window{{Limit: "tokens", Span: "1m"}}},
	}}
}

func feed(s *Sink) {
	chat := flow.Key{Class: "chat", Tenant: "acme", User: "ann"}
	for i := range 100 {
		s.Record(&event.Record{Key: chat, Outcome: flow.OutcomeServed, Attempts: 1, Queued: time.Duration(i+1) * 100 * time.Millisecond, Status: 200})
	}
	s.Record(&event.Record{Key: chat, Outcome: flow.OutcomeRefused, Status: 503, Queued: time.Hour})
	s.Record(&event.Record{Key: chat, Outcome: flow.OutcomeHoldExpired, Status: 429})
	s.Record(&event.Record{Key: flow.Key{Class: "invented"}, Outcome: flow.OutcomeCanceled})
	for _, stray := range event.Strays() {
		s.Record(&event.Record{Outcome: flow.OutcomeRefused, Status: 404, Stray: stray})
	}
	s.Attempt(&event.Attempt{Upstream: "main", Kind: llm.KindThrottle})
	s.Attempt(&event.Attempt{Upstream: "main", Kind: llm.KindOverload})
	s.Attempt(&event.Attempt{Upstream: "main", Used: llm.Usage{Input: 10, CacheRead: 5, Output: 20}})
	s.Attempt(&event.Attempt{Upstream: "invented"})
}

// byName finds the document whose dimensions are these.
func byName(t testing.TB, all []map[string]any, dimensions ...string) map[string]any {
	t.Helper()
	for _, d := range all {
		found := true
		for i := 0; i < len(dimensions); i += 2 {
			found = found && d[dimensions[i]] == dimensions[i+1]
		}
		if found && (len(dimensions) > 2 || d["Limit"] == nil) {
			delete(d, "_aws")
			return d
		}
	}
	t.Fatalf("no line of %v in %v", dimensions, all)
	return nil
}

func TestBatch(t *testing.T) {
	s, out := build(t, Options{Snapshot: state})
	feed(s)
	s.flush(noon)
	all := out.take(t)
	for _, c := range []struct {
		of   []string
		want map[string]any
	}{
		{[]string{"Class", "chat"}, map[string]any{
			"Class": "chat", "Requests": 102.0, "Served": 100.0, "Refused": 1.0, "HoldExpired": 1.0, "Failed": 0.0, "Rejected": 0.0, "Canceled": 0.0,
			"Answers429": 1.0, "Waiting": 7.0, "QueueWaitMax": 10000.0, "QueueWaitP50": 5119.0, "QueueWaitP95": 10000.0,
		}},
		{[]string{"Class", "other"}, map[string]any{
			"Class": "other", "Requests": 1.0, "Served": 0.0, "Refused": 0.0, "HoldExpired": 0.0, "Failed": 0.0, "Rejected": 0.0, "Canceled": 1.0,
			"Answers429": 0.0, "Waiting": 0.0,
		}},
		{[]string{"Upstream", "main"}, map[string]any{
			"Upstream": "main", "Attempts": 3.0, "Throttles": 1.0, "Errors": 1.0, "InputTokens": 15.0, "OutputTokens": 20.0,
			"SeatsUsed": 3.0, "SeatsUse": 75.0, "BreakerOpen": 1.0,
		}},
		{[]string{"Upstream", "other"}, map[string]any{
			"Upstream": "other", "Attempts": 1.0, "Throttles": 0.0, "Errors": 0.0, "InputTokens": 0.0, "OutputTokens": 0.0,
		}},
		{[]string{"Upstream", "main", "Limit", "tokens"}, map[string]any{
			"Upstream": "main", "Limit": "tokens", "Span": "1m", "QuotaUsed": 400.0, "QuotaReserved": 100.0, "QuotaLimit": 1000.0,
			"QuotaLearned": 900.0, "QuotaUse": 50.0,
		}},
		{[]string{"Upstream", "main", "Limit", "requests"}, map[string]any{
			"Upstream": "main", "Limit": "requests", "Span": "24h", "QuotaUsed": 0.0, "QuotaReserved": 0.0, "QuotaLimit": 0.0, "QuotaLearned": 0.0,
		}},
	} {
		if diff := cmp.Diff(c.want, byName(t, all, c.of...)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", c.of, diff)
		}
	}
	told := 0.0
	for _, d := range all {
		if n, ok := d["Unrouted"].(float64); ok {
			told += n
		}
	}
	if told != float64(len(event.Strays())) {
		t.Errorf("%v came to no route", told)
	}
	if len(all) != 3+2+2+1 {
		t.Errorf("%d lines, want one for each of 3 classes, 2 upstreams and 2 windows, and one for what came to no route", len(all))
	}
}

// published is the schema that Amazon publishes.
func published(t testing.TB) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile("testdata/schema.json")
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	if err := c.AddResource("emf.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("emf.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// I1: what the schema says, and what the specification says beside it.
func TestI1LinesAreValid(t *testing.T) {
	schema := published(t)
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.String()
		st := state()
		st.Upstreams[0].Name = name.Draw(rt, "upstream")
		st.Upstreams[0].Windows[0].Used = rapid.Int64().Draw(rt, "used")
		o := Options{
			Namespace: "Any", Classes: rapid.SliceOfN(name, 1, 5).Draw(rt, "classes"),
			Upstreams: []string{st.Upstreams[0].Name, strings.Repeat("é", 2000)}, Snapshot: func() State { return st },
		}
		s, out := build(t, o)
		if rapid.Bool().Draw(rt, "busy") {
			feed(s)
		}
		s.flush(noon)
		for _, line := range bytes.SplitAfter(out.text.Bytes(), []byte("\n")) {
			if len(line) > 0 {
				valid(rt, schema, line)
			}
		}
		out.take(t)
	})
}

// valid objects to what is no document.
func valid(t rapid.TB, schema *jsonschema.Schema, line []byte) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(line))
	if err == nil {
		err = schema.Validate(document)
	}
	var told struct {
		About struct {
			Timestamp         int64
			CloudWatchMetrics []instruction
		} `json:"_aws"`
	}
	members := map[string]any{}
	if err = errors.Join(err, json.Unmarshal(line, &told), json.Unmarshal(line, &members)); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	metrics, names := 0, map[string]bool{"_aws": true}
	for _, in := range told.About.CloudWatchMetrics {
		for _, set := range in.Dimensions {
			for _, name := range set {
				names[name] = true
				if v, ok := members[name].(string); !ok || v == "" || len(v) > 1024 || strings.ContainsFunc(v, func(c rune) bool { return c < ' ' || c > '~' }) {
					t.Fatalf("dimension %s is %q", name, members[name])
				}
			}
			if len(set) > 30 {
				t.Fatalf("%d dimensions", len(set))
			}
		}
		for _, m := range in.Metrics {
			if _, ok := members[m.Name].(float64); !ok || names[m.Name] {
				t.Fatalf("metric %s is %v, or named twice", m.Name, members[m.Name])
			}
			names[m.Name] = true
			metrics++
		}
	}
	if metrics == 0 || metrics > 100 || len(line) > 256<<10 || told.About.Timestamp != noon.UnixMilli() || len(names) != len(members) {
		t.Fatalf("%d metrics in %d bytes, %d of %d members named: %s", metrics, len(line), len(names), len(members), line)
	}
}

// The validation can fail.
func TestSchemaRefusesOthers(t *testing.T) {
	schema := published(t)
	for _, line := range []string{
		`{}`, `{"_aws":{"Timestamp":1}}`, `{"_aws":{"Timestamp":"1","CloudWatchMetrics":[]}}`,
		`{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"","Dimensions":[[]],"Metrics":[]}]}}`,
		`{"_aws":{"Timestamp":1,"CloudWatchMetrics":[{"Namespace":"n","Dimensions":[[]],"Metrics":[{"Name":"a","Unit":"Tokens"}]}]}}`,
	} {
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(document) == nil {
			t.Errorf("%s is valid", line)
		}
	}
}

func TestI2NothingOfTheClientAppears(t *testing.T) {
	s, out := build(t, Options{Snapshot: state})
	for i := range 1000 {
		name := fmt.Sprint("intruder", i)
		s.Record(&event.Record{ID: name, Model: name, Route: name, Cause: name, Detail: name, Key: flow.Key{Class: flow.Class(name), Tenant: name, User: name}})
		s.Attempt(&event.Attempt{Request: name, Model: name, Upstream: name})
	}
	s.flush(noon)
	if text := out.text.String(); strings.Contains(text, "intruder") || strings.Contains(text, "stranger") {
		t.Error(text)
	}
	if n := len(out.take(t)); n != 8 {
		t.Errorf("%d lines, want 8", n)
	}
}

func TestI3EverythingIsToldOnce(t *testing.T) {
	s, out := build(t, Options{})
	const workers, each = 4, 500
	told := func() (requests, attempts, waited float64) {
		for _, d := range out.take(t) {
			if n, ok := d["Requests"].(float64); ok {
				requests += n
				waited += d["Served"].(float64)
			}
			if n, ok := d["Attempts"].(float64); ok {
				attempts += n
			}
		}
		return requests, attempts, waited
	}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for range each {
				s.Record(&event.Record{Key: flow.Key{Class: "chat"}, Outcome: flow.OutcomeServed, Attempts: 1, Queued: time.Second})
				s.Attempt(&event.Attempt{Upstream: "main"})
			}
		})
	}
	for range 20 {
		s.flush(noon)
	}
	group.Wait()
	s.flush(noon)
	if r, a, w := told(); r != workers*each || a != workers*each || w != workers*each {
		t.Errorf("told of %v requests, %v attempts, %v served", r, a, w)
	}
	s.flush(noon)
	if r, a, w := told(); r != 0 || a != 0 || w != 0 {
		t.Errorf("told again of %v requests, %v attempts, %v served", r, a, w)
	}
}

func TestI4RecordAllocatesNothing(t *testing.T) {
	s, out := build(t, Options{})
	r := &event.Record{Key: flow.Key{Class: "chat"}, Outcome: flow.OutcomeServed, Attempts: 1, Queued: time.Second}
	a := &event.Attempt{Upstream: "main", Used: llm.Usage{Input: 1}}
	if n := testing.AllocsPerRun(100, func() { s.Record(r); s.Attempt(a) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if len(out.writes) != 0 {
		t.Error("a request caused a write")
	}
}

func TestRunWritesOnceAnInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := build(t, Options{})
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.Run(ctx) }()
		<-time.After(130 * time.Second)
		cancel()
		<-done
		var at []int
		for _, w := range out.writes {
			at = append(at, int(w.Sub(start)/time.Second))
		}
		if diff := cmp.Diff([]int{60, 120, 130}, at); diff != "" {
			t.Errorf("writes at (-want +got):\n%s", diff)
		}
	})
}

func TestFailuresCostTheirOwnPart(t *testing.T) {
	s, out := build(t, Options{Snapshot: func() State { panic("snapshot") }})
	out.err = errors.New("disk full")
	feed(s)
	s.flush(noon)
	out.err = nil
	s.Record(&event.Record{Key: flow.Key{Class: "chat"}})
	s.flush(noon)
	if d := byName(t, out.take(t), "Class", "chat"); d["Requests"] != 1.0 {
		t.Errorf("after a lost batch: %v", d)
	}
}

func TestNamesOfALaterConfiguration(t *testing.T) {
	s, out := build(t, Options{})
	feed(s)
	if err := s.Name([]string{"chat", "reports"}, []string{"spare"}); err != nil {
		t.Fatal(err)
	}
	s.Record(&event.Record{Key: flow.Key{Class: "reports"}})
	s.flush(noon)
	all := out.take(t)
	if d := byName(t, all, "Class", "reports"); d["Requests"] != 1.0 {
		t.Errorf("new class: %v", d)
	}
	if d := byName(t, all, "Class", "chat"); d["Requests"] != 102.0 {
		t.Errorf("old class: %v", d)
	}
	byName(t, all, "Upstream", "spare")
	many := make([]string, 101)
	if s.Name(many, nil) == nil || s.Name(nil, many) == nil {
		t.Error("101 names are accepted")
	}
	for i := range 300 {
		if err := s.Name([]string{fmt.Sprint("class", i)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.names.Load().classes); n != maxNames {
		t.Errorf("%d classes, want %d", n, maxNames)
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"too often":  {Interval: time.Millisecond},
		"too seldom": {Interval: 2 * time.Hour},
		"negative":   {Interval: -1},
		"namespace":  {Namespace: strings.Repeat("n", 256)},
		"classes":    {Classes: make([]string, 101)},
	} {
		if _, err := New(o, Deps{Out: &sheet{}}); err == nil || !strings.HasPrefix(err.Error(), "emf: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Options{}, Deps{}); err == nil {
		t.Error("a sink without a writer")
	}
}

func TestHistogram(t *testing.T) {
	if len(flow.Outcomes()) >= len(class{}.outcomes) {
		t.Error("an outcome has no count")
	}
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(18*time.Hour)).Draw(t, "d"))
		n := float64(d / time.Millisecond)
		if end := upper(slotOf(d)); end < n || end > n*9/8 {
			t.Fatalf("%v is in the slot that ends at %v ms", d, end)
		}
	})
	for _, d := range []time.Duration{-1, 1 << 62} {
		if i := slotOf(d); i < 0 || i >= slots {
			t.Errorf("slot %d of %v", i, d)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	s, _ := build(b, Options{})
	r := &event.Record{Key: flow.Key{Class: "chat"}, Outcome: flow.OutcomeServed, Attempts: 1, Queued: time.Second}
	a := &event.Attempt{Upstream: "main", Used: llm.Usage{Input: 1}}
	b.ReportAllocs()
	for b.Loop() {
		s.Record(r)
		s.Attempt(a)
	}
}

// TestAlarmsSeeWhoIsTurnedAway: the example's alarms watch metrics that are told without a
// dimension, and one of them every client that gets no answer for want of room, be he told
// 429 or 503.
func TestAlarmsSeeWhoIsTurnedAway(t *testing.T) {
	text, err := os.ReadFile("../../../examples/cloudwatch/alarms.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s, out := build(t, Options{})
	s.Record(&event.Record{Key: flow.Key{Class: flow.Chat}, Outcome: flow.OutcomeRefused, Status: 503})
	s.Record(&event.Record{Key: flow.Key{Class: flow.Chat}, Outcome: flow.OutcomeHoldExpired, Status: 429})
	s.flush(noon)
	told := byName(t, out.take(t), "Class", "chat")
	_, alarm, _ := strings.Cut(string(text), "ClientsTurnedAway:")
	seen := 0.0
	for _, m := range regexp.MustCompile(`MetricName: (\w+)`).FindAllStringSubmatch(alarm, -1) {
		n, known := told[m[1]].(float64)
		if !known {
			t.Errorf("%s is no metric of a class", m[1])
		}
		seen += n
	}
	if seen != 2 {
		t.Errorf("the alarm sees %v of 2 clients who were turned away", seen)
	}
}
