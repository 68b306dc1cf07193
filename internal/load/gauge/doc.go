// Package gauge decides how many durations become few numbers: percentiles of
// all, percentiles of each user, and points over time.
//
// # Model
//
// A Histogram keeps three digits of any duration up to two hours. A Sketch keeps
// less, so that each of 100,000 users can have two: its buckets are 9 % wide on
// either side of the value they are shown as. A Series cuts the time into equal
// intervals; what happened within one makes its point.
//
// # Invariants
//
//	I1  A histogram's quantile is within 0.1 % of the value of its rank or the one
//	    below, a sketch's within 10 % and a tenth of a millisecond.
//	I2  Every event is in exactly one point; the points' sums are the totals.
//	I3  All of it is bounded, whatever is observed and however long it takes.
//
// # Concurrency
//
// None: the caller holds a lock.
//
// # Failure
//
// Nothing fails. Durations below 0 count as 0, above two hours as two hours;
// times before an open interval count for it.
//
// # Not here
//
// What is measured and from when: that is the load's.
package gauge
