package task

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/flow"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// step is one transition, drawn at random.
type step struct {
	name string
	do   func(*Task) error
	to   func(State) State // where it leads from an unfinished state
}

func to(s State) func(State) State { return func(State) State { return s } }
func stay(s State) State           { return s }

func drawStep(t *rapid.T, now time.Time) step {
	fromPending := func(next State) func(State) State {
		return func(s State) State {
			if s == Pending {
				return next
			}
			return s
		}
	}
	steps := []step{
		{"start", func(k *Task) error { return k.Start(now) }, fromPending(Started)},
		{"note", func(k *Task) error { return k.Note(Progress{Percent: 40, Note: "reading"}) }, func(s State) State {
			if s == Started {
				return InProgress
			}
			return s
		}},
		{"stand", func(k *Task) error { return k.Stand(3, time.Second, flow.ReasonTurn) }, stay},
		{"again", func(k *Task) error { return k.Again(now) }, to(Pending)},
		{"succeed", func(k *Task) error { return k.Succeed(now, Result{Status: 200}) }, to(Success)},
		{"fail", func(k *Task) error { return k.Fail(now, "no") }, to(Failed)},
		{"revoke", func(k *Task) error { return k.Revoke(now) }, to(Revoked)},
	}
	// Ends are drawn seldom, so that most tasks live for a while.
	pick := rapid.IntRange(0, 30).Draw(t, "step")
	if pick >= len(steps) {
		pick %= 4
	}
	return steps[pick]
}

// walk takes a task through random steps and shows each to look, with the task before it.
func walk(t *testing.T, look func(t *rapid.T, s step, before, after *Task, err error)) {
	rapid.Check(t, func(t *rapid.T) {
		now := noon
		k := Task{ID: "1", Created: noon}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			// The clock may go back.
			now = now.Add(time.Duration(rapid.IntRange(-20, 60).Draw(t, "passed")) * time.Second)
			s, before := drawStep(t, now), k.Clone()
			err := s.do(&k)
			look(t, s, &before, &k, err)
		}
	})
}

func TestI1NothingLeavesAFinalState(t *testing.T) {
	walk(t, func(t *rapid.T, s step, before, after *Task, err error) {
		if !before.Ready() {
			if err != nil || after.State != s.to(before.State) {
				t.Fatalf("%s from %v: state %v, error %v", s.name, before.State, after.State, err)
			}
			return
		}
		if !errors.Is(err, ErrFinal) {
			t.Errorf("%s of a task that is %v: error %v, want ErrFinal", s.name, before.State, err)
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s changed a task that had ended:\n%s", s.name, diff)
		}
	})
}

func TestI2ATaskEndsOnce(t *testing.T) {
	walk(t, func(t *rapid.T, s step, _, k *Task, _ error) {
		switch {
		case k.Ready() == k.Finished.IsZero():
			t.Errorf("after %s: %v, finished %v", s.name, k.State, k.Finished)
		case (k.State == Success) != (k.Result != nil):
			t.Errorf("after %s: %v with result %v", s.name, k.State, k.Result)
		case k.State != Failed && k.Error != "":
			t.Errorf("after %s: %v with error %q", s.name, k.State, k.Error)
		case k.Ready() && (k.Position != 0 || k.ETA != 0 || k.Reason != flow.ReasonNone):
			t.Errorf("after %s: %v, and still stands at %d", s.name, k.State, k.Position)
		}
	})
}

func TestI3TimesAndTriesOnlyGrow(t *testing.T) {
	walk(t, func(t *rapid.T, s step, before, k *Task, _ error) {
		if k.Attempts < before.Attempts || k.Attempts > before.Attempts+1 || k.Started.Before(before.Started) {
			t.Errorf("after %s: attempts %d -> %d, started %v -> %v", s.name, before.Attempts, k.Attempts, before.Started, k.Started)
		}
		if !k.Started.IsZero() && k.Started.Before(k.Created) {
			t.Errorf("after %s: started %v before it was created %v", s.name, k.Started, k.Created)
		}
		if k.Ready() && (k.Finished.Before(k.Started) || k.Finished.Before(k.Created)) {
			t.Errorf("after %s: finished %v before it was started %v or created %v", s.name, k.Finished, k.Started, k.Created)
		}
	})
}

func TestI4ACloneIsApart(t *testing.T) {
	origin := func() Task {
		return Task{
			ID: "1", State: Success, Header: http.Header{"Accept": {"text/plain"}}, Payload: []byte("question"),
			Result: &Result{Status: 200, Body: []byte("answer")},
		}
	}
	k := origin()
	c := k.Clone()
	if diff := cmp.Diff(k, c); diff != "" {
		t.Fatalf("a clone differs:\n%s", diff)
	}
	if &k.Payload[0] != &c.Payload[0] || &k.Result.Body[0] != &c.Result.Body[0] {
		t.Error("a clone copied the bytes of a body")
	}
	c.Header.Set("Accept", "text/html")
	c.Header.Add("Accept", "text/csv")
	c.Result.Status = 500
	c.State = Failed
	if diff := cmp.Diff(origin(), k); diff != "" {
		t.Errorf("changing a clone changed its origin:\n%s", diff)
	}
}

func TestAttemptsCountTries(t *testing.T) {
	k := Task{Created: noon}
	_ = k.Start(noon)
	_ = k.Start(noon.Add(time.Second)) // a fallback: the same try
	_ = k.Again(noon)
	_ = k.Again(noon) // given up in the queue
	_ = k.Start(noon.Add(time.Minute))
	if k.Attempts != 3 || !k.Started.Equal(noon.Add(time.Minute)) {
		t.Errorf("attempts %d, started %v", k.Attempts, k.Started)
	}
}

func TestWordsAreCelerys(t *testing.T) {
	want := []string{"PENDING", "STARTED", "PROGRESS", "SUCCESS", "FAILURE", "REVOKED"}
	for i, word := range want {
		text, err := json.Marshal(State(i))
		if string(text) != `"`+word+`"` || err != nil {
			t.Errorf("state %d is %s, %v; want %s", i, text, err, word)
		}
		var back State
		if err := json.Unmarshal(text, &back); err != nil || back != State(i) {
			t.Errorf("%s reads as %v, %v", text, back, err)
		}
	}
	if err := new(State).UnmarshalText([]byte("DONE")); err == nil {
		t.Error("DONE was taken for a state")
	}
	if State(6).String() != "UNKNOWN" {
		t.Errorf("state 6 is %v", State(6))
	}
}

func TestProgressStaysWithinBounds(t *testing.T) {
	k := Task{Created: noon}
	_ = k.Start(noon)
	for _, c := range []struct{ told, kept int }{{-1, 0}, {0, 0}, {100, 100}, {101, 100}} {
		_ = k.Note(Progress{Percent: c.told})
		if k.Progress.Percent != c.kept {
			t.Errorf("%d %% is kept as %d %%, want %d %%", c.told, k.Progress.Percent, c.kept)
		}
	}
}

func TestFailureTellsItsCause(t *testing.T) {
	cause := errors.New("connection refused")
	f := &Failure{Message: "the provider failed", Err: cause}
	if f.Error() != "the provider failed: connection refused" || !errors.Is(f, cause) {
		t.Errorf("%q wraps %v", f.Error(), f.Unwrap())
	}
	if got := (&Failure{Message: "no"}).Error(); got != "no" {
		t.Errorf("a failure without a cause says %q", got)
	}
}
