package app

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/quota"
	"github.com/millrace/millrace/internal/testkit"
)

// pair returns configurations of one gateway: with the upstream main alone, and with the
// upstream spare beside it.
func pair(t *testing.T, url string) (alone, both *config.Config) {
	t.Helper()
	folder := t.TempDir()
	read := func(text string) *config.Config {
		file := filepath.Join(folder, "millrace.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Source{File: file, Listen: "127.0.0.1:0", Environ: []string{"MILLRACE_STATE_DIR=" + filepath.Join(folder, "state")}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	main := "upstreams:\n  - {name: main, base_url: \"" + url + "/v1\", quota: {requests: 600/h, window: sliding}}\n"
	spare := "  - {name: spare, base_url: \"" + url + "/v1\", quota: {requests: 600/h, window: sliding}}\n"
	return read(main + "routes: [{model: \"*\", upstreams: [main]}]\n"), read(main + spare + "routes: [{model: m, upstreams: [spare]}, {model: \"*\", upstreams: [main]}]\n")
}

// usedOf is what an upstream has used of its first window; -1 if it is unknown.
func usedOf(a *App, name string) int64 {
	for _, u := range a.admission.Snapshot().Upstreams {
		if u.Name == name {
			return u.Windows[0].Used
		}
	}
	return -1
}

// TestI4UpstreamsThatComeLaterResume: what the last run left of an upstream is believed,
// once, by a reload that brings it, unless the clock has been moved since.
func TestI4UpstreamsThatComeLaterResume(t *testing.T) {
	m := newModel(t)
	close(m.release)
	alone, both := pair(t, m.URL)
	reload := func(a *App, all ...*config.Config) {
		t.Helper()
		for _, c := range all {
			if err := a.Reload(c); err != nil {
				t.Fatal(err)
			}
		}
	}
	asked := func(a *App) {
		t.Helper()
		if status, answer := ask(t, a, question); status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
	}
	first, stop := running(t, both)
	asked(first)
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	second, stop := running(t, alone)
	reload(second, both)
	if got := usedOf(second, "spare"); got != 1 {
		t.Errorf("%d used of what came later, want 1", got)
	}
	asked(second)
	reload(second, alone, both)
	for _, u := range second.options.Upstreams {
		if u.Quota.Start != quota.Fresh {
			t.Errorf("a limit that a reload adds to %s would begin as used up", u.Name)
		}
	}
	if got := usedOf(second, "spare"); got != 2 || len(second.saved) != 0 {
		t.Errorf("%d used of what came twice, want 2; %d are left", got, len(second.saved))
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}

	moved, stop := running(t, alone)
	moved.ledger.machine = func() machine {
		here := thisMachine()
		here.now = here.now.Add(-24 * time.Hour)
		return here
	}
	reload(moved, both)
	if got := usedOf(moved, "spare"); got < 100 {
		t.Errorf("%d used after the clock was moved, want the quota as if used up", got)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// TestI8HandsReachUpstreamsThatComeLater: a breaker that was opened by hand is open when
// its upstream comes back, however many runs without it were killed.
func TestI8HandsReachUpstreamsThatComeLater(t *testing.T) {
	testkit.LeakCheck(t)
	alone, both := pair(t, "http://127.0.0.1:1")
	for _, run := range []struct {
		with *config.Config
		do   func(*App) error
		end  []string
	}{
		{both, func(a *App) error { return a.trip("spare") }, []string{"spare"}},
		{alone, func(a *App) error { return a.trip("main") }, []string{"main"}},
		{alone, func(a *App) error { return a.Reload(both) }, []string{"main", "spare"}},
		{alone, func(a *App) error {
			return errors.Join(a.Reload(both), a.untrip("spare"), a.Reload(alone), a.Reload(both))
		}, []string{"main"}},
		{both, func(*App) error { return nil }, []string{"main"}},
	} {
		a, err := New(run.with, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = run.do(a)
		if got := shut(a); !slices.Equal(got, run.end) {
			t.Errorf("%v are open by hand, want %v", got, run.end)
		}
		if err := errors.Join(err, a.Close()); err != nil { // Close writes nothing, as a kill would
			t.Fatal(err)
		}
	}
}
