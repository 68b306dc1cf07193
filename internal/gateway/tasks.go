package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/task"
)

const (
	ownPath  = "/api/v1/"
	taskPath = ownPath + "tasks/"
	maxPoll  = 60 * time.Second // longest wait for a task to end
	maxID    = 64               // bytes of the id of a task
)

// view is a task as its owner sees it.
type view struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`
	State    string    `json:"state"`
	Created  time.Time `json:"created"`
	Started  time.Time `json:"started,omitzero"`
	Finished time.Time `json:"finished,omitzero"`
	Attempts int       `json:"attempts"`

	Position int    `json:"position,omitempty"`
	ETA      int64  `json:"eta_ms,omitempty"`
	Reason   string `json:"reason,omitempty"`

	Progress *progress `json:"progress,omitempty"`
	Result   *result   `json:"result,omitempty"`
	Error    string    `json:"error,omitempty"`
}

type progress struct {
	Percent int    `json:"percent"`
	Note    string `json:"note,omitempty"`
}

type result struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type"`
	Body        any    `json:"body"` // JSON as it is, anything else as a text
}

func viewOf(t *task.Task) *view {
	v := &view{
		ID: t.ID, Kind: t.Kind, State: t.State.String(), Created: t.Created, Started: t.Started, Finished: t.Finished,
		Attempts: t.Attempts, Position: t.Position, ETA: t.ETA.Milliseconds(), Reason: string(t.Reason), Error: t.Error,
	}
	if t.Progress != (task.Progress{}) {
		v.Progress = &progress{t.Progress.Percent, t.Progress.Note}
	}
	if r := t.Result; r != nil {
		v.Result = &result{Status: r.Status, ContentType: r.ContentType, Body: string(r.Body)}
		if strings.Contains(r.ContentType, "json") && json.Valid(r.Body) {
			v.Result.Body = json.RawMessage(bytes.TrimSpace(r.Body))
		}
	}
	return v
}

// showTask tells how a task stands, at once or when it has ended.
func (x *exchange) showTask() {
	id := x.r.PathValue("id")
	wait, err := x.patience()
	if err != nil {
		x.turnAway(err)
		return
	}
	var t task.Task
	switch {
	case len(id) > maxID:
		err = task.ErrNotFound
	case wait > 0:
		ctx, cancel := context.WithTimeout(x.r.Context(), wait)
		defer cancel()
		t, err = x.g.deps.Tasks.Wait(ctx, x.tenant(), id)
	default:
		t, err = x.g.deps.Tasks.Get(x.r.Context(), x.tenant(), id)
	}
	if err != nil {
		x.turnAway(err)
		return
	}
	x.showTaskAs(http.StatusOK, &t)
}

// cancelTask ends a task. One that has ended stays as it is: the answer's state
// tells.
func (x *exchange) cancelTask() {
	var t task.Task
	id, err := x.r.PathValue("id"), task.ErrNotFound
	if len(id) <= maxID {
		t, _, err = x.g.deps.Tasks.Cancel(x.r.Context(), x.tenant(), id)
	}
	if err != nil {
		x.turnAway(err)
		return
	}
	x.showTaskAs(http.StatusOK, &t)
}

func (x *exchange) showTaskAs(status int, t *task.Task) {
	h := x.out.Header()
	h["Cache-Control"] = []string{"no-store"}
	if !t.Ready() {
		after := min(max(t.ETA, minRetryAfter), maxRetryAfter)
		h["Retry-After"] = []string{strconv.FormatInt(ceilSeconds(after), 10)}
	}
	x.answer(status, viewOf(t))
}

// patience is how long the client waits for a task to end: ?wait=30s, else
// Prefer: wait=30.
func (x *exchange) patience() (time.Duration, error) {
	v := x.r.URL.Query().Get("wait")
	if v == "" {
		return min(field.Wishes(x.r.Header["Prefer"]).Wait, maxPoll), nil
	}
	if d, ok := field.Seconds(v); ok {
		return min(d, maxPoll), nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, invalid("wait", "Invalid 'wait': give a time such as 30s.")
	}
	return min(d, maxPoll), nil
}
