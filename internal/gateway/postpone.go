package gateway

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/runner"
	"github.com/millrace/millrace/internal/task"
)

const (
	// maxPayload bounds the bodies that are kept for later; the wish to have a
	// larger one answered later is not granted.
	maxPayload = 4 << 20
	// maxResult bounds the answers that are kept.
	maxResult = 8 << 20
)

// kinds are the tasks that Work runs.
var kinds = map[string]llm.Operation{"openai/chat": llm.OpChat, "openai/completion": llm.OpCompletion, "openai/embedding": llm.OpEmbedding}

// TaskUpdate is what Work tells on its way.
type TaskUpdate = runner.Update

// postpone makes a task of the request. If it ends while the client is willing to
// wait, its answer is the answer.
func (i *inference) postpone(x *exchange) {
	body := i.req.Call.Body
	header := forwarded(x.r.Header)
	if v := x.r.Header[hCacheControl]; field.RefusesCache(v) {
		header = http.Header{hBeta: header[hBeta], hCacheControl: v}
	}
	t, err := x.g.deps.Tasks.Submit(x.r.Context(), task.Task{
		Kind: "openai/" + x.op.String(), Flow: i.req.Ask.Flow, Header: header, Payload: bytes.Clone(body),
	})
	x.g.buffers.put(body)
	if err != nil {
		x.turnAway(err)
		return
	}
	i.reply.describe(&dispatch.Meta{})
	if wait := min(i.wish.Wait, x.t.longest(i.req.Ask.Route)); wait > 0 {
		if t, err = x.await(t, wait); err != nil {
			x.turnAway(err)
			return
		}
	}
	x.id = t.ID // by which its story is known
	h := x.out.Header()
	h[hRequestID], h["X-Request-Id"] = []string{x.id}, []string{x.id}
	h["Preference-Applied"] = []string{"respond-async"}
	if t.Ready() {
		x.hand(&t)
		return
	}
	h["Location"] = []string{taskPath + t.ID}
	h[hDurable] = []string{"false"}
	x.showTaskAs(http.StatusAccepted, &t)
}

// longest is the longest hold of an answer that is not a stream.
func (t *table) longest(route int) time.Duration {
	if own := t.options.Routes[route].Hold; own > 0 {
		return own
	}
	return t.options.Hold
}

// await waits for a task whose id its client does not know yet. If the client
// leaves, nobody can ever ask for it, and it is canceled.
func (x *exchange) await(t task.Task, wait time.Duration) (task.Task, error) {
	ctx, cancel := context.WithTimeout(x.r.Context(), wait)
	defer cancel()
	now, err := x.g.deps.Tasks.Wait(ctx, t.Flow.Tenant, t.ID)
	if err != nil || now.Ready() || x.r.Context().Err() == nil {
		return now, err
	}
	if cause := context.Cause(x.r.Context()); errors.Is(cause, flow.ErrDrained) {
		return now, cause
	}
	if _, _, err := x.g.deps.Tasks.Cancel(context.WithoutCancel(ctx), t.Flow.Tenant, t.ID); err != nil {
		return now, err
	}
	return now, errBrokenOff
}

// hand answers with what a task has ended in.
func (x *exchange) hand(t *task.Task) {
	switch {
	case t.Result != nil:
		h := x.out.Header()
		h["Content-Type"] = []string{t.Result.ContentType}
		h["Content-Length"] = []string{strconv.Itoa(len(t.Result.Body))}
		h["X-Content-Type-Options"] = []string{"nosniff"}
		x.out.WriteHeader(t.Result.Status)
		_, _ = x.out.Write(t.Result.Body) // a client that has left cannot be told
	case t.State == task.Revoked:
		x.refuse(&fault{status: http.StatusConflict, typ: typeInvalid, code: "task_canceled", retry: retryNone, message: "The task was canceled."})
	default:
		x.refuse(&fault{status: http.StatusBadGateway, typ: typeServer, code: "task_failed", retry: retryNone, message: t.Error})
	}
}

// Work runs a task whose kind is openai/chat, openai/completion or
// openai/embedding. What the provider says of the request itself is a result,
// with its status; every other failure is a *task.Failure.
func (g *Gateway) Work(ctx context.Context, t task.Task, tell func(TaskUpdate)) (task.Result, error) {
	req, err := g.request(&t)
	if err != nil {
		return verdict(err, "")
	}
	rec := dispatch.NewRecorder(maxResult, func(s admission.Status) {
		tell(TaskUpdate{Started: s == admission.Status{}, Position: s.Position, ETA: s.ETA, Reason: s.Reason})
	})
	g.deps.Dispatcher.Do(ctx, req, rec)
	if rec.Err() == nil {
		return task.Result{Status: rec.Status(), ContentType: rec.Header().Get("Content-Type"), Body: rec.Body()}, nil
	}
	if ctx.Err() != nil {
		return task.Result{}, context.Cause(ctx)
	}
	return verdict(rec.Err(), req.ID)
}

// verdict is what a task ends with whose request failed.
func verdict(err error, id string) (task.Result, error) {
	f := faultOf(err, id)
	if f.origin == nil {
		again := f.status == http.StatusTooManyRequests || f.status >= http.StatusBadGateway
		return task.Result{}, &task.Failure{Message: f.message, Retry: again && f.retry != retryNone, Err: err}
	}
	text, media := f.body(OpenAI, id)
	return task.Result{Status: f.status, ContentType: media, Body: text}, nil
}

// request is a task's request for dispatch.
func (g *Gateway) request(t *task.Task) (*dispatch.Request, error) {
	table, op := g.table.Load(), kinds[t.Kind]
	f, err := field.Read(t.Payload, op)
	if err != nil {
		return nil, err
	}
	route, ok := table.route(f.Model)
	if !ok {
		return nil, unknownModel(f.Model)
	}
	req := &dispatch.Request{
		ID: t.ID, Arrived: time.Now(),
		Ask:  admission.Ask{Route: route, Flow: t.Flow, Task: true},
		Call: llm.Call{Operation: op, Header: forwarded(t.Header), Body: t.Payload},
	}
	g.compose(table, req, &f)
	if field.RefusesCache(t.Header[hCacheControl]) {
		req.Cache, req.CacheFor = flow.ShareKey{}, 0
	}
	return req, nil
}
