package runner

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/store/memory"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/internal/testkit"
)

func TestMain(m *testing.M) { testkit.LeakMain(m) }

var errBroken = errors.New("the disk is full")

// ledger is a store that remembers how it was used, takes its time and fails on demand.
type ledger struct {
	*memory.Tasks
	slow time.Duration // for every write

	mu       sync.Mutex
	broken   bool           // writes fail
	writes   map[string]int // by id, Create included
	ends     map[string]int // by id: final states taken
	gets     int
	expiries int
}

func (l *ledger) write(id string) error {
	if l.slow > 0 {
		<-time.After(l.slow)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes[id]++
	if l.broken {
		return errBroken
	}
	return nil
}

func (l *ledger) setBroken(b bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = b
}

func (l *ledger) Create(ctx context.Context, t task.Task) error {
	if err := l.write(t.ID); err != nil {
		return err
	}
	return l.Tasks.Create(ctx, t)
}

func (l *ledger) Update(ctx context.Context, t task.Task) error {
	if err := l.write(t.ID); err != nil {
		return err
	}
	err := l.Tasks.Update(ctx, t)
	if err == nil && t.Ready() {
		l.mu.Lock()
		l.ends[t.ID]++
		l.mu.Unlock()
	}
	return err
}

func (l *ledger) Get(ctx context.Context, id string) (task.Task, error) {
	l.mu.Lock()
	l.gets++
	l.mu.Unlock()
	return l.Tasks.Get(ctx, id)
}

func (l *ledger) Expire(ctx context.Context, before time.Time) (int, error) {
	l.mu.Lock()
	l.expiries++
	l.mu.Unlock()
	return l.Tasks.Expire(ctx, before)
}

// seen is a copy of what was counted.
func (l *ledger) seen() (writes, ends map[string]int, expiries int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.writes), maps.Clone(l.ends), l.expiries
}

// house is a runner whose works are found by the kind of a task.
type house struct {
	*Runner
	t     testing.TB
	store *ledger
	works map[string]Work
	start time.Time
}

const tenant = "acme"

// bubble runs a test in virtual time and closes its runner at the end.
func bubble(t *testing.T, o Options, test func(*testing.T, *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := build(t, o)
		test(t, h)
		if err := h.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

func build(t testing.TB, o Options) *house {
	t.Helper()
	tasks, err := memory.NewTasks(memory.TasksOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h := &house{
		t: t, start: time.Now(), works: works(),
		store: &ledger{Tasks: tasks, writes: map[string]int{}, ends: map[string]int{}},
	}
	h.Runner, err = New(o, Deps{Store: h.store, Work: func(ctx context.Context, k task.Task, tell func(Update)) (task.Result, error) {
		return h.works[k.Kind](ctx, k, tell)
	}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// works are those that many tests use.
func works() map[string]Work {
	return map[string]Work{
		"answer": func(context.Context, task.Task, func(Update)) (task.Result, error) {
			return task.Result{Status: 200, Body: []byte("yes")}, nil
		},
		"second": func(ctx context.Context, _ task.Task, tell func(Update)) (task.Result, error) {
			tell(Update{Started: true})
			return task.Result{Status: 200}, await(ctx, time.Second)
		},
		"endless": func(ctx context.Context, _ task.Task, tell func(Update)) (task.Result, error) {
			tell(Update{Started: true})
			<-ctx.Done()
			return task.Result{}, ctx.Err()
		},
		"flaky": func(_ context.Context, _ task.Task, tell func(Update)) (task.Result, error) {
			tell(Update{Started: true})
			return task.Result{}, &task.Failure{Message: "the provider failed", Retry: true}
		},
	}
}

func await(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func pass(d time.Duration) { <-time.After(d) }

// submit hands in a task of this kind.
func (h *house) submit(kind string) task.Task {
	h.t.Helper()
	k, err := h.Submit(h.t.Context(), task.Task{Kind: kind, Flow: flow.Key{Class: flow.Chat, Tenant: tenant, User: "ann"}})
	if err != nil {
		h.t.Fatalf("submit %s: %v", kind, err)
	}
	return k
}

// finish waits for a task.
func (h *house) finish(id string) task.Task {
	h.t.Helper()
	k, err := h.Wait(h.t.Context(), tenant, id)
	if err != nil || !k.Ready() {
		h.t.Fatalf("wait for %s: %v, %v", id, k.State, err)
	}
	return k
}

// look reads a task.
func (h *house) look(id string) task.Task {
	h.t.Helper()
	k, err := h.Get(h.t.Context(), tenant, id)
	if err != nil {
		h.t.Fatalf("get %s: %v", id, err)
	}
	return k
}

// revoke cancels a task and demands that this was its end, or not.
func (h *house) revoke(id string, want bool) task.Task {
	h.t.Helper()
	k, ended, err := h.Cancel(h.t.Context(), tenant, id)
	if err != nil || ended != want || !k.Ready() {
		h.t.Errorf("cancel %s: %v, ended %v, %v; want it ended by this: %v", id, k.State, ended, err, want)
	}
	return k
}

// passed is the virtual time since the test began.
func (h *house) passed() time.Duration { return time.Since(h.start) }

// wantOneEnd demands that the store took exactly one end of each task.
func (h *house) wantOneEnd(ids ...string) {
	h.t.Helper()
	_, ends, _ := h.store.seen()
	for _, id := range ids {
		if ends[id] != 1 {
			h.t.Errorf("task %s has %d recorded ends, want 1", id, ends[id])
		}
	}
}

// books are what the runner holds in memory.
type books struct {
	live, unfinished int
	bytes            int64
}

func (h *house) booked() books {
	h.mu.Lock()
	defer h.mu.Unlock()
	return books{len(h.live), h.unfinished, h.bytes}
}
