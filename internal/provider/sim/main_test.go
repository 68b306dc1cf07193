package sim

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newProvider(t testing.TB, o Options) *Provider {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// instant is a provider that answers without waiting.
func instant(t testing.TB, o Options) *Provider {
	t.Helper()
	o.Latency.Instant = true
	return newProvider(t, o)
}

const chatPath = "/v1/chat/completions"

// chat is a chat request with one user message and more fields.
func chat(prompt, more string) string {
	text, _ := json.Marshal(prompt) //nolint:errchkjson // a string always marshals
	if more != "" {
		more = "," + more
	}
	return `{"model":"m","messages":[{"role":"user","content":` + string(text) + `}]` + more + `}`
}

// result is an answer as far as it came.
type result struct {
	*httptest.ResponseRecorder
	aborted bool // the handler closed the connection
}

func post(p *Provider, path, body string, headers ...string) result {
	return postContext(context.Background(), p, path, body, headers...)
}

func postContext(ctx context.Context, p *Provider, path, body string, headers ...string) (res result) {
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(body))
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res.ResponseRecorder = httptest.NewRecorder()
	defer func() {
		if v := recover(); v != nil {
			err, ok := v.(error)
			if !ok || !errors.Is(err, http.ErrAbortHandler) {
				panic(v)
			}
			res.aborted = true
		}
	}()
	p.ServeHTTP(res, req)
	return res
}

// events are the data lines of a stream.
func (r result) events() []string {
	var out []string
	for block := range strings.SplitSeq(strings.TrimSuffix(r.Body.String(), "\n\n"), "\n\n") {
		out = append(out, strings.TrimPrefix(block, "data: "))
	}
	return out
}

// completion is what the tests read of an answer or of a chunk.
type completion struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Choices []struct {
		Index   int     `json:"index"`
		Text    string  `json:"text"`
		Message message `json:"message"`
		Delta   message `json:"delta"`
		Finish  *string `json:"finish_reason"`
	} `json:"choices"`
	Usage *usage `json:"usage"`
	Error *struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Code    *string `json:"code"`
	} `json:"error"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
	Calls   []struct {
		ID       string `json:"id"`
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
}

type usage struct {
	Prompt     int64 `json:"prompt_tokens"`
	Completion int64 `json:"completion_tokens"`
	Total      int64 `json:"total_tokens"`
}

func parseAnswer(t testing.TB, text string) completion {
	t.Helper()
	var c completion
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return c
}

// collected is a stream put together.
type collected struct {
	content, arguments, tool, finish string
	chunks                           int
	usage                            *usage
	done                             bool
}

func collect(t testing.TB, events []string) collected {
	t.Helper()
	var out collected
	for _, e := range events {
		if e == "[DONE]" {
			out.done = true
			continue
		}
		c := parseAnswer(t, e)
		if c.Usage != nil {
			out.usage = c.Usage
		}
		for _, choice := range c.Choices {
			out.chunks++
			out.content += choice.Delta.Content + choice.Text
			for _, call := range choice.Delta.Calls {
				out.tool += call.Function.Name
				out.arguments += call.Function.Arguments
			}
			if choice.Finish != nil {
				out.finish = *choice.Finish
			}
		}
	}
	return out
}
