package gate

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/flow"
)

// fairRun is one random run of the gate: tenants with weights keep requests waiting,
// settlements come late and wrong by up to a factor of two.
type fairRun struct {
	sim     *sim
	draws   draws
	tenants []*fairTenant
	pairs   []*fairPair
	err     error
}

type fairTenant struct {
	key      flow.Key
	weight   float64
	tokens   float64
	wrong    float64
	waiting  int
	inflight int
	served   float64 // seconds of quota that its requests really took
	largest  float64
	err      float64
	most     int
}

// bound is the tenant's part of the fairness bound.
func (f *fairTenant) bound() float64 {
	return (2*f.largest + float64(f.most)*f.err) / f.weight
}

type fairPair struct {
	a, b      *fairTenant
	together  bool
	low, high float64
}

func (p *fairPair) check() error {
	if p.a.waiting == 0 || p.b.waiting == 0 {
		p.together = false
		return nil
	}
	d := p.a.served/p.a.weight - p.b.served/p.b.weight
	if !p.together {
		p.together, p.low, p.high = true, d, d
	}
	p.low, p.high = min(p.low, d), max(p.high, d)
	if bound := p.a.bound() + p.b.bound(); p.high-p.low > bound+1e-6 {
		return fmt.Errorf("%s and %s are %.4f s apart, the bound is %.4f s", p.a.key.Tenant, p.b.key.Tenant, p.high-p.low, bound)
	}
	return nil
}

func newFairRun(t *rapid.T) *fairRun {
	o := scenario.options()
	o.Upstreams[0].Quota.Limits = o.Upstreams[0].Quota.Limits[:1] // tokens alone bind
	o.Upstreams[0].Quota.Seats = 0
	g, err := New(epoch, o)
	if err != nil {
		t.Fatal(err)
	}
	g.upstreams[0].mix.known = true
	g.upstreams[0].mix.shares[3] = 1 // tokens
	s := &sim{now: epoch}
	s.server = &gated{sim: s, gate: g, jobs: make(map[uint64]*job)}
	r := &fairRun{sim: s, draws: newDraws(rapid.Uint64().Draw(t, "seed"))}
	s.watch = r.watch
	for i := range rapid.IntRange(2, 6).Draw(t, "tenants") {
		f := &fairTenant{
			key:    flow.Key{Class: flow.Chat, Tenant: fmt.Sprint("tenant-", i), User: "u"},
			tokens: rapid.SampledFrom([]float64{500, 2000, 2000, 10_000, 20_000}).Draw(t, "tokens"),
			wrong:  rapid.SampledFrom([]float64{0.5, 1, 2}).Draw(t, "wrong"),
		}
		r.weigh(f, rapid.SampledFrom([]float64{0.5, 1, 1, 2, 4}).Draw(t, "weight"))
		r.tenants = append(r.tenants, f)
		keep := rapid.IntRange(1, 4).Draw(t, "keep")
		think := rapid.SampledFrom([]float64{0, 0, 5}).Draw(t, "think")
		s.closed(r.draws, keep, think, func() *job { return r.job(f, i) })
	}
	for i, a := range r.tenants {
		for _, b := range r.tenants[i+1:] {
			r.pairs = append(r.pairs, &fairPair{a: a, b: b})
		}
	}
	return r
}

// weigh gives a tenant a weight; its pairs start anew.
func (r *fairRun) weigh(f *fairTenant, weight float64) {
	f.weight = weight
	r.sim.server.(*gated).gate.pools[0].queue.Weigh(flow.Chat, f.key.Tenant, weight)
	for _, p := range r.pairs {
		if p.a == f || p.b == f {
			p.together = false
		}
	}
}

func (r *fairRun) job(f *fairTenant, index int) *job {
	j := r.draws.job(f.key, math.Round(f.tokens*(0.5+r.draws.Float64())), 0)
	j.index = index
	j.actual = math.Round(j.tokens * f.wrong)
	f.largest = max(f.largest, j.tokens/scenario.rate, j.actual/scenario.rate)
	f.err = max(f.err, math.Abs(j.actual-j.tokens)/scenario.rate)
	return j
}

// watch brings the books of the test up to date with what a job did.
func (r *fairRun) watch(j *job) {
	f := r.tenants[j.index]
	switch {
	case !j.ended.IsZero():
		f.inflight--
	case !j.started.IsZero():
		f.waiting--
		f.inflight++
		f.most = max(f.most, f.inflight)
		f.served += j.actual / scenario.rate
	default:
		f.waiting++
	}
	for _, p := range r.pairs {
		if err := p.check(); err != nil && r.err == nil {
			r.err = fmt.Errorf("after %v: %w", r.sim.now.Sub(epoch), err)
		}
	}
}

// TestI4Fair: every pair of backlogged tenants stays within the bound of the package
// comment of fairqueue, through windows that block large requests.
func TestI4Fair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newFairRun(t)
		for i := range 60 {
			r.sim.run(time.Duration(r.draws.ExpFloat64() * 4 * float64(time.Second)))
			if r.err != nil {
				t.Fatal(r.err)
			}
			if i == 30 {
				f := r.tenants[r.draws.IntN(len(r.tenants))]
				r.weigh(f, rapid.SampledFrom([]float64{0.5, 1, 2, 4}).Draw(t, "new weight"))
			}
		}
	})
}
