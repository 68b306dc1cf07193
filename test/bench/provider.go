package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// provider is the mock: it answers each request with the same bytes after the
// same time. It speaks HTTP by hand, because what it costs is taken from the
// core of the load.
type provider struct {
	delay  time.Duration
	chunks int
	every  time.Duration

	answer []byte // a whole answer, header included
	head   []byte // header of a stream
	chunk  []byte // one event of it, framed
	last   []byte // the last event, framed, without what follows
	usage  []byte // the event with usage, framed
	done   []byte // the end mark and the end of the body
}

func newProvider(o *options) *provider {
	const common = "Date: Thu, 01 Oct 2026 10:00:00 GMT\r\nServer: mock\r\nX-Request-Id: req_0123456789abcdef0123456789abcdef\r\n" +
		"Openai-Processing-Ms: 58\r\nOpenai-Version: 2020-10-01\r\n"
	body := `{"id":"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012","object":"chat.completion","created":1790848800,"model":"gpt-4o-mini",` +
		`"choices":[{"index":0,"message":{"role":"assistant","content":"` + strings.Repeat("An even current turns the wheel. ", 17) +
		`","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":62,"completion_tokens":119,"total_tokens":181,` +
		`"prompt_tokens_details":{"cached_tokens":0}},"system_fingerprint":"fp_0123456789"}`
	return &provider{
		delay: o.delay, chunks: o.chunks, every: o.every,
		answer: fmt.Appendf(nil, "HTTP/1.1 200 OK\r\n%sContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", common, len(body), body),
		head:   []byte("HTTP/1.1 200 OK\r\n" + common + "Content-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"),
		chunk:  framed(event(`[{"index":0,"delta":{"content":" current"},"logprobs":null,"finish_reason":null}]`, "null")),
		last:   framed(event(`[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]`, "null")),
		usage:  framed(event(`[]`, `{"prompt_tokens":62,"completion_tokens":100,"total_tokens":162}`)),
		done:   append(framed("data: [DONE]\n\n"), "0\r\n\r\n"...),
	}
}

// event is a chunk as OpenAI sends it.
func event(choices, usage string) string {
	return `data: {"id":"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012","object":"chat.completion.chunk","created":1790848800,` +
		`"model":"gpt-4o-mini","system_fingerprint":"fp_0123456789","choices":` + choices + `,"usage":` + usage + "}\n\n"
}

// framed is a chunk of HTTP.
func framed(s string) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(s), s) }

// serveProvider runs the mock until ctx ends.
func serveProvider(ctx context.Context, o *options) error {
	l, err := listen(ctx, o.listen)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	p := newProvider(o)
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		go p.serve(c)
	}
}

// serve answers the requests of one connection, until it breaks.
func (p *provider) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		if !bytes.Contains(body, []byte(`"stream":true`)) {
			time.Sleep(p.delay)
			_, err = c.Write(p.answer)
		} else {
			err = p.stream(c, bytes.Contains(body, []byte(`"include_usage":true`)))
		}
		if err != nil {
			return
		}
	}
}

// stream sends the chunks in their time, whatever a write takes.
func (p *provider) stream(c net.Conn, usage bool) error {
	start := time.Now()
	out := append([]byte(nil), p.head...)
	for i := range p.chunks - 1 {
		if _, err := c.Write(append(out, p.chunk...)); err != nil {
			return err
		}
		out = out[:0]
		time.Sleep(time.Until(start.Add(time.Duration(i+1) * p.every)))
	}
	out = append(out, p.last...)
	if usage {
		out = append(out, p.usage...)
	}
	_, err := c.Write(append(out, p.done...))
	return err
}

func listen(ctx context.Context, address string) (net.Listener, error) {
	var c net.ListenConfig
	return c.Listen(ctx, "tcp", address)
}
