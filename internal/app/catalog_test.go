package app

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
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

// slowShelf takes its time.
type slowShelf struct {
	asked atomic.Int64
	cut   atomic.Int64
}

func (s *slowShelf) Models(ctx context.Context) ([]string, error) {
	s.asked.Add(1)
	select {
	case <-time.After(5 * time.Second):
		return []string{"one"}, nil
	case <-ctx.Done():
		s.cut.Add(1)
		return nil, ctx.Err()
	}
}

// TestCatalogIsReadOnceForAll: however many ask for the models at a time, the upstream
// is asked once, and a client that leaves takes the list from nobody.
func TestCatalogIsReadOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &config.Config{Upstreams: []config.Upstream{{Name: "a"}}, Routes: []config.Route{{Model: "*", Upstreams: []string{"a"}}}}
		s := &slowShelf{}
		k := newCatalog(newPlan(c, slots{}, admission.Options{}), []lister{s})
		hasty, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		var all sync.WaitGroup
		all.Go(func() { k.Models(hasty) })
		synctest.Wait()
		for range 50 {
			all.Go(func() {
				if diff := cmp.Diff([]string{"one"}, k.Models(t.Context())); diff != "" {
					t.Error(diff)
				}
			})
		}
		all.Wait()
		if asked, cut := s.asked.Load(), s.cut.Load(); asked != 1 || cut != 0 {
			t.Errorf("the upstream was asked %d times, and cut off %d times", asked, cut)
		}
	})
}
