// Package inspect decides who may read the story of which request, and answers
// GET /api/v1/requests and GET /api/v1/requests/{id}.
//
// # Model
//
// A request belongs to the tenant of the key that asked. Any key of that tenant
// may read its story, a viewer or an operator all. A story comes from the records of
// what has ended and, for what has not, from where the request stands now; package
// explain puts it into words.
//
// Each pattern exists twice: for whoever holds a key, and for operators where
// they have a listener of their own.
//
// # Invariants
//
//   - I1 Closed: a request of another tenant, one that was turned away before its
//     tenant was known and one that never was are answered alike, but to operators.
//   - I2 No gap: a request that was accepted is found at every moment, as under way
//     or as ended, for as long as its record is kept.
//   - I3 Bounded: a list has at most 200 requests, and no id is longer than any real
//     one before it is looked up.
//
// # Concurrency
//
// Handlers may be called from any goroutine.
//
// # Failure
//
// Errors go through Deps.Refuse, which answers them as application/problem+json.
//
// # Not here
//
// The words (explain), keys and listeners (gateway), the pages of operators
// (console).
package inspect
