// Package agenda decides what comes next in a simulation.
//
// # Model
//
// An [Agenda] is a binary heap of appointments, the earliest first. Those of one moment
// come in the order in which they were made, so that a simulation can be repeated.
//
// # Invariants
//
//   - I1 Ordered: appointments are taken in the order of their time, then of their making;
//     each once.
//
// # Concurrency
//
// None: an agenda belongs to one goroutine.
//
// # Failure
//
// Taking from an empty agenda panics: look at Next first.
//
// # Not here
//
// What an appointment is about (capacity).
package agenda
