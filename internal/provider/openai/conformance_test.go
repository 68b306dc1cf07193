package openai_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/dispatch/providertest"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/provider/openai"
)

const wholeUsage = `,"usage":{"prompt_tokens":31,"completion_tokens":9,"total_tokens":40,"prompt_tokens_details":{"cached_tokens":16,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":2}}`

const wholeChat = `{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Say \"usage\":{1} é","refusal":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"logprobs":null,"finish_reason":"stop"}]` + wholeUsage + `,"system_fingerprint":"fp"}`

const wholeCounted = int64(len(`Say \"usage\":{1} é`) + len(`{\"a\":1}`))

const usageEvent = `data: {"id":"c1","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":31,"completion_tokens":9,"total_tokens":40,"prompt_tokens_details":{"cached_tokens":16}}}` + "\n\n"

var streamEvents = []string{
	`data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}` + "\n\n",
	": a comment of the provider\n\n",
	`data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"Hel\"lo"}}],"usage":null}` + "\n\n",
	"event: message\r\nid: 7\r\n" + `data:{"id":"c1","choices":[{"index":0,"delta":{"content":" [DONE]"}}]}` + "\r\n\r\n",
	`data: {"id":"c1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"q\":1}"}}]}}]}` + "\n\n",
	`data: {"id":"c1","choices":[{"index":0,"delta":{"reasoning_content":"hmm","reasoning":"hmm"}}]}` + "\n\n",
	`data: {"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}` + "\n\n",
}

const streamCounted = int64(len(`Hel\"lo`) + len(` [DONE]`) + len(`{\"q\":1}`) + len("hmm"))

const failed = `data: {"error":{"message":"busy","type":"server_error","code":"server_is_overloaded"}}` + "\n\n"

const doneEvent = "data: [DONE]\n\n"

func stream(parts ...string) []byte { return []byte(strings.Join(parts, "")) }

var usage = llm.Usage{Input: 15, CacheRead: 16, Output: 9}

func requests() []providertest.Request {
	const ask = `{"model":"m","messages":[{"role":"user","content":"hi"}]`
	streamed := func(model, body string) llm.Call {
		return llm.Call{Model: model, Stream: true, Body: []byte(body)}
	}
	var list []providertest.Request
	add := func(name string, call llm.Call, want string) {
		list = append(list, providertest.Request{Name: name, Call: call, Want: []byte(want)})
	}
	odd := "\n {\"messages\" : [ ] , \"x\":1.50e+3,\"model\":\"m\\u0061\" }\n"
	add("nothing to edit", llm.Call{Body: []byte(odd)}, odd)
	add("same model", llm.Call{Model: "m", Body: []byte(ask + "}")}, ask+"}")
	add("other model", llm.Call{Model: "n", Body: []byte(ask + "}")}, `{"model":"n","messages":[{"role":"user","content":"hi"}]}`)
	add("usage is asked for", streamed("", ask+"}"), `{"stream_options":{"include_usage":true},`+ask[1:]+"}")
	add("embeddings have no stream options", llm.Call{Operation: llm.OpEmbedding, Stream: true, Body: []byte(`{"input":"a"}`)}, `{"input":"a"}`)
	asked := streamed("", ask+`,"stream_options":{"include_usage":true}}`)
	asked.WantUsage = true
	add("the client asked itself", asked, string(asked.Body))
	add("other stream options stay", streamed("n", `{"model":"m","stream_options":{"include_obfuscation":false},"n":1}`),
		`{"model":"n","stream_options":{"include_usage":true,"include_obfuscation":false},"n":1}`)
	return list
}

func harness() providertest.Harness {
	noUsage := strings.Replace(wholeChat, wholeUsage, "", 1)
	events := strings.Join(streamEvents, "")
	ask := []byte(`{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}`)
	return providertest.Harness{
		New: func(tb testing.TB, s providertest.Setup) providertest.Provider {
			c, err := openai.New(openai.Options{
				BaseURL: s.BaseURL, Key: openai.Secret(s.Key),
				FirstByteTimeout: s.FirstByteTimeout, ReadTimeout: s.ReadTimeout, MaxAnswer: s.MaxAnswer,
			})
			if err != nil {
				tb.Fatal(err)
			}
			tb.Cleanup(func() { _ = c.Close() })
			return c
		},
		Whole: providertest.Exchange{
			Call: llm.Call{Body: []byte(`{"model":"m","messages":[]}`)}, ContentType: "application/json; charset=utf-8",
			Answer: []byte(wholeChat), Usage: usage, Counted: wholeCounted, WithoutUsage: []byte(noUsage),
		},
		Stream: providertest.Exchange{
			Call: llm.Call{Stream: true, Body: ask}, ContentType: "text/event-stream; charset=utf-8",
			Answer: stream(events, usageEvent, doneEvent), Forwarded: stream(events, doneEvent),
			Usage: usage, Counted: streamCounted, WithoutUsage: stream(events, doneEvent),
		},
		Requests: requests(),
		Errors:   refusals(),
		Event: func(text []byte) []byte {
			return stream(`data: {"choices":[{"delta":{"content":"`, string(text), `"}}]}`, "\n\n")
		},
		Slack: len("\n\n"),
		Early: [][]byte{
			stream(failed),
			stream(": a comment of the provider\n\n", failed, doneEvent),
			stream(failed, events, doneEvent),
		},
	}
}

func refusals() []providertest.Refusal {
	body := func(message, typ, code string) []byte {
		return []byte(`{"error":{"message":"` + message + `","type":"` + typ + `","param":null,"code":"` + code + `"}}`)
	}
	limited := "Rate limit reached for m on tokens per min (TPM): Limit 200000, Used 195869, Requested 4412. Please try again in 84ms."
	return []providertest.Refusal{
		{Name: "rate limit, told in words", Status: 429, Body: body(limited, "tokens", "rate_limit_exceeded"), Kind: llm.KindThrottle, RetryAfter: 84 * time.Millisecond},
		{Name: "rate limit, told in a header", Status: 429, Header: http.Header{"Retry-After": {"3"}}, Body: body("slow", "requests", "rate_limit_exceeded"), Kind: llm.KindThrottle, RetryAfter: 3 * time.Second},
		{Name: "out of money", Status: 429, Body: body("You exceeded your current quota.", "insufficient_quota", "insufficient_quota"), Kind: llm.KindExhausted},
		{Name: "larger than the quota", Status: 429, Body: body("Request too large for m on tokens per min (TPM): Limit 30000, Requested 34307.", "tokens", "rate_limit_exceeded"), Kind: llm.KindTooLarge},
		{Name: "too long", Status: 400, Body: body("too long", "invalid_request_error", "context_length_exceeded"), Kind: llm.KindTooLarge},
		{Name: "wrong request", Status: 400, Body: body("bad", "invalid_request_error", "x"), Kind: llm.KindInvalid},
		{Name: "overloaded", Status: 503, Body: body("busy", "server_error", "server_is_overloaded"), Kind: llm.KindOverload},
	}
}

func TestConformance(t *testing.T) {
	providertest.Run(t, harness())
}
