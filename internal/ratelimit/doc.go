// Package ratelimit decides how the state of limits is told in the header of a
// response.
//
// # Model
//
// [Describe] writes a list of limits twice: as RateLimit and RateLimit-Policy of the
// IETF draft, all of them, the one that binds first in front; and as OpenAI's
// X-RateLimit-* for requests and tokens, the tightest of each.
//
// # Invariants
//
//   - I1: what remains is never negative, and times are rounded up: who waits as
//     long as is told does not come too early.
//   - I2: windows of one dimension have different names.
//
// # Concurrency
//
// There is no state.
//
// # Failure
//
// Without limits nothing is told.
//
// # Not here
//
// How often the texts are made anew (gateway); reading such headers of providers
// (backoff).
package ratelimit
