package app

import (
	"sync"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/endpoint"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/llm"
)

// tally counts attempts by upstream since the start. It implements event.Sink.
type tally struct {
	mu     sync.Mutex
	counts map[string]*count
}

type count struct {
	attempts, throttles, failures int64
	last                          time.Time // when the last one ended
}

func newTally() *tally { return &tally{counts: make(map[string]*count)} }

// Record implements event.Sink.
func (t *tally) Record(*event.Record) {}

// Attempt implements event.Sink.
func (t *tally) Attempt(a *event.Attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counts[a.Upstream]
	if c == nil {
		c = &count{}
		t.counts[a.Upstream] = c
	}
	c.attempts++
	c.last = a.Started.Add(a.Total)
	switch a.Kind {
	case llm.KindNone, llm.KindCanceled:
	case llm.KindThrottle:
		c.throttles++
	default:
		c.failures++
	}
}

// of returns the counts of an upstream.
func (t *tally) of(upstream string) count {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.counts[upstream]; c != nil {
		return *c
	}
	return count{}
}

// overview is what the application's statistics show.
func (a *App) overview() endpoint.Overview {
	p, s := a.current(), a.admission.Snapshot()
	o := endpoint.Overview{Workers: p.config.Tasks.Concurrency, Waiting: s.Waiting}
	now := time.Now()
	for i := range s.Upstreams {
		u := &s.Upstreams[i]
		configured := p.upstreams[u.Name]
		if u.Retired || configured == nil {
			continue
		}
		n := a.tally.of(u.Name)
		line := endpoint.Upstream{
			Name: u.Name, Model: configured.Model, Requests: n.attempts, Throttles: n.throttles, Failures: n.failures,
			Breaker: u.Breaker.State.String(), InUse: u.InUse, Seats: u.Seats,
		}
		if u.Breaker.State == breaker.Open {
			line.Cooldown = max(u.Breaker.NextProbe.Sub(now), 0)
		}
		o.Upstreams = append(o.Upstreams, line)
	}
	return o
}
