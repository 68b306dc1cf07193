// Package explain decides how the story of one request is told to people: what
// happened when, why it waited or was turned away, and what would have helped.
//
// # Model
//
// [Ended] makes a [Story] out of an event.Record and the attempts that belong to
// it, [Underway] out of what is known of a request that has not ended. A Story
// says the same thing three times: as figures for programs, as a timeline, and as
// plain sentences. It is also its own JSON; [Story.Text] is the form for a
// terminal, so that a program far away prints what the gateway would.
//
// Only what was recorded is told. A wait is cut by attempts, and each part is shared
// out by what it was for (I15 of package gate). Who shared another's call has no such
// shares: of him only the reason on entry and the last one are told.
//
// # Invariants
//
//   - I1 Complete: every outcome, cause, reason and kind of failure has words of
//     its own; what is unknown is shown by its name.
//   - I2 In order: the timeline never goes back, begins with the arrival and, of a
//     request that has ended, ends with its end.
//   - I3 Consistent: the sentences quote the figures of the record and no others.
//   - I4 Inert: text holds no control characters, whatever a client chose for names.
//
// # Concurrency
//
// Functions of their arguments; nothing is kept.
//
// # Failure
//
// None. Attempts that have been forgotten are missed, and that is said.
//
// # Not here
//
// Who may read a story, and HTTP (inspect); where records are kept (sink/ring).
package explain
