// Package capacity decides how many users a configuration serves, what binds, and
// what the smallest change is that lifts it: before anybody has to wait.
//
// # Model
//
// A simulation drives the gate, the very state machine that the gateway runs, in
// virtual time. Its events are users who ask, upstreams that answer after the time of
// a [Latency], and the gate's own wake-ups; whatever comes next is taken from a heap.
// A user asks, waits, thinks and asks again (closed loop), or requests come by
// themselves: at random, in bursts, or as recorded in a trace. Requests are held as
// the gateway holds them: JSON for the hold of its route, streams and tasks as long as
// their class waits, tasks within their bound. Who is refused goes on as if answered.
//
// Each user draws from a stream of his own, so that a change of the configuration
// leaves what he asks as it was: two simulations differ by the change alone.
//
// A row is good if at most one request in a thousand gets no answer, the p95 wait
// of each class is at most [Options.MaxP95], and no limit over more time than is
// simulated, such as a day's, would be spent before that time is over. Of a row that is not, each limit in turn
// is taken away, and what helps most binds; that is repeated until the row is good.
// Then each limit that was taken away is put back at the least value with which it
// still is, by bisection. Nothing is inferred from a formula. The inverse, [Quota],
// finds in the same way what each limit needs alone, raises all by one factor until
// they do together, and lowers each again as far as the others allow. It must be enough
// in each quarter of the time: who tries a quota for some minutes may meet the worst ones.
//
// Searches play at most 15 minutes, and confirm what they found for the whole time, or
// for what brings 200,000 requests. Where users are so many that it would take minutes,
// none is made. [Options.Effort] bounds rows and searches together, for whoever waits
// for the answer.
//
// # Invariants
//
//   - I1 Conserved: what arrived was served, refused, evicted or is left, for each
//     class too, and what is left is what the gate says waits and runs.
//   - I2 Deterministic: the same options give the same report, byte for byte.
//   - I3 Bounded: of no limit more is used than it allows, where the upstream counts
//     what was reserved; seats in use never exceed the seats.
//   - I4 True: where the answer is known by hand, the simulation gives it (a queue
//     with one server and constant service; a full window; a queue that grows).
//   - I5 Proven: with the change that a row names it is good, and with that change
//     a tenth smaller it is not.
//   - I6 Enough: what Quota returns is good with several seeds, in each quarter of the
//     time, and a tenth less of everything is not.
//   - I7 Seen: nothing is called good, or enough, of which no answer was seen.
//
// # Concurrency
//
// None: a plan runs in the goroutine that asked for it and shares nothing. It ends
// early when its context ends.
//
// # Failure
//
// Options that make no sense, or would take too long, are refused with all faults.
// A quota that cannot be found is [ErrUnreachable]. Where answers take longer than what
// is simulated a row is unknown, and a quota [ErrUnseen]; both say how to mend it.
//
// # Not here
//
// Faults of upstreams, bursts that have to be learned, clients that leave or retry,
// the gateway's own time (microseconds), several replicas, caches and shared calls.
// Reading configurations and questions (capacity/inquiry) and traces (load); how figures
// look (capacity/figure).
package capacity
