package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/config"
)

// shelf is an upstream with a list of models, or none today.
type shelf struct {
	names []string
	err   error
	asked int
}

func (s *shelf) Models(context.Context) ([]string, error) {
	s.asked++
	return s.names, s.err
}

func TestCatalog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &config.Config{
			Upstreams: []config.Upstream{{Name: "a"}, {Name: "b", Model: "bm"}},
			Routes:    []config.Route{{Model: "mine", Upstreams: []string{"a"}}, {Model: "*", Upstreams: []string{"a", "b"}}},
		}
		a := &shelf{names: []string{"one", "bm"}}
		k := newCatalog(newPlan(c, slots{}, admission.Options{}), []lister{a, &shelf{names: []string{"hidden"}}})
		want := []string{"mine", "bm", "one"}
		for range 3 {
			if diff := cmp.Diff(want, k.Models(t.Context())); diff != "" {
				t.Fatal(diff)
			}
		}
		if a.asked != 1 {
			t.Errorf("the upstream was asked %d times in a row, want once", a.asked)
		}
		<-time.After(catalogFresh)
		a.err, a.names = errors.New("away"), nil
		if diff := cmp.Diff(want, k.Models(t.Context())); diff != "" {
			t.Error("while the upstream is away: ", diff)
		}
		a.err, a.names = nil, []string{"two"}
		<-time.After(catalogRetry)
		if diff := cmp.Diff([]string{"mine", "bm", "two"}, k.Models(t.Context())); diff != "" {
			t.Error("when it is back: ", diff)
		}
	})
}
