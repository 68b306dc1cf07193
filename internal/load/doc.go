// Package load decides whether a gateway keeps its promises, by being its
// users: many at once, some greedy, some rude, each counted apart.
//
// # Model
//
// A run asks its targets for the same requests, in turn or at the same time, and
// sets the results side by side. Requests come from one of two generators:
//
//   - Closed loop: U users, or as many as stages say at the time; each asks, waits
//     for the answer, thinks, asks again. The demand falls when answers slow down,
//     as that of people does. User 0 may be greedy: several loops at once, with or
//     without thinking. The others may be paced, so that what they suffer from him
//     can be compared with a run without.
//   - Open loop: arrivals at random times (package arrival), or at those of a
//     recorded or fitted trace, whatever the target does.
//
// Several requests can make a conversation, each sent with the ones before it. A
// mix draws for each conversation which endpoint it asks: the OpenAI API, or one of
// an application, whose tasks are followed to their end. Speed lets
// the time of the whole run pass so many times as fast, for a simulator whose time
// does the same: what is told and reported is in the run's time.
//
// The intended start of a request is when its user meant to ask: the end of the
// think time, or the trace's own time. A generator that is late does not hide
// the wait it causes.
//
// A request may be drawn to misbehave: to leave at a random moment, to hang up
// in the middle of the answer, to stop reading for a while.
//
// Cost is what the answer's usage reports, prompt and completion tokens; where
// none is reported, the prompt's size and a token for every four bytes or every
// chunk of the answer. Fairness is Jain's index of the cost served per user,
// (sum x)^2 / (n sum x^2): 1 when all got the same, 1/n when one got everything.
//
// A judge is a provider simulator that keeps its own books. They are reset at
// the start, read when the load ends (how much of the quota was used) and read
// again when the last request has ended (how many were throttled).
//
// # Invariants
//
//	I1  Every started request is counted in exactly one bucket: answered, error,
//	    canceled, disconnected, stalled, unfinished or warm-up.
//	I2  Latency is counted from the intended start, not from the moment of sending.
//	I3  What we did ourselves (left, hung up, stalled, ended the run) is never an
//	    error of the target; what the target did before that is.
//	I4  The same seed asks for the same requests, whatever the target answers.
//	I5  Nothing started by Run outlives it.
//	I6  A stream is answered only if its end marker arrived; one that ends
//	    without is cut, however politely the connection was closed.
//	I7  Every request is recorded once with the start that was intended, also one
//	    that was never sent.
//	I8  At a speed of K all of it happens K times as fast, and the report is the
//	    same; where something else had a time of its own, it says so.
//
// # Concurrency
//
// One goroutine per loop or arrival, one per report line. All results go through
// the book, whose one mutex is held for the few counters and never while
// blocking. Each loop draws from its own random stream, so that the order in
// which loops run changes nothing of what they ask. Requests are built from one
// shared text that nobody writes to.
//
// # Failure
//
// Run fails for options that make no sense and for a judge that cannot be
// reached; a target that cannot be reached is a result. A canceled context ends
// the run and yields the report so far. Limits that a report breaches are
// joined into an error that wraps ErrBreach. Answers, lines and samples are
// bounded; the key appears in no report.
//
// # Not here
//
// Arrivals are in arrival, percentiles in gauge, the bytes of an answer in wire, the
// judge's books in judge, what a load costs in footprint, how it all looks in view,
// and whether it is good in verdict. A run that others start and watch is in trial.
//
// Retries: a request is sent once, so that an error is seen as the error it is.
// (A connection that the server had closed before anything was written is
// replaced; that is not a retry.) The provider simulator is provider/sim; the
// flags and the exit status are in cli.
package load
