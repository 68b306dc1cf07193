package endpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/estimate"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/internal/testkit"
)

// try runs one try of a task of tenant acme, session s1.
func (w *world) try(ctx context.Context, path, body string) (task.Result, error) {
	return w.set.Work(ctx, task.Task{
		ID: "t1", Kind: path, Flow: flow.Key{Class: flow.Chat, Tenant: "acme", User: "s1"}, Payload: []byte(body),
	}, func(Update) {})
}

// What package dispatch is asked.
func TestRequestToDispatch(t *testing.T) {
	t.Parallel()
	var asked *dispatch.Request
	d := dispatcher(func(ctx context.Context, req *dispatch.Request, r dispatch.Reply) flow.Outcome {
		asked = req
		return script{pieces: []string{"[]"}}.play(ctx, r)
	})
	structured := analyze()
	structured.Structured, structured.MaxTokens = true, 500
	structured.Path = "/structured"
	anyJSON := Endpoint{Path: "/json", Model: "m", Prompt: "{x}", Answer: JSON, Structured: true}
	w := build(t, d, chatting(), structured, anyJSON)
	if _, err := w.try(t.Context(), "/chat", `{"session_id":"s1","message":"Why?","current_section":"Intro"}`); err != nil {
		t.Fatal(err)
	}
	want := dispatch.Request{
		ID: "t1", Soft: true,
		Ask: admission.Ask{
			Route: 3, Flow: flow.Key{Class: flow.Chat, Tenant: "acme", User: "s1"}, Model: "m", Kind: estimate.Prose, Task: true,
			Size: llm.Size{TextBytes: int64(len("On screen: IntroWhy?")), Messages: 2, MaxOutput: 100},
		},
		Call: llm.Call{Stream: true, WantUsage: true},
	}
	got := *asked
	if got.Arrived.IsZero() {
		t.Error("no time of arrival")
	}
	got.Arrived, got.Call.Body = time.Time{}, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	testkit.Golden(t, "ask_chat", append(asked.Call.Body, '\n'))
	if _, err := w.try(t.Context(), "/structured", section); err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, "ask_structured", append(asked.Call.Body, '\n'))
	if _, err := w.try(t.Context(), "/json", `{"x":"y"}`); err != nil {
		t.Fatal(err)
	}
	contains(t, string(asked.Call.Body), `"response_format":{"type":"json_object"}`)
}

// Answers that are not of the form are failures that may be tried again.
func TestI3NotOfTheForm(t *testing.T) {
	t.Parallel()
	asJSON := Endpoint{Path: "/json", Model: "m", Prompt: "{x}", Answer: JSON}
	for _, tt := range []struct {
		path string
		s    script
		want verdict
	}{
		{"/analyze_section", script{pieces: []string{"I found nothing."}}, vForm},
		{"/analyze_section", script{pieces: []string{`{"error":"no"}`}}, vForm},
		{"/analyze_section", script{}, vEmpty},
		{"/analyze_section", script{pieces: []string{`[{"description":"a`}, finish: "length"}, vCut},
		{"/json", script{pieces: []string{"Sorry."}}, vForm},
		{"/json", script{pieces: []string{`{"a":`}}, vForm},
		{"/chat", script{pieces: []string{" "}}, vForm},
		{"/chat", script{}, vEmpty},
		{"/chat", script{pieces: []string{"I"}, finish: "content_filter"}, vRefused},
		{"/chat", script{whole: true, err: &llm.Error{Kind: llm.KindTransient}, pieces: []string{"x"}}, vFailed},
		{"/chat", script{pieces: slices.Repeat([]string{strings.Repeat("x", 1<<16)}, 17)}, vLong},
	} {
		w := build(t, plays(tt.s), analyze(), asJSON, chatting())
		body := section
		switch tt.path {
		case "/json":
			body = `{"x":"y"}`
		case "/chat":
			body = question
		}
		result, err := w.try(t.Context(), tt.path, body)
		f, ok := errors.AsType[*task.Failure](err)
		if !ok || f.Message != tt.want.message || f.Retry != tt.want.retry {
			t.Errorf("%s %.99q: %s, %v; want %q", tt.path, tt.s.pieces, result.Body, err, tt.want.message)
		}
	}
}

// A failure that may pass is tried again, and the client is told a task.
func TestTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := build(t, plays(
			script{pieces: []string{"Sorry, not now."}},
			script{err: &llm.Error{Kind: llm.KindOverload}},
			script{pieces: []string{"```json\n[" + findingA + ",]\n```"}},
		), analyze())
		rw := w.post(t, "/analyze_section", section)
		contains(t, rw.Body.String(), `"async":true`)
		<-time.After(30 * time.Second)
		contains(t, w.ask(t.Context(), http.MethodGet, "/task_status/"+w.ids[0], "").Body.String(), `"status":"The last try failed; waiting for the next one."`)
		<-time.After(2 * time.Minute)
		synctest.Wait()
		got := fields(t, w.ask(t.Context(), http.MethodGet, "/task_status/"+w.ids[0], "").Body.Bytes())
		result, _ := got["result"].(map[string]any)
		if got["state"] != "SUCCESS" || result["feedback_count"] != 1.0 {
			t.Errorf("%v", got)
		}
	})
}

// The soft limit: what is complete stands.
func TestI4SoftLimit(t *testing.T) {
	t.Parallel()
	asJSON := Endpoint{Path: "/json", Model: "m", Prompt: "{x}", Answer: JSON}
	for _, tt := range []struct {
		path, text, want string
	}{
		{"/analyze_section", "[" + findingA + "," + findingB + `,{"id":"3","description":"Not`, `"feedback_count":2`},
		{"/analyze_section", "```json\n[" + findingA + ",", `"feedback_count":1`},
		{"/analyze_section", "[" + findingA + "]", `"feedback_count":1`},
		{"/analyze_section", `[{"id":"1","description":"Not`, none},
		{"/analyze_section", "[]", none},
		{"/analyze_section", "Let me", none},
		{"/analyze_section", "", none},
		{"/json", `[{"a":1},{"a":2`, `"result":[{"a":1}]`},
		{"/json", `{"a":1,`, none},
		{"/json", `12`, none},
		{"/chat", "The beginning", `"response":"The beginning"`},
		{"/chat", "", none},
	} {
		s := script{pieces: strings.SplitAfter(tt.text, ","), err: dispatch.ErrSoftLimit}
		if tt.text == "" {
			s.pieces = nil
		}
		w := build(t, plays(s), analyze(), asJSON, chatting())
		body := map[string]string{"/json": `{"x":"y"}`, "/chat": question, "/analyze_section": section}[tt.path]
		result, err := w.try(t.Context(), tt.path, body)
		if tt.want == none {
			f, ok := errors.AsType[*task.Failure](err)
			if !ok || !f.Retry || f.Message != vSoft.message {
				t.Errorf("%s %q: %s, %v", tt.path, tt.text, result.Body, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s %q: %v", tt.path, tt.text, err)
			continue
		}
		contains(t, string(result.Body), tt.want)
		if partial := strings.Contains(string(result.Body), `"partial":true`); partial != !strings.HasSuffix(tt.text, "]") {
			t.Errorf("%s %q: partial %v", tt.path, tt.text, partial)
		}
	}
}

func TestI9Conversation(t *testing.T) {
	t.Parallel()
	var asked string
	next := script{}
	w := build(t, dispatcher(func(ctx context.Context, req *dispatch.Request, r dispatch.Reply) flow.Outcome {
		asked = string(req.Call.Body)
		return next.play(ctx, r)
	}), chatting())
	say := func(session, message string, s script) {
		next = s
		_, _ = w.try(t.Context(), "/chat", fmt.Sprintf(`{"session_id":%q,"message":%q}`, session, message))
	}
	turns := func(session string) (all []string) {
		for _, turn := range w.history.Load("acme", "/chat\x00"+session) {
			all = append(all, turn.Role+":"+turn.Text)
		}
		return all
	}
	say("s1", "one", script{pieces: []string{"1"}})
	say("s1", "lost", script{err: &llm.Error{Kind: llm.KindTransient}})
	say("s1", "lost", script{pieces: []string{"x"}, finish: "content_filter"})
	say("s1", "lost", script{})
	say("s2", "other", script{pieces: []string{"o"}})
	say("s1", "two", script{pieces: []string{"2"}})
	contains(t, asked, `{"role":"user","content":"one"},{"role":"assistant","content":"1"},{"role":"user","content":"two"}]`)
	say("s1", "three", script{pieces: []string{"3"}})
	say("s1", "four", script{pieces: []string{"4"}})
	want := `"messages":[{"role":"system","content":"On screen: "},{"role":"user","content":"two"},{"role":"assistant","content":"2"},` +
		`{"role":"user","content":"three"},{"role":"assistant","content":"3"},{"role":"user","content":"four"}]`
	contains(t, asked, want)
	wantTurns := []string{"user:one", "assistant:1", "user:two", "assistant:2", "user:three", "assistant:3", "user:four", "assistant:4"}
	if diff := cmp.Diff(wantTurns, turns("s1")); diff != "" {
		t.Errorf("turns (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"user:other", "assistant:o"}, turns("s2")); diff != "" {
		t.Errorf("turns of another session (-want +got):\n%s", diff)
	}
}

// A conversation that does not fit loses its beginning.
func TestConversationIsBounded(t *testing.T) {
	t.Parallel()
	var asked string
	w := build(t, dispatcher(func(ctx context.Context, req *dispatch.Request, r dispatch.Reply) flow.Outcome {
		asked = string(req.Call.Body)
		return script{pieces: []string{"ok"}}.play(ctx, r)
	}), chatting())
	w.set.options.MaxPrompt = 60
	w.history.Append("acme", "/chat\x00s1", task.Turn{Role: "user", Text: strings.Repeat("q", 30)}, task.Turn{Role: "assistant", Text: strings.Repeat("a", 30)},
		task.Turn{Role: "user", Text: "short"}, task.Turn{Role: "assistant", Text: "answer"})
	if _, err := w.try(t.Context(), "/chat", question); err != nil {
		t.Fatal(err)
	}
	contains(t, asked, `"On screen: "},{"role":"user","content":"short"},{"role":"assistant","content":"answer"},{"role":"user","content":"Why?"}]`)
}

func TestWorkThatCannotRun(t *testing.T) {
	t.Parallel()
	w := build(t, says("never"), chatting())
	for _, tt := range []struct {
		kind, body string
		want       verdict
	}{
		{"/gone", question, vUnknown},
		{"/chat", `{"message":"Why?"}`, vRequest.with("Member 'session_id' is required.")},
		{"/chat", `{"session_id":"s","message":"Why?","ai_model":"no-more"}`, vRoute},
	} {
		_, err := w.try(t.Context(), tt.kind, tt.body)
		if f, ok := errors.AsType[*task.Failure](err); !ok || f.Message != tt.want.message || f.Retry {
			t.Errorf("%s: %v, want %q", tt.body, err, tt.want.message)
		}
	}
}

// A canceled work returns the cause, unless the answer was there already.
func TestCanceledWork(t *testing.T) {
	t.Parallel()
	w := build(t, plays(script{err: flow.ErrCanceled}), chatting())
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("why")
	cancel(cause)
	if _, err := w.try(ctx, "/chat", question); !errors.Is(err, cause) {
		t.Errorf("%v", err)
	}
	w = build(t, dispatcher(func(_ context.Context, _ *dispatch.Request, r dispatch.Reply) flow.Outcome {
		return script{pieces: []string{"Done."}}.play(context.Background(), r)
	}), chatting())
	if _, err := w.try(ctx, "/chat", question); err != nil {
		t.Errorf("%v", err)
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	refusal := func(err error) error { return &admission.Refusal{Err: err, Detail: "secret"} }
	upstream := func(k llm.ErrorKind) error { return &llm.Error{Kind: k, Message: "words"} }
	for _, tt := range []struct {
		err  error
		want verdict
	}{
		{dispatch.ErrSoftLimit, vSoft},
		{dispatch.ErrHardLimit, vHard},
		{fmt.Errorf("wrapped: %w", dispatch.ErrHardLimit), vHard},
		{refusal(flow.ErrHold), vHold},
		{refusal(flow.ErrTooLong), vTooLong},
		{refusal(flow.ErrTooLarge), vTooLarge},
		{refusal(flow.ErrQueueFull), vFull},
		{refusal(flow.ErrFlowFull), vFull},
		{refusal(flow.ErrDraining), vDraining},
		{refusal(flow.ErrNoUpstream), vNoUp},
		{refusal(flow.ErrRemoved), vRemoved},
		{flow.ErrDrained, vDraining},
		{upstream(llm.KindThrottle), vThrottle},
		{upstream(llm.KindExhausted), vExhausted},
		{upstream(llm.KindOverload), vOverload},
		{upstream(llm.KindTransient), vFailed},
		{upstream(llm.KindTimeout), vTimeout},
		{upstream(llm.KindCanceled), vFailed},
		{upstream(llm.KindInvalid), vInvalid.with(": words")},
		{upstream(llm.KindTooLarge), vTooLarge},
		{upstream(llm.KindAuth), vAuth},
		{upstream(llm.KindInternal), vInternal},
		{&llm.Error{Kind: llm.KindInvalid}, vInvalid.with(".")},
		{errTooBig, vLong},
		{errEvent, vFailed},
		{io.ErrUnexpectedEOF, vInternal},
	} {
		if got := verdictOf(tt.err); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.err, got, tt.want)
		}
		if got := statusOf(tt.want.message); got != tt.want.status {
			t.Errorf("%q: status %d, want %d", tt.want.message, got, tt.want.status)
		}
	}
	for message, want := range map[string]int{
		"internal error": 500, "": 500, "the gateway shut down before the task was done; it can be submitted again": 503,
		vRequest.with("x").message: 400, vUnknown.message: 500, vForm.message: 502,
	} {
		if got := statusOf(message); got != want {
			t.Errorf("%q: status %d, want %d", message, got, want)
		}
	}
}
