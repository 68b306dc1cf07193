// Package footprint decides what a load costs the machine it runs on: processor
// time, memory, open files.
//
// # Model
//
// All of it is asked of the operating system for this process. What a system
// does not tell is 0, which reads as unknown.
//
// # Invariants
//
//	I1  Processor time and peak memory never shrink.
//
// # Concurrency
//
// Functions without state.
//
// # Failure
//
// Nothing fails; what cannot be told is 0.
//
// # Not here
//
// What to make of it: that is the load's.
package footprint
