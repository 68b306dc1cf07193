package sim

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func content(t *testing.T, p *Provider, body string) completion {
	t.Helper()
	return parseAnswer(t, post(p, chatPath, body).Body.String())
}

func TestEcho(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{})
	for prompt, want := range map[string]string{
		"ECHO:abc-123": "abc-123", "please ECHO:x.y\nthen more": "x.y", `say "ECHO:q" now`: "q",
	} {
		if got := content(t, p, chat(prompt, "")).Choices[0].Message.Content; got != want {
			t.Errorf("%q: %q, want %q", prompt, got, want)
		}
	}
}

func TestFeedback(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{})
	for i := range 20 {
		text := content(t, p, chat(fmt.Sprintf("Answer %d with a JSON list of feedback items", i), "")).Choices[0].Message.Content
		var items []map[string]any
		if err := json.Unmarshal([]byte(text), &items); err != nil || len(items) < 3 || len(items) > 6 {
			t.Fatalf("%d items, %v: %s", len(items), err, text)
		}
		for _, item := range items {
			keys := []string{}
			for k := range item {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			want := []string{"category", "confidence", "description", "example", "id", "questions", "risk_level", "suggestion", "type"}
			if diff := cmp.Diff(want, keys); diff != "" {
				t.Fatal(diff)
			}
		}
	}
}

func TestTools(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{})
	tools := `"tools":[{"type":"function","function":{"name":"a","parameters":{"type":"object","properties":{"n":{"type":"integer","minimum":5,"maximum":6}},"required":["n"]}}},` +
		`{"type":"function","function":{"name":"b"}}]`
	calls := func(body string) []string {
		c := content(t, p, body).Choices[0]
		var out []string
		for _, call := range c.Message.Calls {
			out = append(out, call.Function.Name+call.Function.Arguments)
		}
		if (*c.Finish == "tool_calls") != (len(out) > 0) {
			t.Errorf("finish %s with calls %v", *c.Finish, out)
		}
		return out
	}
	if got := calls(chat("x", tools)); len(got) != 1 {
		t.Errorf("calls %v", got)
	}
	named := `,"tool_choice":{"type":"function","function":{"name":"a"}}`
	if got := calls(chat("x", tools+named)); len(got) != 1 || got[0] != `a{"n":5}` && got[0] != `a{"n":6}` {
		t.Errorf("calls %v", got)
	}
	if got := calls(chat("x", tools+`,"tool_choice":"none"`)); got != nil {
		t.Errorf("tool_choice none: %v", got)
	}
	after := `{"model":"m","messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":[]},` +
		`{"role":"tool","tool_call_id":"1","content":"42"}],` + tools + `}`
	if got := calls(after); got != nil {
		t.Errorf("after a result: %v", got)
	}
}

func TestJSONObject(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{})
	for _, prompt := range []string{"x", "feedback"} {
		text := content(t, p, chat(prompt, `"response_format":{"type":"json_object"}`)).Choices[0].Message.Content
		var got map[string]any
		if err := json.Unmarshal([]byte(text), &got); err != nil || len(got) == 0 {
			t.Errorf("%v: %s", err, text)
		}
	}
	text := content(t, p, chat("x", `"response_format":{"type":"text"}`)).Choices[0].Message.Content
	if json.Valid([]byte(text)) {
		t.Errorf("text format answered JSON: %s", text)
	}
}

// drawSchema makes a schema of every keyword the generator knows.
func drawSchema(t *rapid.T, depth int) map[string]any {
	kinds := []string{"string", "integer", "number", "boolean", "null", "enum", "const", "bounded", "multiple", "ref", "sized", "union"}
	if depth < 3 {
		kinds = append(kinds, "object", "object", "array", "anyOf", "allOf", "tuple")
	}
	sub := func() map[string]any { return drawSchema(t, depth+1) }
	low := rapid.IntRange(-50, 50).Draw(t, "low")
	high := low + rapid.IntRange(0, 20).Draw(t, "range")
	switch kind := rapid.SampledFrom(kinds).Draw(t, "kind"); kind {
	case "enum":
		return map[string]any{"enum": []any{"a", 1, nil, "b\"c"}}
	case "const":
		return map[string]any{"const": map[string]any{"k": low}}
	case "bounded":
		return map[string]any{"type": rapid.SampledFrom([]string{"integer", "number"}).Draw(t, "of"), "minimum": low, "maximum": high}
	case "multiple":
		return map[string]any{"type": "integer", "multipleOf": 5, "minimum": low, "maximum": low + 10}
	case "ref":
		return map[string]any{"$ref": "#/$defs/node"}
	case "sized":
		return map[string]any{"type": "string", "minLength": 50 + low, "maxLength": 50 + high}
	case "union":
		return map[string]any{"type": []any{"null", "integer"}, "exclusiveMinimum": low}
	case "object":
		properties, required := map[string]any{}, []any{}
		for i := range rapid.IntRange(0, 4).Draw(t, "properties") {
			properties["p"+strconv.Itoa(i)] = sub()
			if rapid.Bool().Draw(t, "required") {
				required = append(required, "p"+strconv.Itoa(i))
			}
		}
		return map[string]any{"type": "object", "properties": properties, "required": append(required, "extra")}
	case "array":
		return map[string]any{"type": "array", "items": sub(), "minItems": 1, "maxItems": 4}
	case "tuple":
		return map[string]any{"type": "array", "prefixItems": []any{sub(), sub()}, "maxItems": 2}
	case "anyOf":
		return map[string]any{"anyOf": []any{sub(), sub()}}
	case "allOf":
		return map[string]any{"allOf": []any{
			map[string]any{"type": "object", "properties": map[string]any{"x": sub()}, "required": []any{"x"}},
			map[string]any{"type": "object", "properties": map[string]any{"y": sub()}, "required": []any{"y"}},
		}}
	default:
		return map[string]any{"type": kind}
	}
}

func TestSchemaAnswersAreValid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		schema := drawSchema(t, 0)
		schema["$defs"] = map[string]any{"node": map[string]any{
			"type": "object", "required": []any{"value", "next"},
			"properties": map[string]any{
				"value": map[string]any{"type": "integer"},
				"next":  map[string]any{"anyOf": []any{map[string]any{"$ref": "#/$defs/node"}, map[string]any{"type": "null"}}},
				"more":  map[string]any{"type": "array", "items": map[string]any{"$ref": "#/$defs/node"}},
			},
		}}
		raw := mustJSON(schema)
		out := fromSchema(raw, rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
		var value, root any
		if err := json.Unmarshal(out, &value); err != nil {
			t.Fatalf("%v: %s for %s", err, out, raw)
		}
		if err := json.Unmarshal(raw, &root); err != nil {
			t.Fatal(err)
		}
		if why := invalid(root, root, value); why != "" {
			t.Fatalf("%s: %s for %s", why, out, raw)
		}
	})
}

// invalid says what of value the schema does not accept, "" if nothing.
func invalid(root, schema, value any) string {
	s, ok := schema.(map[string]any)
	if !ok {
		return ""
	}
	if s["$ref"] != nil {
		return invalid(root, root.(map[string]any)["$defs"].(map[string]any)["node"], value)
	}
	if c, ok := s["const"]; ok && !cmp.Equal(c, value) {
		return "not the const"
	}
	if e, ok := s["enum"].([]any); ok && !slices.ContainsFunc(e, func(x any) bool { return cmp.Equal(x, value) }) {
		return "not in the enum"
	}
	if any, ok := s["anyOf"].([]any); ok {
		if slices.ContainsFunc(any, func(x interface{}) bool { return invalid(root, x, value) == "" }) {
			return ""
		}
		return "none of anyOf"
	}
	for _, sub := range list(s["allOf"]) {
		if why := invalid(root, sub, value); why != "" {
			return why
		}
	}
	if s["type"] != nil && !slices.ContainsFunc(append(list(s["type"]), s["type"]), func(x any) bool { return x == kindOf(value) || x == "number" && kindOf(value) == "integer" }) {
		return fmt.Sprintf("%v is no %v", value, s["type"])
	}
	return invalidInside(root, s, value)
}

func list(v any) []any {
	out, _ := v.([]any)
	return slices.Clone(out)
}

func kindOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
	}
	return "number"
}

func invalidInside(root any, s map[string]any, value any) string {
	atLeast := func(key string, x float64) bool { n, ok := s[key].(float64); return !ok || x >= n }
	atMost := func(key string, x float64) bool { n, ok := s[key].(float64); return !ok || x <= n }
	switch v := value.(type) {
	case float64:
		low, exclusive := s["exclusiveMinimum"].(float64)
		step, steps := s["multipleOf"].(float64)
		if !atLeast("minimum", v) || !atMost("maximum", v) || exclusive && v <= low || steps && math.Mod(v, step) != 0 {
			return fmt.Sprintf("%v out of range", v)
		}
	case string:
		if n := float64(utf8.RuneCountInString(v)); !atLeast("minLength", n) || !atMost("maxLength", n) {
			return fmt.Sprintf("%d characters", int(n))
		}
	case []any:
		if n := float64(len(v)); !atLeast("minItems", n) || !atMost("maxItems", n) {
			return fmt.Sprintf("%d items", len(v))
		}
		for i, item := range v {
			sub := s["items"]
			if fixed := list(s["prefixItems"]); i < len(fixed) {
				sub = fixed[i]
			}
			if why := invalid(root, sub, item); why != "" {
				return why
			}
		}
	case map[string]any:
		for _, name := range list(s["required"]) {
			if _, ok := v[name.(string)]; !ok {
				return fmt.Sprintf("%v is missing", name)
			}
		}
		properties, _ := s["properties"].(map[string]any)
		for name, sub := range properties {
			if item, ok := v[name]; ok {
				if why := invalid(root, sub, item); why != "" {
					return name + ": " + why
				}
			}
		}
	}
	return ""
}

// TestEndlessSchemas: a schema that cannot end, or asks for the world, ends.
func TestEndlessSchemas(t *testing.T) {
	t.Parallel()
	for _, schema := range []string{
		`{"type":"object","properties":{"a":{"$ref":"#"},"b":{"$ref":"#"}},"required":["a","b"]}`,
		`{"$ref":"#"}`, `{"allOf":[{"$ref":"#"}]}`, `{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}`,
		`{"type":"array","minItems":1000000000,"items":{"type":"array","minItems":1000000}}`,
		`{"type":"string","minLength":1000000000}`, `true`, `{}`, `{"$ref":"#/nowhere"}`, `{"type":"integer","minimum":1e300}`,
	} {
		out := fromSchema([]byte(schema), rand.New(rand.NewPCG(1, 1)))
		if !json.Valid(out) || len(out) > 1<<20 {
			t.Errorf("%s: %d bytes: %.100s", schema, len(out), out)
		}
	}
}

// TestLatencyModel: the first token of a stream is where the model says, and
// the total follows the number of tokens.
func TestLatencyModel(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, Options{Output: 1})
		long := newProvider(t, Options{Output: 101})
		var first, rest []time.Duration
		for range 2000 {
			start := time.Now()
			post(p, chatPath, chat("x", ""))
			first = append(first, time.Since(start))
			start = time.Now()
			post(long, chatPath, chat("x", ""))
			rest = append(rest, time.Since(start)-first[len(first)-1]) // same seed: same first token
		}
		slices.Sort(first)
		if median, p95 := first[1000], first[1900]; median < 420*time.Millisecond || median > 480*time.Millisecond ||
			p95 < 1200*time.Millisecond || p95 > 1500*time.Millisecond {
			t.Errorf("first token: median %v, p95 %v", median, p95)
		}
		slices.Sort(rest)
		if median := rest[1000]; median < 1480*time.Millisecond || median > 1560*time.Millisecond {
			t.Errorf("100 more tokens take %v in the median, want about 1.5 s", median)
		}
	})
}

func TestFixedLatency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t, Options{Output: 64, Latency: Latency{Total: time.Second}})
		for path, body := range map[string]string{
			chatPath: chat("x", ""), "/v1/chat/completions?s": chat("x", `"stream":true`),
			"/v1/embeddings": `{"model":"m","input":"x"}`,
		} {
			start := time.Now()
			post(p, path, body)
			if got := time.Since(start).Round(time.Microsecond); got != time.Second {
				t.Errorf("%s took %v", path, got)
			}
		}
	})
}

func TestPromptTokens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.IntRange(50, 3000).Draw(t, "words")
		text := strings.Repeat(rapid.SampledFrom([]string{"grain ", "höhe ", "a\tb\n", "水車小屋 "}).Draw(t, "word"), words)
		r, err := parse(opChat, []byte(chat(text, "")), "")
		if err != nil {
			t.Fatal(err)
		}
		if r.chars != int64(utf8.RuneCountInString(text)) || r.size != int64(len(text)) {
			t.Fatalf("%d characters and %d bytes, want %d and %d", r.chars, r.size, utf8.RuneCountInString(text), len(text))
		}
		perToken := float64(len(text)) / float64(r.promptTokens()-tokensPerMessage)
		if perToken < 4.1*0.89 || perToken > 4.1*1.11 {
			t.Fatalf("%v bytes a token", perToken)
		}
	})
}

func TestCorpus(t *testing.T) {
	t.Parallel()
	c := newCorpus(1)
	n := int64(len(c.cuts) - 1)
	perToken := float64(len(c.text)) / float64(n)
	if perToken < 3.7 || perToken > 4.5 {
		t.Errorf("%v bytes a token", perToken)
	}
	whole := string(c.append(nil, n-10, 0, 30)) // over the end
	pieces := ""
	for i := int64(0); i < 30; i += 4 {
		pieces += string(c.append(nil, n-10, i, min(30, i+4)))
	}
	if whole != pieces || strings.HasPrefix(whole, " ") || strings.ContainsAny(whole, "\"\\\n") {
		t.Errorf("whole %q, pieces %q", whole, pieces)
	}
}
