// Package verdict decides whether what a load measured keeps the limits that were
// set for it.
//
// # Model
//
// Limits hold for all targets or for those named. Each breach is told with the
// figure and the limit. What was not measured breaches: a run that answered
// nothing, a judge that was not named, a target that was not asked.
//
// # Invariants
//
//	I1  Check is nil only if every limit holds for every target it names.
//	I2  Check is nil only if each of these targets answered something, or met no
//	    error, whether or not there are limits.
//
// # Concurrency
//
// None: values and functions.
//
// # Failure
//
// Breaches are joined; each wraps ErrBreach. A target that answered nothing but errors
// is ErrSilent, with the first error and how to mend it.
//
// # Not here
//
// Measuring, which is the load's, and the exit status, which is the command's.
package verdict
