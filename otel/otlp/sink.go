package otlp

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/millrace/millrace/internal/event"
)

// scope names the instrumentation.
const scope = "github.com/millrace/millrace"

// Options say what is told beside the records.
type Options struct {
	Version string // of the gateway
}

// Sink tells records to a collector. Use New, and Close it.
type Sink struct {
	traces  *sdktrace.TracerProvider
	metrics *metric.MeterProvider
	tracer  trace.Tracer
	meters  *meters
}

var _ event.Sink = (*Sink)(nil)

// New returns a Sink with exporters that speak OTLP over HTTP, as the environment
// says.
func New(ctx context.Context, o Options) (*Sink, error) {
	where, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "millrace"), attribute.String("service.version", o.Version)),
		resource.WithTelemetrySDK(), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("describe the gateway to OpenTelemetry: %w", err)
	}
	spans, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("make the exporter of traces: %w", err)
	}
	figures, err := otlpmetrichttp.New(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the exporter of metrics: %w", err), spans.Shutdown(ctx))
	}
	s := &Sink{
		traces:  sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(where), sdktrace.WithIDGenerator(namer{})),
		metrics: metric.NewMeterProvider(metric.WithReader(metric.NewPeriodicReader(figures)), metric.WithResource(where)),
	}
	s.tracer = s.traces.Tracer(scope, trace.WithInstrumentationVersion(o.Version))
	if s.meters, err = newMeters(s.metrics.Meter(scope)); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

// Close sends what is left, until ctx ends.
func (s *Sink) Close(ctx context.Context) error {
	return errors.Join(s.traces.Shutdown(ctx), s.metrics.Shutdown(ctx))
}

// Record implements event.Sink.
func (s *Sink) Record(r *event.Record) {
	s.meters.record(r)
	s.request(r)
}

// Attempt implements event.Sink.
func (s *Sink) Attempt(a *event.Attempt) {
	s.meters.attempt(a)
	s.attempt(a)
}
