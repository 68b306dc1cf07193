package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/task"
)

// taskStatus answers GET /task_status/{id}. A task that does not exist is told
// as one that waits, as Celery does: ids are not worth guessing then. With
// "Prefer: wait=N" the answer comes when the task is ready or N seconds passed.
func (s *Set) taskStatus(w http.ResponseWriter, r *http.Request, c Caller) {
	id := taskID(r)
	t, err := s.deps.Tasks.Get(r.Context(), c.Tenant, id)
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		s.deps.Refuse(w, r, c.ID, err)
		return
	}
	if err != nil {
		t = task.Task{ID: id}
	} else if p := prefer(r.Header); p.timed && p.wait > 0 && !t.Ready() {
		w.Header().Set("Preference-Applied", p.applied())
		t = s.wait(r.Context(), c.Tenant, t, p.wait)
	}
	write(w, http.StatusOK, statusBody(&t))
}

// taskID is the id in the path, bounded: it comes back in the answer.
func taskID(r *http.Request) string { return field.Clean(r.PathValue("id")) }

func statusBody(t *task.Task) []byte {
	o := new(object).add("task_id", t.ID).add("state", t.State.String()).add("ready", t.Ready()).
		add("status", statusWords(t)).add("progress", progressOf(t))
	switch {
	case t.State == task.Success && t.Result != nil:
		if json.Valid(t.Result.Body) {
			o.raw("result", t.Result.Body)
		} else { // of a request to /v1, whatever the upstream sent
			o.add("result", string(t.Result.Body))
		}
		o.add("error", nil)
	case t.State == task.Failed:
		o.add("result", nil).add("error", t.Error)
	default:
		o.add("result", nil).add("error", nil)
	}
	standing(o, t)
	return o.bytes()
}

func progressOf(t *task.Task) int {
	if t.State == task.Success {
		return 100
	}
	return t.Progress.Percent
}

// statusWords says for people what a task does.
func statusWords(t *task.Task) string {
	switch t.State {
	case task.Pending:
		if t.Attempts > 0 {
			return "The last try failed; waiting for the next one."
		}
		return "Waiting in the queue."
	case task.Started:
		return "Sent to the model."
	case task.InProgress:
		if t.Progress.Note != "" {
			return t.Progress.Note
		}
		return "The model is answering."
	case task.Success:
		return "Done."
	case task.Failed:
		return "Failed."
	case task.Revoked:
		return "Canceled."
	}
	return ""
}

// canceledMember is spelled as clients know it.
const canceledMember = "cancelled" //nolint:misspell // a name on the wire

// cancelTask answers POST /cancel_task/{id}.
func (s *Set) cancelTask(w http.ResponseWriter, r *http.Request, c Caller) {
	id := taskID(r)
	// A client that leaves now still wants the task canceled.
	t, canceled, err := s.deps.Tasks.Cancel(context.WithoutCancel(r.Context()), c.Tenant, id)
	switch {
	case errors.Is(err, task.ErrNotFound):
		write(w, http.StatusOK, new(object).add("success", false).add("task_id", id).add(canceledMember, false).
			add("error", "There is no such task, or its result is no longer kept.").bytes())
	case err != nil:
		s.deps.Refuse(w, r, c.ID, err)
	default:
		write(w, http.StatusOK, new(object).add("success", true).add("task_id", t.ID).add(canceledMember, canceled).
			add("state", t.State.String()).bytes())
	}
}

// queueStats answers GET /queue_stats.
func (s *Set) queueStats(w http.ResponseWriter, _ *http.Request, _ Caller) {
	st, view := s.deps.Tasks.Stats(), s.deps.Overview()
	kinds := map[string]any{}
	for kind, n := range st.ByKind {
		kinds[kind] = map[string]int{
			"waiting": n.Waiting, "running": n.Running, "succeeded": n.Succeeded, "failed": n.Failed, "revoked": n.Revoked,
		}
	}
	details := new(object).add("waiting", st.Waiting).add("running", st.Running).add("scheduled", st.Scheduled).
		add("kept", st.Kept).add("requests_waiting", view.Waiting).add("by_kind", kinds).bytes()
	write(w, http.StatusOK, new(object).add("success", true).add("available", true).add("workers", view.Workers).
		add("active_tasks", st.Running).add("scheduled_tasks", st.Waiting+st.Scheduled).add("registered_tasks", s.registered()).
		raw("details", details).bytes())
}

// registered are the kinds of tasks, never null.
func (s *Set) registered() []string { return append([]string{}, s.paths...) }

// modelStats answers GET /model_stats.
func (s *Set) modelStats(w http.ResponseWriter, _ *http.Request, _ Caller) {
	view := s.deps.Overview()
	stats := new(object)
	for i := range view.Upstreams {
		u := &view.Upstreams[i]
		stats.raw(u.Name, new(object).add("model", u.Model).add("requests", u.Requests).add("throttles", u.Throttles).
			add("failures", u.Failures).add("available", u.Breaker != "open").add("breaker", u.Breaker).
			add("cooldown_seconds", int64((max(u.Cooldown, 0)+time.Second-1)/time.Second)).
			add("in_use", u.InUse).add("seats", u.Seats).bytes())
	}
	write(w, http.StatusOK, new(object).add("success", true).raw("stats", stats.bytes()).
		add("multi_model_enabled", len(view.Upstreams) > 1).add("version", s.deps.Version).bytes())
}

// resetCooldowns answers POST /reset_model_cooldowns.
func (s *Set) resetCooldowns(w http.ResponseWriter, _ *http.Request, _ Caller) {
	write(w, http.StatusOK, new(object).add("success", true).add("reset", s.deps.Reset()).
		add("message", "All breakers are closed.").bytes())
}

// health answers GET /health, whose only news is that it answers.
func health(w http.ResponseWriter, _ *http.Request, _ Caller) {
	write(w, http.StatusOK, []byte(`{"status":"healthy"}`))
}
