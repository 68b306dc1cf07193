package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// charsPerToken is the size of the text sent for one token.
const charsPerToken = 4

// composer builds the requests to one target, each by one allocation and one
// copy of a part of the shared text.
type composer struct {
	url   *url.URL
	auth  []string // Authorization, nil for none
	class []string // Millrace-Class, nil for none
	model string   // as a JSON string
	limit string   // `,"max_tokens":N` or nothing
	seed  uint64
	text  string
}

func newComposer(o *Options, t Target, text string) (*composer, error) {
	base, err := parseBase(t.URL)
	if err != nil {
		return nil, err
	}
	base.Path += "/chat/completions"
	model, err := json.Marshal(o.Model)
	if err != nil {
		return nil, fmt.Errorf("model name: %w", err)
	}
	c := &composer{url: base, model: string(model), seed: o.Seed, text: text}
	if o.Key != "" {
		c.auth = []string{"Bearer " + o.Key}
	}
	if o.Class != "" {
		c.class = []string{o.Class}
	}
	if o.MaxTokens > 0 {
		c.limit = `,"max_tokens":` + strconv.Itoa(o.MaxTokens)
	}
	return c, nil
}

// lorem makes the shared text, free of what JSON would escape.
func lorem(tokens int) string {
	const line = "The mill turns evenly while the water comes in an even current; nobody at the wheel has to wait for long. "
	size := tokens * charsPerToken
	return strings.Repeat(line, size/len(line)+1)[:size]
}

func userName(user int) string { return fmt.Sprintf("user-%03d", user) }

// request builds the request for a plan. The prompt is tokens*4 characters; it
// begins with who asks for the how-manieth time, so that no two prompts of a run
// are the same and none is answered from a cache.
func (c *composer) request(ctx context.Context, p plan) *http.Request {
	user := userName(p.user)
	size := p.tokens * charsPerToken
	b := make([]byte, 0, 256+len(c.model)+size)
	b = append(b, `{"model":`...)
	b = append(b, c.model...)
	b = append(b, `,"user":"`...)
	b = append(b, user...)
	b = append(b, '"')
	if p.stream {
		b = append(b, `,"stream":true,"stream_options":{"include_usage":true}`...)
	}
	b = append(b, c.limit...)
	b = append(b, `,"messages":[{"role":"user","content":"`...)
	end := len(b) + size
	b = fmt.Appendf(b, "%s asks %d.%d.%d: ", user, c.seed, p.loop, p.seq)
	if len(b) < end {
		b = append(b, c.text[:min(end-len(b), len(c.text))]...)
	}
	b = append(b[:end], `"}]}`...)
	// A bytes.Reader is written together with the header; any other reader would
	// cost a second system call and a copy.
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	first, _ := body()
	req := &http.Request{
		Method: http.MethodPost, URL: c.url, Host: c.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: c.header(user, p), ContentLength: int64(len(b)), Body: first, GetBody: body,
	}
	return req.WithContext(ctx)
}

func (c *composer) header(user string, p plan) http.Header {
	h := make(http.Header, 8)
	h["Content-Type"] = []string{"application/json"}
	h["User-Agent"] = []string{"millrace-load"}
	h["Millrace-User"] = []string{user}
	if p.output > 0 {
		h["Sim-Output-Tokens"] = []string{strconv.Itoa(p.output)}
	}
	if c.auth != nil {
		h["Authorization"] = c.auth
	}
	if c.class != nil {
		h["Millrace-Class"] = c.class
	}
	return h
}
