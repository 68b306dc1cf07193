package endpoint

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/task"
)

// TestI1ListsAreBounded: the values of all lists of a body together are counted,
// for each costs more to look at than it weighs.
func TestI1ListsAreBounded(t *testing.T) {
	t.Parallel()
	const rest = `{"session_id":"s","message":"Why?"`
	list := func(n int) string { return "[" + strings.Repeat("1,", n-1) + "1]" }
	p := newPlan(chatting())
	for name, test := range map[string]struct {
		body string
		fits bool
	}{
		"as many as may be":       {rest + `,"x":` + list(maxValues) + `}`, true},
		"one more":                {rest + `,"x":` + list(maxValues+1) + `}`, false},
		"one more, in two lists":  {rest + `,"x":` + list(maxValues) + `,"y":[1]}`, false},
		"one more, on two levels": {rest + `,"x":[` + list(maxValues) + `]}`, false},
		"one more, in an object":  {rest + `,"x":{"y":` + list(maxValues+1) + `}}`, false},
		"lists without values":    {rest + `,"x":{"a":[],"b":[]},"y":` + list(maxValues) + `}`, true},
	} {
		_, err := p.read([]byte(test.body))
		f, ok := errors.AsType[*fault](err)
		switch {
		case test.fits && err != nil:
			t.Errorf("%s: %v", name, err)
		case !test.fits && (!ok || f.status != 400 || f.message != "The body has lists of more than 50000 values."):
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

// TestI9ConversationsAreTheirEndpoints: what was said to one endpoint is not told to
// another of the same tenant and session, which other keys may use.
func TestI9ConversationsAreTheirEndpoints(t *testing.T) {
	t.Parallel()
	var asked string
	doctor, shop := chatting(), chatting()
	doctor.Path, shop.Path = "/doctor", "/shop"
	w := build(t, dispatcher(func(ctx context.Context, req *dispatch.Request, r dispatch.Reply) flow.Outcome {
		asked = string(req.Call.Body)
		return script{pieces: []string{"ok"}}.play(ctx, r)
	}), doctor, shop)
	say := func(path, message string) {
		t.Helper()
		if _, err := w.try(t.Context(), path, `{"session_id":"s1","message":"`+message+`"}`); err != nil {
			t.Fatal(err)
		}
	}
	say("/doctor", "It hurts.")
	say("/shop", "What do you know?")
	if strings.Contains(asked, "It hurts.") {
		t.Errorf("another endpoint is told the conversation: %s", asked)
	}
	say("/doctor", "What do you know?")
	contains(t, asked, `{"role":"user","content":"It hurts."},{"role":"assistant","content":"ok"},{"role":"user","content":"What do you know?"}]`)
}

// TestResultThatIsNoJSON: the status of a task is JSON, whatever its result is.
func TestResultThatIsNoJSON(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]any{
		`<script>alert(1)</script>`: `<script>alert(1)</script>`,
		`{"a":1`:                    `{"a":1`,
		"\xff":                      "\ufffd",
		``:                          ``,
		`{"a":1}`:                   map[string]any{"a": 1.0},
		`"text"`:                    "text",
	} {
		status := fields(t, statusBody(&task.Task{ID: "t1", State: task.Success, Result: &task.Result{Status: 200, Body: []byte(body)}}))
		got, there := status["result"]
		if m, ok := want.(map[string]any); ok {
			n, same := got.(map[string]any)
			if !same || n["a"] != m["a"] {
				t.Errorf("%q is told as %v", body, got)
			}
			continue
		}
		if !there || got != want || status["error"] != nil {
			t.Errorf("%q is told as %v, want %v", body, got, want)
		}
	}
}
