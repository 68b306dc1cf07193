package capacity

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/millrace/millrace/internal/load/arrival"
)

// draws are the random numbers of one user, of his own stream, so that what the
// others do changes nothing of what he asks.
type draws struct{ *rand.Rand }

// stream is the random stream of a user; -1 is the one of all arrivals. The words
// are mixed because neighboring seeds of a PCG begin alike.
func stream(seed uint64, user int) draws {
	return draws{rand.New(rand.NewPCG(mix(seed), mix(seed^mix(uint64(user)+1))))}
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// size draws a number of tokens.
func (d draws) size(s Size) int {
	most := s.Most
	if most == 0 {
		most = maxTokens
	}
	mean := s.Mean
	if s.Sigma > 0 {
		mean *= math.Exp(s.Sigma*d.NormFloat64() - s.Sigma*s.Sigma/2)
	}
	return int(min(max(math.Round(mean), 1), float64(most)))
}

// class draws an index into a mix whose parts add up to total.
func (d draws) class(mix []Share, total float64) int {
	if len(mix) == 1 {
		return 0
	}
	at := d.Float64() * total
	for i := range mix {
		if at < mix[i].Part {
			return i
		}
		at -= mix[i].Part
	}
	return len(mix) - 1
}

// pause draws a think time or gap.
func (d draws) pause(mean time.Duration, fixed bool) time.Duration {
	if fixed {
		return mean
	}
	return time.Duration(d.ExpFloat64() * float64(mean))
}

// gap draws a time between arrivals of mean 1 with a coefficient of variation.
func (d draws) gap(cv float64) float64 { return arrival.Gap(d.Rand, cv) }

// z95 is the 95th percentile of the normal distribution.
const z95 = 1.6448536

// took draws how long an upstream works on a request while so much of its seats is
// taken, 0 to 1.
func (d draws) took(l *Latency, input, output int, load float64) time.Duration {
	speed := 1.0
	if l.Speed > 0 {
		speed = l.Speed
	}
	if l.Total > 0 {
		return time.Duration(float64(l.Total) / speed * math.Exp(l.Sigma*d.NormFloat64()-l.Sigma*l.Sigma/2))
	}
	first := or(l.First, 450*time.Millisecond)
	late := or(l.FirstP95, 3*first)
	sigma := math.Log(float64(late)/float64(first)) / z95
	total := float64(first)*math.Exp(sigma*d.NormFloat64()) +
		float64(input)*float64(or(l.InputToken, 300*time.Microsecond)) +
		float64(max(output-1, 0))*float64(or(l.Token, 15*time.Millisecond))
	return time.Duration(total * (1 + load) / speed)
}

func or(d, otherwise time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return otherwise
}
