package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/task"
)

func TestI8TheOldestEndsMakeRoom(t *testing.T) {
	bubble(t, Options{Max: 4}, func(t *testing.T, h *house) {
		full := func(want bool) {
			t.Helper()
			k, err := h.Submit(t.Context(), task.Task{Kind: "answer", Flow: flow.Key{Tenant: tenant}})
			if errors.Is(err, ErrFull) != want || !want && err != nil {
				t.Fatalf("submit: %v; want it full: %v", err, want)
			}
			if err == nil {
				h.finish(k.ID)
			}
		}
		first := h.submit("answer")
		pass(10 * time.Second)
		second := h.submit("answer")
		pass(10 * time.Second)
		h.submit("endless")
		h.submit("endless")
		full(true) // the ends are 20 s and 10 s old
		pass(39 * time.Second)
		full(true) // 59 s and 49 s
		pass(time.Second)
		full(false) // the first is 60 s old and goes
		if _, err := h.Get(t.Context(), tenant, first.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("the first: %v", err)
		}
		h.look(second.ID)
		full(true) // the second is 50 s old, the third new
		if s := h.Stats(); s.Kept != 2 || s.Running != 2 || h.store.Len() != 4 {
			t.Errorf("%+v, %d stored", s, h.store.Len())
		}
		pass(2 * time.Minute)
		h.submit("endless")
		h.submit("endless")
		full(true) // all four are unfinished
	})
}

func TestI8EndsStandInTheirOrder(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		h.mu.Lock()
		defer h.mu.Unlock()
		for _, s := range []int{3, 1, 2, 2, 5, 4} { // as slow writes deliver them
			h.keepLocked(end{at: h.start.Add(time.Duration(s) * time.Second), size: int64(s)})
		}
		for i, want := range []int64{1, 2, 2, 3, 4, 5} {
			if h.kept[i].size != want {
				t.Fatalf("kept in the order %v", h.kept)
			}
		}
		h.forgetLocked(h.start.Add(3 * time.Second))
		if len(h.kept) != 3 || h.bytes != 12 {
			t.Errorf("%d kept, of %d bytes; want 3 of 12", len(h.kept), h.bytes)
		}
	})
}

func TestI8BytesAreBounded(t *testing.T) {
	bubble(t, Options{Bytes: 10_000}, func(t *testing.T, h *house) {
		h.works["large"] = func(context.Context, task.Task, func(Update)) (task.Result, error) {
			return task.Result{Status: 200, Body: make([]byte, 3000)}, nil
		}
		large := func() error {
			k, err := h.Submit(t.Context(), task.Task{Kind: "large", Flow: flow.Key{Tenant: tenant}, Payload: make([]byte, 1000)})
			if err == nil {
				h.finish(k.ID)
			}
			return err
		}
		for range 2 {
			if err := large(); err != nil {
				t.Fatal(err)
			}
			pass(time.Second)
		}
		if err := large(); !errors.Is(err, ErrFull) {
			t.Errorf("a third of 4.5 KB in 10 KB: %v, want ErrFull", err)
		}
		pass(time.Minute)
		if err := large(); err != nil {
			t.Errorf("when the first is older than 60 s: %v", err)
		}
		if s := h.Stats(); s.Kept != 2 || h.booked().bytes > 10_000 {
			t.Errorf("%d are kept, of %d bytes; want 2", s.Kept, h.booked().bytes)
		}
	})
}

func TestI9TicksAreNotWritten(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		h.works["it"] = func(_ context.Context, _ task.Task, tell func(Update)) (task.Result, error) {
			for i := range 100 {
				tell(Update{Position: 100 - i, ETA: time.Duration(100-i) * time.Second, Reason: flow.ReasonTokens})
				pass(time.Second)
			}
			tell(Update{Started: true})
			for i := range 100 {
				pass(time.Second)
				tell(Update{Progress: task.Progress{Percent: i + 1, Note: "reading"}})
			}
			return task.Result{Status: 200}, nil
		}
		k := h.submit("it")
		pass(50*time.Second + time.Millisecond)
		if got := h.look(k.ID); got.State != task.Pending || got.Position != 50 || got.ETA != 50*time.Second || got.Reason != flow.ReasonTokens {
			t.Errorf("in the queue: %v at %d, %v, %q", got.State, got.Position, got.ETA, got.Reason)
		}
		pass(100 * time.Second)
		if got := h.look(k.ID); got.State != task.InProgress || got.Position != 0 || got.Progress.Percent != 50 {
			t.Errorf("running: %v at %d, %d %%", got.State, got.Position, got.Progress.Percent)
		}
		h.finish(k.ID)
		if writes, _, _ := h.store.seen(); writes[k.ID] != 4 {
			t.Errorf("%d writes; want 4: created, started, first progress, end", writes[k.ID])
		}
	})
}

func TestI10CloseLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails if a goroutine is left
		h := build(t, Options{Keep: time.Minute, Classes: map[flow.Class]Retry{flow.Chat: {Times: 1, Wait: time.Hour}}})
		var ids []string
		for _, kind := range []string{"answer", "endless", "flaky", "second"} {
			ids = append(ids, h.submit(kind).ID)
		}
		synctest.Wait()
		idle := h.Idle()
		if err := h.Close(); err != nil || h.passed() != 0 {
			t.Errorf("close took %v: %v", h.passed(), err)
		}
		select {
		case <-idle:
			<-h.Idle()
		default:
			t.Error("Close returned over unfinished tasks")
		}
		for _, id := range ids {
			if k := h.look(id); !k.Ready() {
				t.Errorf("%s is %v", k.Kind, k.State)
			}
		}
		h.wantOneEnd(ids...)
		if h.timer.Stop() {
			t.Error("the timer of the next sweep is set")
		}
		if _, err := h.Submit(t.Context(), task.Task{Kind: "answer"}); !errors.Is(err, ErrDraining) {
			t.Errorf("submit after close: %v", err)
		}
		if err := h.Close(); err != nil {
			t.Errorf("close again: %v", err)
		}
	})
}

func TestI10CloseSetsNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.submit("endless") // whose end would be the first to set one
		synctest.Wait()
		if err := h.Close(); err != nil || h.timer != nil {
			t.Errorf("close: %v; a timer is set: %v", err, h.timer != nil)
		}
	})
}

func TestI10CloseMeetsSubmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		h.store.slow = time.Second
		var all sync.WaitGroup
		ids := make([]string, 20)
		for i := range ids {
			all.Go(func() {
				pass(time.Duration(i) * 100 * time.Millisecond)
				k, err := h.Submit(t.Context(), task.Task{Kind: "endless", Flow: flow.Key{Tenant: tenant}})
				if err != nil && !errors.Is(err, ErrDraining) {
					t.Errorf("submit: %v", err)
				}
				ids[i] = k.ID
			})
		}
		pass(1050 * time.Millisecond)
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
		accepted := 0
		for _, id := range ids {
			if id != "" {
				accepted++
				h.wantOneEnd(id)
			}
		}
		if accepted != 11 { // those that began before Close
			t.Errorf("%d accepted, want 11", accepted)
		}
	})
}

func TestI11NothingIsShared(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		h.works["it"] = func(ctx context.Context, k task.Task, _ func(Update)) (task.Result, error) {
			k.Header.Set("Accept", "changed by the work")
			return task.Result{Status: 200, Body: []byte("yes")}, await(ctx, time.Second)
		}
		check := func(after string, k task.Task) {
			t.Helper()
			if got := h.look(k.ID); got.Header.Get("Accept") != "text/plain" || got.Result != nil && got.Result.Status != 200 {
				t.Errorf("after a change %s: %v, %+v", after, got.Header, got.Result)
			}
		}
		in := task.Task{Kind: "it", Flow: flow.Key{Tenant: tenant}, Header: http.Header{"Accept": {"text/plain"}}, Payload: []byte("hello")}
		k, err := h.Submit(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		check("by the work", k)
		in.Header.Set("Accept", "changed")
		check("of what was submitted", k)
		k.Header.Set("Accept", "changed")
		check("of what Submit returned", k)
		got := h.look(k.ID)
		got.Header.Set("Accept", "changed")
		check("of what Get returned", k)
		if &got.Payload[0] != &in.Payload[0] {
			t.Error("the payload was copied")
		}
		for range 2 { // waited for, then read from the store
			got = h.finish(k.ID)
			got.Header.Set("Accept", "changed")
			got.Result.Status = 500
			check("of what Wait returned", k)
		}
	})
}

// TestI12TheFiguresAddUp lets random tasks meet random cancels and compares the figures
// with the tasks, one by one.
func TestI12TheFiguresAddUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kinds := []string{"answer", "second", "endless", "flaky", "queued", "panics"}
		picks := rapid.SliceOfN(rapid.SampledFrom(kinds), 1, 30).Draw(rt, "kinds")
		cancels := rapid.SliceOfN(rapid.IntRange(0, len(picks)-1), 0, 10).Draw(rt, "cancels")
		gap := time.Duration(rapid.IntRange(0, 700).Draw(rt, "gap")) * time.Millisecond
		bubble(t, Options{Classes: map[flow.Class]Retry{flow.Chat: {Times: 2, Wait: 3 * time.Second}}}, func(t *testing.T, h *house) {
			h.works["queued"] = func(ctx context.Context, _ task.Task, tell func(Update)) (task.Result, error) {
				tell(Update{Started: true})
				tell(Update{Position: 2}) // back into the queue
				return task.Result{Status: 200}, await(ctx, 2*time.Second)
			}
			h.works["panics"] = func(context.Context, task.Task, func(Update)) (task.Result, error) { panic("no") }
			var ids []string
			for _, kind := range picks {
				ids = append(ids, h.submit(kind).ID)
				h.wantFigures(ids)
				pass(gap)
			}
			for _, i := range cancels {
				if _, _, err := h.Cancel(t.Context(), tenant, ids[i]); err != nil {
					t.Errorf("cancel: %v", err)
				}
				h.wantFigures(ids)
				pass(gap)
			}
			if err := h.Close(); err != nil {
				t.Error(err)
			}
			h.wantFigures(ids)
			h.wantOneEnd(ids...)
		})
	})
}

// wantFigures compares Stats with the tasks.
func (h *house) wantFigures(ids []string) {
	h.t.Helper()
	synctest.Wait()
	s, unfinished, ended := h.Stats(), 0, map[task.State]int{}
	pending := 0
	for _, id := range ids {
		k := h.look(id)
		switch {
		case k.Ready():
			ended[k.State]++
			continue
		case k.State == task.Pending || k.Position > 0:
			pending++
		}
		unfinished++
	}
	var sum Count
	for _, c := range s.ByKind {
		sum.Waiting, sum.Running = sum.Waiting+c.Waiting, sum.Running+c.Running
		sum.Succeeded, sum.Failed, sum.Revoked = sum.Succeeded+c.Succeeded, sum.Failed+c.Failed, sum.Revoked+c.Revoked
	}
	want := Count{pending, unfinished - pending, ended[task.Success], ended[task.Failed], ended[task.Revoked]}
	kept := want.Succeeded + want.Failed + want.Revoked
	if sum != want || s.Waiting+s.Scheduled != pending || s.Running != want.Running || s.Kept != kept || h.booked().unfinished != unfinished {
		h.t.Errorf("after %v: %+v; the tasks are %+v", h.passed(), s, want)
	}
}

func TestAnEndThatTheStoreRefusesIsOfferedAgain(t *testing.T) {
	bubble(t, Options{Keep: time.Hour}, func(t *testing.T, h *house) {
		k := h.submit("second")
		synctest.Wait()
		h.store.setBroken(true)
		if got := h.finish(k.ID); got.State != task.Success {
			t.Errorf("it is told as %v", got.State)
		}
		pass(12 * time.Second)
		if got := h.look(k.ID); got.State != task.Success || h.Stats().Kept != 1 {
			t.Errorf("while the store is broken it is told as %v, %+v", got.State, h.Stats())
		}
		h.revoke(k.ID, false)
		<-h.Idle()
		h.store.setBroken(false)
		pass(6 * time.Second)
		synctest.Wait()
		h.wantOneEnd(k.ID)
		if stored, err := h.store.Tasks.Get(t.Context(), k.ID); err != nil || stored.State != task.Success || h.booked().live != 0 {
			t.Errorf("the store has it as %v, %v; %d live", stored.State, err, h.booked().live)
		}
		h.look(k.ID)
		pass(time.Hour)
		if h.store.Len() != 0 || h.Stats().Kept != 0 {
			t.Errorf("after Keep %d are stored, %+v", h.store.Len(), h.Stats())
		}
	})
}

func TestCloseSaysWhatWasNotRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := build(t, Options{})
		k := h.submit("endless")
		synctest.Wait()
		h.store.setBroken(true)
		if err := h.Close(); err == nil || !strings.Contains(err.Error(), "did not take the ends of 1") {
			t.Errorf("close: %v", err)
		}
		if got := h.look(k.ID); got.State != task.Failed {
			t.Errorf("it is told as %v", got.State)
		}
	})
}

// A drain lets the try under way go on and waits for no further one: it has no
// time for that, and nobody would be told.
func TestDrainWaitsForNoRetry(t *testing.T) {
	bubble(t, Options{Classes: map[flow.Class]Retry{flow.Chat: {Times: 1, Wait: time.Minute}}}, func(t *testing.T, h *house) {
		h.works["slow"] = func(context.Context, task.Task, func(Update)) (task.Result, error) {
			<-time.After(5 * time.Second)
			return task.Result{}, nil
		}
		retries, runs := h.submit("flaky"), h.submit("slow")
		synctest.Wait()
		h.Drain()
		<-h.Idle()
		if h.passed() != 5*time.Second {
			t.Errorf("idle after %v, want the 5s of the try under way", h.passed())
		}
		if got := h.look(retries.ID); got.State != task.Failed || got.Error != wordsClosed {
			t.Errorf("who waited for a retry ended as %v: %s", got.State, got.Error)
		}
		if got := h.look(runs.ID); got.State != task.Success {
			t.Errorf("what ran ended as %v", got.State)
		}
	})
}

func TestReconfigure(t *testing.T) {
	bubble(t, Options{Keep: time.Hour}, func(t *testing.T, h *house) {
		ended, lives := h.submit("answer"), h.submit("endless")
		h.finish(ended.ID)
		if err := h.Reconfigure(Options{Keep: -1}); err == nil {
			t.Error("a faulty configuration was taken")
		}
		pass(time.Minute)
		h.look(ended.ID)
		o := Options{Keep: 5 * time.Minute, Max: 2, Classes: map[flow.Class]Retry{flow.Chat: {Times: 1, Wait: time.Second}}}
		if err := h.Reconfigure(o); err != nil {
			t.Fatal(err)
		}
		o.Classes[flow.Chat] = Retry{} // the caller's map is the caller's
		retried := h.submit("flaky")   // which makes room
		if got := h.finish(retried.ID); got.Attempts != 2 {
			t.Errorf("%d attempts by the new rule, want 2", got.Attempts)
		}
		if _, err := h.Get(t.Context(), tenant, ended.ID); !errors.Is(err, ErrNotFound) {
			t.Errorf("the ended one: %v", err)
		}
		pass(5*time.Minute + time.Second)
		if h.store.Len() != 1 || h.look(lives.ID).State != task.Started {
			t.Errorf("%d stored; what was unfinished goes on", h.store.Len())
		}
	})
}

func TestAShorterKeepCountsAtOnce(t *testing.T) {
	bubble(t, Options{Keep: 10 * time.Hour}, func(t *testing.T, h *house) {
		h.finish(h.submit("answer").ID)
		pass(time.Minute)
		if err := h.Reconfigure(Options{Keep: 30 * time.Second}); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Second)
		if h.store.Len() != 0 {
			t.Error("it is still stored")
		}
	})
}

func TestResumeTakesUpWhatWasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old := build(t, Options{})
		for i, kind := range []string{"second", "answer"} {
			k := task.Task{ID: fmt.Sprint(i), Kind: kind, Flow: flow.Key{Tenant: tenant}, Created: time.Now()}
			if kind == "second" {
				_ = k.Start(time.Now())
			}
			if err := old.store.Create(t.Context(), k); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := old.Resume(t.Context()); n != 2 || err != nil {
			t.Errorf("resumed %d, %v", n, err)
		}
		if got := old.finish("0"); got.State != task.Success || got.Attempts != 2 {
			t.Errorf("%v after %d attempts", got.State, got.Attempts)
		}
		old.finish("1")
		old.wantOneEnd("0", "1")
		if err := old.Close(); err != nil {
			t.Error(err)
		}
		if n, err := old.Resume(t.Context()); n != 0 || err != nil {
			t.Errorf("nothing is left, and it resumed %d, %v", n, err)
		}
	})
}

func TestKindsAreBounded(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, h *house) {
		for i := range maxKinds + 5 {
			h.mu.Lock()
			h.kindLocked(fmt.Sprint(i)).Failed++
			h.mu.Unlock()
		}
		if s := h.Stats(); len(s.ByKind) != maxKinds+1 || s.ByKind["other"].Failed != 5 {
			t.Errorf("%d kinds, %+v others", len(s.ByKind), s.ByKind["other"])
		}
	})
}

func TestNewNamesEveryFault(t *testing.T) {
	_, err := New(Options{Keep: -1, Max: -2, Bytes: -3, Classes: map[flow.Class]Retry{"chat": {Times: -4}}}, Deps{})
	for _, words := range []string{"keep", "max", "bytes", "class chat", "store and a work"} {
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v does not say %q", err, words)
		}
	}
}

func BenchmarkTask(b *testing.B) {
	h := build(b, Options{Max: 1 << 30, Bytes: 1 << 40})
	payload := bytes.Repeat([]byte("x"), 1000)
	for b.Loop() {
		k, err := h.Submit(b.Context(), task.Task{Kind: "answer", Flow: flow.Key{Tenant: tenant}, Payload: payload})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := h.Wait(b.Context(), tenant, k.ID); err != nil {
			b.Fatal(err)
		}
	}
	if err := h.Close(); err != nil {
		b.Fatal(err)
	}
}
