package endpoint

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/runner"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/internal/testkit"
)

// kept are tasks of tenant acme that never change.
type kept map[string]task.Task

func (k kept) Submit(context.Context, task.Task) (task.Task, error) {
	return task.Task{}, errors.New("not here")
}

func (k kept) Get(_ context.Context, tenant, id string) (task.Task, error) {
	t, ok := k[id]
	if !ok || tenant != "acme" {
		return task.Task{}, task.ErrNotFound
	}
	return t, nil
}

func (k kept) Wait(ctx context.Context, tenant, id string) (task.Task, error) {
	return k.Get(ctx, tenant, id)
}

func (k kept) Cancel(ctx context.Context, tenant, id string) (task.Task, bool, error) {
	t, err := k.Get(ctx, tenant, id)
	if err != nil || t.Ready() {
		return t, false, err
	}
	t.State = task.Revoked
	return t, true, nil
}

func (k kept) Stats() runner.Stats {
	return runner.Stats{Waiting: 4, Running: 3, Scheduled: 2, Kept: 9, ByKind: map[string]runner.Count{
		"/chat": {Waiting: 4, Running: 3, Succeeded: 8, Failed: 1}, "openai/chat": {Revoked: 1},
	}}
}

func TestStatusShapes(t *testing.T) {
	t.Parallel()
	w := build(t, says("never"), analyze(), chatting())
	w.set.deps.Tasks = kept{
		"pending":  {ID: "pending"},
		"waiting":  {ID: "waiting", Position: 12, ETA: 36400 * time.Millisecond, Reason: flow.ReasonRate},
		"unknown":  {ID: "unknown", Position: 1},
		"retry":    {ID: "retry", Attempts: 1},
		"started":  {ID: "started", State: task.Started, Attempts: 1},
		"progress": {ID: "progress", State: task.InProgress, Attempts: 1, Progress: task.Progress{Percent: 40, Note: "2 items received"}},
		"success":  {ID: "success", State: task.Success, Result: &task.Result{Status: 200, Body: []byte(`{"success":true,"response":"Yes."}`)}},
		"failure":  {ID: "failure", State: task.Failed, Error: vForm.message, Progress: task.Progress{Percent: 70}},
		"revoked":  {ID: "revoked", State: task.Revoked},
	}
	for _, tt := range []struct{ method, path, name string }{
		{"GET", "/task_status/pending", "status_pending"},
		{"GET", "/task_status/waiting", "status_waiting"},
		{"GET", "/task_status/unknown", "status_unknown_eta"},
		{"GET", "/task_status/retry", "status_retry"},
		{"GET", "/task_status/started", "status_started"},
		{"GET", "/task_status/progress", "status_progress"},
		{"GET", "/task_status/success", "status_success"},
		{"GET", "/task_status/failure", "status_failure"},
		{"GET", "/task_status/revoked", "status_revoked"},
		{"POST", "/cancel_task/progress", "cancel_running"},
		{"POST", "/cancel_task/success", "cancel_ended"},
		{"POST", "/cancel_task/nobody", "cancel_nobody"},
		{"GET", "/queue_stats", "queue_stats"},
		{"GET", "/model_stats", "model_stats"},
		{"POST", "/reset_model_cooldowns", "reset"},
		{"GET", "/health", "health"},
	} {
		rw := w.ask(t.Context(), tt.method, tt.path, "")
		if rw.Code != http.StatusOK || rw.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", tt.path, rw.Code, rw.Header())
		}
		testkit.Golden(t, tt.name, w.pretty(t, rw))
	}
}

// Another tenant's task cannot be told from none.
func TestI7ForeignLooksUnknown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := build(t, plays(script{queue: time.Hour, pieces: []string{"x"}}), chatting())
		w.post(t, "/chat", question, "Prefer: respond-async")
		w.caller.Tenant = "other"
		for _, path := range []string{"/task_status/", "/cancel_task/"} {
			method := http.MethodGet
			if path == "/cancel_task/" {
				method = http.MethodPost
			}
			unknown := strings.Repeat("0", len(w.ids[0]))
			foreign := w.ask(t.Context(), method, path+w.ids[0], "", "Prefer: wait=5").Body.String()
			none := w.ask(t.Context(), method, path+unknown, "", "Prefer: wait=5").Body.String()
			if strings.ReplaceAll(foreign, w.ids[0], unknown) != none {
				t.Errorf("%s: foreign %s, unknown %s", path, foreign, none)
			}
		}
		if got, err := w.runner.Get(t.Context(), "acme", w.ids[0]); err != nil || got.Ready() {
			t.Errorf("a stranger changed the task: %v, %v", got.State, err)
		}
	})
}

// A cancel ends the call, not just the task.
func TestCancelEndsTheCall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ended := false
		w := build(t, dispatcher(func(ctx context.Context, req *dispatch.Request, r dispatch.Reply) flow.Outcome {
			defer func() { ended = true }()
			return script{pieces: []string{"a", "b", "c"}, pause: time.Hour}.play(ctx, r)
		}), chatting())
		rw := w.post(t, "/chat", question)
		contains(t, rw.Body.String(), `"async":true`)
		got := w.ask(t.Context(), http.MethodPost, "/cancel_task/"+w.ids[0], "").Body.String()
		contains(t, got, `"`+canceledMember+`":true,"state":"REVOKED"`)
		synctest.Wait()
		if !ended {
			t.Error("the call goes on")
		}
		contains(t, w.ask(t.Context(), http.MethodGet, "/task_status/"+w.ids[0], "").Body.String(), `"state":"REVOKED"`)
		contains(t, w.ask(t.Context(), http.MethodPost, "/cancel_task/"+w.ids[0], "").Body.String(), `"`+canceledMember+`":false`)
	})
}

// Canceled by another request while its client is held.
func TestCanceledWhileHeld(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := build(t, plays(script{queue: time.Hour, pieces: []string{"x"}}), chatting())
		answered := make(chan *httptest.ResponseRecorder, 1)
		go func() { answered <- w.post(t, "/chat", question) }()
		synctest.Wait()
		if _, canceled, err := w.runner.Cancel(t.Context(), "acme", w.ids[0]); err != nil || !canceled {
			t.Fatalf("canceled %v, %v", canceled, err)
		}
		rw := <-answered
		if rw.Code != http.StatusConflict {
			t.Errorf("%d %s", rw.Code, rw.Body)
		}
	})
}

// The status can be waited for.
func TestStatusWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := build(t, plays(script{queue: 20 * time.Second, pieces: []string{"Late."}}), chatting())
		w.post(t, "/chat", question, "Prefer: respond-async")
		began := time.Now()
		rw := w.ask(t.Context(), http.MethodGet, "/task_status/"+w.ids[0], "", "Prefer: wait=60")
		if got := fields(t, rw.Body.Bytes()); got["state"] != "SUCCESS" || time.Since(began) != 20*time.Second-glance {
			t.Errorf("after %v: %v", time.Since(began), got)
		}
	})
}

func TestMounts(t *testing.T) {
	t.Parallel()
	w := build(t, says("never"), analyze())
	open, operator := 0, 0
	for _, m := range w.set.Mounts() {
		if m.Open {
			open++
			contains(t, m.Pattern, "/health")
		}
		if m.Operator {
			operator++
			contains(t, m.Pattern, "/reset_model_cooldowns")
		}
	}
	if open != 1 || operator != 1 || len(w.set.Mounts()) != 7 {
		t.Errorf("%d open, %d for operators, %d in all", open, operator, len(w.set.Mounts()))
	}
	if !w.set.Has("/analyze_section") || w.set.Has("/chat") {
		t.Error("Has does not know its kinds")
	}
}
