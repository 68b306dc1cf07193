package sim

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestChatReply(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Output: 40})
	res := post(p, chatPath, chat("Hello, how are you today?", ""))
	if res.Code != http.StatusOK || res.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("status %d, type %q", res.Code, res.Header().Get("Content-Type"))
	}
	c := parseAnswer(t, res.Body.String())
	if c.Object != "chat.completion" || !strings.HasPrefix(c.ID, "chatcmpl-") {
		t.Errorf("object %q, id %q", c.Object, c.ID)
	}
	got := c.Choices[0]
	if got.Message.Role != "assistant" || *got.Finish != "stop" || len(got.Message.Content) < 100 {
		t.Errorf("choice %+v", got)
	}
	if c.Usage.Completion != 40 || c.Usage.Total != c.Usage.Prompt+40 || c.Usage.Prompt < 8 || c.Usage.Prompt > 14 {
		t.Errorf("usage %+v", c.Usage)
	}
}

func TestStreamEqualsReply(t *testing.T) {
	t.Parallel()
	for name, more := range map[string]string{
		"prose": "", "two choices": `"n":2`, "bounded": `"max_tokens":7`,
		"tool":   `"tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}}}]`,
		"schema": `"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"type":"array","items":{"type":"integer"}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := parseAnswer(t, post(instant(t, Options{}), chatPath, chat("Hello", more)).Body.String())
			if more != "" {
				more += ","
			}
			body := chat("Hello", more+`"stream":true,"stream_options":{"include_usage":true}`)
			res := post(instant(t, Options{}), chatPath, body)
			if got := res.Header().Get("Content-Type"); !strings.HasPrefix(got, "text/event-stream") {
				t.Errorf("type %q", got)
			}
			events := res.events()
			got := collect(t, events)
			want := collected{done: true, finish: *whole.Choices[0].Finish, usage: whole.Usage, chunks: got.chunks}
			for _, c := range whole.Choices {
				want.content += c.Message.Content
				for _, call := range c.Message.Calls {
					want.tool += call.Function.Name
					want.arguments += call.Function.Arguments
				}
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(collected{})); diff != "" {
				t.Error(diff)
			}
			usageLast(t, events)
		})
	}
}

// usageLast: every chunk carries usage null, the last before [DONE] carries
// it with no choices.
func usageLast(t *testing.T, events []string) {
	t.Helper()
	for i, e := range events[:len(events)-1] {
		last := i == len(events)-2
		if has := strings.Contains(e, `"usage":null`); has == last {
			t.Errorf("event %d of %d: usage null is %v", i, len(events), has)
		}
		if last && !strings.Contains(e, `"choices":[]`) {
			t.Errorf("last event has choices: %s", e)
		}
	}
}

func TestStreamWithoutUsage(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{})
	res := post(p, chatPath, chat("Hello", `"stream":true`))
	if strings.Contains(res.Body.String(), "usage") || !strings.HasSuffix(res.Body.String(), "data: [DONE]\n\n") {
		t.Errorf("stream %s", res.Body.String())
	}
	if s := p.Stats(); s.Streams != 1 || s.StreamsDone != 1 || s.Output != 0 || s.Produced == 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestCompletions(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Output: 20})
	whole := parseAnswer(t, post(p, "/v1/completions", `{"model":"m","prompt":"Once upon"}`).Body.String())
	res := post(p, "/v1/completions", `{"model":"m","prompt":["Once upon"],"stream":true}`)
	got := collect(t, res.events())
	if whole.Object != "text_completion" || whole.Choices[0].Text == "" || got.content != whole.Choices[0].Text {
		t.Errorf("whole %+v, streamed %q", whole, got.content)
	}
}

func TestEmbeddings(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Seed: 3})
	var list struct {
		Data []struct {
			Index     int
			Embedding json.RawMessage
		}
		Usage usage
	}
	fetch := func(more string) {
		list.Data = nil
		res := post(p, "/v1/embeddings", `{"model":"m","input":["a stone","a river"]`+more+`}`)
		if err := json.Unmarshal(res.Body.Bytes(), &list); err != nil {
			t.Fatalf("%v in %s", err, res.Body)
		}
	}
	fetch("")
	var plain [2][]float32
	for i, d := range list.Data {
		if err := json.Unmarshal(d.Embedding, &plain[i]); err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, x := range plain[i] {
			sum += float64(x) * float64(x)
		}
		if len(plain[i]) != 256 || math.Abs(sum-1) > 1e-5 || d.Index != i {
			t.Errorf("vector %d: %d numbers, length² %v", d.Index, len(plain[i]), sum)
		}
	}
	if cmp.Equal(plain[0], plain[1]) || list.Usage.Prompt != 4 {
		t.Errorf("vectors of different texts are equal, or usage %+v is not 2 tokens each", list.Usage)
	}
	fetch(`,"encoding_format":"base64"`)
	if got := decodeVector(t, list.Data[1].Embedding); !cmp.Equal(got, plain[1]) {
		t.Errorf("base64 differs: %v", cmp.Diff(plain[1], got))
	}
	fetch(`,"encoding_format":"base64","dimensions":12`)
	if got := decodeVector(t, list.Data[0].Embedding); len(got) != 12 {
		t.Errorf("%d numbers, want 12", len(got))
	}
}

func decodeVector(t *testing.T, raw json.RawMessage) []float32 {
	t.Helper()
	bytes, err := base64.StdEncoding.DecodeString(unquote(raw))
	if err != nil {
		t.Fatal(err)
	}
	var out []float32
	for ; len(bytes) >= 4; bytes = bytes[4:] {
		out = append(out, math.Float32frombits(binary.LittleEndian.Uint32(bytes)))
	}
	return out
}

func TestOtherRoutes(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Profile: "azure", Models: []string{"one"}, Keys: []string{"k"}})
	get := func(path string, headers ...string) result {
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
		for i := 0; i+1 < len(headers); i += 2 {
			req.Header.Set(headers[i], headers[i+1])
		}
		rec := httptest.NewRecorder()
		p.ServeHTTP(rec, req)
		return result{ResponseRecorder: rec}
	}
	for _, c := range []struct {
		got    result
		status int
		text   string
	}{
		{get("/healthz"), 200, "ok"},
		{get("/v1/models"), 401, "invalid_api_key"},
		{get("/v1/models", "Authorization", "Bearer k"), 200, `"id":"one"`},
		{get("/v1/models/one", "Api-Key", "k"), 200, `"id":"one"`},
		{get("/v1/models/two", "Api-Key", "k"), 404, "model_not_found"},
		{get("/sim/stats"), 200, `"profile":"azure"`},
		{post(p, "/openai/deployments/dep/chat/completions?api-version=x", chat("x", ""), "Api-Key", "k"), 200, `"model":"dep"`},
		{post(p, chatPath, chat("x", "")), 401, "invalid_api_key"},
		{post(p, "/sim/fault", `[{"kind":"nothing"}]`), 400, "not known"},
		{post(p, "/sim/fault", `{"rules":`), 400, "error"},
		{post(p, "/sim/fault", `{"rules":[{"kind":"status","status":503,"to":"1h"}]}`), 200, "ok"},
		{post(p, chatPath, chat("x", ""), "Api-Key", "k"), 503, "overloaded"},
		{post(p, "/sim/fault", `[]`), 200, "ok"},
		{post(p, chatPath, chat("x", ""), "Api-Key", "k"), 200, "m"},
	} {
		if c.got.Code != c.status || !strings.Contains(c.got.Body.String(), c.text) {
			t.Errorf("status %d, want %d with %q: %s", c.got.Code, c.status, c.text, c.got.Body)
		}
	}
}

func TestBadRequests(t *testing.T) {
	t.Parallel()
	p := instant(t, Options{Context: 100})
	big := strings.Repeat("x", maxBody+1)
	for _, c := range []struct {
		body   string
		status int
		text   string
	}{
		{`{`, 400, "parse"},
		{``, 400, "parse"},
		{`[]`, 400, "parse"},
		{`{"model":"m","messages":[{}]}{}`, 400, "parse"},
		{strings.Repeat(`[`, 5000), 400, "parse"},
		{`{"messages":[{"role":"user","content":"x"}]}`, 400, "model"},
		{`{"model":"m"}`, 400, "messages"},
		{`{"model":"m","messages":"x"}`, 400, "messages"},
		{chat(strings.Repeat("word ", 200), ""), 400, codeContext},
		{chat(big, ""), 413, "too large"},
	} {
		res := post(p, chatPath, c.body)
		if res.Code != c.status || !strings.Contains(res.Body.String(), c.text) {
			t.Errorf("%.60s: status %d, want %d with %q: %s", c.body, res.Code, c.status, c.text, res.Body)
		}
	}
	if s := p.Stats(); s.Accepted != 0 || s.Requests != 10 {
		t.Errorf("requests %d, accepted %d", s.Requests, s.Accepted)
	}
}
