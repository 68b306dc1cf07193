package load

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/load/arrival"
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
	part     int           // of the mix; 0 without one
	session  int           // number of the loop's conversation, from 1
	earlier  []turn        // of the conversation, the oldest first
}

// turn is what an earlier request of a conversation asked.
type turn struct{ seq, tokens int }

// size is the prompt in tokens, with the conversation before it.
func (p *plan) size(o *Options) int {
	size := p.tokens
	for _, t := range p.earlier {
		size += t.tokens + o.replyTokens()
	}
	return size
}

// replyTokens is how long a model's part of an earlier turn is when it is sent
// again: not what was answered, because the same seed asks the same.
func (o *Options) replyTokens() int { return cmp.Or(o.OutputTokens, 150) }

// drawer draws the plans of one loop from its own random stream. A plan takes
// the same number of draws whatever it holds, so that options which change one
// trait of the requests leave the others as they were.
type drawer struct {
	options *Options
	rng     *rand.Rand
	next    plan
	pause   time.Duration // mean; 0 for a loop that does not think
	talk    *rand.Rand    // conversations and the mix, apart from the rest: with or without them a seed asks alike
	left    int           // turns to come of the open conversation
}

func newDrawer(o *Options, user, loop int) *drawer {
	d := &drawer{options: o, rng: arrival.Stream(o.Seed, user, loop), next: plan{user: user, loop: loop}, pause: o.Think}
	d.talk = arrival.Stream(^o.Seed, user, loop)
	if o.PacedRate > 0 {
		d.pause = time.Duration(float64(time.Second) / o.PacedRate)
	}
	if user == 0 && o.GreedyLoops > 0 {
		d.pause = 0
	}
	return d
}

// draw returns the next request of the loop.
func (d *drawer) draw() plan {
	o := d.options
	d.converse()
	p := d.next
	d.next.seq++
	normal, think := d.rng.NormFloat64(), d.rng.ExpFloat64()
	p.stream = d.rng.Float64() < o.StreamShare
	p.mischief = o.Mischief.pick(d.rng.Float64())
	p.after = time.Duration(d.rng.Float64() * float64(o.Mischief.CancelWithin))
	p.events = 1 + d.rng.IntN(4)
	p.tokens = lognormal(o.mix()[p.part].Tokens, o.TokensSigma, normal)
	p.output = o.OutputTokens
	mean := d.pause
	if d.left == 0 && o.SessionPause > 0 && mean > 0 {
		mean = o.SessionPause
	}
	p.pause = mean
	if !o.ThinkFixed {
		p.pause = time.Duration(think * float64(p.pause))
	}
	if o.Turns > 1 {
		d.next.earlier = append(slices.Clip(p.earlier), turn{p.seq, p.tokens})
	}
	return p
}

// converse opens a conversation if none is, and takes one turn of it. A
// conversation has 1 to 2*Turns-1 turns, each number as likely, and one part of
// the mix.
func (d *drawer) converse() {
	if d.left == 0 {
		o := d.options
		turns, part := d.talk.IntN(2*max(o.Turns, 1)-1), d.talk.Float64()
		d.left = 1 + turns
		d.next.part = o.pick(part)
		d.next.session++
		d.next.earlier = nil
	}
	d.left--
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
	most := 0
	if o.Trace == nil {
		for _, part := range o.mix() {
			most = max(most, largest(part.Tokens, o.TokensSigma))
		}
		return max(most, o.replyTokens())
	}
	for _, row := range o.Trace {
		most = max(most, row.Context)
	}
	return most
}
