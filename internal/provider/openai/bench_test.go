package openai

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/llm"
)

const benchEvent = `data: {"id":"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012","object":"chat.completion.chunk","created":1760000000,"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_0123456789","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"ab12cd"}` + "\n\n"

// endless repeats one event, one a read.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, benchEvent), nil }

// BenchmarkChunk is what one chunk of a stream costs beyond its system calls.
func BenchmarkChunk(b *testing.B) {
	c := client(b, Options{Transport: answers("text/event-stream", endless{})})
	a, err := c.Do(context.Background(), &llm.Call{Stream: true, Body: []byte(`{}`)})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Body.Next(); err != nil {
			b.Fatal(err)
		}
	}
	a.Body.(*stream).done = false
	a.Body.Close()
}

// BenchmarkAnswer is one call with a whole answer of 2 KB, the wire left out.
func BenchmarkAnswer(b *testing.B) {
	body := []byte(`{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("some words of an answer\\n", 80) +
		`"},"finish_reason":"stop"}],"usage":{"prompt_tokens":31,"completion_tokens":9,"total_tokens":40}}`)
	trip := roundTrip(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return &http.Response{
			StatusCode: 200, ContentLength: int64(len(body)),
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)),
		}, nil
	})
	c := client(b, Options{Transport: trip, Key: "sk-0123456789"})
	call := &llm.Call{Model: "n", Body: []byte(`{"model":"m","messages":[{"role":"user","content":"hi"}]}`)}
	b.ReportAllocs()
	for b.Loop() {
		a, err := c.Do(context.Background(), call)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := a.Body.Next(); err != nil {
			b.Fatal(err)
		}
		a.Body.Close()
	}
}

// BenchmarkOutgoing is the search for the two edits in a prompt of 24 KB.
func BenchmarkOutgoing(b *testing.B) {
	message := `{"role":"user","content":"` + strings.Repeat("a line of the prompt, with \\\"quotes\\\" here and there\\n", 40) + `"}`
	body := `{"model":"m","messages":[` + strings.TrimSuffix(strings.Repeat(message+",", 11), ",") + `],"stream":true}`
	call := &llm.Call{Model: "n", Stream: true, Body: []byte(body)}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		outgoing(call)
	}
}

// BenchmarkEmbeddingUsage finds the usage behind 4 MB of numbers.
func BenchmarkEmbeddingUsage(b *testing.B) {
	body := []byte(`{"data":[` + strings.Repeat("0.0123456,", 400_000) + `1],"usage":{"prompt_tokens":8,"total_tokens":8}}`)
	for b.Loop() {
		if usageNearEnd(body) == nil {
			b.Fatal("not found")
		}
	}
}
