// Package runner decides when the work of an accepted task is run, tried again, told
// about and given up, and for how long its end is remembered.
//
// # Model
//
// Submit records a task and starts one goroutine, which calls the Work it was given
// until the task ends. How many run at once is not decided here: the work waits at the
// gate, and tells where it stands. A try that failed with a retryable *task.Failure
// is followed by up to Retry.Times others, Retry.Wait apart.
//
// An unfinished task lives in memory, with its place in the queue; the store is
// written when it is created, when its state changes and when it ends. One that has ended
// lives in the store alone, for Keep. An end goes three steps: it is claimed (the first
// wins: an answer, a failure, a cancel, Close), recorded in the store, and only then told to
// whoever reads or waits. So nobody is told of an end that a crash could undo.
//
// At most Max tasks of together Bytes are held. What ended longest ago makes room
// for what is new, but not within its first 60 s: its owner has yet to come for it. Until then
// it takes its room like one that runs, and if that leaves none, new tasks are refused.
//
// # Invariants
//
//   - I1 Each task that Submit returned ends exactly once, and is recorded before it is told:
//     whether its work returns, fails, panics, exits or hangs, is canceled or closed.
//   - I2 Submit returns after the store has the task; a task that it refused leaves
//     nothing behind.
//   - I3 A task is tried at most 1 + Times times, Wait apart, and never again after it
//     was canceled.
//   - I4 A cancel ends the work's context with ErrRevoked; what the work tells or
//     returns afterwards changes nothing.
//   - I5 A wait ends with the task or with its context, all waits of a task by one
//     close of a channel: nothing polls.
//   - I6 Another tenant's task is not found, by the same words as one that never was.
//   - I7 An end is remembered for Keep and not a moment longer; one timer serves all.
//   - I8 Bounds: at most Max tasks and Bytes of them; room is made by the oldest ends first, none
//     of them younger than 60 s.
//   - I9 A tick of the queue writes nothing to the store: one write per change of state.
//   - I10 After Close no goroutine and no timer is left, and every task has ended.
//   - I11 What is handed out and taken in is cloned; only the bytes of Payload and Result.Body
//     are shared, and nobody writes them.
//   - I12 The figures of Stats add up: waiting, running and scheduled are the unfinished.
//
// # Concurrency
//
// All methods may be called from any goroutine, and so may tell. One mutex guards the table
// of tasks; it is not held while the store or a work is called. Writes of one task
// go one at a time, each with what holds when its turn comes, so they never go back.
//
// # Failure
//
// Submit wraps flow's sentinels for a full table and for draining. Where the store
// refuses to record an end, the end is told all the same, kept in memory and offered to
// the store again every 5 s until Keep has passed: the answer was paid for. A work that ignores the end
// of its context for 10 s is left behind by Close, which says so.
//
// # Not here
//
// Limits of time (dispatch), order and concurrency (gate), HTTP (gateway, endpoint). A
// lease that keeps several processes from running one task: it would be taken in Submit and
// Resume, and its fence compared in Store.Update.
package runner
