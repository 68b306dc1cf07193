package otlp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel"
	metriccol "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracecol "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metricpb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// collector is a receiver of OTLP over HTTP.
type collector struct {
	mu      sync.Mutex
	raw     bytes.Buffer
	spans   map[string][]*tracepb.Span // by name
	metrics map[string]*metricpb.Metric
	where   map[string]string // attributes of the resource
	faults  []error
}

// collect starts a collector to which the exporters of this test send.
func collect(t testing.TB) *collector {
	t.Helper()
	c := &collector{spans: map[string][]*tracepb.Span{}, metrics: map[string]*metricpb.Metric{}, where: map[string]string{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		in := &tracecol.ExportTraceServiceRequest{}
		c.take(w, r, in, func() {
			for _, rs := range in.ResourceSpans {
				c.learn(rs.Resource.Attributes)
				for _, ss := range rs.ScopeSpans {
					for _, s := range ss.Spans {
						c.spans[s.Name] = append(c.spans[s.Name], s)
					}
				}
			}
		})
	})
	mux.HandleFunc("POST /v1/metrics", func(w http.ResponseWriter, r *http.Request) {
		in := &metriccol.ExportMetricsServiceRequest{}
		c.take(w, r, in, func() {
			for _, rm := range in.ResourceMetrics {
				for _, sm := range rm.ScopeMetrics {
					for _, m := range sm.Metrics {
						c.metrics[m.Name] = m
					}
				}
			}
		})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	if t, ok := t.(*testing.T); ok {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	}
	return c
}

// take decodes what arrives.
func (c *collector) take(w http.ResponseWriter, r *http.Request, into proto.Message, done func()) {
	body, err := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Header.Get("Content-Type") != "application/x-protobuf" {
		err = errors.Join(err, fmt.Errorf("content type %q", r.Header.Get("Content-Type")))
	}
	c.raw.Write(body)
	if err = errors.Join(err, proto.UnmarshalOptions{DiscardUnknown: false}.Unmarshal(body, into)); err != nil {
		c.faults = append(c.faults, err)
		return
	}
	if n := len(into.ProtoReflect().GetUnknown()); n > 0 {
		c.faults = append(c.faults, fmt.Errorf("%d unknown bytes", n))
	}
	done()
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (c *collector) learn(all []*common.KeyValue) {
	for _, kv := range all {
		c.where[kv.Key] = kv.Value.GetStringValue()
	}
}

// told runs a story through a Sink and returns what the collector was told.
func told(t *testing.T, story func(*Sink)) *collector {
	t.Helper()
	c := collect(t)
	s, err := New(t.Context(), Options{Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	story(s)
	if err := errors.Join(append(c.faults, s.Close(t.Context()))...); err != nil {
		t.Fatal(err)
	}
	return c
}

// attributes as text, without order.
func attributes(all []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range all {
		switch v := kv.Value.Value.(type) {
		case *common.AnyValue_StringValue:
			m[kv.Key] = v.StringValue
		case *common.AnyValue_IntValue:
			m[kv.Key] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_BoolValue:
			m[kv.Key] = fmt.Sprint(v.BoolValue)
		case *common.AnyValue_DoubleValue:
			m[kv.Key] = fmt.Sprint(v.DoubleValue)
		}
	}
	return m
}

func lacks(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%s: %s is %q, want %q; of %v", what, k, got[k], v, got)
		}
	}
}

// fallen tells of a request that was throttled at one upstream and answered by another.
func fallen(s *Sink) {
	s.Attempt(&event.Attempt{
		Request: "req_7", Number: 1, Class: "chat", Upstream: "main", Provider: "openai", Model: "gpt-4o", Stream: true, Kind: llm.KindThrottle, Status: 429,
		Queued: 8 * time.Second, Reason: flow.ReasonTokens, Started: noon.Add(8 * time.Second), Total: time.Second,
	})
	s.Attempt(&event.Attempt{
		Request: "req_7", Number: 2, Class: "chat", Upstream: "spare", Provider: "bedrock", Model: "claude", Stream: true, Status: 200,
		Started: noon.Add(9 * time.Second), FirstByte: time.Second, FirstPiece: 2 * time.Second, Total: 10 * time.Second,
		Estimated: llm.Size{Input: 1000, Output: 800, MaxOutput: 4000}, Used: llm.Usage{Input: 700, CacheRead: 200, CacheWrite: 50, Output: 100},
	})
	s.Record(&event.Record{
		ID: "req_7", Key: flow.Key{Class: "chat", Tenant: "acme", User: "ann@example.org"}, Model: "gpt-4o", Route: "*", Stream: true,
		Outcome: flow.OutcomeServed, Reason: flow.ReasonTokens, Status: 200, Upstream: "spare", Attempts: 2, Arrived: noon, Queued: 8 * time.Second,
		FirstByte: 11 * time.Second, Total: 19 * time.Second, Quoted: true, Position: 4, EtaP50: 6 * time.Second, EtaP90: 9 * time.Second,
	})
}

func TestSpansOfARequest(t *testing.T) {
	c := told(t, fallen)
	lacks(t, "resource", c.where, map[string]string{"service.name": "millrace", "service.version": "v1"})
	for name, want := range map[string]struct {
		kind       tracepb.Span_SpanKind
		start, end time.Duration
		failed     bool
		attributes map[string]string
	}{
		"request chat": {tracepb.Span_SPAN_KIND_SERVER, 0, 19 * time.Second, false, map[string]string{
			"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "millrace.outcome": "served", "millrace.class": "chat",
			"millrace.queue.wait": "8", "millrace.queue.reason": "tokens", "millrace.queue.position": "4", "millrace.queue.eta_p90": "9",
			"millrace.attempts": "2", "http.response.status_code": "200", "millrace.request.id": "req_7",
		}},
		"queue": {tracepb.Span_SPAN_KIND_INTERNAL, 0, 8 * time.Second, false, map[string]string{"millrace.queue.reason": "tokens"}},
		"chat gpt-4o": {tracepb.Span_SPAN_KIND_CLIENT, 8 * time.Second, 9 * time.Second, true, map[string]string{
			"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o", "error.type": "throttle",
			"http.response.status_code": "429", "millrace.upstream": "main", "gen_ai.request.stream": "true",
		}},
		"chat claude": {tracepb.Span_SPAN_KIND_CLIENT, 9 * time.Second, 19 * time.Second, false, map[string]string{
			"gen_ai.provider.name": "aws.bedrock", "gen_ai.usage.input_tokens": "950", "gen_ai.usage.output_tokens": "100",
			"gen_ai.usage.cache_read.input_tokens": "200", "gen_ai.usage.cache_creation.input_tokens": "50", "gen_ai.request.max_tokens": "4000",
			"gen_ai.response.time_to_first_chunk": "2", "millrace.attempt": "2", "error.type": "",
		}},
	} {
		if len(c.spans[name]) != 1 {
			t.Errorf("%d spans %q", len(c.spans[name]), name)
			continue
		}
		s := c.spans[name][0]
		start, end := time.Unix(0, int64(s.StartTimeUnixNano)).Sub(noon), time.Unix(0, int64(s.EndTimeUnixNano)).Sub(noon)
		if s.Kind != want.kind || start != want.start || end != want.end || (s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR) != want.failed {
			t.Errorf("%s: %v from %v to %v, status %v", name, s.Kind, start, end, s.Status)
		}
		lacks(t, name, attributes(s.Attributes), want.attributes)
	}
}

func TestI1NothingPrivateIsTold(t *testing.T) {
	c := told(t, fallen)
	if c.raw.Len() == 0 {
		t.Fatal("nothing was told")
	}
	if bytes.Contains(c.raw.Bytes(), []byte("ann@example.org")) {
		t.Error("the name of a user was told")
	}
	for name, spans := range c.spans {
		for _, s := range spans {
			for key := range attributes(s.Attributes) {
				if strings.Contains(key, "message") || strings.Contains(key, "instruction") || strings.Contains(key, "prompt") || strings.Contains(key, "user") {
					t.Errorf("%s has %s", name, key)
				}
			}
		}
	}
}

func TestI2SpansAreLinkedAndSampledTogether(t *testing.T) {
	c := told(t, fallen)
	sum := sha256.Sum256([]byte("req_7"))
	first := c.spans["request chat"][0]
	if hex.EncodeToString(first.TraceId) != hex.EncodeToString(sum[:16]) || len(first.ParentSpanId) != 0 {
		t.Errorf("first span %x of trace %x below %x", first.SpanId, first.TraceId, first.ParentSpanId)
	}
	seen := map[string]bool{}
	for name, spans := range c.spans {
		for _, s := range spans {
			if seen[string(s.SpanId)] || !bytes.Equal(s.TraceId, first.TraceId) || s != first && !bytes.Equal(s.ParentSpanId, first.SpanId) {
				t.Errorf("%s: span %x of trace %x below %x", name, s.SpanId, s.TraceId, s.ParentSpanId)
			}
			seen[string(s.SpanId)] = true
		}
	}
	t.Run("none sampled", func(t *testing.T) {
		t.Setenv("OTEL_TRACES_SAMPLER", "always_off")
		if c := told(t, fallen); len(c.spans) != 0 || c.metrics["millrace.requests"] == nil {
			t.Errorf("%d names of spans, metrics %v", len(c.spans), c.metrics)
		}
	})
	t.Run("half sampled", func(t *testing.T) {
		t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
		t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
		c := told(t, func(s *Sink) {
			for i := range 200 {
				id := fmt.Sprint("req_", i)
				s.Attempt(&event.Attempt{Request: id, Model: "m", Started: noon, Total: time.Second})
				s.Record(&event.Record{ID: id, Outcome: flow.OutcomeServed, Arrived: noon, Attempts: 1, Total: time.Second})
			}
		})
		traces := func(name string) (all []string) {
			for _, s := range c.spans[name] {
				all = append(all, string(s.TraceId))
			}
			slices.Sort(all)
			return all
		}
		whole, tries := traces("request chat"), traces("chat m")
		if len(whole) < 60 || len(whole) > 140 || !slices.Equal(whole, tries) {
			t.Errorf("%d requests and %d attempts of 200 are sampled", len(whole), len(tries))
		}
	})
}

// points are the data points of a histogram by the values of some attributes.
func points(t *testing.T, m *metricpb.Metric, keys ...string) map[string]*metricpb.HistogramDataPoint {
	t.Helper()
	all := map[string]*metricpb.HistogramDataPoint{}
	for _, p := range m.GetHistogram().GetDataPoints() {
		a := attributes(p.Attributes)
		var id []string
		for _, k := range keys {
			id = append(id, a[k])
		}
		all[strings.Join(id, " ")] = p
	}
	return all
}

func TestMetrics(t *testing.T) {
	c := told(t, fallen)
	for name, unit := range map[string]string{
		"gen_ai.client.token.usage": "{token}", "gen_ai.client.operation.duration": "s", "gen_ai.client.operation.time_to_first_chunk": "s",
		"gen_ai.server.time_to_first_token": "s", "millrace.queue.wait": "s", "millrace.requests": "{request}",
	} {
		if m := c.metrics[name]; m == nil || m.Unit != unit || m.Description == "" {
			t.Errorf("%s: %v", name, m)
		}
	}
	model := []string{"gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"}
	usage := points(t, c.metrics["gen_ai.client.token.usage"], append(model, "gen_ai.token.type")...)
	for id, sum := range map[string]float64{"chat aws.bedrock claude input": 950, "chat aws.bedrock claude output": 100} {
		if p := usage[id]; p == nil || p.GetSum() != sum || p.Count != 1 || !slices.Equal(p.ExplicitBounds, tokenBounds) {
			t.Errorf("tokens of %s: %v", id, p)
		}
	}
	if len(usage) != 2 {
		t.Errorf("tokens: %v", usage)
	}
	took := points(t, c.metrics["gen_ai.client.operation.duration"], append(model, "error.type")...)
	for id, sum := range map[string]float64{"chat openai other throttle": 1, "chat aws.bedrock claude ": 10} {
		if p := took[id]; p == nil || p.GetSum() != sum || !slices.Equal(p.ExplicitBounds, timeBounds) {
			t.Errorf("duration of %q: %v, of %v", id, p, took)
		}
	}
	for _, name := range []string{"gen_ai.server.time_to_first_token", "gen_ai.client.operation.time_to_first_chunk"} {
		if p := points(t, c.metrics[name], model...)["chat aws.bedrock claude"]; p.GetSum() != 2 || p.GetCount() != 1 {
			t.Errorf("%s: %v", name, p)
		}
	}
	if p := points(t, c.metrics["millrace.queue.wait"], "millrace.class")["chat"]; p.GetSum() != 8 {
		t.Errorf("wait: %v", p)
	}
	sum := c.metrics["millrace.requests"].GetSum()
	if p := sum.GetDataPoints(); len(p) != 1 || p[0].GetAsInt() != 1 || attributes(p[0].Attributes)["millrace.outcome"] != "served" || !sum.IsMonotonic {
		t.Errorf("requests: %v", sum)
	}
}

func TestI3NamesInMetricsAreBounded(t *testing.T) {
	c := told(t, func(s *Sink) {
		for i := range 1000 {
			s.Attempt(&event.Attempt{Request: "r", Model: fmt.Sprint("wrong", i), Kind: llm.KindInvalid, Started: noon})
			s.Attempt(&event.Attempt{Request: "r", Model: fmt.Sprint("right", i), Started: noon})
			s.Record(&event.Record{ID: "r", Key: flow.Key{Class: flow.Class(fmt.Sprint("class", i))}, Attempts: 1, Outcome: flow.OutcomeServed, Arrived: noon})
		}
	})
	models := points(t, c.metrics["gen_ai.client.operation.duration"], "gen_ai.request.model", "error.type")
	if len(models) != maxWords+2 || models["other invalid"].GetCount() != 1000 || models["other "].GetCount() != 1000-maxWords {
		t.Errorf("%d models, %d wrong ones, %d others", len(models), models["other invalid"].GetCount(), models["other "].GetCount())
	}
	if classes := points(t, c.metrics["millrace.queue.wait"], "millrace.class"); len(classes) != maxWords+1 {
		t.Errorf("%d classes", len(classes))
	}
}

// A collector that hears nothing holds up nobody.
func TestI4SilentCollectorHoldsUpNobody(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	sdk.SetErrorHandler(sdk.ErrorHandlerFunc(func(error) {}))
	s, err := New(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20_000 { // beyond what the queue of the exporter takes
			s.Record(&event.Record{ID: "r", Outcome: flow.OutcomeServed, Arrived: noon})
		}
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatal("it waits for the collector")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s.Close(ctx) == nil {
		t.Error("nothing was said of what was lost")
	}
}

func TestRequestsThatNeverRan(t *testing.T) {
	c := told(t, func(s *Sink) {
		s.Record(&event.Record{
			ID: "a", Operation: llm.OpEmbedding, Outcome: flow.OutcomeHoldExpired, Cause: "hold", Reason: flow.ReasonSeats, Status: 429, Model: "x\x1b\xff",
			Arrived: noon, Queued: 3 * time.Second, Total: 3 * time.Second,
		})
		s.Record(&event.Record{ID: "b", Operation: llm.OpCompletion, Outcome: flow.OutcomeCanceled, Arrived: noon})
	})
	a, b := c.spans["request embeddings"], c.spans["request text_completion"]
	if len(a) != 1 || len(b) != 1 || len(c.spans["queue"]) != 1 {
		t.Fatalf("spans %v", c.spans)
	}
	lacks(t, "hold expired", attributes(a[0].Attributes), map[string]string{"error.type": "hold", "gen_ai.request.model": "x__", "http.response.status_code": "429"})
	if a[0].Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || b[0].Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("status %v and %v", a[0].Status, b[0].Status)
	}
	if len(c.metrics["millrace.queue.wait"].GetHistogram().GetDataPoints()) != 0 {
		t.Error("the wait of what never ran is counted")
	}
}

func TestNewSaysWhatIsWrong(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "no value")
	if s, err := New(t.Context(), Options{}); err == nil {
		_ = s.Close(t.Context())
		t.Error("broken attributes are accepted")
	}
}

func BenchmarkRecord(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	b.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	s, err := New(b.Context(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		fallen(s)
	}
	_ = s.Close(b.Context())
}
