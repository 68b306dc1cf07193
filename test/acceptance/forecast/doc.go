// Package forecast decides whether the planner foretold what then happened: it holds
// workloads in the words of both the planner and the load tester, the gateway's
// records of what happened, and how far the two may be apart.
//
// # Model
//
// A [Workload] is one configuration and one demand. Each asks for more than its limits
// allow at times: where nobody waits there is nothing to foretell. What was used
// is what the judge booked, of the limit that the plan says is used most. Waits are those of the
// gateway's records of the requests that ended: a load is not told of the waits of
// tasks, and of a stream only of what it had waited when its header came.
//
// # Invariants
//
//   - I1 Strict: a difference beyond the bounds is a fault, and so is a figure that
//     is missing.
//
// # Concurrency
//
// None.
//
// # Failure
//
// Errors are those of what could not be read.
//
// # Not here
//
// Processes (acceptance).
package forecast
