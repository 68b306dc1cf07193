// Package dispatch decides how one admitted request is run: which attempt is
// made, when another follows, what the client is told while it waits, and how
// it ends.
//
// # Model
//
// A request goes through five steps: it enters admission, waits for a grant,
// makes an attempt at the granted upstream, relays the answer piece by piece,
// and settles. The hard limit of its class runs from the first attempt to the end,
// waits for further attempts included. An attempt that fails before any piece of an answer reached the
// client goes back to the second step and keeps its place, if its kind allows it
// (a throttle, or a failure that another upstream may not share) and the gate has an
// upstream left for it. What is tried again after a failure is within the retry budget
// (attempts <= 1.1 x requests over 60 s, and 10 more); a throttle is not asked for it.
//
// The client is a [Reply]. While a streaming client waits it is told where it
// stands, first after Options.Patience and then every Options.Rhythm. Once its
// first attempt runs, a client that has heard nothing yet is left in silence for
// longer, so that an early failure still keeps its own status.
//
// Requests with the same Request.Share wait for one call: it is made in a goroutine
// of its own, with a context of its own, and records its answer (package coalesce),
// which each of them relays from the first byte on at its own pace. The call belongs
// to the oldest who still waits; when he leaves, admission is told whose it is now. A
// waiter that leaves, or whose hold ends, is nothing to the others; the last one's
// leaving ends the call. What concerned its owner alone (a flow that is full, a hold
// too short) is no verdict on those who joined: they go on, with a call of their own.
// An answer that was whole may be kept under Request.Cache (package respcache).
//
// # Invariants
//
//   - I1: every grant is settled exactly once, on every exit: done, error,
//     timeout, cancel, disconnect, panic, drain.
//   - I2: the upstream's exchange is closed before its grant is settled, so that a
//     seat is free when the books say so, and within 1 s of the client's leaving.
//   - I3: every request ends in exactly one outcome, one Reply.End and one
//     event.Record; every attempt in one event.Attempt.
//   - I4: nothing is retried once a piece of an answer was handed to the client.
//   - I5: nothing is sent for a client that has left.
//   - I6: no goroutine and no timer outlives Do; those of a shared call, the last
//     Do of those who wait for it.
//   - I7: requests that share have one call under way, whoever of them leaves, and it
//     ends within 1 s of the last one's leaving. Its attempts are in one record:
//     that of the one to whom it belonged at its end; the others end as coalesced if
//     its answer was whole, else as it ended.
//   - I8: every waiter is told the same bytes as the upstream sent, from the first on,
//     whenever it joined, and nobody those of another key.
//   - I9: no reader holds up another; what an answer keeps in memory is bounded.
//   - I10: only answers that were whole, a success and in the form that was asked for
//     are kept, with no header that is about one request.
//
// # Concurrency
//
// A Dispatcher is safe for concurrent use. One lock guards the retry budget, another
// all that is shared; neither is held while blocking. What Reconfigure swaps is read
// at the start of each attempt. A request runs in the goroutine that called
// Do, but for shared calls. Two timers may fire beside it: the watch, which only cancels the attempt's
// context, and the pulse of a stream that waits, which calls Reply.Queued. The
// right to call the Reply is a token in a channel, so the two never call it at
// once.
//
// # Failure
//
// What ends a request before it runs is an error of package flow, wrapped by
// admission with its reasons. A failed attempt is an *llm.Error. ErrHardLimit,
// ErrSoftLimit and flow.ErrCanceled say that the class's limit passed and that the client
// left. A context that was canceled with the cause flow.ErrDrained ends its
// requests as evicted, not as canceled. A panic below Do is recovered, logged
// and reported as *llm.Error of KindInternal.
//
// # Not here
//
// Which requests may share (gateway; flow.Sharer builds the keys); the order of the
// queue and the choice of upstream (gate); timeouts for a
// silent upstream (the providers' own); status codes, headers and the shape of
// errors (gateway).
package dispatch
