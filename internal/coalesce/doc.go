// Package coalesce decides who shares a call with whom, to whom the call belongs,
// and what of its answer each of them still has to read.
//
// # Model
//
// A [Book] lists the calls under way that others may join, by [Key]. Each is a
// [Flight]: the [Waiter]s that joined it, oldest first, and the recording of its
// answer. Nobody is the leader: a flight belongs to the oldest of those that have
// not left, and lasts until the last one has.
//
// The recording is one run of bytes. Every waiter reads it at its own pace, from
// the first byte on, whenever it joined. As long as the recording is whole, it
// can be joined; when it grows beyond Options.Bytes, or all recordings together
// beyond Options.Total, the flight is closed to newcomers and forgets what
// everybody has read. A waiter that is then still more than half of that behind the
// fastest is cut off: it holds up nobody and costs nothing.
//
// # Invariants
//
//   - I1 A waiter that is not cut off reads exactly the bytes that were appended,
//     in order, from the first one.
//   - I2 A flight belongs to the oldest waiter that has not left.
//   - I3 The hold of a flight is the longest of those of its waiters that have not
//     left; none at all is the longest.
//   - I4 Bounds: flights that can be joined, waiters of one flight, and bytes of
//     one recording and of all. Only bytes that nobody had read when more came
//     may exceed the last two, for the caller to hold back: see [Flight.Unread].
//   - I5 A flight is joined only under its own key, and never when it is closed or
//     all have left; the fastest waiter is never cut off.
//   - I6 When all waiters have left nothing of the flight remains in the book.
//
// # Concurrency
//
// None: the caller holds a lock over the book and everything in it. What Read
// returned stays as it is and may be used without the lock.
//
// # Failure
//
// Nothing here fails: what lies beyond a bound is not shared, and Join says so.
// Leaving twice is leaving once.
//
// # Not here
//
// Who may share with whom (flow.Sharer builds the keys), goroutines, the call itself
// and what its waiters are told (dispatch).
package coalesce
