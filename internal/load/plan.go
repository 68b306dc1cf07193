package load

import (
	"math"
	"math/rand/v2"
	"time"
)

// mischief is how a request will misbehave.
type mischief uint8

const (
	behave mischief = iota
	cancelEarly
	hangUp
	stallReading
)

// plan is one request as it was drawn, before anything is sent.
type plan struct {
	user     int
	loop     int // among the user's loops; 0 in open loop
	seq      int // number within the loop, or row of the trace
	tokens   int // of the prompt
	output   int // asked of a simulator; 0 for none
	stream   bool
	mischief mischief
	after    time.Duration // when a cancelEarly leaves
	events   int           // after how many chunks a hangUp hangs up
	pause    time.Duration // think time or gap drawn with this request
}

// drawer draws the plans of one loop from its own random stream. A plan takes
// the same number of draws whatever it holds, so that options which change one
// trait of the requests leave the others as they were.
type drawer struct {
	options *Options
	rng     *rand.Rand
	next    plan
	pause   time.Duration // mean; 0 for a loop that does not think
}

func newDrawer(o *Options, user, loop int) *drawer {
	d := &drawer{options: o, rng: stream(o.Seed, user, loop), next: plan{user: user, loop: loop}, pause: o.Think}
	if o.PacedRate > 0 {
		d.pause = time.Duration(float64(time.Second) / o.PacedRate)
	}
	if user == 0 && o.GreedyLoops > 0 {
		d.pause = 0
	}
	return d
}

// stream is the random stream of one loop. The words are mixed because
// neighboring seeds of a PCG begin alike.
func stream(seed uint64, user, loop int) *rand.Rand {
	return rand.New(rand.NewPCG(mix(seed), mix(seed^mix(uint64(user)<<32|uint64(uint32(loop))))))
}

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// draw returns the next request of the loop.
func (d *drawer) draw() plan {
	o := d.options
	p := d.next
	d.next.seq++
	normal, think := d.rng.NormFloat64(), d.rng.ExpFloat64()
	p.stream = d.rng.Float64() < o.StreamShare
	p.mischief = o.Mischief.pick(d.rng.Float64())
	p.after = time.Duration(d.rng.Float64() * float64(o.Mischief.CancelWithin))
	p.events = 1 + d.rng.IntN(4)
	p.tokens = lognormal(o.Tokens, o.TokensSigma, normal)
	p.output = o.OutputTokens
	p.pause = d.pause
	if !o.ThinkFixed {
		p.pause = time.Duration(think * float64(d.pause))
	}
	return p
}

// offset is when the loop begins, within the ramp.
func (d *drawer) offset() time.Duration {
	return time.Duration(d.rng.Float64() * float64(max(d.options.Ramp, 0)))
}

func (m Mischief) pick(u float64) mischief {
	switch {
	case u < m.Cancel:
		return cancelEarly
	case u < m.Cancel+m.Disconnect:
		return hangUp
	case u < m.Cancel+m.Disconnect+m.Stall:
		return stallReading
	}
	return behave
}

// lognormal returns a size whose mean over many draws is mean, given a standard
// normal draw. Sizes beyond five sigma are cut.
func lognormal(mean int, sigma, normal float64) int {
	if sigma == 0 {
		return mean
	}
	size := float64(mean) * math.Exp(sigma*normal-sigma*sigma/2)
	return int(min(max(math.Round(size), 1), float64(largest(mean, sigma))))
}

func largest(mean int, sigma float64) int {
	return int(min(float64(mean)*math.Exp(5*sigma), maxTokens))
}

// largestPrompt is the size in tokens of the longest prompt the options can ask for.
func (o Options) largestPrompt() int {
	if o.Trace == nil {
		return largest(o.Tokens, o.TokensSigma)
	}
	most := 0
	for _, row := range o.Trace {
		most = max(most, row.Context)
	}
	return most
}
