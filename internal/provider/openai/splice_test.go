package openai

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/llm"
)

func sentFor(call llm.Call) string { return string(bytes.Join(outgoing(&call), nil)) }

func TestI1EditsOnlyWhatItMust(t *testing.T) {
	const options = `"stream_options":{"include_usage":true}`
	for _, c := range []struct {
		name, model string
		stream      bool
		body, want  string
	}{
		{"nothing", "", false, `{ "model":"m" }`, `{ "model":"m" }`},
		{"model in place", "n", false, `{"a":1, "model" : "m" ,"b":2}`, `{"a":1, "model" : "n" ,"b":2}`},
		{"model twice", "n", false, `{"model":"m","x":[],"model":"dear"}`, `{"model":"n","x":[],"model":"n"}`},
		{"model in disguise", "n", false, `{"model":"m","mod\u0065l":"dear"}`, `{"model":"n","mod\u0065l":"n"}`},
		{"model deeper down", "n", false, `{"x":{"model":"m"},"y":"\"model\":\"m\"","model":"m"}`, `{"x":{"model":"m"},"y":"\"model\":\"m\"","model":"n"}`},
		{"model missing", "n", false, `{"a":1}`, `{"model":"n","a":1}`},
		{"model not a string", "n", false, `{"model":null}`, `{"model":"n"}`},
		{"empty object", "n", true, ` { } `, ` {"model":"n",` + options + ` } `},
		{"name that needs quoting", `a"b`, false, `{"model":"m"}`, `{"model":"a\"b"}`},
		{"ask for usage", "", true, `{"stream":true}`, `{` + options + `,"stream":true}`},
		{"mentioned in a prompt", "", true, `{"p":"\"stream_options\""}`, `{` + options + `,"p":"\"stream_options\""}`},
		{"options null", "", true, `{"stream_options":null,"n":1}`, `{` + options + `,"n":1}`},
		{"options empty", "", true, `{"stream_options":{}}`, `{` + options + `}`},
		{"options without usage", "", true, `{"stream_options":{"x":{"include_usage":false}}}`, `{"stream_options":{"include_usage":true,"x":{"include_usage":false}}}`},
		{"options that refuse", "", true, `{"stream_options":{"include_usage" : false}}`, `{"stream_options":{"include_usage" : true}}`},
		{"options of a wrong type", "", true, `{"stream_options":7}`, `{"stream_options":7}`},
		{"no object", "n", true, `[1]`, `[1]`},
		{"cut off", "n", true, `{"model":"m","x":`, `{"model":"m","x":`},
		{"more behind", "n", false, `{"model":"m"}{}`, `{"model":"m"}{}`},
		{"empty", "n", true, ``, ``},
	} {
		call := llm.Call{Model: c.model, Stream: c.stream, Body: []byte(c.body)}
		if diff := cmp.Diff(c.want, sentFor(call)); diff != "" {
			t.Errorf("I1: %s (-want +got):\n%s", c.name, diff)
		}
	}
}

func TestI1NothingToEditIsNoCopy(t *testing.T) {
	body := []byte(`{"model":"m","messages":[]}`)
	for _, call := range []llm.Call{{Body: body}, {Body: body, Model: "m"}, {Body: body, Stream: true, WantUsage: true}} {
		parts := outgoing(&call)
		if len(parts) != 1 || &parts[0][0] != &body[0] {
			t.Errorf("I1: a body without edits was copied or cut into %d parts", len(parts))
		}
	}
}

// TestI1SameMeaning decodes what is sent: it must be what the client sent, with
// the two edits made.
func TestI1SameMeaning(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{`"`, `\`, `\"`, "}", "model", "é\n"}))
	value := rapid.OneOf(
		rapid.Map(text, func(s string) any { return s }),
		rapid.Map(rapid.Float64Range(-1e9, 1e9), func(f float64) any { return f }),
		rapid.Map(rapid.SliceOfN(text, 0, 3), func(s []string) any { return s }),
		rapid.Map(rapid.MapOfN(text, text, 0, 3), func(m map[string]string) any { return m }),
		rapid.Just[any](nil), rapid.Just[any](true),
	)
	key := rapid.OneOf(text, rapid.SampledFrom([]string{"model", "messages", "stream"}))
	rapid.Check(t, func(t *rapid.T) {
		body, err := json.Marshal(rapid.MapOfN(key, value, 0, 6).Draw(t, "body"))
		if err != nil {
			t.Fatal(err)
		}
		var want, got map[string]any
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatal(err)
		}
		want["model"] = "n"
		want["stream_options"] = map[string]any{"include_usage": true}
		sent := sentFor(llm.Call{Model: "n", Stream: true, Body: body})
		if err := json.Unmarshal([]byte(sent), &got); err != nil {
			t.Fatalf("I1: the provider would receive broken JSON %q for %q: %v", sent, body, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("I1: the meaning changed (-want +got):\n%s", diff)
		}
	})
}

func FuzzOutgoing(f *testing.F) {
	f.Add([]byte(`{"model":"m","stream_options":{"a":1}}`))
	f.Add([]byte(`{"mod\u0065l" : "x"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		sent := sentFor(llm.Call{Model: "n", Stream: true, Body: body})
		if !json.Valid(body) {
			return // whatever is sent, the provider refuses it
		}
		if !json.Valid([]byte(sent)) {
			t.Fatalf("I1: valid JSON %q became %q", body, sent)
		}
		if trimmed := strings.TrimLeft(string(body), " \t\r\n"); !strings.HasPrefix(trimmed, "{") && sent != string(body) {
			t.Fatalf("I1: %q is no object, yet it was edited: %q", body, sent)
		}
	})
}
