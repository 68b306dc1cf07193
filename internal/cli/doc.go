// Package cli decides what a person at a terminal can ask of Millrace, in which
// words it answers, and with which status it exits.
//
// # Model
//
// One command each: serve runs the gateway, sim a simulated provider, load the
// users that test them, demo all three; plan says how many users a configuration
// serves, explain why a request waited; config shows and checks what serve would
// run with, keys makes what callers show.
// Reports go to the standard output, words for people to the standard error. The
// log of serve goes to the standard output, as text on a terminal and as JSON
// elsewhere.
//
// # Invariants
//
//   - I1 The exit status is 0 for success, 2 for a wrong command line or
//     configuration (nothing was started then), 1 for everything else.
//   - I2 An error is printed once, without a stack or a usage text, and says how
//     to mend it.
//   - I3 The first SIGTERM or interrupt ends a command in order, the second at
//     once.
//   - I4 A flag that would be ignored beside another, or says nothing without
//     another, is a wrong command line.
//   - I5 A load in which nothing was answered, and a plan in which nobody was seen
//     to be answered, is no success.
//
// # Concurrency
//
// A command runs in the goroutine that called Run.
//
// # Failure
//
// Every error ends in Run, which prints it and turns it into a status.
//
// # Not here
//
// What the commands do (app, load, provider/sim); reading files and variables
// (config).
package cli
