package endpoint

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/runner"
	"github.com/millrace/millrace/internal/store/memory"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/internal/testkit"
)

func TestMain(m *testing.M) { testkit.LeakMain(m) }

func analyze() Endpoint {
	return Endpoint{
		Path: "/analyze_section", Class: flow.Analysis, Model: "m", Flow: "session_id",
		Required: []string{"session_id", "section_name"}, System: "You review.",
		Prompt: "Section {section_name}:\n{content}\nAnswer with a JSON list.", Answer: Feedback,
		Echo: []string{"section=section_name", "section_name", "section_content=content"}, Wait: 8 * time.Second,
	}
}

func chatting() Endpoint {
	return Endpoint{
		Path: "/chat", Class: flow.Chat, Model: "m", ModelField: "ai_model", Flow: "session_id",
		Required: []string{"session_id", "message"}, System: "On screen: {current_section}", Prompt: "{message}",
		History: 4, Wait: 8 * time.Second, MaxTokens: 100, Temperature: new(0.7),
	}
}

// dispatcher plays the upstreams.
type dispatcher func(ctx context.Context, req *dispatch.Request, r dispatch.Reply) flow.Outcome

func (d dispatcher) Do(ctx context.Context, req *dispatch.Request, r dispatch.Reply) flow.Outcome {
	return d(ctx, req, r)
}

// script is how one request goes.
type script struct {
	status admission.Status // told first, unless it is zero
	queue  time.Duration    // in the queue
	pieces []string         // of the model's text
	pause  time.Duration    // before each
	finish string           // finish_reason; empty = stop
	whole  bool             // not a stream
	err    error            // how it ends
}

// play runs a script as package dispatch would.
func (s script) play(ctx context.Context, r dispatch.Reply) flow.Outcome {
	meta := &dispatch.Meta{Waited: s.queue, Upstream: "main", Attempts: 1}
	end := func(err error) flow.Outcome {
		if ctx.Err() != nil {
			err = flow.ErrCanceled
		}
		r.End(err, meta)
		return flow.OutcomeServed
	}
	if s.status != (admission.Status{}) {
		_ = r.Queued(s.status)
	}
	if !pause(ctx, s.queue) || len(s.pieces) == 0 && s.err != nil {
		return end(s.err)
	}
	r.Begin(&llm.Answer{Status: 200, Stream: !s.whole}, meta)
	for _, event := range s.events() {
		if !pause(ctx, s.pause) {
			return end(nil)
		}
		if r.Write([]byte(event)) != nil {
			return end(flow.ErrCanceled)
		}
	}
	return end(s.err)
}

func (s script) events() []string {
	finish := s.finish
	if finish == "" {
		finish = "stop"
	}
	if s.whole {
		text := strings.Join(s.pieces, "")
		return []string{`{"model":"m-1","choices":[{"message":{"content":` + string(quote(text)) + `},"finish_reason":"` + finish +
			`"}],"usage":{"prompt_tokens":11,"completion_tokens":7}}`}
	}
	var events []string
	for _, p := range s.pieces {
		events = append(events, `data: {"model":"m-1","choices":[{"index":0,"delta":{"content":`+string(quote(p))+"}}]}\n\n")
	}
	if s.err != nil {
		return events
	}
	return append(events, `data: {"choices":[{"index":0,"delta":{},"finish_reason":"`+finish+"\"}]}\n\n",
		`data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7}}`+"\n\ndata: [DONE]\n\n")
}

func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// says plays a text for every request.
func says(pieces ...string) dispatcher { return plays(script{pieces: pieces}) }

// plays plays the scripts one after the other, the last again and again.
func plays(scripts ...script) dispatcher {
	var mu sync.Mutex
	n := 0
	return func(ctx context.Context, _ *dispatch.Request, r dispatch.Reply) flow.Outcome {
		mu.Lock()
		s := scripts[min(n, len(scripts)-1)]
		n++
		mu.Unlock()
		return s.play(ctx, r)
	}
}

// world is a Set over a real runner, with upstreams of the test's.
type world struct {
	set     *Set
	runner  *runner.Runner
	history *memory.History
	mux     *http.ServeMux
	caller  Caller
	mu      sync.Mutex
	ids     []string // of submitted tasks
}

// tasks keeps the ids of what is submitted.
type tasks struct {
	*runner.Runner
	w *world
}

func (k tasks) Submit(ctx context.Context, t task.Task) (task.Task, error) {
	t, err := k.Runner.Submit(ctx, t)
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	if err == nil {
		k.w.ids = append(k.w.ids, t.ID)
	}
	return t, err
}

var errTooLarge = errors.New("too large")

// build makes a world. Its clients are of tenant "acme".
func build(t testing.TB, d Dispatcher, endpoints ...Endpoint) *world {
	t.Helper()
	w := &world{caller: Caller{Tenant: "acme", User: "10.0.0.1", ID: "req_1"}, mux: http.NewServeMux()}
	store, err := memory.NewTasks(memory.TasksOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w.runner, err = runner.New(
		runner.Options{Classes: map[flow.Class]runner.Retry{flow.Analysis: {Times: 3, Wait: time.Minute}}},
		runner.Deps{Store: store, Work: func(ctx context.Context, k task.Task, tell func(runner.Update)) (task.Result, error) {
			return w.set.Work(ctx, k, func(u Update) { tell(runner.Update(u)) })
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.runner.Close() })
	if w.history, err = memory.NewHistory(memory.HistoryOptions{}); err != nil {
		t.Fatal(err)
	}
	w.set, err = New(Options{
		Endpoints: endpoints,
		Weights:   map[flow.Class]float64{flow.Chat: 6, flow.Analysis: 3, flow.Batch: 0, flow.Health: 9},
	}, w.deps(d))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range w.set.Mounts() {
		w.mux.HandleFunc(m.Pattern, func(rw http.ResponseWriter, r *http.Request) { m.Handler(rw, r, w.caller) })
	}
	return w
}

func (w *world) deps(d Dispatcher) Deps {
	return Deps{
		Tasks: tasks{w.runner, w}, Dispatcher: d, History: w.history, Version: "1.2.3",
		Route: func(model string) (int, bool) { return 3, !strings.HasPrefix(model, "no-") },
		Body: func(_ http.ResponseWriter, r *http.Request) ([]byte, error) {
			b, err := io.ReadAll(r.Body)
			if len(b) > 1<<20 {
				return nil, errTooLarge
			}
			return b, err
		},
		Refuse: func(rw http.ResponseWriter, _ *http.Request, id string, err error) {
			http.Error(rw, id+" refused: "+err.Error(), http.StatusServiceUnavailable)
		},
		Overview: func() Overview {
			return Overview{Workers: 8, Waiting: 5, Upstreams: []Upstream{
				{Name: "main", Model: "m-1", Requests: 12, Throttles: 1, Failures: 2, Breaker: "open", Cooldown: 1500 * time.Millisecond, InUse: 3, Seats: 15},
				{Name: "spare", Breaker: "closed"},
			}}
		},
		Reset: func() int { return 1 },
	}
}

// ask sends a request; lines are "Name: value" headers.
func (w *world) ask(ctx context.Context, method, path, body string, lines ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader(body))
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	rw := httptest.NewRecorder()
	w.mux.ServeHTTP(rw, r)
	return rw
}

func (w *world) post(t testing.TB, path, body string, lines ...string) *httptest.ResponseRecorder {
	t.Helper()
	return w.ask(t.Context(), http.MethodPost, path, body, lines...)
}

// pretty is an answer's body, indented, with the ids of tasks left out.
func (w *world) pretty(t testing.TB, rw *httptest.ResponseRecorder) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, rw.Body.Bytes(), "", "  "); err != nil {
		t.Fatalf("%s: %v", rw.Body, err)
	}
	s := b.String()
	for _, id := range w.ids {
		s = strings.ReplaceAll(s, id, "TASK")
	}
	return []byte(s + "\n")
}

// fields is an answer's body as a map.
func fields(t testing.TB, body []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return m
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

const (
	section  = `{"session_id":"s1","section_name":"Intro","content":"Some text."}`
	question = `{"session_id":"s1","message":"Why?"}`
	findingA = `{"id":"1","type":"critical","category":"Clarity","description":"Unclear.","suggestion":"Say it.","example":"So.","questions":["Who?"],"risk_level":"High","confidence":0.9}`
	findingB = `{"id":"2","description":"Too long.","extra":{"page":3}}`
)

func contains(t testing.TB, body, part string) {
	t.Helper()
	if !strings.Contains(body, part) {
		t.Errorf("%s\nlacks %s", body, part)
	}
}
