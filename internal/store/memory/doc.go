// Package memory decides what is kept when nothing outlives the process: tasks and
// conversations, both bounded.
//
// # Model
//
// [Tasks] is the runner's store: a map, and a heap of what has ended, ordered by when.
// [History] holds the latest turns of each (tenant, session) and, of the sessions,
// those used latest.
//
// # Invariants
//
//   - I1 Tasks passes the conformance suite of runner's stores.
//   - I2 Tasks holds at most Max tasks; what has ended leaves by Expire alone.
//   - I3 History holds at most Sessions conversations, of each at most Turns turns
//     and Bytes bytes: the latest, without a gap, in the order they came.
//   - I4 No tenant sees another's conversation, whatever the names.
//
// # Concurrency
//
// Both are safe for concurrent use; one mutex each, and nothing is called while it
// is held. Tasks are cloned on the way in and out.
//
// # Failure
//
// The sentinels of package task, and [ErrFull]. A conversation that does not fit loses
// its oldest turns; a single turn larger than Bytes takes all before it along.
//
// # Not here
//
// What survives a restart. When tasks expire (runner). Cached answers (respcache).
package memory
