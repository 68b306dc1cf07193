// Package task decides what states a piece of accepted work can be in and how it
// moves between them.
//
// # Model
//
// A task is a request that was accepted and is answered later. It begins
// Pending and ends in exactly one of Success, Failed and Revoked:
//
//	Pending -> Started -> InProgress -> Success | Failed | Revoked
//	   ^---------+------------+  Again: a try failed and another follows
//	Pending -> Success | Failed | Revoked  an answer from a cache, a refusal, a cancel
//
// The states bear Celery's words, which its clients compare as text. A try is
// counted in Attempts when it starts, or when it is given up before that.
// Where a task stands in the queue (Position, ETA, Reason) describes the moment:
// it goes with every start, every new try and the end.
//
// # Invariants
//
//   - I1 No transition leaves a final state; it returns an error that wraps
//     [ErrFinal] and changes nothing.
//   - I2 A task ends once: it is Ready exactly when Finished is set, has a Result
//     exactly when it is a Success, and an Error only when it is Failed.
//   - I3 Created <= Started <= Finished for those that are set, also when the clock
//     goes back; Attempts never falls.
//   - I4 A clone shares nothing with its origin but the bytes of Payload and of
//     Result.Body, which nobody ever writes.
//
// # Concurrency
//
// None: a task is a value. Whoever shares one clones it at the boundary.
//
// # Failure
//
// The one failure is ErrFinal. [ErrNotFound] and [ErrExists] are what stores of
// tasks say; they stand here because stores and their users meet nowhere else.
//
// # Not here
//
// Who runs a task and when it is tried again (runner), where it is kept (store),
// how long it may run (dispatch). A lease and its fence, once several processes
// share a store, become fields that the store alone compares.
package task
