// Package wire decides what the bytes of an answer say: its usage, its pieces,
// whether it ended, and what an endpoint says of a task.
//
// # Model
//
// A Tally reads one answer as it comes, JSON or an event stream, without decoding
// more than it needs. A Reply is the form of the application's endpoints, and of
// what they say of a task.
//
// # Invariants
//
//	I1  What a Tally says does not depend on how the bytes are cut.
//	I2  Nothing kept of an answer is larger than its bound.
//	I3  Usage is read from the key itself, never from text that looks like it.
//
// # Concurrency
//
// A Tally belongs to one request. Buffers and readers come from pools.
//
// # Failure
//
// An answer beyond the bound is ErrTooLarge; other errors are the reader's.
//
// # Not here
//
// Whether an answer is an error, and whose: that is the load's.
package wire
