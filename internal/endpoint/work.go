package endpoint

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/estimate"
	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/task"
)

// Work runs one try of a task whose kind the Set has. A failure is a
// *task.Failure, but for a context that has ended: then it is its cause.
func (s *Set) Work(ctx context.Context, t task.Task, tell func(Update)) (task.Result, error) {
	p := s.plans[t.Kind]
	if p == nil {
		return task.Result{}, vUnknown.because(nil)
	}
	req, err := p.read(t.Payload)
	if err != nil {
		return task.Result{}, vRequest.with(err.Error()).because(nil)
	}
	route, ok := s.deps.Route(req.model)
	if !ok {
		return task.Result{}, vRoute.because(nil)
	}
	j := &job{s: s, plan: p, request: req, task: &t, began: time.Now()}
	return j.run(ctx, route, tell)
}

// job is one try of a task.
type job struct {
	s       *Set
	plan    *plan
	request *request
	task    *task.Task
	prompt  string
	began   time.Time
}

func (j *job) run(ctx context.Context, route int, tell func(Update)) (task.Result, error) {
	j.prompt = j.plan.prompt.render(j.request.values)
	body, size, err := j.body()
	if err != nil {
		return task.Result{}, vInternal.because(err)
	}
	r := newReply(j.plan.Answer, j.s.options.MaxAnswer, tell)
	j.s.deps.Dispatcher.Do(ctx, &dispatch.Request{
		ID: j.task.ID, Arrived: j.began, Soft: true,
		Ask: admission.Ask{
			Route: route, Flow: j.task.Flow, Model: field.Clean(j.request.model), Size: size, Task: true,
			Kind: estimate.Kind(middle(j.prompt)),
		},
		Call: llm.Call{Operation: llm.OpChat, Stream: true, WantUsage: true, Body: body},
	}, r)
	if r.err != nil && ctx.Err() != nil {
		return task.Result{}, context.Cause(ctx)
	}
	return j.conclude(r)
}

// middle is what tells the kind of a text: what begins with instructions and
// ends with a question is mostly what stands between.
func middle(s string) []byte {
	const enough = 1 << 10
	if len(s) <= enough {
		return []byte(s)
	}
	from := (len(s) - enough) / 2
	return []byte(s[from : from+enough])
}

// conclude makes a result of what has come, or a failure. Only where a limit of
// ours ended the answer does its beginning count.
func (j *job) conclude(r *reply) (task.Result, error) {
	soft := errors.Is(r.err, dispatch.ErrSoftLimit)
	switch {
	case r.err != nil && !soft:
		return task.Result{}, verdictOf(r.err).because(r.err)
	case r.refused || r.finish == "content_filter":
		return task.Result{}, vRefused.because(nil)
	}
	cut := soft || r.finish == "length"
	outcome, ok := form(j.plan.Answer, r.text.String(), cut)
	if !ok {
		return task.Result{}, unformed(r, soft).because(r.err)
	}
	j.remember(r.text.String())
	return task.Result{Status: http.StatusOK, ContentType: "application/json", Body: j.result(r, outcome)}, nil
}

// unformed is the verdict on an answer of which nothing can be used.
func unformed(r *reply, soft bool) verdict {
	switch {
	case soft:
		return vSoft
	case r.finish == "length":
		return vCut
	case r.text.Len() == 0:
		return vEmpty
	}
	return vForm
}

// result is the body of a done task.
func (j *job) result(r *reply, f formed) []byte {
	model := r.model
	if model == "" {
		model = field.Clean(j.request.model)
	}
	return resultBody(j.plan, j.request, f, figures{
		model: model, took: max(time.Since(j.began)-r.meta.Waited, 0), usage: r.usage,
	})
}

// conversation is the turns that go with a request.
func (j *job) conversation() []task.Turn {
	if j.plan.History == 0 || j.request.session == "" {
		return nil
	}
	turns := j.s.deps.History.Load(j.task.Flow.Tenant, j.plan.talk(j.request.session))
	turns = turns[max(0, len(turns)-j.plan.History):]
	room := j.s.options.MaxPrompt - int64(len(j.prompt))
	from := len(turns)
	for from > 0 && room >= int64(len(turns[from-1].Text)) {
		from--
		room -= int64(len(turns[from].Text))
	}
	for from < len(turns) && turns[from].Role != roleUser { // an answer without its question
		from++
	}
	return turns[from:]
}

// talk names the endpoint's conversation of a session. Another endpoint's of the same
// session is another one: it has other prompts, and other keys may use it.
func (p *plan) talk(session string) string { return p.Path + "\x00" + session }

// Roles of a conversation.
const (
	roleSystem    = "system"
	roleUser      = "user"
	roleAssistant = "assistant"
)

func (j *job) remember(answer string) {
	if j.plan.History == 0 || j.request.session == "" {
		return
	}
	j.s.deps.History.Append(j.task.Flow.Tenant, j.plan.talk(j.request.session),
		task.Turn{Role: roleUser, Text: j.prompt}, task.Turn{Role: roleAssistant, Text: answer})
}

// chat is the body of a chat completion.
type chat struct {
	Model          string          `json:"model"`
	Messages       []turn          `json:"messages"`
	Stream         bool            `json:"stream"`
	StreamOptions  streamOptions   `json:"stream_options"`
	MaxTokens      int             `json:"max_tokens,omitzero"`
	Temperature    *float64        `json:"temperature,omitzero"`
	ResponseFormat json.RawMessage `json:"response_format,omitzero"`
}

type turn struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

type streamOptions struct {
	IncludeUsage bool `json:"include_usage"`
}

// body is what the model is asked, and its size.
func (j *job) body() ([]byte, llm.Size, error) {
	p := j.plan
	c := chat{
		Model: j.request.model, Stream: true, StreamOptions: streamOptions{IncludeUsage: true},
		MaxTokens: p.MaxTokens, Temperature: p.Temperature, ResponseFormat: responseFormat(p),
	}
	if len(p.system) > 0 {
		c.Messages = append(c.Messages, turn{roleSystem, p.system.render(j.request.values)})
	}
	for _, t := range j.conversation() {
		c.Messages = append(c.Messages, turn{t.Role, t.Text})
	}
	c.Messages = append(c.Messages, turn{roleUser, j.prompt})
	size := llm.Size{Messages: int64(len(c.Messages)), MaxOutput: int64(p.MaxTokens)}
	for i := range c.Messages {
		size.TextBytes += int64(len(c.Messages[i].Content))
	}
	body, err := marshal(&c)
	return body, size, err
}

// The response formats of structured endpoints. A list cannot be the root of a
// schema, so findings are asked for as a member.
var (
	anyObject      = json.RawMessage(`{"type":"json_object"}`)
	feedbackSchema = json.RawMessage(`{"type":"json_schema","json_schema":{"name":"feedback","strict":true,"schema":` +
		`{"type":"object","properties":{"feedback_items":{"type":"array","items":{"type":"object","properties":{` +
		`"id":{"type":"string"},"type":{"type":"string"},"category":{"type":"string"},"description":{"type":"string"},` +
		`"suggestion":{"type":"string"},"example":{"type":"string"},"questions":{"type":"array","items":{"type":"string"}},` +
		`"risk_level":{"type":"string","enum":["High","Medium","Low"]},"confidence":{"type":"number"}},` +
		`"required":["id","type","category","description","suggestion","example","questions","risk_level","confidence"],` +
		`"additionalProperties":false}}},"required":["feedback_items"],"additionalProperties":false}}}`)
)

func responseFormat(p *plan) json.RawMessage {
	switch {
	case !p.Structured:
		return nil
	case p.Answer == Feedback:
		return feedbackSchema
	}
	return anyObject
}
