// Package field decides what a request's body says: whether it is JSON that every
// parser reads alike, and the few members that are needed to route, size and
// queue it.
//
// # Model
//
// [Read] walks over the body once, member by member. Known members are checked
// and read; all others are only walked over. Texts are measured as they would be
// once unescaped, which is what the size of a request is estimated from. Nothing
// is decoded but names.
//
// # Invariants
//
//   - I1: what is accepted is valid JSON, an object, at most 200 deep, whose known
//     members stand once, are spelled in lower case and are of the right type: no
//     two parsers read them differently.
//   - I2: every number read is a whole one within its range; sizes are never
//     negative and never overflow.
//   - I3: a read allocates no more for a long body than for a short one.
//   - I4: two names of users that differ anywhere stay two, however long they are, and
//     one name is one wherever it was written.
//
// # Concurrency
//
// Read has no state.
//
// # Failure
//
// A [Fault] names the member and says what is expected, in words for the sender.
// It never quotes a value.
//
// # Not here
//
// Status codes and the shape of errors (gateway); what the size means in tokens
// (estimate).
package field
