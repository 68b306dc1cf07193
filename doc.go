// Package millrace is the map of the project; it holds no code.
//
// Millrace stands between the users of an application and the few, quota-limited
// language models behind it. It paces requests to what each provider really
// allows, queues the overflow fairly, tells everybody where they stand, and falls
// back when a provider fails.
//
// # Floors
//
// Imports go down only, never sideways, and F3 to F5 never import F2. The table
// is enforced by internal/archtest.
//
//	F6 wiring      config < app < cli < cmd/millrace     reads the environment, names adapters, owns goroutines
//	F5 edge        gateway, endpoint, console, load      HTTP for programs and people; the users of a load test
//	F4 execution   dispatch                              route, attempt, relay, settle
//	F3 control     admission                             lock, one timer and channels around the gate
//	F2 adapter     provider/openai, provider/sim,        one protocol, store or sink each
//	               sink/prom, sink/ring
//	F1 mechanism   gate over quota, fairqueue,           state machines: the time is an argument,
//	               estimate, breaker, backoff, event     no goroutine, no I/O
//	F0 vocabulary  llm, flow                             the nouns everybody shares
//
// Beside them stand internal/testkit, internal/archtest and
// internal/dispatch/providertest, which only tests import, and the programs below
// test/, which judge the product from outside.
//
// # One request, eight hops
//
//  1. gateway authenticates, bounds the body, reads the few fields it needs from
//     the bytes, and derives class, flow and deadline.
//  2. (A cache and the joining of identical calls have their place here.)
//  3. dispatch turns the route into upstreams whose breaker is not open.
//  4. admission estimates the cost and waits in the fair queue.
//  5. quota checks every dimension and takes all or nothing.
//  6. provider makes the wire call.
//  7. dispatch relays the bytes and counts usage as it passes. A failure before
//     the first byte goes back to 3 and keeps the place in line.
//  8. The attempt is settled: usage to quota and estimator, result to the
//     breaker, one event to every sink, and exactly the next waiter is woken.
//
// # Words
//
//   - A flow is one unit of fairness: a user of a tenant within a class.
//   - A class is a kind of work, with weight, rate and time limits.
//   - A quota is what an upstream allows: requests, tokens, seats (concurrency).
//   - A window is how one dimension of a quota is enforced.
//   - Reserve holds an estimate; settle replaces it by the truth; cancel gives it
//     back because nothing was sent.
//   - An upstream is one endpoint, model and credential; a provider is code that
//     speaks a protocol; a route leads from a model name to ordered upstreams.
//   - Admit is before the queue, queue is into it, dispatch is out of it to run.
//     Refuse is before the queue, evict is out of it without running.
//   - An attempt is one try; a retry is again on the same upstream; a fallback is
//     the next upstream after a failure; a spill is the next one because the
//     first is full.
//   - The soft limit asks work to finish, the hard limit ends it. Both clocks
//     start at dispatch.
//
// Decisions and their reasons are in docs/adr.
package millrace
