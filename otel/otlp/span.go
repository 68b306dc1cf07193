package otlp

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// maxName bounds a name that a client chose, in bytes.
const maxName = 256

// named carries the id of a request, after which its trace and its first span are
// named.
type named struct{}

// namer makes ids: those of a request's first span from its id, all others at
// random.
type namer struct{}

// NewIDs implements sdktrace.IDGenerator.
func (namer) NewIDs(ctx context.Context) (t trace.TraceID, s trace.SpanID) {
	id, ok := ctx.Value(named{}).(string)
	if !ok {
		_, _ = rand.Read(t[:])
		return t, namer{}.NewSpanID(ctx, t)
	}
	sum := sha256.Sum256([]byte(id))
	copy(t[:], sum[:])
	copy(s[:], sum[len(t):])
	return t, s
}

// NewSpanID implements sdktrace.IDGenerator.
func (namer) NewSpanID(context.Context, trace.TraceID) (s trace.SpanID) {
	_, _ = rand.Read(s[:])
	return s
}

// first starts the first span of a request. Of all that start it one must end it:
// the others take it for a parent that is sampled or not, and forget it.
func (s *Sink) first(id string, op llm.Operation, at time.Time) (context.Context, trace.Span) {
	return s.tracer.Start(context.WithValue(context.Background(), named{}, id), "request "+operationOf(op),
		trace.WithTimestamp(at), trace.WithSpanKind(trace.SpanKindServer), trace.WithNewRoot())
}

// request tells the first span.
func (s *Sink) request(r *event.Record) {
	ctx, span := s.first(r.ID, r.Operation, r.Arrived)
	end := r.Arrived.Add(r.Total)
	if span.IsRecording() {
		span.SetAttributes(requestAttributes(r)...)
		if failed(r.Outcome) {
			span.SetStatus(codes.Error, r.Outcome.String())
			span.SetAttributes(attribute.String("error.type", errorOf(r)))
		}
		if r.Attempts == 0 && r.Queued > 0 {
			s.queue(ctx, r.Arrived, r.Arrived.Add(r.Queued), r.Reason)
		}
	}
	span.End(trace.WithTimestamp(end))
}

func requestAttributes(r *event.Record) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("gen_ai.operation.name", operationOf(r.Operation)),
		attribute.Bool("gen_ai.request.stream", r.Stream),
		attribute.String("millrace.request.id", r.ID),
		attribute.String("millrace.class", clean(string(r.Key.Class))),
		attribute.String("millrace.tenant", clean(r.Key.Tenant)),
		attribute.String("millrace.route", r.Route),
		attribute.String("millrace.outcome", r.Outcome.String()),
		attribute.Int("millrace.attempts", r.Attempts),
		attribute.Float64("millrace.queue.wait", r.Queued.Seconds()),
	}
	text := func(key, value string) {
		if value != "" {
			all = append(all, attribute.String(key, clean(value)))
		}
	}
	text("gen_ai.request.model", r.Model)
	text("millrace.upstream", r.Upstream)
	text("millrace.cause", r.Cause)
	text("millrace.cache", r.Cache)
	text("millrace.queue.reason", string(r.Reason))
	if r.Status > 0 {
		all = append(all, attribute.Int("http.response.status_code", r.Status))
	}
	if r.Quoted {
		all = append(all, attribute.Int("millrace.queue.position", r.Position),
			attribute.Float64("millrace.queue.eta_p50", r.EtaP50.Seconds()), attribute.Float64("millrace.queue.eta_p90", r.EtaP90.Seconds()))
	}
	return all
}

// failed reports whether an outcome is the gateway's or the provider's failure.
func failed(o flow.Outcome) bool {
	switch o {
	case flow.OutcomeFailed, flow.OutcomeRejected, flow.OutcomeRefused, flow.OutcomeHoldExpired, flow.OutcomeEvicted, flow.OutcomeDeadline:
		return true
	case flow.OutcomeNone, flow.OutcomeServed, flow.OutcomeCached, flow.OutcomeCoalesced, flow.OutcomeCanceled, flow.OutcomeDisconnected:
	}
	return false
}

// errorOf is the class of a request's failure.
func errorOf(r *event.Record) string {
	switch {
	case r.Cause != "":
		return r.Cause
	case r.Kind != llm.KindNone:
		return r.Kind.String()
	}
	return r.Outcome.String()
}

// queue tells a wait.
func (s *Sink) queue(ctx context.Context, from, to time.Time, why flow.Reason) {
	_, span := s.tracer.Start(ctx, "queue", trace.WithTimestamp(from), trace.WithAttributes(attribute.String("millrace.queue.reason", string(why))))
	span.End(trace.WithTimestamp(to))
}

// attempt tells the span of an attempt, and that of the wait for it.
func (s *Sink) attempt(a *event.Attempt) {
	ctx, parent := s.first(a.Request, a.Operation, a.Started)
	if !parent.IsRecording() {
		return
	}
	if a.Queued > 0 {
		s.queue(ctx, a.Started.Add(-a.Queued), a.Started, a.Reason)
	}
	model := clean(a.Model)
	_, span := s.tracer.Start(ctx, strings.TrimSpace(operationOf(a.Operation)+" "+model), trace.WithTimestamp(a.Started),
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attemptAttributes(a, model)...))
	if a.FirstPiece > 0 {
		span.AddEvent("first_chunk", trace.WithTimestamp(a.Started.Add(a.FirstPiece)))
	}
	if a.Kind != llm.KindNone && a.Kind != llm.KindCanceled {
		span.SetStatus(codes.Error, a.Kind.String())
	}
	span.End(trace.WithTimestamp(a.Started.Add(a.Total)))
}

func attemptAttributes(a *event.Attempt, model string) []attribute.KeyValue {
	all := []attribute.KeyValue{
		attribute.String("gen_ai.operation.name", operationOf(a.Operation)),
		attribute.String("gen_ai.provider.name", providerOf(a.Provider)),
		attribute.Bool("gen_ai.request.stream", a.Stream),
		attribute.String("millrace.upstream", a.Upstream),
		attribute.Int("millrace.attempt", a.Number),
	}
	if model != "" {
		all = append(all, attribute.String("gen_ai.request.model", model))
	}
	if a.Estimated.MaxOutput > 0 {
		all = append(all, attribute.Int64("gen_ai.request.max_tokens", a.Estimated.MaxOutput))
	}
	if !a.Used.IsZero() {
		all = append(all, attribute.Int64("gen_ai.usage.input_tokens", a.Used.Prompt()), attribute.Int64("gen_ai.usage.output_tokens", a.Used.Output),
			attribute.Int64("millrace.estimated.input_tokens", a.Estimated.Input), attribute.Int64("millrace.estimated.output_tokens", a.Estimated.Output),
			attribute.Bool("millrace.usage.counted", a.Counted))
	}
	if a.Used.CacheRead > 0 {
		all = append(all, attribute.Int64("gen_ai.usage.cache_read.input_tokens", a.Used.CacheRead))
	}
	if a.Used.CacheWrite > 0 {
		all = append(all, attribute.Int64("gen_ai.usage.cache_creation.input_tokens", a.Used.CacheWrite))
	}
	if a.Stream && a.FirstPiece > 0 {
		all = append(all, attribute.Float64("gen_ai.response.time_to_first_chunk", a.FirstPiece.Seconds()))
	}
	if a.Status > 0 {
		all = append(all, attribute.Int("http.response.status_code", a.Status))
	}
	if a.Kind != llm.KindNone {
		all = append(all, attribute.String("error.type", a.Kind.String()))
	}
	return all
}

// operationOf is an operation by the conventions' name.
func operationOf(op llm.Operation) string {
	switch op {
	case llm.OpChat:
		return "chat"
	case llm.OpCompletion:
		return "text_completion"
	case llm.OpEmbedding:
		return "embeddings"
	}
	return op.String()
}

// providerOf is a provider by the conventions' name.
func providerOf(name string) string {
	switch name {
	case "bedrock":
		return "aws.bedrock"
	case "":
		return "_OTHER"
	}
	return name
}

// clean makes a name that a client chose fit for an attribute.
func clean(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxName)], "_")
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			return '_'
		}
		return c
	}, s)
}
