// Package archtest decides whether the source tree still has the shape it
// claims to have: which package may import which, how large things may grow, and
// which habits are not allowed to come back.
//
// A rule that only a reviewer knows is forgotten within a month. Every rule here
// is a few lines over the parsed source, has a fixture in the tests that breaks
// it, and says in its message how to mend the fault.
//
// # Model
//
// A tree is an [io/fs.FS] with a go.mod at its root. All .go files outside
// testdata, hidden folders and nested modules are parsed, without type
// information: a rule sees import paths, declarations and selectors such as
// time.Now, with import aliases resolved.
//
// [Floors] places every package on a floor. Production files may import downward
// only; the table in floors.go reads as the documentation of that order.
//
// # Invariants
//
//   - I1 A package on no floor is a fault, so nothing escapes the other rules.
//   - I2 Imports go down: never up, never sideways, and F3 to F5 never reach F2.
//   - I3 F0 and F1 are pure: no goroutine, no clock, no process, no network, no
//     log, no module but the standard library.
//   - I4 Every package has exactly one package comment and a name that is a noun
//     of its own (no util, common, types).
//   - I5 Sizes are bounded: file, package, doc.go, function, parameters,
//     interface, exported names.
//   - I6 Habits: no sleep in a test, no init function, no dot import, no
//     environment outside config, no lint directive without a reason.
//   - I7 docs/dependencies.md and the go.mod files name the same modules.
//
// Test files are free to import what they need: a test may stand anywhere. All
// other rules hold for them too, except I3.
//
// # Concurrency
//
// None: one call, one goroutine, no state kept.
//
// # Failure
//
// [Check] returns an error only if the tree cannot be read or parsed. A broken
// rule is a [Fault], and all faults are returned at once.
//
// # Not here
//
// What needs types (unchecked errors, exhaustive switches, documentation of
// exported names) is golangci-lint's; what needs a binary (size, reflection that
// keeps dead methods alive) is `make verify`'s.
package archtest
