package app

import (
	"errors"
	"slices"
	"testing"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/testkit"
)

// shut are the upstreams whose breakers are open by hand.
func shut(a *App) (names []string) {
	for _, u := range a.admission.Snapshot().Upstreams {
		if u.Breaker.ByHand && u.Breaker.State == breaker.Open {
			names = append(names, u.Name)
		}
	}
	return names
}

// TestI8HandsOutliveAKill: what an operator did to a breaker holds for the next run,
// although this one is killed, and the one after it, too.
func TestI8HandsOutliveAKill(t *testing.T) {
	testkit.LeakCheck(t)
	c := load(t, "OPENAI_BASE_URL=http://127.0.0.1:1/v1")
	for i, run := range []struct {
		begins []string
		do     func(*App) error
	}{
		{nil, func(a *App) error { return a.trip("main") }},
		{[]string{"main"}, func(*App) error { return nil }},
		{[]string{"main"}, func(a *App) error { return a.save() }}, // a clean stop
		{[]string{"main"}, func(a *App) error { return a.untrip("main") }},
		{nil, func(a *App) error { return a.trip("main") }},
		{[]string{"main"}, func(a *App) error {
			if n := a.untripAll(); n != 1 {
				t.Errorf("%d breakers were closed", n)
			}
			return nil
		}},
		{nil, func(a *App) error { return a.save() }},
	} {
		a, err := New(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := shut(a); !slices.Equal(got, run.begins) {
			t.Errorf("run %d begins with %v open by hand, want %v", i, got, run.begins)
		}
		if err := errors.Join(run.do(a), a.Close()); err != nil { // Close writes nothing, as a kill would
			t.Error(err)
		}
	}
}

// TestI8LastHand: what is done while the process ends is not lost, nor does it take the
// state of the clean stop away; what is done later is nobody's.
func TestI8LastHand(t *testing.T) {
	dir := t.TempDir()
	l, err := openLedger(dir, thisMachine)
	if err != nil {
		t.Fatal(err)
	}
	saved := func(byHand bool) func() map[string]gate.Saved {
		return func() map[string]gate.Saved {
			return map[string]gate.Saved{"main": {Breaker: breaker.Saved{Tripped: byHand, ByHand: byHand}}}
		}
	}
	if err := errors.Join(l.save(saved(false)), l.note(saved(true))); err != nil {
		t.Fatal(err)
	}
	if s, err := l.read(); err != nil || !s.Clean || !slices.Equal(s.ByHand, []string{"main"}) || !s.Upstreams["main"].Breaker.ByHand {
		t.Errorf("%+v, %v", s, err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	if err := l.note(saved(false)); !errors.Is(err, errGivenBack) {
		t.Errorf("the folder is written to after it was given back: %v", err)
	}
}
