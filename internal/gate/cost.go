package gate

import (
	"math/bits"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/quota"
)

// mixRate is how fast the mix follows what binds: one dispatch in 32.
const mixRate = 1.0 / 32

// mix is which dimensions of one upstream have bound lately, as shares that sum to 1; index
// quota.NumDims is for seats. Fairness is about what is scarce: while tokens bind,
// users share tokens, and a request that is small is cheap although it takes as many
// requests as a large one. Before anything has bound, the largest share of any
// dimension counts (dominant resource; Ghodsi et al., 2011).
type mix struct {
	known  bool
	shares [quota.NumDims + 1]float64
}

// reasons are the dimensions by the reason for which a head waits.
var reasons = map[flow.Reason]int{
	flow.ReasonRequests: int(quota.Requests),
	flow.ReasonInput:    int(quota.Input),
	flow.ReasonOutput:   int(quota.Output),
	flow.ReasonTokens:   int(quota.Total),
	flow.ReasonSeats:    int(quota.NumDims),
}

// learn notes what a request that is dispatched now waited for last.
func (m *mix) learn(q *quota.Quota, why flow.Reason) {
	dim, ok := reasons[why]
	if !ok || dim < int(quota.NumDims) && q.Rate(quota.Dim(dim)) == 0 {
		return // it waited for another upstream
	}
	if !m.known {
		m.known = true
		m.shares[dim] = 1
		return
	}
	for i := range m.shares {
		m.shares[i] -= mixRate * m.shares[i]
	}
	m.shares[dim] += mixRate
}

// cost is what an amount takes of a quota, in seconds of what binds.
func (m *mix) cost(q *quota.Quota, need quota.Amount, took time.Duration) float64 {
	if !m.known {
		return q.Cost(need, took)
	}
	sum := 0.0
	for d, n := range need {
		if rate := q.Rate(quota.Dim(d)); rate > 0 && m.shares[d] > 0 {
			sum += m.shares[d] * float64(n) / rate
		}
	}
	if _, seats := q.Seats(); seats > 0 {
		sum += m.shares[quota.NumDims] * took.Seconds() / float64(seats)
	}
	return sum
}

// cost is what a request takes, in seconds of what binds at the upstreams that it
// may use: they serve in parallel if the route spills, else the first alone serves.
func (g *Gate) cost(e *entry) float64 {
	rate := 0.0
	route := g.routes[e.ask.Route]
	for _, u := range route.Upstreams {
		if (e.tooLarge|e.failed)&(1<<u) != 0 {
			continue
		}
		c := g.price(u, g.need(u, e), e.took)
		if !route.Spill {
			return c
		}
		if c <= 0 {
			return 0
		}
		rate += 1 / c
	}
	if rate == 0 {
		return 0
	}
	return 1 / rate
}

// costAt is its cost now that it is known where it goes.
func (g *Gate) costAt(e *entry, u int) float64 {
	if g.routes[e.ask.Route].Spill {
		return g.cost(e)
	}
	return g.price(u, g.need(u, e), e.took)
}

// share is the fairness cost of what was really spent, over all the upstreams that
// the request might have used.
func (g *Gate) share(e *entry, spent quota.Amount, took time.Duration) float64 {
	planned := g.price(e.upstream, e.reserved, e.took)
	if planned <= 0 {
		return e.item.Cost
	}
	return e.item.Cost * g.price(e.upstream, spent, took) / planned
}

// price is what an amount takes of one upstream, in seconds of what binds there.
func (g *Gate) price(u int, need quota.Amount, took time.Duration) float64 {
	return g.upstreams[u].mix.cost(g.upstreams[u].quota, need, took)
}

// Prices of those who wait are looked at so often, and made anew where a limit allows
// so much more or less than it did.
const (
	repriceEvery = 250 * time.Millisecond
	repriceAt    = 1.25
)

// reprice gives all that wait the price of now where the limits have become other ones:
// a header has told of a lower one, or a reload. What a request costs says how long those
// behind it wait.
func (p *pool) reprice(now time.Time) {
	if p.queue.Len() == 0 || now.Sub(p.checked) < repriceEvery {
		return
	}
	p.checked = now
	other := false
	for left := p.members; left != 0; left &= left - 1 {
		other = p.gate.upstreams[bits.TrailingZeros64(left)].learned() || other
	}
	if !other {
		return
	}
	for _, e := range p.gate.byArrival() {
		if e.pool == p && e.item.Waiting() {
			p.queue.Recost(&e.item, p.gate.cost(e))
		}
	}
	p.gate.surprise(func(e *entry) bool { return e.pool == p })
}

// learned reports whether a rate has left those by which requests are priced.
func (u *upstream) learned() bool {
	other := false
	for d := range u.rates {
		rate := u.quota.Rate(quota.Dim(d))
		if was := u.rates[d]; was == 0 {
			u.rates[d] = rate
		} else if rate > was*repriceAt || rate*repriceAt < was {
			u.rates[d], other = rate, true
		}
	}
	return other
}
