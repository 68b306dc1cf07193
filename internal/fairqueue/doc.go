// Package fairqueue decides who is next: hierarchical WF2Q+ over class, tenant
// and user, with bypass of blocked heads.
//
// # Model
//
// The queue is a tree. The root's children are classes, theirs are tenants,
// theirs are users; a user (a flow) holds its requests in order of arrival, or
// of deadline. The cost c of a request is the number of seconds for which it
// occupies the bottleneck quota. Each child has a weight w and a start tag
//
//	S = the normalized service it has been given, in seconds per weight
//	F = S + c/w for its next request
//
// and each parent has a virtual time V. A child is eligible while S <= V; of
// the eligible, the least F goes first (WF2Q+; Bennett and Zhang, INFOCOM
// 1996). Dispatching cost c moves S by c/w, in the child and in all ancestors.
//
// V is the weighted mean of S over the active children, and never falls:
//
//	V = max(V, sum(w S) / sum(w))
//
// Active are those that have something to run, and those that are idle but
// were served ahead of V (S > V); the latter leave as soon as V passes them. In
// a fluid system that serves every active child at once, that mean is the
// virtual time exactly, because each unit of work raises sum(w S) by itself. So V
// moves with the work really dispatched, never with the clock: a provider that
// is slower or faster than assumed changes nothing. It corrects itself when a
// settlement moves S, when a weight changes and when a child leaves. If no child
// is eligible, V is lifted to the least S that can run.
//
// A child that becomes backlogged starts at max(S, min(V, F of the next)): an
// unused share is not saved up, and V, which leaps when a large request is
// dispatched, does not leave those behind who were already waiting. While it stays
// backlogged its tags are chained, even below V, and a settlement moves S both
// ways; clipping either would let errors of the estimate add up without bound.
//
// A head may be unable to run. If it will fit soon, or is overdue (V > F),
// nobody may pass it on the upstreams it waits for. Otherwise eligible heads may
// pass it; since S <= V is required, each runs ahead of the fluid system by at
// most one request. What the upstream saves up for the head meanwhile counts as
// served in the mean (Accrue): V then advances as it does in the fluid system, but
// never by more than the head's own cost, so a wrong rate cannot let it drift. A
// head that no refill can help is parked: it leaves the order, keeps its tag, counts
// in no mean and blocks nobody. So does a class or a tenant as a whole, on demand.
//
// Promote moves a flow up: its head goes before all others of its class, eligible or
// not, and is overdue. It is charged as ever, so the flow then waits until the others
// have caught up: its lead grows by c/w for each head that was moved up since it last
// went in its turn, and then is what it was.
//
// # Invariants
//
//   - I1 Fair: for two flows of a tenant that are backlogged together,
//     |Wf/wf - Wg/wg| <= 2(cf/wf + cg/wg), plus kf ef/wf + kg eg/wg for k requests
//     in flight whose settlement corrects by at most e, plus c/w for each head that
//     was moved up since the flow last went in its turn.
//   - I2 Work conserving: while a head that can run waits, Next finds one.
//   - I3 No starvation: a blocked head that is overdue is passed by nobody.
//   - I4 A newcomer waits at most its fluid wait and one request, whatever rate
//     the provider really has.
//   - I5 In order: requests of a flow leave in the order of arrival (or deadline),
//     and a request that comes back after a failed attempt is first again.
//   - I6 Conservation: lengths and backlogs of a node are the sums of its children's;
//     an idle queue holds no flow.
//   - I7 Moved up: of the flows of a class that were moved up, the last one's head is
//     the next that is tried; once.
//
// # Concurrency
//
// None: the caller serializes. Nothing here blocks or reads a clock.
//
// # Failure
//
// There is none. Costs that are not positive and finite count as a nanosecond's.
//
// # Not here
//
// Quotas, breakers, class rates and deadlines: the gate asks them in the
// function it hands to Next.
package fairqueue
