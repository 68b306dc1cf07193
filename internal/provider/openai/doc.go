// Package openai decides how one call is spoken to an OpenAI-compatible
// endpoint: which bytes go out, which come back, and what they cost.
//
// # Model
//
// A call is one POST of the client's own bytes to base + the path of its
// operation. Two edits are made, both by splicing around the untouched rest:
// the value of every top-level "model" where the upstream has another name for
// it, and stream_options.include_usage where the client streams and did not
// ask for usage itself. The body is never re-encoded and never copied.
//
// An answer comes back in one of two shapes, told apart by its Content-Type,
// not by what was asked. A whole answer is read to its end, bounded, and handed
// out in one piece. A stream is cut into events at blank lines (LF or CRLF);
// all events that have arrived together leave together, and an incomplete one
// waits. While they pass, one look over each event finds the usage, the end
// mark, an error frame and the length of the generated text.
//
// The chunk that exists only to carry usage (choices is []) is taken out when
// the client did not ask for it. Everything else passes, comments included.
//
// # Invariants
//
//   - I1: the provider receives the client's body byte for byte, except for the
//     two edits; with nothing to edit, the very same bytes.
//   - I2: what is forwarded, counted and reported does not depend on how the
//     network cut the bytes.
//   - I3: only whole events are forwarded.
//   - I4: an answer ends in io.EOF only if it is complete: a stream after
//     [DONE], a whole answer at the end its framing declares (and, where the
//     framing declares none, only if it is valid JSON).
//   - I5: the key is in no error, log line, String or error body.
//   - I6: every error says whether the request may have reached the provider
//     (see Failure), and never says no when it may have.
//   - I7: after Do has failed, or Body is closed, nobody reads Call.Body and no
//     timer or goroutine of the call remains.
//   - I8: memory per call is bounded: MaxAnswer for a whole answer, 1 MiB for an
//     event, 64 KiB for an error body.
//   - I9: a silence longer than its limit ends the call with KindTimeout; the
//     time a slow client takes between two pieces is not silence.
//
// # Concurrency
//
// A Client is safe for concurrent use and keeps no state but idle connections
// and buffers. A Body belongs to one goroutine at a time. A call adds no
// goroutine to those of net/http: one timer cancels the request's context when
// the provider is silent too long, and the parent's end does the same.
//
// # Failure
//
// Do and Next return *llm.Error. Statuses and error bodies are classified by
// package backoff; faults of the wire are KindTransient, KindTimeout or
// KindCanceled. A parent context that ends by its deadline gives KindTimeout
// and wraps context.DeadlineExceeded, so that the caller can tell its own limit
// from the provider's silence. An answer over MaxAnswer is KindTooLarge, since
// asking again would only pay for it again.
//
// Beneath each *llm.Error lies a cause with the method Sent() bool, found with
//
//	var s interface{ Sent() bool }
//	errors.As(err, &s)
//
// It is false when no byte of the request body left for the provider (refused
// connections, failed handshakes, a caller gone while dialing): nothing was
// consumed there, and the reservation can be given back.
//
// An error frame inside a stream is forwarded, and the following Next returns
// its classification. One that comes before any data is not forwarded: Next
// returns it at once, so that another attempt can follow. So that this does not
// depend on how the bytes were cut, comments in front of the first data wait for
// it. A whole answer that holds an error instead of choices fails the same way.
//
// # Not here
//
// Retries, fallback, settlement and the breaker (dispatch); what an error means
// (backoff); the client's dialect of errors and the header allow-list (gateway).
package openai
