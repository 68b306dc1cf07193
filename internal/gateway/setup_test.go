package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/testkit"
)

// provider answers every call through a function.
type provider func(ctx context.Context, c *llm.Call) (*llm.Answer, error)

func (p provider) Do(ctx context.Context, c *llm.Call) (*llm.Answer, error) { return p(ctx, c) }

// body is an answer in pieces, each after a pause; a failure may end it.
type body struct {
	ctx    context.Context
	pieces []string
	pause  time.Duration
	fail   error
	usage  llm.Usage
	n      int64
	closed bool
}

func (b *body) Next() ([]byte, error) {
	if b.pause > 0 {
		select {
		case <-time.After(b.pause):
		case <-b.ctx.Done():
			return nil, &llm.Error{Kind: llm.KindCanceled, Err: context.Cause(b.ctx)}
		}
	}
	if len(b.pieces) == 0 {
		if b.fail != nil {
			return nil, b.fail
		}
		return nil, io.EOF
	}
	p := b.pieces[0]
	b.pieces = b.pieces[1:]
	b.n += int64(len(p))
	return []byte(p), nil
}
func (b *body) Usage() llm.Usage { return b.usage }
func (b *body) Counted() int64   { return b.n }
func (b *body) Close() error     { b.closed = true; return nil }

const answerText = `{"id":"chatcmpl-1","object":"chat.completion","choices":[]}`

// jsonAnswer is a whole answer.
func jsonAnswer(ctx context.Context, text string) *llm.Answer {
	return &llm.Answer{
		Status: 200,
		Header: http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"up-1"}, "Set-Cookie": {"secret=1"}, "Openai-Organization": {"org-secret"}},
		Body:   &body{ctx: ctx, pieces: []string{text}},
	}
}

// streamAnswer is a stream of events, pause apart.
func streamAnswer(ctx context.Context, pause time.Duration, events ...string) *llm.Answer {
	return &llm.Answer{
		Status: 200, Stream: true,
		Header: http.Header{"Content-Type": {"text/event-stream"}},
		Body:   &body{ctx: ctx, pieces: events, pause: pause},
	}
}

// echo answers as asked, at once.
func echo(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
	if c.Stream {
		return streamAnswer(ctx, 0, "data: {\"a\":1}\n\n", "data: [DONE]\n\n"), nil
	}
	return jsonAnswer(ctx, answerText), nil
}

// records keeps what dispatch tells.
type records struct {
	mu       sync.Mutex
	records  []event.Record
	attempts []event.Attempt
}

func (r *records) Record(e *event.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, *e)
}

func (r *records) Attempt(e *event.Attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts = append(r.attempts, *e)
}

func (r *records) outcomes() []flow.Outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []flow.Outcome
	for i := range r.records {
		all = append(all, r.records[i].Outcome)
	}
	return all
}

// world is a gateway over real dispatch and admission, with a provider of the
// test's.
type world struct {
	gateway   *Gateway
	admission *admission.Controller
	records   *records
	tasks     *shelf
	log       *bytes.Buffer
}

// build makes a world with so many seats at its one upstream.
func build(t testing.TB, seats int, p provider, change ...func(*Options)) *world {
	t.Helper()
	w := &world{records: &records{}, tasks: newShelf(), log: &bytes.Buffer{}}
	w.admission = control(t, seats)
	log := slog.New(slog.NewTextHandler(w.log, nil))
	d, err := dispatch.New(
		dispatch.Options{Upstreams: []dispatch.Upstream{{Name: "main"}}, Routes: []string{"all"}},
		dispatch.Deps{Admission: w.admission, Providers: []dispatch.Provider{p}, Sink: w.records, Log: log},
	)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Routes:  []Route{{Model: "*"}},
		Classes: []Class{{Name: flow.Chat, Weight: 6}, {Name: flow.Analysis, Weight: 3}, {Name: flow.Health, Weight: 9}},
	}
	for _, c := range change {
		c(&o)
	}
	w.gateway, err = New(o, Deps{Dispatcher: d, Limits: w.admission, Catalog: twoModels{}, Tasks: w.tasks, Sink: w.records, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	w.tasks.work = w.gateway.Work
	return w
}

// do sends a request, such as "GET /healthz", straight to a handler.
func do(t testing.TB, h http.Handler, line, body string, edits ...func(*http.Request)) *http.Response {
	t.Helper()
	method, target, _ := strings.Cut(line, " ")
	r := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(body))
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	r.URL, r.RequestURI, r.Host = u, target, "localhost:8080"
	for _, e := range edits {
		e(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// serve answers on an in-memory network until the test ends.
func (w *world) serve(t testing.TB) *http.Client {
	t.Helper()
	l := testkit.Listen()
	client := l.Client()
	done := make(chan error, 1)
	go func() { done <- w.gateway.Serve(l) }()
	t.Cleanup(func() {
		client.CloseIdleConnections()
		_ = w.gateway.server.Close()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		w.admission.Close()
		<-time.After(time.Second) // net/http lingers a little over connections it has closed
	})
	return client
}

const (
	chatBody   = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	streamBody = `{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}`
)

// post sends a body to a path; edits change the request before.
func post(t testing.TB, client *http.Client, path, body string, edits ...func(*http.Request)) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, testkit.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		e(req)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// readAll reads a body to its end and closes it.
func readAll(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return string(b)
}

// wantError checks an error in OpenAI's shape and returns its message.
func wantError(t testing.TB, resp *http.Response, status int, code string) string {
	t.Helper()
	raw := readAll(t, resp)
	if resp.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", resp.StatusCode, status, raw)
	}
	var s shape
	if err := json.Unmarshal([]byte(raw), &s); err != nil || s.Error.Message == "" || s.Error.Type == "" {
		t.Fatalf("not OpenAI's shape: %s", raw)
	}
	got := ""
	if s.Error.Code != nil {
		got = *s.Error.Code
	}
	if got != code {
		t.Errorf("code %q, want %q: %s", got, code, raw)
	}
	return s.Error.Message
}

// twoModels is a catalog.
type twoModels struct{}

func (twoModels) Models(context.Context) []string { return []string{"gpt-4o", "gpt-5"} }
