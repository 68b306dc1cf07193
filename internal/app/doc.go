// Package app decides how one gateway process is put together, and in which
// order it starts and stops.
//
// # Model
//
// New turns a checked config.Config into the options of each part, builds the
// parts from the bottom up (admission, providers, dispatch, tasks, endpoints,
// gateway), and binds the listeners. What must be undone is pushed on a stack; everything is undone
// in reverse order, whether New fails half-way, Run ends, or Close is called.
//
// Run serves until its context ends, then drains:
//
//	not ready -> refuse newcomers -> finish what was accepted, up to
//	limits.drain -> evict what still waits, end what still runs -> close
//
// Reload gives every part the options of another configuration, in place. Upstreams
// and routes have slots that they keep for good ([slots]); what a configuration no
// longer names finishes what waits and runs there.
//
// An upstream of provider sim is a whole simulated provider behind a listener on
// the loopback, spoken to by the same client as a real one: there is one path.
//
// The state file remembers quota windows, debts and learned limits between two
// runs. It is written on a clean stop only, and used up when read, so that a
// state older than the last request sent is never believed:
//
//	folder is new             -> quota starts fresh: nothing can have been sent
//	file is sane              -> quota resumes
//	anything else             -> quota starts as if it had just been used up
//
// The built-in simulator always starts fresh, for its own windows do. Which breakers
// are open by hand is written as it is done, and believed however the run ended. What
// the file has of upstreams that are not configured waits for a reload that brings
// them, and is dropped at the end of the process, or once the clock has been moved.
//
// # Invariants
//
//   - I1 What New built is undone in reverse order, once, on every path.
//   - I2 Run returns only when every goroutine that the app started has ended.
//   - I3 A request accepted before the drain is answered if it ends within
//     limits.drain; one that arrives later is refused at once.
//   - I4 A state file is believed at most once, and only if the clock since it
//     was written is consistent.
//   - I5 Reload disturbs nobody: no stream is cut, no request fails, no counter starts
//     anew; a configuration with a fault changes nothing.
//   - I6 An upstream that is quiet, or whose breaker is open, is asked by the gateway
//     itself, within the rate of class health and never without one.
//   - I7 No credential of the configuration reaches the log.
//   - I8 A breaker that was opened by hand stays open until it is closed by hand, over
//     clean stops and crashes.
//
// # Concurrency
//
// New, Run and Close are called by one goroutine; Reload and Addr by any. Close after
// Run does nothing.
//
// # Failure
//
// New returns all that is wrong with what it was given. A state folder that
// cannot be used is a warning: the gateway runs, and assumes its quota used up.
//
// # Not here
//
// Reading files and variables (config), signals and words for people (cli).
package app
