package gateway

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/runner"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/internal/testkit"
)

const chatPath = "/v1/chat/completions"

// after answers after a pause, or with a failure.
func after(pause time.Duration, fail error) provider {
	return func(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, &llm.Error{Kind: llm.KindCanceled, Err: context.Cause(ctx)}
		}
		if fail != nil {
			return nil, fail
		}
		return echo(ctx, c)
	}
}

// decode reads a task out of an answer.
func decode(t testing.TB, resp *http.Response) view {
	t.Helper()
	var v view
	if err := json.Unmarshal([]byte(readAll(t, resp)), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestRespondAsync(t *testing.T) {
	in(t, 1, after(20*time.Second, nil), func(t *testing.T, w *world, client *http.Client) {
		start := time.Now()
		resp := post(t, client, chatPath, chatBody, header("Prefer", "respond-async, wait=5"))
		v := decode(t, resp)
		if took := time.Since(start); took != 5*time.Second || resp.StatusCode != 202 {
			t.Fatalf("%d after %v", resp.StatusCode, took)
		}
		for name, want := range map[string]string{
			"Location": "/api/v1/tasks/" + v.ID, "Preference-Applied": "respond-async", "Millrace-Durable": "false",
			"Retry-After": "1", "Content-Type": "application/json", "Millrace-Class": "chat", "Cache-Control": "no-store",
		} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if v.Kind != "openai/chat" || v.State != "PENDING" && v.State != "STARTED" || v.ID == "" || v.Created.IsZero() || v.Result != nil {
			t.Errorf("%+v", v)
		}
		got := decode(t, send(t, client, "GET", resp.Header.Get("Location")+"?wait=60s"))
		if took := time.Since(start); took != 20*time.Second || got.State != "SUCCESS" {
			t.Fatalf("%s after %v", got.State, took)
		}
		want := map[string]any{"status": 200.0, "content_type": "application/json", "body": map[string]any{"id": "chatcmpl-1", "object": "chat.completion", "choices": []any{}}}
		raw, _ := json.Marshal(got.Result)
		var have map[string]any
		if err := json.Unmarshal(raw, &have); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("result (-want +got):\n%s", diff)
		}
		if s := w.admission.Snapshot(); s.Outstanding != 0 {
			t.Errorf("outstanding %d", s.Outstanding)
		}
	})
}

// What is ready in time is the answer itself.
func TestRespondAsyncInTime(t *testing.T) {
	in(t, 1, after(2*time.Second, nil), func(t *testing.T, _ *world, client *http.Client) {
		resp := post(t, client, chatPath, chatBody, header("Prefer", "respond-async, wait=10"))
		if got := readAll(t, resp); got != answerText || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/json" ||
			resp.Header.Get("Preference-Applied") != "respond-async" || resp.Header.Get("Location") != "" {
			t.Errorf("%d %q %v", resp.StatusCode, got, resp.Header)
		}
		if resp := post(t, client, chatPath, chatBody, header("Prefer", "respond-async")); resp.StatusCode != 202 {
			t.Errorf("without a wait: %d", resp.StatusCode)
		}
		for name, edits := range map[string][]func(*http.Request){
			"a large one": {}, "a stream": {}, "no wish": {},
		} {
			body, wish := chatBody, "respond-async, wait=10"
			switch name {
			case "a large one":
				body = strings.Replace(chatBody, "hi", strings.Repeat("x", maxPayload), 1)
			case "a stream":
				body = streamBody
			case "no wish":
				wish = "respond-async=yes, wait=-1"
			}
			resp := post(t, client, chatPath, body, append(edits, header("Prefer", wish))...)
			if readAll(t, resp); resp.StatusCode != 200 || resp.Header.Get("Preference-Applied") != "" {
				t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
			}
		}
		<-time.After(time.Minute) // what is left runs to its end
	})
}

func TestRespondAsyncFailures(t *testing.T) {
	refused := &llm.Error{Kind: llm.KindInvalid, Status: 422, Header: http.Header{"Content-Type": {"application/json"}}, Message: "bad tool", Body: []byte(`{"error":{"message":"bad tool"}}`)}
	down := &llm.Error{Kind: llm.KindAuth, Message: "password=hunter2"}
	for name, tc := range map[string]struct {
		fail   error
		status int
		want   string
	}{
		"the provider's verdict": {refused, 422, `"bad tool"`},
		"a failure":              {down, 502, `"code":"task_failed"`},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, 1, after(time.Second, tc.fail), func(t *testing.T, w *world, client *http.Client) {
				resp := post(t, client, chatPath, chatBody, header("Prefer", "respond-async, wait=10"))
				if got := readAll(t, resp); resp.StatusCode != tc.status || !strings.Contains(got, tc.want) || strings.Contains(got, "hunter2") {
					t.Errorf("%d %s", resp.StatusCode, got)
				}
			})
		})
	}
	in(t, 1, echo, func(t *testing.T, w *world, client *http.Client) {
		w.tasks.refused = runner.ErrFull
		wantError(t, post(t, client, chatPath, chatBody, header("Prefer", "respond-async")), 503, "server_is_overloaded")
		w.tasks.refused = runner.ErrDraining
		wantError(t, post(t, client, chatPath, chatBody, header("Prefer", "respond-async")), 503, "server_is_overloaded")
		if got := w.records.outcomes(); len(got) != 2 || got[0] != flow.OutcomeRefused {
			t.Errorf("outcomes %v", got)
		}
	})
}

// A client that leaves before it knows the task's id leaves nothing behind.
func TestRespondAsyncClientLeaves(t *testing.T) {
	in(t, 1, after(time.Hour, nil), func(t *testing.T, w *world, client *http.Client) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, "POST", testkit.URL+chatPath, strings.NewReader(chatBody))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Prefer", "respond-async, wait=60")
		if resp, err := client.Do(req); err == nil {
			resp.Body.Close()
			t.Error("answered")
		}
		<-time.After(time.Second)
		synctest.Wait()
		if s := w.admission.Snapshot(); s.Outstanding != 0 || s.Waiting != 0 {
			t.Errorf("left behind: %+v", s)
		}
	})
}

func TestLongPoll(t *testing.T) {
	in(t, 1, after(time.Hour, nil), func(t *testing.T, w *world, client *http.Client) {
		v := decode(t, post(t, client, chatPath, chatBody, header("Prefer", "respond-async")))
		for wish, want := range map[string]time.Duration{
			"": 0, "?wait=10s": 10 * time.Second, "?wait=7": 7 * time.Second, "?wait=1h": maxPoll, "?wait=0": 0, "?wait=1500ms": 1500 * time.Millisecond,
		} {
			start := time.Now()
			resp := send(t, client, "GET", taskPath+v.ID+wish)
			if decode(t, resp); resp.StatusCode != 200 || time.Since(start) != want {
				t.Errorf("%q: %d after %v", wish, resp.StatusCode, time.Since(start))
			}
		}
		start := time.Now()
		decode(t, send(t, client, "GET", taskPath+v.ID, header("Prefer", "wait=30")))
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("Prefer: %v", took)
		}
		time.AfterFunc(4*time.Second, func() {
			if got := decode(t, send(t, client, "DELETE", taskPath+v.ID)); got.State != "REVOKED" {
				t.Errorf("deleted: %s", got.State)
			}
		})
		start = time.Now()
		got := decode(t, send(t, client, "GET", taskPath+v.ID+"?wait=60"))
		if took := time.Since(start); took > 5*time.Second || got.State != "REVOKED" || got.Finished.IsZero() {
			t.Errorf("%s after %v", got.State, took)
		}
		synctest.Wait()
		if s := w.admission.Snapshot(); s.Outstanding != 0 {
			t.Errorf("outstanding %d", s.Outstanding)
		}
	})
}

// Errors of the gateway's own routes are problems; another tenant's task is none.
func TestTaskProblems(t *testing.T) {
	w := build(t, 1, echo, keyed)
	defer w.admission.Close()
	w.tasks.put(task.Task{ID: taskID, Flow: flow.Key{Tenant: "acme"}, State: task.Success, Result: &task.Result{Status: 200, ContentType: "text/plain", Body: []byte("<b>\xff")}})
	for _, tc := range []struct {
		method, path, token string
		status              int
		typ                 string
	}{
		{"GET", taskPath + taskID, "sk-b", 404, "urn:millrace:problem:task_not_found"},
		{"DELETE", taskPath + taskID, "sk-b", 404, "urn:millrace:problem:task_not_found"},
		{"GET", taskPath + "none", "sk-a", 404, "urn:millrace:problem:task_not_found"},
		{"GET", taskPath + strings.Repeat("a", 3000), "sk-a", 404, "urn:millrace:problem:task_not_found"},
		{"GET", taskPath + taskID + "?wait=soon", "sk-a", 400, "about:blank"},
		{"GET", taskPath + taskID + "?wait=-1s", "sk-a", 400, "about:blank"},
		{"GET", taskPath + taskID, "sk-none", 401, "urn:millrace:problem:invalid_api_key"},
		{"POST", taskPath + taskID, "sk-a", 405, "urn:millrace:problem:method_not_allowed"},
		{"GET", "/api/v1/none", "sk-a", 404, "urn:millrace:problem:unknown_url"},
		{"GET", "/api/v1/tasks/", "sk-a", 404, "urn:millrace:problem:unknown_url"},
	} {
		resp := do(t, w.gateway, tc.method+" "+tc.path, "", header("X-Api-Key", tc.token))
		var p problem
		raw := readAll(t, resp)
		if err := json.Unmarshal([]byte(raw), &p); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s %s: %v, %s", tc.method, tc.path, err, raw)
		}
		if p.Type != tc.typ || p.Status != tc.status || resp.StatusCode != tc.status || p.Title != http.StatusText(tc.status) || p.Detail == "" || p.Instance != resp.Header.Get("Millrace-Request-Id") {
			t.Errorf("%s %s: %d %+v", tc.method, tc.path, resp.StatusCode, p)
		}
	}
	if v := decode(t, do(t, w.gateway, "GET "+taskPath+taskID, "", header("X-Api-Key", "sk-a"))); v.Result == nil || v.Result.Body != "<b>\ufffd" {
		t.Errorf("%+v", v.Result)
	}
}

func TestViewOfATask(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	waiting := task.Task{ID: "i", Kind: "/chat", Created: now, Position: 3, ETA: 1500 * time.Millisecond, Reason: flow.ReasonTokens, Progress: task.Progress{Percent: 4, Note: "n"}}
	failed := task.Task{ID: "i", Kind: "/chat", Created: now, Started: now, Finished: now, Attempts: 2, State: task.Failed, Error: "words"}
	done := task.Task{ID: "i", Kind: "k", Created: now, State: task.Success, Result: &task.Result{Status: 200, ContentType: "application/json", Body: []byte(" {\"a\": \"<\"}\n")}}
	broken := done
	broken.Result = &task.Result{Status: 200, ContentType: "application/json", Body: []byte(`{"a`)}
	for want, tk := range map[string]task.Task{
		`{"id":"i","kind":"/chat","state":"PENDING","created":"2026-01-02T03:04:05Z","attempts":0,"position":3,"eta_ms":1500,"reason":"tokens","progress":{"percent":4,"note":"n"}}`:   waiting,
		`{"id":"i","kind":"/chat","state":"FAILURE","created":"2026-01-02T03:04:05Z","started":"2026-01-02T03:04:05Z","finished":"2026-01-02T03:04:05Z","attempts":2,"error":"words"}`: failed,
		`{"id":"i","kind":"k","state":"SUCCESS","created":"2026-01-02T03:04:05Z","attempts":0,"result":{"status":200,"content_type":"application/json","body":{"a":"\u003c"}}}`:        done,
		`{"id":"i","kind":"k","state":"SUCCESS","created":"2026-01-02T03:04:05Z","attempts":0,"result":{"status":200,"content_type":"application/json","body":"{\"a"}}`:                broken,
	} {
		got, err := json.Marshal(viewOf(&tk))
		if err != nil || string(got) != want {
			t.Errorf("%v\n got %s\nwant %s", err, got, want)
		}
	}
}

// Work says which failures another try may mend.
func TestWorkFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		kind  string
		body  string
		fail  error
		retry bool
		words string
	}{
		"throttled":      {"openai/chat", chatBody, &llm.Error{Kind: llm.KindThrottle}, true, "limiting"},
		"transient":      {"openai/chat", chatBody, &llm.Error{Kind: llm.KindTransient}, true, "failed"},
		"used up":        {"openai/chat", chatBody, &llm.Error{Kind: llm.KindExhausted}, false, "used up"},
		"no model":       {"openai/chat", `{"messages":[]}`, nil, false, "model"},
		"no route":       {"openai/chat", `{"model":"x","messages":[]}`, nil, false, "exist"},
		"of another one": {"openai/embedding", chatBody, nil, false, "input"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := build(t, 1, after(0, tc.fail), func(o *Options) { o.Routes = []Route{{Model: "m"}} })
				defer w.admission.Close()
				_, err := w.gateway.Work(t.Context(), task.Task{Kind: tc.kind, Payload: []byte(tc.body), Flow: flow.Key{Class: flow.Chat, Tenant: "t"}}, func(TaskUpdate) {})
				var f *task.Failure
				if !asFailure(err, &f) || f.Retry != tc.retry || !strings.Contains(f.Message, tc.words) {
					t.Errorf("%+v", err)
				}
			})
		})
	}
}

func asFailure(err error, f **task.Failure) bool {
	got, ok := err.(*task.Failure) //nolint:errorlint // Work returns it as it is
	*f = got
	return ok
}

func TestTasksAreAskedForAsTasks(t *testing.T) {
	g, s := spied(t, Options{})
	result, err := g.Work(t.Context(), task.Task{Kind: "openai/embedding", Payload: []byte(`{"model":"m","input":"i"}`), Flow: flow.Key{Class: flow.Batch, Tenant: "t", User: "u"}, Header: http.Header{"Openai-Beta": {"b"}}}, nil)
	if err != nil || result.Status != 200 || string(result.Body) != answerText {
		t.Fatalf("%+v, %v", result, err)
	}
	r := s.asked[0]
	if !r.Ask.Task || r.Ask.Flow != (flow.Key{Class: flow.Batch, Tenant: "t", User: "u"}) || r.Call.Operation != llm.OpEmbedding || r.Call.Header.Get("Openai-Beta") != "b" || !r.Ask.Hold.IsZero() {
		t.Errorf("%+v", r)
	}
	if r.Ask == (admission.Ask{}) {
		t.Error("nothing was asked")
	}
}
