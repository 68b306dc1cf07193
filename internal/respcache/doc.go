// Package respcache decides which answers are kept, for how long, and which one
// makes room for another.
//
// # Model
//
// A Cache maps a [flow.ShareKey] to an [Entry]: a whole answer, its status, the
// part of its header that means the same to everybody, and its body as it was
// sent, so that a stream is replayed as a stream. Keys are exact: the cache knows
// nothing of who asks, which is why all that tells two askers apart must be in the
// key, and package flow has the one function that builds it.
//
// An entry costs the bytes of its body and header and a fixed overhead. It is
// found until its time is up. Where a new entry does not fit, those that were
// asked for longest ago leave, whatever time they had left.
//
// # Invariants
//
//	I1  The cost of all entries is at most Options.Bytes, of one at most
//	    Options.Entry, and there are at most Options.Entries.
//	I2  Nothing is found at or after the end of its time.
//	I3  What is found under a key is what was last put under that key.
//	I4  What leaves for want of room is what was used longest ago, and nothing
//	    leaves while there is room.
//	I5  An entry holds no header but those of the list in entry.go: none that
//	    names a request, a client, a date or a limit.
//
// # Concurrency
//
// None: the caller holds a lock. Nothing here blocks or calls out. Entries are
// never changed, so they may be read without the lock once they were found.
//
// # Failure
//
// What does not fit, has no time to live or comes to a cache of size zero is not
// kept, and Put says so. Time is expected not to go back; if it does, entries live
// longer by as much.
//
// # Not here
//
// Which answers are worth keeping (dispatch), which requests ask for it (gateway),
// and keys (flow).
package respcache
