package arrival

import (
	"math/rand/v2"
	"time"
)

// Process is a random sequence of arrivals.
type Process struct {
	profile Profile
	cv      float64
	rng     *rand.Rand
	area    float64
}

// NewProcess draws arrivals whose rate per second follows the profile. CV is the
// coefficient of variation of the gaps at a constant rate: 1 is Poisson.
func NewProcess(rate Profile, cv float64, seed uint64) *Process {
	return &Process{profile: rate, cv: cv, rng: Stream(seed, -2, 0)}
}

// Next is the time of the next arrival; false if none will come any more.
func (p *Process) Next() (time.Duration, bool) {
	p.area += Gap(p.rng, p.cv)
	return p.profile.When(p.area)
}
