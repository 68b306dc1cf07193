package endpoint

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/testkit"
)

// The answers of every route, as their clients know them.
func TestShapes(t *testing.T) {
	waits := script{status: admission.Status{Position: 3, ETA: 11500 * time.Millisecond, Reason: flow.ReasonRate}, queue: 20 * time.Second, pieces: []string{"[", findingA, "]"}}
	tests := []struct {
		name   string
		play   dispatcher
		body   string
		path   string
		lines  []string
		status int
	}{
		{name: "analyze_done", play: plays(script{pieces: []string{"[", findingA, ",", findingB, "]"}, pause: 100 * time.Millisecond, queue: time.Second}), path: "/analyze_section", body: section, status: 200},
		{name: "analyze_partial", play: plays(script{pieces: []string{"[", findingA, `,{"id"`}, finish: "length"}), path: "/analyze_section", body: section, status: 200},
		{name: "analyze_nothing_found", play: says("[]"), path: "/analyze_section", body: section, status: 200},
		{name: "analyze_empty", play: says("never"), path: "/analyze_section", body: `{"session_id":"s1","section_name":"Intro","content":" "}`, status: 200},
		{name: "analyze_queued", play: plays(waits), path: "/analyze_section", body: section, status: 200},
		{name: "analyze_no_session", play: says("never"), path: "/analyze_section", body: `{"section_name":"Intro","content":"x"}`, status: 400},
		{name: "analyze_failed", play: plays(script{err: &llm.Error{Kind: llm.KindAuth, Message: "key sk-123 refused"}}), path: "/analyze_section", body: section, status: 502},
		{name: "chat_done", play: says("Because ", "of <it>."), path: "/chat", body: question, status: 200},
		{name: "chat_whole", play: plays(script{whole: true, pieces: []string{"Because."}}), path: "/chat", body: question, status: 200},
		{name: "chat_async", play: plays(waits), path: "/chat", body: question, lines: []string{"Prefer: respond-async"}, status: 200},
		{name: "chat_unknown_model", play: says("never"), path: "/chat", body: `{"session_id":"s1","message":"Why?","ai_model":"no-such"}`, status: 400},
		{name: "chat_timeout", play: plays(script{err: dispatch.ErrHardLimit}), path: "/chat", body: question, status: 504},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := build(t, tt.play, analyze(), chatting())
				rw := w.post(t, tt.path, tt.body, tt.lines...)
				if rw.Code != tt.status {
					t.Errorf("status %d, want %d", rw.Code, tt.status)
				}
				if got := rw.Header().Get("Content-Type"); got != "application/json" {
					t.Errorf("content type %q", got)
				}
				testkit.Golden(t, tt.name, w.pretty(t, rw))
			})
		})
	}
}

// An application of its own, in configuration alone.
func TestAnotherApplication(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var asked string
		w := build(t, dispatcher(func(ctx context.Context, req *dispatch.Request, r dispatch.Reply) flow.Outcome {
			asked = string(req.Call.Body)
			if req.Ask.Flow != (flow.Key{Class: flow.Chat, Tenant: "acme", User: "10.0.0.1"}) {
				t.Errorf("flow %v", req.Ask.Flow)
			}
			return script{pieces: []string{"Short."}}.play(ctx, r)
		}), Endpoint{Path: "/v2/summarize", Model: "small", Prompt: "In {words} words: {text}", Required: []string{"text"}, Wait: time.Second})
		rw := w.post(t, "/v2/summarize", `{"text":"A long {words} story.","words":5}`)
		if got := fields(t, rw.Body.Bytes()); got["response"] != "Short." || got["success"] != true {
			t.Errorf("answer %v", got)
		}
		want := `{"model":"small","messages":[{"role":"user","content":"In 5 words: A long {words} story."}],"stream":true,"stream_options":{"include_usage":true}}`
		if asked != want {
			t.Errorf("asked %s", asked)
		}
	})
}

// A wait that ends before the result tells the id; the result is there later.
func TestWaitEnds(t *testing.T) {
	for _, tt := range []struct {
		name, prefer, applied string
		held                  time.Duration
	}{
		{"usual", "", "", 8 * time.Second},
		{"async", "respond-async", "respond-async", glance},
		{"shorter", "wait=2", "wait=2", 2 * time.Second},
		{"longer", "respond-async, wait=30", "respond-async, wait=30", 30 * time.Second},
		{"bounded", "wait=99999", "wait=110", 110 * time.Second},
		{"ready", "wait=90000, respond-async", "respond-async, wait=110", 110 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := build(t, plays(script{queue: 200 * time.Second, pieces: []string{"Late."}}), chatting())
				began := time.Now()
				rw := w.post(t, "/chat", question, "Prefer: "+tt.prefer)
				if held := time.Since(began); held != tt.held {
					t.Errorf("held for %v, want %v", held, tt.held)
				}
				for name, want := range map[string]string{
					"Preference-Applied": tt.applied, "Location": "/task_status/" + w.ids[0], "Millrace-Durable": "false", "Millrace-Class": "chat",
				} {
					if got := rw.Header().Get(name); got != want {
						t.Errorf("%s: %q, want %q", name, got, want)
					}
				}
				status := func() map[string]any {
					return fields(t, w.ask(t.Context(), http.MethodGet, "/task_status/"+w.ids[0], "").Body.Bytes())
				}
				if got := status(); got["state"] != "PENDING" || got["ready"] != false {
					t.Errorf("status %v", got)
				}
				<-time.After(201 * time.Second)
				synctest.Wait()
				got := status()
				result, _ := got["result"].(map[string]any)
				if got["state"] != "SUCCESS" || result["response"] != "Late." {
					t.Errorf("status %v", got)
				}
			})
		})
	}
}

// The client leaves while it is held: its task is canceled, and so is the call.
func TestI6DepartedIsCanceled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ended := make(chan error, 1)
		w := build(t, dispatcher(func(ctx context.Context, _ *dispatch.Request, r dispatch.Reply) flow.Outcome {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			r.End(flow.ErrCanceled, &dispatch.Meta{})
			return flow.OutcomeCanceled
		}), chatting())
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, leave)
		began := time.Now()
		rw := w.ask(ctx, http.MethodPost, "/chat", question)
		if rw.Body.Len() > 0 || time.Since(began) != 3*time.Second {
			t.Errorf("after %v: %s", time.Since(began), rw.Body)
		}
		synctest.Wait()
		select {
		case cause := <-ended:
			if !errors.Is(cause, flow.ErrCanceled) {
				t.Errorf("cause %v", cause)
			}
		default:
			t.Fatal("the call goes on")
		}
		if got, err := w.runner.Get(t.Context(), "acme", w.ids[0]); err != nil || got.State.String() != "REVOKED" {
			t.Errorf("task %v, %v", got.State, err)
		}
	})
}

// A client that was told its task may leave: the task goes on.
func TestToldMayLeave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := build(t, plays(script{queue: 20 * time.Second, pieces: []string{"Late."}}), chatting())
		ctx, leave := context.WithCancel(t.Context())
		w.ask(ctx, http.MethodPost, "/chat", question)
		leave()
		<-time.After(time.Minute)
		if got, err := w.runner.Get(t.Context(), "acme", w.ids[0]); err != nil || got.State.String() != "SUCCESS" {
			t.Errorf("task %v, %v", got.State, err)
		}
	})
}

func TestI8ClassAndModels(t *testing.T) {
	tests := []struct {
		name, wanted string
		classes      []flow.Class
		models       []string
		body         string
		class        flow.Class // empty: refused
	}{
		{name: "own", class: "chat"},
		{name: "lower", wanted: "analysis", class: "analysis"},
		{name: "no weight is one", wanted: "batch", class: "batch"},
		{name: "higher", wanted: "health", class: "chat"},
		{name: "unknown", wanted: "vip", class: "chat"},
		{name: "key may", classes: []flow.Class{"chat"}, class: "chat"},
		{name: "key may not", classes: []flow.Class{"analysis"}},
		{name: "key may when lowered", classes: []flow.Class{"analysis"}, wanted: "analysis", class: "analysis"},
		{name: "model", models: []string{"m"}, class: "chat"},
		{name: "pattern", models: []string{"x", "big-*"}, body: `{"session_id":"s1","message":"Why?","ai_model":"big-1"}`, class: "chat"},
		{name: "other model", models: []string{"big-*"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var asked flow.Key
				w := build(t, dispatcher(func(ctx context.Context, req *dispatch.Request, r dispatch.Reply) flow.Outcome {
					asked = req.Ask.Flow
					return script{pieces: []string{"Yes."}}.play(ctx, r)
				}), chatting())
				w.caller.Classes, w.caller.Models = tt.classes, tt.models
				body, lines := question, []string{}
				if tt.body != "" {
					body = tt.body
				}
				if tt.wanted != "" {
					lines = append(lines, "Millrace-Class: "+tt.wanted)
				}
				rw := w.post(t, "/chat", body, lines...)
				if want := (flow.Key{Class: tt.class, Tenant: "acme", User: "s1"}); tt.class != "" && (asked != want || rw.Code != 200) {
					t.Errorf("%d %s: flow %v, want %v", rw.Code, rw.Body, asked, want)
				}
				if tt.class == "" && (rw.Code != http.StatusForbidden || asked != flow.Key{}) {
					t.Errorf("%d %s: flow %v, want 403", rw.Code, rw.Body, asked)
				}
			})
		})
	}
}

// What the gateway and the runner refuse is told by the gateway.
func TestRefusals(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := build(t, says("never"), chatting())
		if rw := w.post(t, "/chat", strings.Repeat("x", 2<<20)); rw.Body.String() != "req_1 refused: too large\n" {
			t.Errorf("%s", rw.Body)
		}
		w.runner.Drain()
		if rw := w.post(t, "/chat", question); rw.Code != 503 || !strings.Contains(rw.Body.String(), "shutting down") {
			t.Errorf("%s", rw.Body)
		}
	})
}

func TestPromptTooLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e := chatting()
		e.Prompt = strings.Repeat("{message}", 100)
		w := build(t, says("never"), e)
		body := `{"session_id":"s","message":"` + strings.Repeat("x", 100_000) + `"}`
		if rw := w.post(t, "/chat", body); rw.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%d %s", rw.Code, rw.Body)
		}
	})
}

func TestPrefer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		lines []string
		want  preference
	}{
		{nil, preference{}},
		{[]string{"respond-async"}, preference{async: true}},
		{[]string{"Respond-Async, WAIT=5"}, preference{async: true, wait: 5 * time.Second, timed: true}},
		{[]string{"respond-async", `wait="7"`}, preference{async: true, wait: 7 * time.Second, timed: true}},
		{[]string{"wait = 3 ; x=y, wait=9"}, preference{wait: 3 * time.Second, timed: true}},
		{[]string{"wait=0"}, preference{timed: true}},
		{[]string{"wait=-1", "wait=x", "wait=", "wait"}, preference{}},
		{[]string{"wait=99999999999999999999"}, preference{}},
		{[]string{"wait=600"}, preference{wait: longestWait, timed: true}},
		{[]string{"return=minimal; foo, handling=lenient,,"}, preference{}},
	}
	for _, tt := range tests {
		got := prefer(http.Header{"Prefer": tt.lines})
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(preference{})); diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.lines, diff)
		}
	}
}
