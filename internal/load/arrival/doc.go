// Package arrival decides when requests come: at the times of a recorded or
// fitted trace, or as a random process whose rate follows a profile.
//
// # Model
//
// A trace is a list of rows, each an arrival with the sizes of its prompt and
// its answer. A profile is a level over time made of stages, each a straight line
// to the next level; a stage that takes no time is a step. The level is a
// number of users or a rate. Behind the last stage the level stays.
//
// A process draws gaps of mean 1 in operational time, which is the area under
// the profile, and reads the time of an arrival off the profile: so the expected
// number of arrivals up to any moment is the area up to it, for every spread
// of the gaps. The gaps are exponential for a coefficient of variation of 1 (a
// Poisson process), otherwise gamma: above 1 arrivals come in bursts, below 1
// evenly.
//
// # Invariants
//
//	I1  Over any profile the mean number of arrivals is its area.
//	I2  At a constant rate the gaps have the mean and the coefficient of
//	    variation that were asked for.
//	I3  When(Area(t)) is t wherever the level is above 0.
//	I4  The same seed draws the same.
//
// # Concurrency
//
// None: values and one random stream each.
//
// # Failure
//
// Malformed traces and stages are refused with the line or the stage. Sizes,
// rows and stages are bounded.
//
// # Not here
//
// Files and clocks: times are since the beginning, and whoever replays waits.
package arrival
