package endpoint

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/field"
)

func TestI1Requests(t *testing.T) {
	t.Parallel()
	nested := strings.Repeat(`{"a":`, maxDepth) + `1` + strings.Repeat(`}`, maxDepth)
	var many strings.Builder
	for i := range maxMembers + 1 {
		fmt.Fprintf(&many, `,"m%d":1`, i)
	}
	const rest = `"session_id":"s","message":"Why?"`
	tests := []struct{ name, body, fault string }{
		{"fine", `{` + rest + `}`, ""},
		{"blanks", " {\n" + rest + "\t}\r\n", ""},
		{"others", `{` + rest + `,"x":{"a":[1,{"a":2}]}}`, ""},
		{"same name on other levels", `{` + rest + `,"x":{"x":{"x":1}}}`, ""},
		{"numbers", `{"session_id":17,"message":4.50}`, ""},
		{"boolean", `{"session_id":"s","message":true}`, ""},
		{"null is absent", `{` + rest + `,"current_section":null,"ai_model":null}`, ""},
		{"empty model is none", `{` + rest + `,"ai_model":""}`, ""},
		{"empty", ``, "The body is not valid JSON."},
		{"no JSON", `hello`, "The body is not valid JSON."},
		{"cut", `{` + rest, "The body is not valid JSON."},
		{"cut in a list", `{"a":[1,`, "The body is not valid JSON."},
		{"no comma", `{"a":1 "b":2}`, "The body is not valid JSON."},
		{"no colon", `{"a" 1}`, "The body is not valid JSON."},
		{"trailing comma", `{` + rest + `,}`, "The body is not valid JSON."},
		{"list", `[1]`, "The body must be a JSON object."},
		{"text", `"x"`, "The body must be a JSON object."},
		{"null", `null`, "The body must be a JSON object."},
		{"two", `{` + rest + `}{}`, "The body must be one JSON object, with nothing behind it."},
		{"more", `{` + rest + `} x`, "The body must be one JSON object, with nothing behind it."},
		{"broken UTF-8", "{\"session_id\":\"\xff\",\"message\":\"x\"}", "The body is not valid UTF-8."},
		{"twice", `{` + rest + `,"session_id":"t"}`, "Member 'session_id' is there twice."},
		{"twice, escaped", `{` + rest + `,"session\u005fid":"t"}`, "Member 'session_id' is there twice."},
		{"twice within", `{` + rest + `,"x":[{"a":1,"a":2}]}`, "Member 'a' is there twice."},
		{"deep", `{` + rest + `,"x":` + nested + `}`, "The body is nested deeper than 64 levels."},
		{"many", `{` + rest + many.String() + `}`, "The body has more than 10000 members."},
		{"no session", `{"message":"Why?"}`, "Member 'session_id' is required."},
		{"blank session", `{"session_id":" ","message":"Why?"}`, "Member 'session_id' is required."},
		{"null session", `{"session_id":null,"message":"Why?"}`, "Member 'session_id' is required."},
		{"boolean session", `{"session_id":true,"message":"Why?"}`, "Member 'session_id' must be a string or a number."},
		{"list for a session", `{"session_id":["s"],"message":"Why?"}`, "Member 'session_id' must be a string, a number or a boolean."},
		{"long session", `{"session_id":"` + strings.Repeat("s", maxName+1) + `","message":"Why?"}`, "Member 'session_id' is longer than 256 bytes."},
		{"no message", `{"session_id":"s"}`, "Member 'message' is required."},
		{"object for a message", `{"session_id":"s","message":{}}`, "Member 'message' must be a string, a number or a boolean."},
		{"list for a placeholder", `{` + rest + `,"current_section":["x"]}`, "Member 'current_section' must be a string, a number or a boolean."},
		{"number for a model", `{` + rest + `,"ai_model":1}`, "Member 'ai_model' must be a string."},
		{"long model", `{` + rest + `,"ai_model":"` + strings.Repeat("m", maxName+1) + `"}`, "Member 'ai_model' is longer than 256 bytes."},
	}
	p := newPlan(chatting())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := p.read([]byte(tt.body))
			f, ok := errors.AsType[*fault](err)
			switch {
			case tt.fault == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.fault != "" && (!ok || f.message != tt.fault || f.status != 400):
				t.Errorf("got %v, want %q", err, tt.fault)
			}
		})
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	p := newPlan(chatting())
	r, err := p.read([]byte(`{"session_id":17,"message":"a \"b\" \u00e9","current_section":2.50,"ai_model":"other"}`))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"session_id": "17", "message": `a "b" é`, "current_section": "2.50", "ai_model": "other"}
	if diff := cmp.Diff(want, r.values); diff != "" || r.session != "17" || r.model != "other" {
		t.Errorf("session %q, model %q (-want +got):\n%s", r.session, r.model, diff)
	}
}

func TestIdle(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]bool{
		`{"session_id":"s","section_name":"n"}`:                       true,
		`{"session_id":"s","section_name":"n","content":null}`:        true,
		`{"session_id":"s","section_name":"n","content":" \n\t"}`:     true,
		`{"session_id":"s","section_name":"n","content":"x"}`:         false,
		`{"session_id":"s","section_name":"n","content":0}`:           false,
		`{"session_id":"s","section_name":"n","content":"","more":1}`: true,
	} {
		p := newPlan(analyze())
		r, err := p.read([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if got := p.idle(r); got != want {
			t.Errorf("%s: idle %v", body, got)
		}
	}
	p := newPlan(chatting()) // a text endpoint always has something to do
	if r, err := p.read([]byte(question)); err != nil || p.idle(r) {
		t.Error("a question was taken for nothing")
	}
}

func TestI2PlaceholdersOnce(t *testing.T) {
	t.Parallel()
	values := map[string]string{"a": "{b}", "b": "{a}{b}", "_c1": "C", "n": ""}
	for text, want := range map[string]string{
		"":                        "",
		"plain":                   "plain",
		"{a}":                     "{b}",
		"{a}{b}":                  "{b}{a}{b}",
		"x{_c1}y":                 "xCy",
		"[{n}]":                   "[]",
		"[{missing}]":             "[]",
		"{{a}}":                   "{a}",
		"{{{a}}}":                 "{{a}}",
		"{{a}":                    "{{b}",
		"{a}}":                    "{b}}",
		`{"id": "{a}"}`:           `{"id": "{b}"}`,
		`{"a":1}`:                 `{"a":1}`,
		"{ a }":                   "{ a }",
		"{}{1a}{a-b}{a":           "{}{1a}{a-b}{a",
		"{a}{{b}}{a}":             "{b}{b}{b}",
		"{\u00e9}{a}":             "{\u00e9}{b}",
		"{a" + "\n" + "}{_c1}{{}": "{a\n}C{{}",
	} {
		parsed := parseTemplate(text)
		if got := parsed.render(values); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
		if got := parsed.size(values); got != int64(len(want)) {
			t.Errorf("%q: size %d, want %d", text, got, len(want))
		}
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a b": "a b", "a\nb\x00": "a_b_", "é": "é", "\xff": "_", "\u0085\u2028": "__", strings.Repeat("x", 300): strings.Repeat("x", maxName),
	} {
		if got := field.Clean(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(e *Endpoint)
		want   string // empty = fine
	}{
		{"fine", func(*Endpoint) {}, ""},
		{"no path", func(e *Endpoint) { e.Path = "" }, ".path"},
		{"relative", func(e *Endpoint) { e.Path = "x" }, ".path"},
		{"root", func(e *Endpoint) { e.Path = "/" }, ".path"},
		{"pattern", func(e *Endpoint) { e.Path = "/{x}" }, ".path"},
		{"dots", func(e *Endpoint) { e.Path = "/a/../v1" }, ".path"},
		{"double slash", func(e *Endpoint) { e.Path = "//v1" }, ".path"},
		{"the gateway's", func(e *Endpoint) { e.Path = "/v1/x" }, ".path"},
		{"a task route", func(e *Endpoint) { e.Path = "/queue_stats" }, ".path"},
		{"answer", func(e *Endpoint) { e.Answer = "xml" }, ".answer"},
		{"no model", func(e *Endpoint) { e.Model = "" }, ".model"},
		{"no route", func(e *Endpoint) { e.Model = "no-such" }, ".model"},
		{"no prompt", func(e *Endpoint) { e.Prompt = "" }, ".prompt"},
		{"no placeholder", func(e *Endpoint) { e.Prompt = "Say {{message}}" }, ".prompt"},
		{"structured text", func(e *Endpoint) { e.Structured = true }, ".structured"},
		{"history without a flow", func(e *Endpoint) { e.Flow = "" }, ".history"},
		{"much history", func(e *Endpoint) { e.History = 1001 }, ".history"},
		{"long wait", func(e *Endpoint) { e.Wait = longestWait + 1 }, ".wait"},
		{"negative wait", func(e *Endpoint) { e.Wait = -1 }, ".wait"},
		{"tokens", func(e *Endpoint) { e.MaxTokens = -1 }, ".max_tokens"},
		{"temperature", func(e *Endpoint) { e.Temperature = new(2.1) }, ".temperature"},
		{"echo over an own member", func(e *Endpoint) { e.Echo = []string{"response=message"} }, ".echo"},
		{"echo without a name", func(e *Endpoint) { e.Echo = []string{"=message"} }, ".echo"},
	}
	w := build(t, says("never"), analyze())
	for _, tt := range tests {
		e := chatting()
		tt.change(&e)
		_, err := New(Options{Endpoints: []Endpoint{e}}, w.deps(says("never")))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), "endpoints[0]"+tt.want)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	_, err := New(Options{Endpoints: []Endpoint{chatting(), chatting()}, MaxAnswer: -1}, Deps{})
	for _, part := range []string{"endpoints[1].path", "must not be negative", "pass Tasks"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v lacks %q", err, part)
		}
	}
	deps := w.deps(says("never"))
	deps.History = nil
	if _, err := New(Options{Endpoints: []Endpoint{chatting()}}, deps); err == nil {
		t.Error("a history without a place to keep it")
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(question))
	p := newPlan(chatting())
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := p.read(body)
		if err != nil {
			if f, ok := errors.AsType[*fault](err); !ok || f.status != 400 {
				t.Errorf("fault %v", err)
			}
			return
		}
		if r.session == "" || len(r.session) > maxName || r.model == "" {
			t.Errorf("session %q, model %q", r.session, r.model)
		}
		if n := p.prompt.size(r.values); n != int64(len(p.prompt.render(r.values))) {
			t.Errorf("size %d", n)
		}
	})
}
