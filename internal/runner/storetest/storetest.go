package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/runner"
	"github.com/millrace/millrace/internal/task"
)

// Run puts the stores that open returns through every rule. Each call of open returns an
// empty store and leaves its closing to t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) runner.Store) {
	t.Helper()
	for _, rule := range []struct {
		name string
		test func(*testing.T, runner.Store)
	}{
		{"I1ReadsBackWhatWasWritten", readsBack},
		{"I2IdsAreCreatedOnce", createsOnce},
		{"I3EndedStaysAsItIs", staysEnded},
		{"I4ExpireForgetsTheOldAlone", expires},
		{"I5UnfinishedIsWhatHasNotEnded", lists},
		{"I6NothingIsShared", sharesNothing},
		{"I7ManyAtOnce", manyAtOnce},
	} {
		t.Run(rule.name, func(t *testing.T) { rule.test(t, open(t)) })
	}
}

// noon is of whole microseconds, which is what databases keep.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 123456000, time.UTC)

// waiting is a task as Submit creates it.
func waiting(id string) task.Task {
	return task.Task{
		ID: id, Kind: "/chat", Flow: flow.Key{Class: flow.Chat, Tenant: "acme", User: "ann"},
		Header:  http.Header{"Accept": {"text/plain", "text/html"}, "X-Request-Id": {"7"}},
		Payload: []byte("{\"message\":\"caf\u00e9 \\u0000\"}\x00\xff"), Created: noon,
	}
}

// done is a task that succeeded at a time.
func done(id string, at time.Time) task.Task {
	t := waiting(id)
	_ = t.Start(noon)
	_ = t.Note(task.Progress{Percent: 50, Note: "half"})
	_ = t.Succeed(at, task.Result{Status: 200, ContentType: "application/json", Body: []byte(`{"ok":true}`)})
	return t
}

func create(t *testing.T, s runner.Store, tasks ...task.Task) {
	t.Helper()
	for _, k := range tasks {
		if err := s.Create(t.Context(), k); err != nil {
			t.Fatalf("create %s: %v", k.ID, err)
		}
	}
}

func update(t *testing.T, s runner.Store, k task.Task) {
	t.Helper()
	if err := s.Update(t.Context(), k); err != nil {
		t.Fatalf("update %s to %v: %v", k.ID, k.State, err)
	}
}

// volatile is what a store need not keep; a nil and an empty header or body are the same.
var volatile = cmp.Options{cmpopts.EquateEmpty(), cmpopts.IgnoreFields(task.Task{}, "Position", "ETA", "Reason")}

// wantTask demands that the store holds exactly this.
func wantTask(t *testing.T, s runner.Store, want task.Task) {
	t.Helper()
	got, err := s.Get(t.Context(), want.ID)
	if err != nil {
		t.Fatalf("get %s: %v", want.ID, err)
	}
	if diff := cmp.Diff(want, got, volatile); diff != "" {
		t.Errorf("what was written does not come back (-written +read):\n%s", diff)
	}
}

func wantError(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: error %v; it has to wrap %q", what, got, want)
	}
}

func readsBack(t *testing.T, s runner.Store) {
	bare := task.Task{ID: "bare", Kind: "openai/chat", Created: noon}
	create(t, s, waiting("full"), bare)
	wantTask(t, s, waiting("full"))
	wantTask(t, s, bare)

	k := waiting("full")
	_ = k.Stand(3, time.Minute, flow.ReasonTokens)
	_ = k.Start(noon.Add(time.Second))
	_ = k.Note(task.Progress{Percent: 50, Note: "half"})
	_ = k.Stand(1, time.Second, flow.ReasonTurn)
	update(t, s, k)
	wantTask(t, s, k)
	_ = k.Again(noon.Add(2 * time.Second))
	update(t, s, k)
	wantTask(t, s, k)
	_ = k.Fail(noon.Add(3*time.Second), "the provider failed")
	update(t, s, k)
	wantTask(t, s, k)

	_ = bare.Succeed(noon, task.Result{Status: 204})
	update(t, s, bare)
	wantTask(t, s, bare)
}

func createsOnce(t *testing.T, s runner.Store) {
	create(t, s, waiting("a"))
	other := waiting("a")
	other.Kind = "/other"
	wantError(t, "create an id that is taken", s.Create(t.Context(), other), task.ErrExists)
	wantTask(t, s, waiting("a"))

	wantError(t, "update a task that is not there", s.Update(t.Context(), waiting("b")), task.ErrNotFound)
	_, err := s.Get(t.Context(), "b")
	wantError(t, "get a task that is not there", err, task.ErrNotFound)
	_, err = s.Get(t.Context(), "")
	wantError(t, "get a task without an id", err, task.ErrNotFound)
}

func staysEnded(t *testing.T, s runner.Store) {
	for _, finish := range []func(*task.Task){
		func(k *task.Task) { _ = k.Succeed(noon, task.Result{Status: 200, Body: []byte("first")}) },
		func(k *task.Task) { _ = k.Fail(noon, "first") },
		func(k *task.Task) { _ = k.Revoke(noon) },
	} {
		k := waiting("")
		finish(&k)
		k.ID = k.State.String()
		create(t, s, waiting(k.ID))
		update(t, s, k)
		late := done(k.ID, noon.Add(time.Hour))
		wantError(t, "update a task that has ended", s.Update(t.Context(), late), task.ErrFinal)
		wantError(t, "update a task that has ended to unfinished", s.Update(t.Context(), waiting(k.ID)), task.ErrFinal)
		wantTask(t, s, k)
	}
}

func expires(t *testing.T, s runner.Store) {
	for _, k := range []task.Task{
		done("middle", noon.Add(2*time.Minute)), done("old", noon.Add(time.Minute)), done("new", noon.Add(3*time.Minute)),
	} {
		create(t, s, waiting(k.ID))
		update(t, s, k)
	}
	create(t, s, waiting("unfinished"))

	expire := func(before time.Time, want int) {
		t.Helper()
		if n, err := s.Expire(t.Context(), before); n != want || err != nil {
			t.Errorf("expire before %v: %d, %v; want %d forgotten", before, n, err, want)
		}
	}
	expire(noon.Add(time.Minute), 0) // "before" spares its own moment
	expire(noon.Add(2*time.Minute+time.Second), 2)
	wantTask(t, s, done("new", noon.Add(3*time.Minute)))
	for _, id := range []string{"old", "middle"} {
		_, err := s.Get(t.Context(), id)
		wantError(t, "get an expired task", err, task.ErrNotFound)
	}
	expire(noon.Add(100*time.Hour), 1)
	wantTask(t, s, waiting("unfinished"))
	create(t, s, waiting("old")) // its id is free again
}

func lists(t *testing.T, s runner.Store) {
	want := make([]task.Task, 3)
	for i, id := range []string{"c", "a", "b"} { // created in this order
		want[i] = waiting(id)
		want[i].Created = noon.Add(time.Duration(i) * time.Second)
	}
	create(t, s, want[2], want[0], want[1], waiting("ended"))
	update(t, s, done("ended", noon.Add(time.Minute)))
	_ = want[1].Start(noon.Add(time.Minute))
	update(t, s, want[1])

	got, err := s.Unfinished(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, volatile); diff != "" {
		t.Errorf("unfinished tasks, the oldest first (-want +got):\n%s", diff)
	}
}

func sharesNothing(t *testing.T, s runner.Store) {
	k := waiting("a")
	create(t, s, k)
	k.Header.Set("Accept", "changed after Create")
	wantTask(t, s, waiting("a"))

	want := done("a", noon)
	k = want.Clone()
	update(t, s, k)
	k.Result.Status = 500
	k.Header.Set("Accept", "changed after Update")
	wantTask(t, s, want)

	got, err := s.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	got.Result.Status = 500
	got.Header.Set("Accept", "changed after Get")
	wantTask(t, s, want)

	create(t, s, waiting("b"))
	if all, err := s.Unfinished(t.Context()); err == nil && len(all) == 1 {
		all[0].Header.Set("Accept", "changed after Unfinished")
	}
	wantTask(t, s, waiting("b"))
}

// manyAtOnce lets eight end the same tasks at once: of each, one has to win.
func manyAtOnce(t *testing.T, s runner.Store) {
	const tasks, writers = 25, 8
	wins := make([]map[string]bool, writers)
	for i := range tasks {
		create(t, s, waiting(strconv.Itoa(i)))
	}
	var all sync.WaitGroup
	for w := range writers {
		wins[w] = make(map[string]bool)
		all.Go(func() {
			for i := range tasks {
				k := waiting(strconv.Itoa(i))
				_ = k.Fail(noon, fmt.Sprint("writer ", w))
				if err := s.Update(context.WithoutCancel(t.Context()), k); err == nil {
					wins[w][k.ID] = true
				} else if !errors.Is(err, task.ErrFinal) {
					t.Errorf("update: %v", err)
				}
			}
		})
	}
	all.Wait()
	for i := range tasks {
		id, winners := strconv.Itoa(i), 0
		got, err := s.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		for w := range writers {
			if wins[w][id] {
				winners++
				if got.Error != fmt.Sprint("writer ", w) {
					t.Errorf("task %s was ended by writer %d and says %q", id, w, got.Error)
				}
			}
		}
		if winners != 1 {
			t.Errorf("task %s was ended by %d writers, want 1", id, winners)
		}
	}
}
