package gate

import (
	"testing"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// scenario is the upstream of scenarios A, B and C: 180,000 tokens and 60 requests a
// minute, 15 seats, a bucket of 60,000 tokens.
var scenario = bucketed{rate: 3000, burst: 60_000, requests: 60, requestBurst: 20, seats: 15}

// closed makes a user that keeps n requests outstanding and thinks between.
func (s *sim) closed(d draws, n int, think float64, make func() *job) {
	var ask func()
	ask = func() {
		j := make()
		j.done = func(*job) {
			pause := time.Duration(0)
			if think > 0 {
				pause = time.Duration(d.ExpFloat64() * think * float64(time.Second))
			}
			s.after(pause, ask)
		}
		s.submit(j)
	}
	for range n {
		s.after(time.Duration(d.Float64()*(think+0.1)*float64(time.Second)), ask)
	}
}

func (d draws) job(key flow.Key, tokens, wrong float64) *job {
	return &job{flow: key, tokens: tokens, actual: tokens * (1 + wrong*(2*d.Float64()-1)), service: d.service(3)}
}

// TestScenarioA: eight chat users and two that analyze large documents. Chat must
// hardly wait, and analysis must not starve.
func TestScenarioA(t *testing.T) {
	s, d := newGated(t, scenario.options()), newDraws(1)
	for i := range 8 {
		s.closed(d, 1, 10, func() *job { return d.job(user(flow.Chat, i), 2000, 0.25) })
	}
	for i := range 2 {
		s.closed(d, 5, 0, func() *job { return d.job(user(flow.Chat, 100+i), 40_000, 0.25) })
	}
	s.run(2 * time.Hour)
	var chat, analysis []float64
	for _, j := range s.started {
		if j.tokens > 5000 {
			analysis = append(analysis, j.wait())
		} else {
			chat = append(chat, j.wait())
		}
	}
	t.Logf("chat: %d answers, wait p50 %.2f p95 %.2f max %.1f s; analysis: %d, max %.0f s",
		len(chat), quantile(chat, 0.5), quantile(chat, 0.95), quantile(chat, 1), len(analysis), quantile(analysis, 1))
	if p95 := quantile(chat, 0.95); p95 > 1 {
		t.Errorf("chat p95 wait %.2f s, want at most 1 s", p95)
	}
	if longest := quantile(analysis, 1); longest > 300 {
		t.Errorf("longest analysis wait %.0f s, want at most 300 s", longest)
	}
}

// TestScenarioB: five flows of small requests and five of large ones, all always
// backlogged. Small flows must be served evenly.
func TestScenarioB(t *testing.T) {
	s, d := newGated(t, scenario.options()), newDraws(2)
	served := make(map[string]float64)
	last := make(map[string]time.Time)
	gap := 0.0
	add := func(name string, tokens float64, small bool) {
		key := flow.Key{Class: flow.Chat, Tenant: "t", User: name}
		s.closed(d, 3, 0, func() *job {
			return d.job(key, tokens, 0)
		})
		_ = small
	}
	for i := range 5 {
		add(user("small", i).User, 2000, true)
		add(user("big", i).User, 40_000, false)
	}
	s.run(2 * time.Hour)
	for _, j := range s.started {
		served[j.flow.User] += j.actual
		if at, ok := last[j.flow.User]; ok && j.tokens < 5000 && j.started.Sub(epoch) > 5*time.Minute {
			gap = max(gap, j.started.Sub(at).Seconds())
		}
		last[j.flow.User] = j.started
	}
	t.Logf("longest gap of a small flow %.1f s, Jain %.4f %v", gap, jain(served), served)
	if gap > 10 {
		t.Errorf("longest gap of a small flow %.1f s, want at most 10 s", gap)
	}
	if j := jain(served); j < 0.99 {
		t.Errorf("Jain %.4f, want at least 0.99", j)
	}
}

// TestScenarioC: one user asks 600 requests at once; nine polite ones must not wait
// for them.
func TestScenarioC(t *testing.T) {
	s, d := newGated(t, scenario.options()), newDraws(3)
	for range 600 {
		s.after(0, func() { s.submit(d.job(user(flow.Chat, 0), 2000, 0.25)) })
	}
	for i := 1; i < 10; i++ {
		s.closed(d, 1, 10, func() *job { return d.job(user("polite", i), 2000, 0.25) })
	}
	s.run(20 * time.Minute)
	polite := waits(s.started, "chat")
	var others []float64
	for _, j := range s.started {
		if j.flow.User != user(flow.Chat, 0).User {
			others = append(others, j.wait())
		}
	}
	t.Logf("polite users: %d answers, wait p50 %.1f p95 %.1f max %.1f s (all %d)", len(others),
		quantile(others, 0.5), quantile(others, 0.95), quantile(others, 1), len(polite))
	if p95 := quantile(others, 0.95); p95 > 18 {
		t.Errorf("polite p95 wait %.1f s, want at most 18 s", p95)
	}
}

func jain(served map[string]float64) float64 {
	sum, squares := 0.0, 0.0
	for _, v := range served {
		sum += v
		squares += v * v
	}
	return sum * sum / (float64(len(served)) * squares)
}

// TestSoleUpstreamIsTriedAgainLater: what failed on the only upstream there is goes there
// again a little later each time, or when the provider says, and others run meanwhile.
func TestSoleUpstreamIsTriedAgainLater(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		want  []time.Duration
	}{
		"on its own":           {0, []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second}},
		"as the provider says": {5 * time.Second, []time.Duration{5 * time.Second, 5 * time.Second, 5 * time.Second}},
		"within reason":        {time.Hour, []time.Duration{maxRetryAfter, maxRetryAfter, maxRetryAfter}},
	} {
		o := single(1)
		o.Upstreams[0].Breaker = breaker.Options{}
		w := newWorld(t, o)
		id, got := w.arrive(Ask{Flow: user(flow.Chat, 1)})
		w.want(name, got, id)
		failed := Event{Kind: Again, ID: id, Result: Result{Kind: llm.KindOverload, Sent: true, RetryAfter: c.after}}
		for i, wait := range c.want {
			w.want(name+": at once", w.step(failed))
			other, got := w.arrive(Ask{Flow: user(flow.Chat, 2)})
			w.want(name+": another meanwhile", got, other)
			w.settle(other)
			if at := w.gate.Wake(); !at.Equal(w.now.Add(wait)) {
				t.Errorf("%s: try %d is due after %v, want %v", name, i+2, at.Sub(w.now), wait)
			}
			w.now = w.now.Add(wait)
			got = w.step(Event{})
			w.want(name+": later", got, id)
			if waits := got[0].Grant.Waits; waits.Of(flow.ReasonBreaker) != got[0].Grant.Waited {
				t.Errorf("%s: it waited %v, for %v", name, got[0].Grant.Waited, waits)
			}
		}
		if got := w.step(failed); len(got) != 1 || got[0].Kind != Refuse {
			t.Errorf("%s: a fifth try: %v", name, got)
		}
	}
}

// TestSoleUpstreamIsNotTriedBeyondTheHold: a try that would come too late is none.
func TestSoleUpstreamIsNotTriedBeyondTheHold(t *testing.T) {
	o := single(1)
	o.Upstreams[0].Breaker = breaker.Options{}
	w := newWorld(t, o)
	id, _ := w.arrive(Ask{Flow: user(flow.Chat, 1), Hold: w.now.Add(400 * time.Millisecond)})
	got := w.step(Event{Kind: Again, ID: id, Result: Result{Kind: llm.KindOverload, Sent: true}})
	if len(got) != 1 || got[0].Kind != Refuse {
		t.Errorf("%+v", got)
	}
}
