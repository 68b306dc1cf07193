// Package judge decides how the books of a simulated provider are read: what it
// admitted and what it throttled, by its own account.
//
// # Model
//
// A Client asks one simulator over HTTP, below /sim. Its books are what has
// happened since their last reset.
//
// # Invariants
//
//	I1  Books are read and reset also when the run was ended: an interrupted run
//	    has a verdict too.
//
// # Concurrency
//
// A Client may be used by several goroutines at once.
//
// # Failure
//
// A simulator that cannot be reached, and an answer that is none of a
// simulator's, are errors that say so. Calls and answers are bounded.
//
// # Not here
//
// When to read, and what the figures are worth: that is the load's.
package judge
