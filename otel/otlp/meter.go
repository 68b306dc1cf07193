package otlp

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/llm"
)

// Bounds of the histograms, as the conventions have them.
var (
	tokenBounds = []float64{1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864}
	timeBounds  = []float64{0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92}
	tokenTimes  = []float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	chunkTimes  = []float64{0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}
	waitBounds  = []float64{0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800}
)

// meters are the instruments.
type meters struct {
	tokens   metric.Int64Histogram
	duration metric.Float64Histogram
	chunk    metric.Float64Histogram
	token    metric.Float64Histogram
	wait     metric.Float64Histogram
	requests metric.Int64Counter
	models   vocabulary
	classes  vocabulary
}

func newMeters(m metric.Meter) (*meters, error) {
	var faults []error
	seconds := func(name, text string, bounds []float64) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(text), metric.WithExplicitBucketBoundaries(bounds...))
		faults = append(faults, err)
		return h
	}
	all := &meters{
		duration: seconds("gen_ai.client.operation.duration", "GenAI operation duration.", timeBounds),
		chunk:    seconds("gen_ai.client.operation.time_to_first_chunk", "Time to receive the first chunk.", chunkTimes),
		token:    seconds("gen_ai.server.time_to_first_token", "Time to generate first token for successful responses.", tokenTimes),
		wait:     seconds("millrace.queue.wait", "Time in the queue of requests that were dispatched.", waitBounds),
	}
	var err error
	all.tokens, err = m.Int64Histogram("gen_ai.client.token.usage", metric.WithUnit("{token}"),
		metric.WithDescription("Number of input and output tokens used."), metric.WithExplicitBucketBoundaries(tokenBounds...))
	faults = append(faults, err)
	all.requests, err = m.Int64Counter("millrace.requests", metric.WithUnit("{request}"), metric.WithDescription("Requests by how they ended."))
	return all, errors.Join(append(faults, err)...)
}

// record counts a request.
func (m *meters) record(r *event.Record) {
	class := attribute.String("millrace.class", m.classes.of(string(r.Key.Class), r.Attempts > 0))
	ctx, outcome := context.Background(), r.Outcome.String()
	if r.Stray != event.StrayNone {
		outcome = "unrouted" // who scans the gateway is no demand
	}
	m.requests.Add(ctx, 1, metric.WithAttributes(class, attribute.String("millrace.outcome", outcome)))
	if r.Attempts > 0 {
		m.wait.Record(ctx, r.Queued.Seconds(), metric.WithAttributes(class))
	}
}

// attempt counts an operation of a client of the upstream's.
func (m *meters) attempt(a *event.Attempt) {
	ctx := context.Background()
	who := []attribute.KeyValue{
		attribute.String("gen_ai.operation.name", operationOf(a.Operation)),
		attribute.String("gen_ai.provider.name", providerOf(a.Provider)),
		attribute.String("gen_ai.request.model", m.models.of(a.Model, a.Kind == llm.KindNone)),
		attribute.String("millrace.upstream", a.Upstream),
	}
	same := metric.WithAttributeSet(attribute.NewSet(who...))
	if a.Kind == llm.KindNone {
		m.duration.Record(ctx, a.Total.Seconds(), same)
	} else {
		m.duration.Record(ctx, a.Total.Seconds(), same, metric.WithAttributes(attribute.String("error.type", a.Kind.String())))
	}
	if a.Stream && a.FirstPiece > 0 {
		m.chunk.Record(ctx, a.FirstPiece.Seconds(), same)
		if a.Kind == llm.KindNone {
			m.token.Record(ctx, a.FirstPiece.Seconds(), same)
		}
	}
	if !a.Used.IsZero() {
		m.tokens.Record(ctx, a.Used.Prompt(), same, metric.WithAttributes(attribute.String("gen_ai.token.type", "input")))
		m.tokens.Record(ctx, a.Used.Output, same, metric.WithAttributes(attribute.String("gen_ai.token.type", "output")))
	}
}

// maxWords bounds a vocabulary.
const maxWords = 100

// vocabulary bounds the values of an attribute that clients have a say in.
type vocabulary struct {
	mu    sync.Mutex
	words map[string]bool
}

// of is the word if it is known, or if it is good and there is room for it; else
// "other".
func (v *vocabulary) of(word string, good bool) string {
	word = clean(word)
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.words[word]:
		return word
	case word == "" || !good || len(v.words) >= maxWords:
		return "other"
	}
	if v.words == nil {
		v.words = make(map[string]bool)
	}
	v.words[word] = true
	return word
}
