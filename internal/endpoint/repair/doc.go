// Package repair decides which JSON a model meant to write.
//
// # Model
//
// [Find] returns the values in a text. What is valid JSON is read as it stands.
// Beyond that a value may stand in a code fence, behind reasoning or within prose,
// and may have comments, trailing and missing commas, single and typographic
// quotes, quotes that should have been escaped, keys without quotes, Python's
// literals, brackets that are not closed, and an end that is missing. What was
// missing is marked ([Value].Cut), never invented.
//
// A quote within a string is told from its end by what follows: only a comma, a
// colon, a bracket or a key makes sense behind a string.
//
// # Invariants
//
//   - I1: valid JSON, alone in a text, is read as encoding/json reads it, if
//     it is not nested deeper than 64 levels.
//   - I2: what Append writes is valid JSON, whatever was read.
//   - I3: a value whose end is missing is Cut, and so is all that holds it.
//   - I4: work and memory are bounded by the length of the text.
//
// # Concurrency
//
// None: functions of their arguments.
//
// # Failure
//
// There is none: a text without a value gives no values.
//
// # Not here
//
// What a value has to look like, and what to do with one that is cut (endpoint).
package repair
