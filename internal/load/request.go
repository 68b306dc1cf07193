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

	"github.com/millrace/millrace/internal/load/wire"
)

// charsPerToken is the size of the text sent for one token.
const charsPerToken = wire.CharsPerToken

// composer builds the requests to one target, each by one allocation and one
// copy of parts of the shared text.
type composer struct {
	options *Options
	root    *url.URL // of what stands beside /v1
	routes  []route  // by part of the mix
	auth    []string // Authorization, nil for none
	model   string   // as a JSON string
	limit   string   // `,"max_tokens":N` or nothing
	text    string
}

// route is where the requests of a part go.
type route struct {
	part  Part
	url   *url.URL
	class []string // Millrace-Class, nil for none
}

func newComposer(o *Options, t Target, text string) (*composer, error) {
	base, err := parseBase(t.URL)
	if err != nil {
		return nil, err
	}
	model, err := json.Marshal(o.Model)
	if err != nil {
		return nil, fmt.Errorf("model name: %w", err)
	}
	root := *base
	root.Path, base.Path = strings.TrimSuffix(base.Path, "/v1")+"/", base.Path+"/" // JoinPath would leave a path relative
	c := &composer{options: o, root: &root, model: string(model), text: text}
	for _, part := range o.mix() {
		r := route{part: part, url: base.JoinPath("chat/completions")}
		if !part.chat() {
			r.url = root.JoinPath(part.Path)
		}
		if part.Class != "" {
			r.class = []string{part.Class}
		}
		c.routes = append(c.routes, r)
	}
	if o.Key != "" {
		c.auth = []string{"Bearer " + o.Key}
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

// request builds the request for a plan.
func (c *composer) request(ctx context.Context, p plan) *http.Request {
	route := &c.routes[p.part]
	b := make([]byte, 0, 512+len(c.model)+p.size(c.options)*charsPerToken+128*len(p.earlier))
	if route.part.chat() {
		b = c.chatBody(b, &p)
	} else {
		b = c.endpointBody(b, &p)
	}
	// A bytes.Reader is written together with the header; any other reader would
	// cost a second system call and a copy.
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }
	first, _ := body()
	req := &http.Request{
		Method: http.MethodPost, URL: route.url, Host: route.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: c.header(&p), ContentLength: int64(len(b)), Body: first, GetBody: body,
	}
	return req.WithContext(ctx)
}

func (c *composer) chatBody(b []byte, p *plan) []byte {
	b = append(b, `{"model":`...)
	b = append(b, c.model...)
	b = append(b, `,"user":"`...)
	b = append(b, userName(p.user)...)
	b = append(b, '"')
	if p.stream {
		b = append(b, `,"stream":true,"stream_options":{"include_usage":true}`...)
	}
	b = append(b, c.limit...)
	b = append(b, `,"messages":[`...)
	for _, t := range p.earlier {
		b = append(b, `{"role":"user","content":"`...)
		b = c.prompt(b, p, t)
		b = append(b, `"},{"role":"assistant","content":"`...)
		b = append(b, c.text[:min(c.options.replyTokens()*charsPerToken, len(c.text))]...)
		b = append(b, `"},`...)
	}
	b = append(b, `{"role":"user","content":"`...)
	b = c.prompt(b, p, turn{p.seq, p.tokens})
	return append(b, `"}]}`...)
}

// endpointBody is what the application's endpoints take: a section to look at, or
// a message of a chat. The conversation before it is theirs to remember.
func (c *composer) endpointBody(b []byte, p *plan) []byte {
	b = append(b, `{"session_id":"`...)
	b = append(b, userName(p.user)...)
	if c.options.Turns > 1 { // else a user has one session for ever
		b = fmt.Appendf(b, ".%d.%d.%d", c.options.Seed, p.loop, p.session)
	}
	if strings.HasSuffix(c.routes[p.part].part.Path, "/analyze_section") {
		b = fmt.Appendf(b, `","section_name":"Section %d","content":"`, p.seq+1)
	} else {
		b = append(b, `","message":"`...)
	}
	b = c.prompt(b, p, turn{p.seq, p.tokens})
	return append(b, `"}`...)
}

// prompt is tokens*4 characters; it begins with who asks for the how-manieth
// time, so that no two prompts of a run are the same and none is answered from a
// cache.
func (c *composer) prompt(b []byte, p *plan, t turn) []byte {
	end := len(b) + t.tokens*charsPerToken
	b = fmt.Appendf(b, "%s asks %d.%d.%d: ", userName(p.user), c.options.Seed, p.loop, t.seq)
	if len(b) < end {
		b = append(b, c.text[:min(end-len(b), len(c.text))]...)
	}
	return b[:min(end, len(b))]
}

func (c *composer) header(p *plan) http.Header {
	h := make(http.Header, 8)
	h["Content-Type"] = []string{"application/json"}
	h["User-Agent"] = []string{"millrace-load"}
	h["Millrace-User"] = []string{userName(p.user)}
	if p.output > 0 {
		h["Sim-Output-Tokens"] = []string{strconv.Itoa(p.output)}
	}
	if c.auth != nil {
		h["Authorization"] = c.auth
	}
	if class := c.routes[p.part].class; class != nil {
		h["Millrace-Class"] = class
	}
	return h
}

// status builds the question for a task, to be answered when it is ready or soon
// after.
func (c *composer) status(ctx context.Context, p *plan, id string) *http.Request {
	at := c.root.JoinPath("task_status", id)
	h := c.header(p)
	delete(h, "Content-Type")
	h["Prefer"] = []string{"wait=10"}
	req := &http.Request{
		Method: http.MethodGet, URL: at, Host: at.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h,
	}
	return req.WithContext(ctx)
}
