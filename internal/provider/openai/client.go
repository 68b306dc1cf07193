package openai

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

// Options configure a Client. Zero values mean the defaults.
type Options struct {
	// BaseURL is where the API lives, such as https://api.openai.com/v1. The
	// operation's path is appended to it as it stands; a query is kept. It must
	// hold no user name and no password. Required.
	BaseURL string
	// Key is sent as a bearer token; where the base URL's query names an api-version,
	// as Azure's dated interface does, in the header api-key, for there a bearer token
	// is something else. None: neither.
	Key Secret
	// Transport carries the requests. Nil: one of our own, which uses no proxy
	// and keeps up to 1,024 idle connections.
	Transport http.RoundTripper
	// EnvironmentProxy makes our own transport obey HTTP_PROXY and its kin.
	EnvironmentProxy bool
	// ConnectTimeout bounds dialing, and again the TLS handshake, of our own
	// transport. Default 30 s.
	ConnectTimeout time.Duration
	// FirstByteTimeout bounds the time from Do to the answer's header, dialing
	// included. Zero: no bound.
	FirstByteTimeout time.Duration
	// ReadTimeout bounds the silence between two reads of an answer. Default 300 s.
	ReadTimeout time.Duration
	// MaxAnswer bounds an answer that is not a stream, in bytes. Default 64 MiB.
	MaxAnswer int64
}

func (o Options) withDefaults() Options {
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = 30 * time.Second
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = 300 * time.Second
	}
	if o.MaxAnswer == 0 {
		o.MaxAnswer = 64 << 20
	}
	return o
}

// parse checks the options and returns the base URL.
func (o Options) parse() (*url.URL, error) {
	base, err := parseBase(o.BaseURL)
	faults := []error{err}
	if strings.ContainsFunc(string(o.Key), func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		faults = append(faults, errors.New("key: it holds a blank, a line break or a character outside ASCII; look for a stray newline at its end"))
	}
	for name, negative := range map[string]bool{
		"connect timeout":    o.ConnectTimeout < 0,
		"first byte timeout": o.FirstByteTimeout < 0,
		"read timeout":       o.ReadTimeout < 0,
		"max answer":         o.MaxAnswer < 0,
	} {
		if negative {
			faults = append(faults, fmt.Errorf("%s: it is negative; leave it out for the default", name))
		}
	}
	return base, errors.Join(faults...)
}

// parseBase never quotes what it was given: it may hold a password.
func parseBase(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return nil, errors.New("base URL: it is not a URL; write it like https://api.openai.com/v1")
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, errors.New("base URL: it needs http:// or https:// and a host; write it like https://api.openai.com/v1")
	case u.User != nil:
		return nil, errors.New("base URL: it holds a user name or password; put the credential into the key instead")
	case u.Fragment != "":
		return nil, errors.New("base URL: it holds a fragment (#...), which is never sent; remove it")
	}
	return u, nil
}

// Client speaks to one endpoint with one credential.
type Client struct {
	options   Options // its Key is emptied: see key
	key       Secret
	fixed     fixed
	host      string
	urls      map[llm.Operation]*url.URL
	models    *url.URL
	transport http.RoundTripper
	owned     *http.Transport // transport, if it is ours
	small     pool            // stream buffers
	large     pool            // whole answers
}

// New returns a Client, or everything that is wrong with the options.
func New(o Options) (*Client, error) {
	base, err := o.parse()
	if err != nil {
		return nil, err
	}
	c := &Client{options: o.withDefaults(), key: o.Key, fixed: newFixed(o.Key, base.Query().Has("api-version")), host: base.Host, transport: o.Transport}
	c.options.Key = ""
	c.urls = map[llm.Operation]*url.URL{
		llm.OpChat:       endpoint(base, "/chat/completions"),
		llm.OpCompletion: endpoint(base, "/completions"),
		llm.OpEmbedding:  endpoint(base, "/embeddings"),
	}
	c.models = endpoint(base, "/models")
	if c.transport == nil {
		c.owned = newTransport(c.options, base.Scheme)
		c.transport = c.owned
	}
	return c, nil
}

// endpoint returns base with path behind its own.
func endpoint(base *url.URL, path string) *url.URL {
	u := *base
	u.Path = strings.TrimRight(u.Path, "/") + path
	if u.RawPath != "" {
		u.RawPath = strings.TrimRight(u.RawPath, "/") + path
	}
	return &u
}

// Format implements fmt.Formatter: a Client prints as its host, whatever the
// verb, and never as its fields.
func (c *Client) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "openai("+c.host+")") }

// String returns the kind of client and its host.
func (c *Client) String() string { return fmt.Sprint(c) }

// Close closes idle connections. Calls under way are not disturbed.
func (c *Client) Close() error {
	if c.owned != nil {
		c.owned.CloseIdleConnections()
	}
	return nil
}

// Do sends the call and returns the answer once its header has come. An answer
// that is not a success is returned as an *llm.Error; see the package comment
// for what lies beneath it. Call.Body must not change until Do fails or the
// answer's Body is closed.
func (c *Client) Do(ctx context.Context, call *llm.Call) (*llm.Answer, error) {
	u := newUpload(outgoing(call))
	target, ok := c.urls[call.Operation]
	if !ok {
		return nil, notSpoken(call.Operation)
	}
	s, resp, err := c.open(ctx, c.request(target, call), u) //nolint:bodyclose // the answer closes it, or refusal
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, s.refusal(resp)
	}
	return s.answer(call, resp)
}

// notSpoken is the answer to an operation that this protocol does not have.
func notSpoken(op llm.Operation) error {
	err := fmt.Errorf("operation %v is not part of this protocol", op)
	return &llm.Error{Kind: llm.KindInternal, Message: err.Error(), Err: &origin{err: err}}
}

// request builds everything but the body and the context.
func (c *Client) request(target *url.URL, call *llm.Call) *http.Request {
	return &http.Request{
		Method: http.MethodPost, URL: target, Host: target.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: c.header(call),
	}
}

// answer chooses how to read a success.
func (s *source) answer(call *llm.Call, resp *http.Response) (*llm.Answer, error) {
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		s.close()
		return nil, s.fault(llm.KindTransient, "the provider sent a compressed answer though none was asked for", nil)
	}
	s.client.scrub(resp.Header)
	a := &llm.Answer{Status: resp.StatusCode, Header: resp.Header, Stream: isStream(call, resp.Header)}
	if a.Stream {
		// The length may change when a chunk is hidden.
		resp.Header.Del("Content-Length")
		a.Body = newStream(s, !call.WantUsage)
		return a, nil
	}
	a.Body = &whole{
		source:   s,
		expected: resp.ContentLength,
		unframed: resp.ContentLength < 0 && resp.ProtoMajor == 1 && len(resp.TransferEncoding) == 0,
		bulky:    call.Operation == llm.OpEmbedding,
	}
	return a, nil
}

// isStream believes the Content-Type; without one, what was asked.
func isStream(call *llm.Call, h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	kind = strings.TrimSpace(kind)
	if strings.EqualFold(kind, "text/event-stream") {
		return true
	}
	return call.Stream && !strings.HasSuffix(strings.ToLower(kind), "json")
}
