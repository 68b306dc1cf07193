// Package peer decides where a request comes from and by which name, and how many may
// come from one place at a time.
//
// # Model
//
// The address of a connection is a fact. What X-Forwarded-For adds is hearsay: the
// last entry is the word of the peer, the one before it the word of the last
// entry, and so on. [Trust] follows the chain from the right for as long as those
// who speak are the operator's own proxies. One customer of IPv6 has 2^64
// addresses, so a /64 counts as one household.
//
// The name by which somebody asks is his own word, too, but a browser's is that of
// the page that asks.
//
// # Invariants
//
//   - I1: what a peer that is not trusted says changes nothing; what a client adds
//     to the left of a trusted chain neither.
//   - I2: a name is short and has no character that could break a log's line.
//   - I3: a [Census] holds one entry for each household that is there, and none
//     for those that have left.
//   - I4: a name that a stranger could point here is never [Private].
//
// # Concurrency
//
// Trust is read only. A Census belongs to its owner.
//
// # Failure
//
// What cannot be read ends the chain: the last address that was vouched for
// counts.
//
// # Not here
//
// Connections and clocks (gateway).
package peer
