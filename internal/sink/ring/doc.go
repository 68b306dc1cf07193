// Package ring decides which recent requests can still be looked up: the last N
// records and the attempts that belong to them, in memory.
//
// # Model
//
// Two rings of fixed size, one of records and one of attempts, with an index by
// request id over the first. What is new takes the place of what is oldest.
//
// # Invariants
//
//	I1  It holds the last Options.Size records and no more, and as many
//	    attempts; the index holds exactly the ids of those records.
//	I2  Get finds a record for as long as it is held; of two with one id it
//	    finds the later.
//	I3  What is handed out is a copy.
//
// # Concurrency
//
// All methods are safe for concurrent use. One mutex guards both rings; nothing
// is called while it is held.
//
// # Failure
//
// None. Strings of a record are kept alive as long as the record is held.
//
// # Not here
//
// Anything that must survive a restart, and searching by more than the id or the
// tenant.
package ring
