// Package gate decides, for all upstreams, who runs now, who waits, who
// is refused, and when to look again: one state machine that the gateway drives
// in real time, and the planner and the tests drive in virtual time.
//
// # Model
//
// Step(now, event) changes the state and returns actions; between two steps
// nothing happens. The events are: a request arrives, leaves the queue, an attempt
// ends, an attempt failed and wants another, time passed (Wake). The actions are:
// dispatch a request to an upstream, refuse it, evict it. Wake() says when the next
// step is due if no event comes before.
//
// Upstreams that routes connect form a pool with one queue; what pools share are the
// rates of classes, the limits of tenants and the bound on tasks. A request waits in
// the fair queue (package fairqueue) with a cost in seconds of
// the bottleneck quota of the upstreams its route may use. A search through the
// heads in the fair order asks the breaker and the quota windows of these
// upstreams; what fits reserves all its dimensions and one seat at once and is
// dispatched. Blocking is per upstream: a head that will fit within blockFor, or is
// overdue, holds its upstreams against all behind it; a head that needs longer may
// be passed, by flows that the fluid system would serve; a head that only an event
// can help is parked. A class at its own rate, or that an operator has paused, leaves the
// order and blocks nobody; so does a tenant at its own limits, within a class. Tasks
// beyond the bound are shelved, and come back as others end, in the fair order.
//
// A limit of an upstream, a class or a tenant may be a shadow: what it would have held up
// is counted, and nothing is held up.
//
// What a wait was for is read from clocks: each class, tenant and upstream sums up for
// how long what kept it shut, and a request reads them when it joins and leaves the
// queue. So who stands far behind learns what held up all before it, and no event
// costs more because many wait.
//
// The expected wait is the work that the fluid system does before the request, plus
// the time until the quota fits it. Its p50 and p90 are that figure times factors
// learned per class from log(actual/expected), by online quantile tracking
// (adaptive conformal inference; Gibbs and Candes 2021): coverage holds in
// correlated waits, where a quantile of the recent past does not. A request whose
// p90 exceeds what its client can be held for is refused on arrival.
//
// # Invariants
//
//   - I1 Exact: each dispatch is settled once; afterwards nothing is outstanding.
//   - I2 One end: each request gets exactly one of: a settled last attempt, a
//     refusal, an eviction, a leave.
//   - I3 Paced: no dispatch goes to an upstream whose windows or seats do not
//     fit it, or whose breaker is open.
//   - I4 Fair: the bound of package fairqueue, with settlements late and wrong by
//     a factor of two and weights that change between.
//   - I5 Class rate: no span of the rate's length holds more starts than it allows.
//   - I6 Progress: while a request waits that time alone can help, Wake is set; at
//     that time something is dispatched or evicted, or Wake moves on.
//   - I7 Bounds: no newcomer is let in while MaxQueue wait in all, MaxTenant of its
//     tenant or MaxFlow in its flow, beside tasks; a task always is. Who comes back after
//     a failed attempt keeps its place.
//   - I8 Honest: the quoted p90 holds for 87 to 93 of 100 requests that waited.
//   - I9 Tenants: no span of a tenant's rates holds more than they allow, and no more
//     of its requests run at a time than it has seats; who waits for that blocks nobody.
//   - I10 Tasks: no more requests that are tasks run at a time than Options.Tasks.
//   - I11 Reload: Reconfigure forgets nothing that was used, learned or promised.
//   - I12 Operated: nothing of a paused class starts, and nothing at an upstream that
//     was tripped by hand; whoever is evicted leaves in the next Step; who was moved up
//     goes next of his class, once; all else stands as before.
//   - I13 Shown: AppendFlows and Snapshot show what is, and positions and times as those
//     who wait are told.
//   - I14 Shadow: what is a shadow delays and refuses nobody.
//   - I15 Accounted: a grant, an eviction and a status tell what the whole wait was
//     for: the parts add up to it, and each is the time in which that alone, or that
//     first, kept the request from running.
//
// # Concurrency
//
// None: the caller serializes (package admission holds a lock around Step).
//
// # Failure
//
// Refusals and evictions carry the sentinels of package flow. An event for a
// request that is unknown, or in another state, changes nothing: a late settle or
// a second leave is harmless, and counted. An operator's action on what there is not
// returns ErrUnknown and changes nothing.
//
// # Not here
//
// Locks, timers, channels (admission); wire calls (dispatch); prices of dimensions
// (quota.Meter).
package gate
