package openai

import (
	"net"
	"net/http"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

const (
	userAgent   = "millrace"
	maxHeader   = 256 << 10
	idlePerHost = 1024
)

// newTransport returns the transport of a client that was given none. It is
// driven by RoundTrip alone, so redirects and cookies are off by construction.
func newTransport(o Options, scheme string) *http.Transport {
	dialer := &net.Dialer{Timeout: o.ConnectTimeout, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    o.ConnectTimeout,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		ForceAttemptHTTP2:      scheme == "https",
	}
	if o.EnvironmentProxy {
		t.Proxy = http.ProxyFromEnvironment
	}
	return t
}

// ours are the headers that a caller cannot set: the credential, what net/http
// derives from the request, and what holds for one connection only.
func ours(name string) bool {
	switch name {
	case "Authorization", "Api-Key", "Accept-Encoding", "User-Agent", "Host", "Content-Length", "Content-Encoding",
		"Connection", "Proxy-Authorization", "Proxy-Connection", "Keep-Alive", "Te", "Trailer",
		"Transfer-Encoding", "Upgrade", "Expect":
		return true
	}
	return false
}

// fixed are the header values that are the same for every call. Nobody writes
// into them, so all requests share them.
type fixed struct {
	json, events, identity, agent []string
	credential                    []string // nil without a key
	place                         string   // of credential
}

func newFixed(key Secret, dated bool) fixed {
	f := fixed{
		json:     []string{"application/json"},
		events:   []string{"text/event-stream"},
		identity: []string{"identity"},
		agent:    []string{userAgent},
	}
	switch {
	case key != "" && dated:
		f.place, f.credential = "Api-Key", []string{string(key)}
	case key != "":
		f.place, f.credential = "Authorization", []string{"Bearer " + string(key)}
	}
	return f
}

// header returns what goes out: the caller's allow-listed header and ours.
func (c *Client) header(call *llm.Call) http.Header {
	h := make(http.Header, len(call.Header)+5)
	for name, values := range call.Header {
		if name = http.CanonicalHeaderKey(name); !ours(name) {
			h[name] = values
		}
	}
	if h["Content-Type"] == nil {
		h["Content-Type"] = c.fixed.json
	}
	if h["Accept"] == nil {
		h["Accept"] = c.fixed.json
		if call.Stream {
			h["Accept"] = c.fixed.events
		}
	}
	// The bytes are read as they pass, so they must not come compressed.
	h["Accept-Encoding"] = c.fixed.identity
	h["User-Agent"] = c.fixed.agent
	if c.fixed.credential != nil {
		h[c.fixed.place] = c.fixed.credential
	}
	return h
}
