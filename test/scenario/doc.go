// Package scenario proves what the gateway promises to its users, in virtual time:
// simulated users, the whole gateway over in-memory connections, and a simulated
// provider with its own clock and books as the judge. An hour takes a second.
package scenario
