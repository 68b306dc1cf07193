package endpoint

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/task"
)

// post answers a POST on an endpoint's path.
func (s *Set) post(w http.ResponseWriter, r *http.Request, c Caller, p *plan) {
	body, err := s.deps.Body(w, r)
	if err != nil {
		s.deps.Refuse(w, r, c.ID, err)
		return
	}
	req, key, err := s.accept(r.Header, c, p, body)
	if err != nil {
		if f, ok := errors.AsType[*fault](err); ok {
			refuse(w, f)
			return
		}
		s.deps.Refuse(w, r, c.ID, err)
		return
	}
	w.Header().Set("Millrace-Class", string(key.Class))
	if p.idle(req) {
		write(w, http.StatusOK, emptyFeedback(p, req))
		return
	}
	t, err := s.deps.Tasks.Submit(r.Context(), task.Task{Kind: p.Path, Flow: key, Payload: body})
	if err != nil {
		s.deps.Refuse(w, r, c.ID, err)
		return
	}
	s.hold(w, r, &held{plan: p, request: req, tenant: c.Tenant, id: c.ID, task: t})
}

// accept checks a request and says whose it is.
func (s *Set) accept(h http.Header, c Caller, p *plan, body []byte) (*request, flow.Key, error) {
	req, err := p.read(body)
	if err != nil {
		return nil, flow.Key{}, err
	}
	key := flow.Key{Class: s.class(h, p.Class), Tenant: c.Tenant, User: c.User}
	if req.session != "" {
		key.User = field.Name(req.session)
	}
	if len(c.Classes) > 0 && !slices.Contains(c.Classes, key.Class) {
		return nil, key, forbidden("This key may not be used for class '" + string(key.Class) + "'.")
	}
	if _, ok := s.deps.Route(req.model); !ok {
		return nil, key, invalid("Member '%s': there is no model '%s'.", p.ModelField, field.Clean(req.model))
	}
	if !allowed(c.Models, req.model) {
		return nil, key, forbidden("This key may not be used for model '" + field.Clean(req.model) + "'.")
	}
	if p.system.size(req.values)+p.prompt.size(req.values) > s.options.MaxPrompt {
		return nil, key, &fault{status: http.StatusRequestEntityTooLarge, message: "The request makes a prompt that is too long."}
	}
	return req, key, nil
}

func forbidden(message string) *fault {
	return &fault{status: http.StatusForbidden, message: message}
}

// class is the endpoint's, or the one that Millrace-Class asks for, if it is
// known and weighs no more.
func (s *Set) class(h http.Header, own flow.Class) flow.Class {
	v := h["Millrace-Class"]
	if len(v) == 0 {
		return own
	}
	wanted := flow.Class(v[0])
	if _, known := s.options.Weights[wanted]; !known || s.weight(wanted) > s.weight(own) {
		return own
	}
	return wanted
}

func (s *Set) weight(c flow.Class) float64 {
	if w := s.options.Weights[c]; w > 0 {
		return w
	}
	return 1
}

// allowed reports whether a model is among those that a key may use.
func allowed(models []string, model string) bool {
	return len(models) == 0 || slices.ContainsFunc(models, func(m string) bool {
		prefix, open := strings.CutSuffix(m, "*")
		return m == model || open && strings.HasPrefix(model, prefix)
	})
}

// held is a task whose client waits.
type held struct {
	plan    *plan
	request *request
	tenant  string
	id      string // of the HTTP request
	task    task.Task
}

// glance is how long even those are held who do not want to be: until then the
// task has found its place in the queue, and they are told which.
const glance = 20 * time.Millisecond

// hold waits for the task as long as its client wants to be held, and answers.
// A client that leaves meanwhile has not learned the task's id and never will:
// nobody could ask for the result, so the task is canceled. So it is when a
// shutdown ends the wait, and that the client is told.
func (s *Set) hold(w http.ResponseWriter, r *http.Request, h *held) {
	p := prefer(r.Header)
	h.task = s.wait(r.Context(), h.tenant, h.task, max(p.hold(h.plan.Wait), glance))
	if r.Context().Err() != nil {
		s.abandon(r.Context(), h)
		if cause := context.Cause(r.Context()); errors.Is(cause, flow.ErrDrained) { // the client is still there
			s.deps.Refuse(w, r, h.id, cause)
		}
		return
	}
	if applied := p.applied(); applied != "" {
		w.Header().Set("Preference-Applied", applied)
	}
	w.Header().Set("Millrace-Request-Id", h.task.ID) // by which its story is known
	h.answer(w)
}

// wait returns the task when it is ready, d has passed, or ctx has ended.
func (s *Set) wait(ctx context.Context, tenant string, t task.Task, d time.Duration) task.Task {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	latest, err := s.deps.Tasks.Wait(ctx, tenant, t.ID)
	if err != nil {
		return t
	}
	return latest
}

func (s *Set) abandon(ctx context.Context, h *held) {
	_, canceled, err := s.deps.Tasks.Cancel(context.WithoutCancel(ctx), h.tenant, h.task.ID)
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		s.deps.Log.Error("cancel a task whose client left", "task", h.task.ID, "error", err)
		return
	}
	s.deps.Log.Debug("client left before it was told its task", "task", h.task.ID, "canceled", canceled)
}

// answer tells a client what became of its task so far.
func (h *held) answer(w http.ResponseWriter) {
	t := &h.task
	switch {
	case t.State == task.Success && t.Result != nil:
		write(w, t.Result.Status, t.Result.Body)
	case t.State == task.Failed:
		write(w, statusOf(t.Error), h.failed(t.Error))
	case t.State == task.Revoked:
		write(w, http.StatusConflict, h.failed("The task was canceled."))
	default:
		w.Header().Set("Location", "/task_status/"+t.ID)
		w.Header().Set("Millrace-Durable", "false")
		write(w, http.StatusOK, h.queued())
	}
}

func (h *held) failed(message string) []byte {
	return new(object).add("success", false).add("error", message).add("task_id", h.task.ID).bytes()
}

// queued is the answer that stands for a result that is not ready.
func (h *held) queued() []byte {
	t := &h.task
	o := new(object).add("success", true).add("task_id", t.ID).add("status", "queued").add("async", true).
		add("state", t.State.String())
	standing(o, t)
	return o.add("message", "The result is not ready. Ask for it at /task_status/"+t.ID+".").echo(h.plan, h.request).bytes()
}

// standing adds where a task stands in the queue; null where it does not, or
// has not been told yet.
func standing(o *object, t *task.Task) {
	if t.Position == 0 {
		o.add("position", nil).add("eta_seconds", nil).add("reason", nil)
		return
	}
	o.add("position", t.Position)
	if t.ETA > 0 {
		o.add("eta_seconds", int64((t.ETA+time.Second-1)/time.Second))
	} else {
		o.add("eta_seconds", nil)
	}
	if t.Reason != flow.ReasonNone {
		o.add("reason", string(t.Reason))
	} else {
		o.add("reason", nil)
	}
}
