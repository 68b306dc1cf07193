// Package testkit decides what a test of this project stands on: a network
// without sockets, golden files and a check for lost goroutines.
//
// # Model
//
// A [Listener] is a [net.Listener] whose connections are two bounded buffers in
// memory. Whoever waits on them waits on a condition variable, which
// testing/synctest counts as durably blocked, so a real [net/http.Server] and a
// real client run inside a bubble and an hour of traffic passes in milliseconds.
// net.Pipe is not enough: its writes wait for the reader, so a server that
// flushes an event blocks until the client looks, and both may wait for each
// other.
//
// # Invariants
//
//   - I1 Bytes arrive in order, none lost and none twice; what was written before
//     a close is still read.
//   - I2 A buffer never holds more than [BufferSize] bytes: a reader that stalls
//     stops its writer, as a real socket does.
//   - I3 Deadlines hold for both directions, also when set while somebody waits,
//     and a deadline in the past frees him at once.
//   - I4 After Close of a server made by [Serve] no goroutine is left.
//
// # Concurrency
//
// Every connection may be used by several goroutines at once. One mutex guards
// one direction; nothing is called while it is held.
//
// # Failure
//
// Connections fail as those of package net do: [io.EOF] after the peer closed,
// [net.ErrClosed] after this side did, [os.ErrDeadlineExceeded] in time.
//
// # Not here
//
// Conformance suites stand beside the interface they prove, such as
// dispatch/providertest. There are no assertion helpers.
package testkit
