// Package otlp decides what an OpenTelemetry collector is told of the gateway's
// requests: spans and metrics by the names of the conventions for generative AI.
//
// # Model
//
// A request is one trace:
//
//	request chat         SERVER    arrival to the end: outcome, class, wait, what was foretold
//	├ queue              INTERNAL  the wait for one attempt, and what it was for
//	└ chat gpt-4o        CLIENT    the attempt: gen_ai.*, tokens, what became of it
//
// The trace and its first span are named by a hash of the request's id, so that
// attempts, which are told first, find their parent without being kept.
//
//	gen_ai.client.token.usage                    {token}  by gen_ai.token.type
//	gen_ai.client.operation.duration             s        of attempts; error.type where they failed
//	gen_ai.client.operation.time_to_first_chunk  s        of streams
//	gen_ai.server.time_to_first_token            s        the same, as far as it can be seen from here
//	millrace.queue.wait                          s        of requests that were dispatched, by class
//	millrace.requests                            {request} by class and outcome
//
// # Invariants
//
//   - I1 Silent: no prompt, no answer, no key and no name of a user is told.
//   - I2 Linked: every span of a request is in its one trace, below its first span,
//     and sampled with it.
//   - I3 Bounded: a metric has at most 100 models and 100 classes, the others count
//     as "other"; models that no upstream has answered for are never named in it.
//   - I4 Unhurried: a collector that is slow or gone holds up no request; what does
//     not fit is dropped.
//
// # Concurrency
//
// A Sink is safe for concurrent use. The exporters run in goroutines of their own
// until Close.
//
// # Failure
//
// New fails on settings that make no sense. What cannot be sent later goes to the
// error handler of OpenTelemetry.
//
// # Not here
//
// Settings: the exporters read the variables of OpenTelemetry themselves
// (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_METRIC_EXPORT_INTERVAL).
package otlp
