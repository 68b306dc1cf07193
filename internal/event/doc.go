// Package event decides how the story of a request is told: one record when it
// ends, one for each attempt, handed to every sink alike.
//
// # Model
//
// A [Record] is the whole story of one request, written once, when its outcome
// is known. An [Attempt] is the story of one try at one upstream, written when
// that try is settled or canceled; it comes before the record of its request.
// Metrics, logs and the console are all sinks over these two, so they cannot
// disagree about what happened.
//
// Both types are plain values without references: a shallow copy is a copy.
//
// # Invariants
//
//	I1  Every sink of a Fanout sees every record and every attempt, in the
//	    order of the sinks.
//	I2  A sink that panics hurts neither the caller nor another sink; each
//	    panic is counted.
//
// # Concurrency
//
// A Fanout may be called from many goroutines at once and takes no lock, so its
// sinks must be safe for that. A sink must not keep the pointer it is given, nor
// change what it points at: the caller may reuse the memory.
//
// # Failure
//
// Nothing here fails. What a sink cannot store it drops, and counts by its own
// means.
//
// # Not here
//
// No I/O, no formatting and no clock: those are the sinks' own. What is not the
// end of something (a position in the queue, a state of a breaker) is read as a
// snapshot from its owner and is no event.
package event
