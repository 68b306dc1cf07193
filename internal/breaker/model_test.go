package breaker

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/llm"
)

// model is a breaker that remembers everything and is right by being slow.
type model struct {
	o        Options
	age      int       // generation
	verdicts []verdict // since this generation began
	tripped  bool
	byHand   bool
	until    time.Time
	good     int
	passes   []*ticket // every one that was ever given
}

type verdict struct {
	at     time.Time
	failed bool
}

type ticket struct {
	pass    Pass
	age     int
	probe   bool
	expires time.Time
	back    bool
}

func (m *model) begin() {
	m.age++
	m.verdicts, m.tripped, m.byHand, m.good = nil, false, false, 0
}

func (m *model) trip(now time.Time) {
	m.begin()
	m.tripped, m.until = true, now.Add(m.o.Open)
}

func (m *model) state(now time.Time) State {
	switch {
	case !m.tripped:
		return Closed
	case m.byHand || now.Before(m.until):
		return Open
	}
	return HalfOpen
}

func (m *model) outstanding(now time.Time) (n int) {
	for _, p := range m.passes {
		if p.probe && !p.back && now.Before(p.expires) {
			n++
		}
	}
	return n
}

func (m *model) ready(now time.Time) bool {
	switch m.state(now) {
	case Closed:
		return true
	case Open:
		return false
	case HalfOpen:
		return m.outstanding(now) < m.o.Probes
	}
	return false
}

func (m *model) give(now time.Time, p Pass) {
	m.passes = append(m.passes, &ticket{pass: p, age: m.age, probe: m.state(now) == HalfOpen, expires: now.Add(m.o.ProbeTimeout)})
}

func (m *model) done(now time.Time, p *ticket, kind llm.ErrorKind) {
	counts := p.age == m.age
	if p.probe {
		counts = counts && !p.back && now.Before(p.expires)
	}
	p.back = true
	if !counts || kind != llm.KindNone && !kind.Faulty() {
		return
	}
	failed := kind != llm.KindNone
	switch {
	case p.probe && failed:
		m.trip(now)
	case p.probe:
		if m.good++; m.good == m.o.Successes {
			m.begin()
		}
	default:
		m.verdicts = append(m.verdicts, verdict{now, failed})
		if failed && m.broken(now) {
			m.trip(now)
		}
	}
}

// broken applies both rules to the verdicts. Slots begin with the first one.
func (m *model) broken(now time.Time) bool {
	run := 0
	for i := len(m.verdicts) - 1; i >= 0 && m.verdicts[i].failed; i-- {
		run++
	}
	width := m.o.Window / slots
	slot := func(at time.Time) time.Duration { return at.Sub(m.verdicts[0].at) / width }
	good, bad := 0, 0
	for _, v := range m.verdicts {
		if slot(v.at) <= slot(now)-slots {
			continue
		}
		if v.failed {
			bad++
		} else {
			good++
		}
	}
	return m.o.Failures > 0 && run >= m.o.Failures ||
		m.o.Ratio > 0 && good+bad >= m.o.MinVolume && float64(bad) >= m.o.Ratio*float64(good+bad)
}

// source draws a number in [0, n).
type source func(n int, label string) int

// play runs one random sequence of events over breaker and model, and holds the
// invariants against both after each.
func play(draw source, steps int) error {
	o := Options{
		Failures: draw(4, "failures"), Ratio: []float64{-1, 0.3, 0.5, 1}[draw(4, "ratio")], MinVolume: 1 + draw(6, "volume"),
		Window: 10 * time.Second, Open: 30 * time.Second, Probes: 1 + draw(3, "probes"), Successes: 1 + draw(3, "successes"),
		ProbeTimeout: []time.Duration{5 * time.Second, 30 * time.Second, 90 * time.Second}[draw(3, "timeout")],
	}
	g := &game{b: New(o), m: &model{o: o}, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), draw: draw}
	for i := range steps {
		what := g.step()
		if err := g.check(); err != nil {
			return fmt.Errorf("step %d (%s) at %v, %+v: %w", i, what, g.now.Format(time.TimeOnly), o, err)
		}
	}
	return nil
}

type game struct {
	b    *Breaker
	m    *model
	now  time.Time
	draw source
}

func (g *game) step() string {
	switch k := g.draw(40, "what"); {
	case k < 8:
		g.now = g.now.Add(time.Duration(g.draw(2000, "ms")) * time.Millisecond)
		return "a moment"
	case k < 12:
		g.now = g.now.Add(time.Duration(g.draw(60, "s")) * time.Second)
		return "a while"
	case k < 24:
		if p, ok := g.b.Allow(g.now); ok {
			g.m.give(g.now, p)
			return "allowed"
		}
		return "not allowed"
	case k < 36 && len(g.m.passes) > 0:
		// The latest ones mostly, now and then an old one.
		n := len(g.m.passes)
		p := g.m.passes[n-1-g.draw(min(n, 4+g.draw(n, "age")), "pass")]
		kind := llm.KindNone
		if g.draw(2, "ok") == 0 {
			kind = llm.Kinds()[g.draw(len(llm.Kinds()), "kind")]
		}
		g.b.Done(g.now, p.pass, kind)
		g.m.done(g.now, p, kind)
		return "done: " + kind.String()
	case k == 36:
		g.b.trip(g.now, CauseShare)
		g.m.trip(g.now)
		return "tripped by failures"
	case k == 38:
		g.b.Trip(g.now)
		if !g.m.byHand {
			g.m.trip(g.now)
			g.m.byHand = true
		}
		return "tripped"
	case k == 39 || k == 37:
		g.b.Reset(g.now)
		g.m.begin()
		return "reset"
	}
	return "nothing"
}

func (g *game) check() error {
	b, m, now := g.b, g.m, g.now
	if n := m.outstanding(now); n > m.o.Probes {
		return fmt.Errorf("I1: %d probes outstanding, at most %d may be", n, m.o.Probes)
	}
	if got, want := b.Snapshot(now).Outstanding, m.outstanding(now); got != want {
		return fmt.Errorf("I1: it counts %d probes outstanding, there are %d", got, want)
	}
	if got, want := b.State(now), m.state(now); got != want {
		return fmt.Errorf("I3, I4: %v, want %v", got, want)
	}
	if got, want := b.Ready(now), m.ready(now); got != want {
		return fmt.Errorf("I5: Ready is %v, want %v", got, want)
	}
	if _, got := copyOf(b).Allow(now); got != b.Ready(now) {
		return fmt.Errorf("I5: Ready is %v, Allow says %v", b.Ready(now), got)
	}
	if latest := now.Add(m.o.Open + m.o.ProbeTimeout); b.Ready(latest) == m.byHand {
		return fmt.Errorf("I2: opened by hand %v, and ready at %v: %v", m.byHand, latest, b.Ready(latest))
	}
	if s := b.Snapshot(now); s.ByHand != m.byHand || (s.Cause == CauseNone) != (s.State == Closed) || (s.Reason() == "") != (s.State == Closed) {
		return fmt.Errorf("it stands %v, by hand %v, because %q", s.State, s.ByHand, s.Reason())
	}
	return g.checkNext()
}

func (g *game) checkNext() error {
	next := g.b.NextProbe(g.now)
	if g.m.byHand {
		if !next.IsZero() {
			return fmt.Errorf("I6: NextProbe is %v while it is held open by hand", next)
		}
		return nil
	}
	if next.IsZero() != g.b.Ready(g.now) {
		return fmt.Errorf("I6: NextProbe is %v while Ready is %v", next, g.b.Ready(g.now))
	}
	if next.IsZero() {
		return nil
	}
	if !next.After(g.now) || !g.b.Ready(next) {
		return fmt.Errorf("I6: at NextProbe, %v, Ready is %v", next, g.b.Ready(next))
	}
	if g.b.Ready(next.Add(-1)) {
		return fmt.Errorf("I6: ready before NextProbe, %v", next)
	}
	return nil
}

func copyOf(b *Breaker) *Breaker {
	c := *b
	c.probes = append([]probe(nil), b.probes...)
	return &c
}

func TestBreakerAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func(n int, label string) int { return rapid.IntRange(0, n-1).Draw(t, label) }
		if err := play(draw, 80); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBreakerTenThousandSequences(t *testing.T) {
	for seed := range uint64(10_000) {
		r := rand.New(rand.NewPCG(seed, 1))
		if err := play(func(n int, _ string) int { return r.IntN(n) }, 60); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}
