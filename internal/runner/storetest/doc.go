// Package storetest decides whether a store of tasks keeps what package runner relies on.
//
// # Model
//
// Run takes a function that opens an empty store and puts it through each rule of
// runner.Store in turn. A failure says which rule was broken, in words.
//
// # Invariants
//
//   - I1 What was created or updated is read back, whole but for Position, ETA and Reason.
//   - I2 An id is created once; a task that is not there is neither read nor updated.
//   - I3 A task that has ended never changes again.
//   - I4 Expire forgets what finished before the time given, and nothing else.
//   - I5 Unfinished lists exactly what has not ended, the oldest first.
//   - I6 Nothing is shared with the caller but bytes that nobody writes.
//   - I7 All this holds when it is used by many at once.
//
// # Concurrency
//
// Each rule opens a store of its own; I7 uses it from several goroutines.
//
// # Failure
//
// As tests fail. Stores compare errors by errors.Is, so wrapping is free.
//
// # Not here
//
// What only durable stores promise, such as surviving a crash.
package storetest
