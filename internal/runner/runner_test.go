package runner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/task"
)

// TestI1OneEndWhateverHappens is the table of exits. The store takes a second for each
// write, so that what comes at the same time meets.
func TestI1OneEndWhateverHappens(t *testing.T) {
	for _, c := range []struct {
		name  string
		work  Work
		act   func(h *house, id string) // what happens from outside, beside the work
		state task.State
		words string
	}{
		{name: "answer", work: works()["answer"], state: task.Success},
		{name: "started answer", work: works()["second"], state: task.Success},
		{name: "failure", work: failing(&task.Failure{Message: "no such model"}), state: task.Failed, words: "no such model"},
		{name: "wrapped failure", work: failing(fmt.Errorf("run: %w", &task.Failure{Message: "no such model"})), state: task.Failed, words: "no such model"},
		{name: "failure without words", work: failing(&task.Failure{}), state: task.Failed, words: wordsInternal},
		{name: "nil failure", work: failing((*task.Failure)(nil)), state: task.Failed, words: wordsInternal},
		{name: "plain error", work: failing(errors.New("secret")), state: task.Failed, words: wordsInternal},
		{name: "panic", work: func(context.Context, task.Task, func(Update)) (task.Result, error) { panic("secret") }, state: task.Failed, words: wordsInternal},
		{name: "exit", work: func(context.Context, task.Task, func(Update)) (task.Result, error) {
			runtime.Goexit()
			return task.Result{}, nil
		}, state: task.Failed, words: wordsInternal},
		{name: "retries used up", work: works()["flaky"], state: task.Failed, words: "the provider failed"},
		{name: "canceled", work: works()["endless"], act: func(h *house, id string) { h.revoke(id, true) }, state: task.Revoked},
		{name: "canceled in a retry wait", work: works()["flaky"], act: func(h *house, id string) {
			pass(5 * time.Second)
			h.revoke(id, true)
		}, state: task.Revoked},
		{name: "canceled by several at once", work: works()["endless"], act: cancelAtOnce, state: task.Revoked},
		{name: "canceled as it fails", work: failing(&task.Failure{Message: "no"}), act: func(h *house, id string) {
			h.revoke(id, false)
		}, state: task.Failed, words: "no"},
		{name: "closed", work: works()["endless"], act: func(h *house, _ string) { _ = h.Close() }, state: task.Failed, words: wordsClosed},
		{name: "closed in a retry wait", work: works()["flaky"], act: func(h *house, _ string) {
			pass(5 * time.Second)
			_ = h.Close()
		}, state: task.Failed, words: wordsClosed},
		{name: "closed, and answers all the same", work: func(ctx context.Context, _ task.Task, _ func(Update)) (task.Result, error) {
			<-ctx.Done()
			return task.Result{Status: 200}, nil
		}, act: func(h *house, _ string) { _ = h.Close() }, state: task.Success},
		{name: "deaf to close", work: func(context.Context, task.Task, func(Update)) (task.Result, error) {
			pass(time.Minute)
			return task.Result{Status: 200}, nil
		}, act: func(h *house, _ string) {
			if err := h.Close(); err == nil || !strings.Contains(err.Error(), "1 works did not return") {
				h.t.Errorf("close over a work that is deaf: %v", err)
			}
		}, state: task.Failed, words: wordsClosed},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, Options{Classes: map[flow.Class]Retry{flow.Chat: {Times: 1, Wait: time.Minute}}}, func(t *testing.T, h *house) {
				h.store.slow, h.works["it"] = time.Second, c.work
				k := h.submit("it")
				synctest.Wait() // the work has begun, and may be in its first write
				var all sync.WaitGroup
				all.Go(func() { recordedFirst(h, k.ID) })
				if c.act != nil {
					c.act(h, k.ID)
				}
				all.Wait()
				got := h.finish(k.ID)
				if got.State != c.state || got.Error != c.words {
					t.Errorf("ended as %v, %q; want %v, %q", got.State, got.Error, c.state, c.words)
				}
				pass(2 * time.Minute) // whatever comes late
				h.wantOneEnd(k.ID)
				if diff := cmp.Diff(got, h.look(k.ID)); diff != "" {
					t.Errorf("its end has changed:\n%s", diff)
				}
			})
		})
	}
}

func failing(err error) Work {
	return func(context.Context, task.Task, func(Update)) (task.Result, error) { return task.Result{}, err }
}

// cancelAtOnce cancels eight times at the same moment: one of them ends the task.
func cancelAtOnce(h *house, id string) {
	var all sync.WaitGroup
	ended := make([]bool, 8)
	for i := range ended {
		all.Go(func() {
			k, e, err := h.Cancel(h.t.Context(), tenant, id)
			if ended[i] = e; err != nil || k.State != task.Revoked {
				h.t.Errorf("cancel: %v, %v", k.State, err)
			}
		})
	}
	all.Wait()
	if n := strings.Count(fmt.Sprint(ended), "true"); n != 1 {
		h.t.Errorf("%d of 8 cancels ended the task, want 1", n)
	}
}

// recordedFirst demands that a task is not told ready before the store knows.
func recordedFirst(h *house, id string) {
	for range 6000 { // ten minutes
		k := h.look(id)
		told := k.Ready()
		_, ends, _ := h.store.seen()
		if told && ends[id] != 1 {
			h.t.Error("an end was told before it was recorded")
		}
		if told {
			return
		}
		pass(100 * time.Millisecond)
	}
}

func TestI2SubmitReturnsWhatTheStoreHas(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		h.store.slow = time.Second
		began := make(chan time.Duration, 1)
		h.works["it"] = func(context.Context, task.Task, func(Update)) (task.Result, error) {
			began <- h.passed()
			return task.Result{}, nil
		}
		in := task.Task{
			Kind: "it", Flow: flow.Key{Class: flow.Chat, Tenant: tenant, User: "ann"}, Header: http.Header{"Accept": {"*/*"}},
			Payload: []byte("hello"), ID: "forged", State: task.Success, Attempts: 7, Error: "forged", Finished: time.Now(), Position: 3,
		}
		k, err := h.Submit(t.Context(), in)
		if err != nil || h.passed() != time.Second {
			t.Fatalf("submit took %v: %v", h.passed(), err)
		}
		want := task.Task{ID: k.ID, Kind: in.Kind, Flow: in.Flow, Header: in.Header, Payload: in.Payload, Created: h.start}
		stored, err := h.store.Tasks.Get(t.Context(), k.ID)
		if diff := cmp.Diff(want, k); diff != "" || err != nil || len(k.ID) != 32 {
			t.Errorf("id %q, %v; submitted (-want +got):\n%s", k.ID, err, diff)
		}
		if diff := cmp.Diff(want, stored); diff != "" {
			t.Errorf("stored (-want +got):\n%s", diff)
		}
		if at := <-began; at < time.Second {
			t.Errorf("the work began %v after the start, before the task was recorded", at)
		}
	})
}

func TestI2ARefusedTaskLeavesNothing(t *testing.T) {
	bubble(t, Options{Max: 1}, func(t *testing.T, h *house) {
		refused := func(what string, want error) {
			t.Helper()
			_, err := h.Submit(t.Context(), task.Task{Kind: "answer", Flow: flow.Key{Tenant: tenant}})
			if !errors.Is(err, want) || !strings.HasPrefix(err.Error(), "submit task: ") {
				t.Errorf("%s: %v; want %q", what, err, want)
			}
		}
		h.store.setBroken(true)
		refused("with a broken store", errBroken)
		h.store.setBroken(false)
		synctest.Wait()
		<-h.Idle()
		if got := h.Stats(); got.Waiting+got.Running+got.Kept != 0 || h.store.Len() != 0 || h.booked() != (books{}) {
			t.Errorf("it left %+v, %d stored, %d bytes", got, h.store.Len(), h.booked().bytes)
		}
		h.submit("endless")
		refused("with a full table", ErrFull)
		refused("with a full table", flow.ErrQueueFull)
		h.Drain()
		refused("while draining", ErrDraining)
		refused("while draining", flow.ErrDraining)
		if h.store.Len() != 1 || h.booked().live != 1 {
			t.Errorf("%d tasks stored, %d live; want 1", h.store.Len(), h.booked().live)
		}
	})
}

func TestI3RetriesAreCountedAndApart(t *testing.T) {
	rules := map[flow.Class]Retry{flow.Chat: {Times: 3, Wait: time.Minute}}
	for _, c := range []struct {
		name  string
		class flow.Class
		fail  task.Failure
		start bool // the work is dispatched before it fails
		want  []time.Duration
	}{
		{"retryable", flow.Chat, task.Failure{Retry: true}, true, []time.Duration{0, 61 * time.Second, 122 * time.Second, 183 * time.Second}},
		{"given up in the queue", flow.Chat, task.Failure{Retry: true}, false, []time.Duration{0, 61 * time.Second, 122 * time.Second, 183 * time.Second}},
		{"not retryable", flow.Chat, task.Failure{}, true, []time.Duration{0}},
		{"class without a rule", flow.Batch, task.Failure{Retry: true}, true, []time.Duration{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, Options{Classes: rules}, func(t *testing.T, h *house) {
				var tries []time.Duration
				h.works["it"] = func(_ context.Context, k task.Task, tell func(Update)) (task.Result, error) {
					if k.State != task.Pending || k.Attempts != len(tries) {
						t.Errorf("try %d began %v with %d attempts", len(tries)+1, k.State, k.Attempts)
					}
					tries = append(tries, h.passed())
					if c.start {
						tell(Update{Started: true, Progress: task.Progress{Percent: 9}})
					}
					pass(time.Second)
					return task.Result{}, &c.fail
				}
				k, err := h.Submit(t.Context(), task.Task{Kind: "it", Flow: flow.Key{Class: c.class, Tenant: tenant}})
				if err != nil {
					t.Fatal(err)
				}
				if len(c.want) > 1 {
					pass(30 * time.Second)
					if got, s := h.look(k.ID), h.Stats(); got.State != task.Pending || got.Progress.Percent != 0 || s.Scheduled != 1 || s.Waiting+s.Running != 0 {
						t.Errorf("between two tries: %v, %v, %+v", got.State, got.Progress, s)
					}
				}
				h.finish(k.ID)
				if diff := cmp.Diff(c.want, tries); diff != "" {
					t.Errorf("tries (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestI3NoTryAfterACancel(t *testing.T) {
	bubble(t, Options{Classes: map[flow.Class]Retry{flow.Chat: {Times: 9, Wait: time.Minute}}}, func(t *testing.T, h *house) {
		tries := 0
		h.works["it"] = func(context.Context, task.Task, func(Update)) (task.Result, error) {
			tries++
			return task.Result{}, &task.Failure{Message: "busy", Retry: true}
		}
		k := h.submit("it")
		pass(90 * time.Second)
		if got := h.revoke(k.ID, true); got.State != task.Revoked || !got.Finished.Equal(h.start.Add(90*time.Second)) {
			t.Errorf("%v, finished %v", got.State, got.Finished)
		}
		synctest.Wait()
		<-h.Idle()
		pass(10 * time.Minute)
		if tries != 2 {
			t.Errorf("%d tries, want the 2 before the cancel", tries)
		}
	})
}

func TestI4ACancelEndsTheWork(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		h.store.slow = time.Second
		left := make(chan error, 1)
		h.works["it"] = func(ctx context.Context, _ task.Task, tell func(Update)) (task.Result, error) {
			tell(Update{Started: true, Progress: task.Progress{Percent: 10}})
			<-ctx.Done()
			left <- context.Cause(ctx)
			tell(Update{Started: true, Progress: task.Progress{Percent: 99}, Position: 4})
			return task.Result{Status: 200}, nil
		}
		k := h.submit("it") // takes 1 s, and the write of its start another
		pass(3 * time.Second)
		time.AfterFunc(time.Second/2, func() {
			if cause := <-left; !errors.Is(cause, ErrRevoked) || !errors.Is(cause, flow.ErrCanceled) {
				t.Errorf("the work's context ended with %v", cause)
			}
			if now := h.look(k.ID); now.Progress.Percent != 10 || now.Position != 0 {
				t.Errorf("while its end is recorded it stands at %d with %d %%", now.Position, now.Progress.Percent)
			}
		})
		got := h.revoke(k.ID, true)
		if h.passed() != 5*time.Second || !got.Finished.Equal(h.start.Add(4*time.Second)) {
			t.Errorf("canceled after %v, finished %v", h.passed(), got.Finished)
		}
		pass(time.Second)
		if diff := cmp.Diff(got, h.look(k.ID)); diff != "" || got.Progress.Percent != 10 {
			t.Errorf("what came after the cancel changed the task:\n%s", diff)
		}
		h.revoke(k.ID, false)
		if _, ended, err := h.Cancel(t.Context(), tenant, "unknown"); ended || !errors.Is(err, ErrNotFound) {
			t.Errorf("cancel of an unknown task: %v, %v", ended, err)
		}
	})
}

func TestI4ALateTellIsOfItsOwnTry(t *testing.T) {
	bubble(t, Options{Classes: map[flow.Class]Retry{flow.Chat: {Times: 1, Wait: time.Minute}}}, func(t *testing.T, h *house) {
		var first func(Update)
		h.works["it"] = func(ctx context.Context, _ task.Task, tell func(Update)) (task.Result, error) {
			if first == nil {
				first = tell
				return task.Result{}, &task.Failure{Retry: true}
			}
			<-ctx.Done()
			return task.Result{}, ctx.Err()
		}
		k := h.submit("it")
		for range 2 { // in the wait between the tries, and in the second try
			pass(50 * time.Second)
			synctest.Wait()
			first(Update{Started: true, Position: 4})
			if got := h.look(k.ID); got.State != task.Pending || got.Position != 0 {
				t.Errorf("the first try's work told after its return, and was heard: %v at %d", got.State, got.Position)
			}
		}
	})
}

func TestI5OneCloseWakesAllWhoWait(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		k := h.submit("second")
		const waiters = 500
		var all sync.WaitGroup
		for i := range waiters {
			all.Go(func() {
				ctx := t.Context()
				if i%2 == 1 { // these do not wait long enough
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
					defer cancel()
				}
				got, err := h.Wait(ctx, tenant, k.ID)
				want, at := task.Success, time.Second
				if i%2 == 1 {
					want, at = task.Started, 300*time.Millisecond
				}
				if err != nil || got.State != want || h.passed() != at {
					t.Errorf("wait ended after %v with %v, %v; want %v after %v", h.passed(), got.State, err, want, at)
				}
			})
		}
		all.Wait()
		if writes, _, _ := h.store.seen(); h.store.gets != 0 || writes[k.ID] != 3 {
			t.Errorf("%d waits read the store %d times and wrote %d times; want 0 and 3", waiters, h.store.gets, writes[k.ID])
		}
		got, err := h.Wait(t.Context(), tenant, k.ID) // of one that has ended
		if err != nil || got.State != task.Success {
			t.Errorf("wait after the end: %v, %v", got.State, err)
		}
	})
}

func TestI6AnotherTenantsTaskIsNotFound(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		ended, lives := h.submit("answer"), h.submit("endless")
		h.finish(ended.ID)
		for _, id := range []string{ended.ID, lives.ID} {
			_, got := h.Get(t.Context(), "rival", id)
			_, waited := h.Wait(t.Context(), "rival", id)
			_, canceled, err := h.Cancel(t.Context(), "rival", id)
			_, unknown := h.Get(t.Context(), tenant, strings.Repeat("0", 32))
			want := strings.ReplaceAll(unknown.Error(), strings.Repeat("0", 32), id)
			for _, e := range []error{got, waited, err} {
				if !errors.Is(e, ErrNotFound) || e.Error() != want {
					t.Errorf("another tenant is told %q; want %q", e, want)
				}
			}
			if canceled {
				t.Error("another tenant canceled it")
			}
		}
		if got := h.look(lives.ID); got.Ready() {
			t.Errorf("it is %v", got.State)
		}
	})
}

func TestI7AnEndIsKeptAndNoLonger(t *testing.T) {
	bubble(t, Options{Keep: 10 * time.Minute}, func(t *testing.T, h *house) {
		const tasks = 50
		ids := make([]string, tasks)
		for i := range ids { // one every 100 ms
			ids[i] = h.submit("answer").ID
			pass(100 * time.Millisecond)
		}
		lives := h.submit("endless")
		pass(10*time.Minute - h.passed() - 1)
		for _, id := range ids {
			h.look(id)
		}
		for i, id := range ids {
			pass(time.Until(h.start.Add(time.Duration(i)*100*time.Millisecond + 10*time.Minute)))
			if k, err := h.Get(t.Context(), tenant, id); !errors.Is(err, ErrNotFound) {
				t.Fatalf("task %d is %v, %v at its %v", i, k.State, err, h.passed())
			}
			if i+1 < tasks {
				h.look(ids[i+1])
			}
		}
		pass(2 * time.Second)
		if _, _, expiries := h.store.seen(); expiries > 7 {
			t.Errorf("%d sweeps for ends within 5 s, want at most one a second", expiries)
		}
		if s := h.Stats(); h.store.Len() != 1 || s.Kept != 0 || s.Running != 1 || h.look(lives.ID).State != task.Started {
			t.Errorf("%d stored, %+v; only the unfinished task is to be left", h.store.Len(), s)
		}
		if got := h.booked(); got != (books{live: 1, unfinished: 1, bytes: lives.Size()}) {
			t.Errorf("%+v is booked, one task of %d bytes is left", got, lives.Size())
		}
	})
}
