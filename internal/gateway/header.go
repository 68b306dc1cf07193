package gateway

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
)

// Names of headers, canonical, so that maps can be written directly.
const (
	hRequestID = "Millrace-Request-Id"
	hWait      = "Millrace-Queue-Wait-Ms"
	hPosition  = "Millrace-Queue-Position"
	hETA       = "Millrace-Queue-Eta-Ms"
	hReason    = "Millrace-Queue-Reason"
	hUpstream  = "Millrace-Upstream"
	hAttempts  = "Millrace-Attempts"
	hClass     = "Millrace-Class"
	hCache     = "Millrace-Cache"
	hDurable   = "Millrace-Durable"
	hUser      = "Millrace-User" // of requests
	hBeta      = "Openai-Beta"   // of requests, passed on

	hCacheControl = "Cache-Control"
)

// exposed are the headers that scripts of other origins may read. One slice
// serves all answers; nobody changes it.
var exposed = []string{strings.Join([]string{
	"Retry-After", "Retry-After-Ms", "X-Should-Retry", "X-Request-Id", "RateLimit", "RateLimit-Policy",
	"X-RateLimit-Limit-Requests", "X-RateLimit-Remaining-Requests", "X-RateLimit-Reset-Requests",
	"X-RateLimit-Limit-Tokens", "X-RateLimit-Remaining-Tokens", "X-RateLimit-Reset-Tokens",
	hRequestID, hWait, hPosition, hETA, hReason, hUpstream, hAttempts, hClass, hCache,
	hDurable, "Location", "Preference-Applied",
}, ", ")}

// passed are the provider's headers that clients may see. Its limits are not
// among them: what is left is shared by all, and ours are told instead.
var passed = [...]string{
	"Content-Type", "Openai-Model", "Openai-Processing-Ms", "Openai-Version", "X-Request-Id", "Request-Id",
	"Apim-Request-Id", "X-Ms-Region",
}

// maxPassed bounds the value of a provider's header; what is longer says nothing
// that a client could use.
const maxPassed = 512

// passHeader copies what clients may see. Header values are never changed in
// place, so both headers can share them.
func passHeader(to, from http.Header) {
	for _, name := range passed {
		if v := from[name]; len(v) == 1 && len(v[0]) <= maxPassed {
			to[name] = v
		}
	}
}

// values is room for the values of a response's own headers: one allocation
// instead of one for each.
type values struct {
	room [12]string
	n    int
}

func (v *values) set(h http.Header, name, value string) {
	if v.n == len(v.room) {
		h[name] = []string{value}
		return
	}
	v.room[v.n] = value
	h[name] = v.room[v.n : v.n+1 : v.n+1]
	v.n++
}

// tell sets the Millrace headers of a request that was queued.
func (v *values) tell(h http.Header, m *dispatch.Meta, class flow.Class) {
	v.set(h, hClass, string(class))
	v.set(h, hWait, decimal(m.Waited.Milliseconds()))
	if m.Cache != "" {
		v.set(h, hCache, m.Cache)
	}
	if m.Upstream != "" {
		v.set(h, hUpstream, m.Upstream)
		v.set(h, hAttempts, decimal(int64(m.Attempts)))
	}
	if m.Entry == (admission.Status{}) {
		return
	}
	v.set(h, hPosition, decimal(int64(m.Entry.Position)))
	if !m.Entry.Unknown {
		v.set(h, hETA, decimal(m.Entry.ETA.Milliseconds()))
	}
	if m.Entry.Reason != flow.ReasonNone {
		v.set(h, hReason, string(m.Entry.Reason))
	}
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func ceilSeconds(d time.Duration) int64 {
	return int64((max(d, 0) + time.Second - 1) / time.Second)
}
