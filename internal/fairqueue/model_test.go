package fairqueue

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/flow"
)

// client is one flow of the model: what it asked, what it was really given.
type client struct {
	key     flow.Key
	weight  float64
	waiting int
	running []*job
	served  float64 // real cost of all that was dispatched
	largest float64 // largest cost, real or estimated
	error   float64 // largest correction
	most    int     // most in flight at once
	moved   bool    // its head goes next
	ahead   float64 // cost of the heads that were moved up since one last went in its turn
	extra   float64 // the most of that
}

type job struct {
	item   Item
	client *client
	real   float64
}

// pair follows the difference in normalized service of two clients while both are
// backlogged.
type pair struct {
	a, b     *client
	together bool
	low      float64 // the differences seen in this joint busy period
	high     float64
}

func (p *pair) difference() float64 { return p.a.served/p.a.weight - p.b.served/p.b.weight }

// bound is I1.
func (p *pair) bound() float64 {
	one := func(c *client) float64 {
		return (2*c.largest + float64(c.most)*c.error + c.extra) / c.weight
	}
	return one(p.a) + one(p.b)
}

// check updates the pair after a step and returns by how much the bound is broken.
func (p *pair) check() float64 {
	if p.a.waiting == 0 || p.b.waiting == 0 {
		p.together = false
		return 0
	}
	d := p.difference()
	if !p.together {
		p.together, p.low, p.high = true, d, d
	}
	p.low, p.high = min(p.low, d), max(p.high, d)
	return (p.high - p.low) - p.bound()
}

// world drives a queue with a server that runs whatever the queue picks.
type world struct {
	queue   *Queue
	clients []*client
	pairs   []*pair
}

func newWorld(weights []float64) *world {
	w := &world{queue: New(Options{})}
	for i, weight := range weights {
		c := &client{key: flow.Key{Class: flow.Chat, Tenant: "t", User: fmt.Sprint(i)}, weight: weight}
		w.clients = append(w.clients, c)
		w.queue.setWeight(w.queue.user(c.key), weight)
	}
	for i, a := range w.clients {
		for _, b := range w.clients[i+1:] {
			w.pairs = append(w.pairs, &pair{a: a, b: b})
		}
	}
	return w
}

func (w *world) push(c *client, estimate, real float64) {
	j := &job{client: c, real: real}
	j.item.Cost, j.item.Owner = estimate, j
	w.queue.Push(c.key, &j.item, 0)
	c.waiting++
	c.largest = max(c.largest, estimate, real)
	c.error = max(c.error, math.Abs(real-estimate))
}

func (w *world) dispatch() *job {
	it := w.queue.Next(func(*Item, bool) Verdict { return Run })
	if it == nil {
		return nil
	}
	j := it.Owner.(*job)
	c := j.client
	if c.moved {
		c.moved, c.ahead = false, c.ahead+c.largest
		c.extra = max(c.extra, c.ahead)
	} else {
		c.ahead = 0
	}
	w.queue.Dispatch(it)
	c.waiting--
	c.running = append(c.running, j)
	c.served += j.real
	c.most = max(c.most, len(c.running))
	return j
}

func (w *world) settle(c *client, i int) {
	j := c.running[i]
	c.running = append(c.running[:i], c.running[i+1:]...)
	w.queue.Settle(&j.item, j.real)
}

// conserved is I6.
func conserved(n *node) error {
	if n.leaf() {
		if n.waiting != len(n.items) {
			return fmt.Errorf("user %q: waiting %d, items %d", n.name, n.waiting, len(n.items))
		}
		return nil
	}
	waiting, backlog, sumW, sumWS := 0, 0.0, 0.0, 0.0
	for _, c := range n.children {
		if err := conserved(c); err != nil {
			return err
		}
		waiting += c.waiting
		backlog += c.backlog
		if c.inMean() && !c.apart {
			sumW += c.weight
			sumWS += c.weight * c.start
		}
	}
	if waiting != n.waiting || math.Abs(backlog-n.backlog) > 1e-6*(1+backlog) {
		return fmt.Errorf("node %q: %d waiting and %g backlog, its children %d and %g", n.name, n.waiting, n.backlog, waiting, backlog)
	}
	if math.Abs(sumW-n.sumW) > 1e-6 || math.Abs(sumWS-n.sumWS) > 1e-6*(1+math.Abs(sumWS)) {
		return fmt.Errorf("node %q: sums %g, %g, its children %g, %g", n.name, n.sumW, n.sumWS, sumW, sumWS)
	}
	return nil
}

// habit is how one client behaves in a run.
type habit struct {
	cost  float64 // of its requests
	wrong float64 // real cost over estimate
	keep  int     // requests it keeps waiting
	pause float64 // chance of not asking again
}

// step lets the world run for a while: clients keep their queues filled, the server
// keeps its seats taken, settlements come late and in any order.
func (w *world) step(rnd *rand.Rand, habits []habit, seats int) {
	running := 0
	for i, c := range w.clients {
		for h := habits[i]; c.waiting < h.keep && rnd.Float64() >= h.pause; {
			cost := h.cost * (0.5 + rnd.Float64())
			w.push(c, cost, cost*h.wrong)
		}
		running += len(c.running)
	}
	if running < seats && w.dispatch() != nil && rnd.IntN(3) > 0 {
		return
	}
	for range 4 {
		if c := w.clients[rnd.IntN(len(w.clients))]; len(c.running) > 0 {
			w.settle(c, rnd.IntN(len(c.running)))
			return
		}
	}
}

// reweigh gives a client another weight; the pairs it is in start anew.
func (w *world) reweigh(c *client, weight float64) {
	c.weight = weight
	w.queue.setWeight(w.queue.user(c.key), weight)
	for _, p := range w.pairs {
		if p.a == c || p.b == c {
			p.together = false
		}
	}
}

// TestI1Fair: whatever clients ask, with settlements late and wrong by up to a
// factor of two, weights that change and heads that are moved up, every pair of
// backlogged flows stays within the bound.
func TestI1Fair(t *testing.T) {
	weights := rapid.SampledFrom([]float64{0.5, 1, 1, 2, 4})
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.SliceOfN(weights, 2, 6).Draw(t, "weights"))
		habits := make([]habit, len(w.clients))
		for i := range habits {
			habits[i] = habit{
				cost:  rapid.SampledFrom([]float64{0.1, 1, 1, 5, 20}).Draw(t, "cost"),
				wrong: rapid.SampledFrom([]float64{0.5, 1, 2}).Draw(t, "wrong"),
				keep:  rapid.IntRange(1, 4).Draw(t, "keep"),
				pause: rapid.SampledFrom([]float64{0, 0, 0.5, 0.98}).Draw(t, "pause"),
			}
		}
		moves := rapid.Bool().Draw(t, "moves")
		seats := rapid.IntRange(1, 12).Draw(t, "seats")
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for i := range 600 {
			w.step(rnd, habits, seats)
			if c := w.clients[rnd.IntN(len(w.clients))]; moves && rnd.IntN(40) == 0 {
				c.moved = w.queue.Promote(c.key)
			}
			if i%150 == 149 {
				w.reweigh(w.clients[rnd.IntN(len(w.clients))], weights.Draw(t, "weight"))
			}
			for _, p := range w.pairs {
				if over := p.check(); over > 1e-6 {
					t.Fatalf("step %d: flows %s and %s: service apart by %.3f, the bound is %.3f",
						i, p.a.key.User, p.b.key.User, p.high-p.low, p.bound())
				}
			}
			if err := conserved(w.queue.root); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestI6IdleQueueHoldsNothing: when all has been settled, no flow is left.
func TestI6IdleQueueHoldsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld([]float64{1, 2, 3})
		for range rapid.IntRange(1, 60).Draw(t, "requests") {
			c := w.clients[rapid.IntRange(0, 2).Draw(t, "client")]
			w.push(c, 1, rapid.Float64Range(0.1, 5).Draw(t, "real"))
			if rapid.Bool().Draw(t, "run") {
				w.dispatch()
			}
		}
		for w.dispatch() != nil {
		}
		for _, c := range w.clients {
			for len(c.running) > 0 {
				w.settle(c, 0)
			}
		}
		for _, c := range w.clients {
			u := w.queue.user(c.key)
			u.pinned = false
			u.update(false)
		}
		if n, u, l, b := w.queue.Flows(), w.queue.Waiters(), w.queue.Len(), w.queue.Backlog(); n != 0 || u != 0 || l != 0 || b != 0 {
			t.Fatalf("an idle queue holds %d flows, %d that wait, %d requests, %g backlog", n, u, l, b)
		}
	})
}
