// Package trial decides which load a person may put on a gateway from a page, and
// what is to be seen of it meanwhile.
//
// # Model
//
// A Trial has one target, chosen by whoever wires it, and at most one run at a
// time. A run has a few parameters, each with a default and a bound. It is idle,
// running, finishing (no new requests, the last answers are awaited), and then
// ended, or failed when nothing could be measured. State is made for a question a
// second: counters, percentiles so far, and a point for each second gone by. The
// report of the last run stays until the next one begins.
//
// # Invariants
//
//	I1  At most one run at a time, within the bounds of Options.
//	I2  Nothing started by a Trial outlives Close.
//	I3  A stopped run has a report of what was measured until then.
//	I4  What is seen is bounded, and holds neither the key nor what a target says
//	    beyond its statuses.
//
// # Concurrency
//
// Every method may be called by several goroutines at once. A run is one goroutine
// that hands its snapshots over under the mutex; nobody waits for it but Close.
//
// # Failure
//
// Parameters that make no sense are all told together and start nothing. A second
// run is refused with ErrRunning. A run that fails says why in its state.
//
// # Not here
//
// The load itself: load. Its page: view. Who may start one: the console.
package trial
