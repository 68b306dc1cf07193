// Package inquiry decides what a plan is asked: it makes the options of package
// capacity of a configuration and of the words of people, on a command line or in the
// query of a page, and writes what a plan suggests as lines of that configuration.
//
// # Model
//
// A [Base] is a configuration as package app understands it. A [Question] is what
// people say about their users; whatever they leave out follows from the
// configuration, or has a default. Where no class is named, the users ask the first
// endpoint: requests are its tasks, and carry its max_tokens; without endpoints they are
// of the class of their route.
//
// [Answer] is for pages: what is asked of it is bounded in rows, users and time, and
// what is simulated in requests, so that an answer comes within about a second.
//
// # Invariants
//
//   - I1 One meaning: a word means the same on a command line and in a query.
//   - I2 Bounded: an answer plays no more requests than its effort allows, about.
//   - I3 Exact: a diff takes away lines that hold in the configuration, and adds
//     lines that a configuration file takes for the values that were suggested.
//   - I4 Dealt: users are of the tenants of clients' keys; of those of viewers and
//     operators only where there are no others.
//
// # Concurrency
//
// Nothing is shared; an answer runs in the goroutine that asks, until its context ends.
//
// # Failure
//
// All faults of a question are returned together; those of [Answer] wrap
// capacity.ErrOptions.
//
// # Not here
//
// Simulating (capacity), flags (cli), access and HTTP (app, console).
package inquiry
