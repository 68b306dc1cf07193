package gateway

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
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
	hUser      = "Millrace-User" // of requests
)

// exposed are the headers that scripts of other origins may read. One slice
// serves all answers; nobody changes it.
var exposed = []string{strings.Join([]string{
	"Retry-After", "Retry-After-Ms", "X-Should-Retry", "X-Request-Id", "RateLimit", "RateLimit-Policy",
	"X-RateLimit-Limit-Requests", "X-RateLimit-Remaining-Requests", "X-RateLimit-Reset-Requests",
	"X-RateLimit-Limit-Tokens", "X-RateLimit-Remaining-Tokens", "X-RateLimit-Reset-Tokens",
	hRequestID, hWait, hPosition, hETA, hReason, hUpstream, hAttempts, hClass,
}, ", ")}

// passed are the provider's headers that clients may see. Its limits are not
// among them: what is left is shared by all, and ours are told instead.
var passed = [...]string{
	"Content-Type", "Openai-Model", "Openai-Processing-Ms", "Openai-Version", "X-Request-Id", "Request-Id",
	"Apim-Request-Id", "X-Ms-Region",
}

// passHeader copies what clients may see. Header values are never changed in
// place, so both headers can share them.
func passHeader(to, from http.Header) {
	for _, name := range passed {
		if v := from[name]; len(v) > 0 {
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
	if m.Upstream != "" {
		v.set(h, hUpstream, m.Upstream)
		v.set(h, hAttempts, decimal(int64(m.Attempts)))
	}
	if m.Entry == (admission.Status{}) {
		return
	}
	v.set(h, hPosition, decimal(int64(m.Entry.Position)))
	v.set(h, hETA, decimal(m.Entry.ETA.Milliseconds()))
	if m.Entry.Reason != flow.ReasonNone {
		v.set(h, hReason, string(m.Entry.Reason))
	}
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

// limitsFor is how long the texts of a route's limits are used again. They age by
// less than the trip to the client takes.
const limitsFor = 50 * time.Millisecond

// limits are the header texts of one route.
type limits struct {
	made   time.Time
	header [8]struct {
		name  string
		value []string
	}
	n int
}

func (l *limits) add(name, value string) {
	if l.n < len(l.header) {
		l.header[l.n].name, l.header[l.n].value = name, []string{value}
		l.n++
	}
}

// board keeps the header texts of all routes.
type board struct {
	limits Limits
	routes []atomic.Pointer[limits]
	mu     sync.Mutex // held by the one who makes new texts
}

// tell sets the limit headers of a route.
func (b *board) tell(h http.Header, route int) {
	now := time.Now()
	l := b.routes[route].Load()
	if l == nil || now.Sub(l.made) >= limitsFor {
		l = b.renew(now, route)
	}
	for i := range l.n {
		h[l.header[i].name] = l.header[i].value
	}
}

func (b *board) renew(now time.Time, route int) *limits {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.routes[route].Load(); l != nil && now.Sub(l.made) < limitsFor {
		return l
	}
	var room [8]gate.Limit
	l := describe(b.limits.AppendLimits(room[:0], route))
	l.made = now
	b.routes[route].Store(l)
	return l
}

// describe writes limits down: as the IETF draft has them, the one that binds
// first, and as OpenAI has them.
func describe(list []gate.Limit) *limits {
	l := &limits{}
	if len(list) == 0 {
		return l
	}
	binding := 0
	for i := range list {
		if scarcity(&list[i]) > scarcity(&list[binding]) {
			binding = i
		}
	}
	list[0], list[binding] = list[binding], list[0]
	var state, policy []byte
	for i := range list {
		state = appendState(state, list, i)
		policy = appendPolicy(policy, list, i)
	}
	l.add("RateLimit", string(state))
	l.add("RateLimit-Policy", string(policy))
	l.openai(list, quota.Requests, "Requests")
	l.openai(list, quota.Total, "Tokens")
	return l
}

// scarcity is the used part of a limit.
func scarcity(l *gate.Limit) float64 {
	if l.Max <= 0 {
		return 0
	}
	return 1 - float64(l.Remaining)/float64(l.Max)
}

// openai writes the tightest limit of a dimension.
func (l *limits) openai(list []gate.Limit, dim quota.Dim, suffix string) {
	for i := range list {
		if list[i].Dim != dim {
			continue
		}
		l.add("X-Ratelimit-Limit-"+suffix, decimal(list[i].Max))
		l.add("X-Ratelimit-Remaining-"+suffix, decimal(max(list[i].Remaining, 0)))
		l.add("X-Ratelimit-Reset-"+suffix, list[i].Reset.Round(time.Millisecond).String())
		return
	}
}

func appendState(b []byte, list []gate.Limit, i int) []byte {
	b = appendName(b, list, i)
	b = strconv.AppendInt(append(b, ";r="...), max(list[i].Remaining, 0), 10)
	return strconv.AppendInt(append(b, ";t="...), ceilSeconds(list[i].Reset), 10)
}

func appendPolicy(b []byte, list []gate.Limit, i int) []byte {
	b = appendName(b, list, i)
	b = strconv.AppendInt(append(b, ";q="...), list[i].Max, 10)
	if list[i].Span > 0 {
		b = strconv.AppendInt(append(b, ";w="...), ceilSeconds(list[i].Span), 10)
	}
	if list[i].Dim != quota.Requests {
		b = append(b, `;qu="millrace-tokens"`...)
	}
	return b
}

// appendName writes the name of a limit; windows of one dimension are told apart
// by their span.
func appendName(b []byte, list []gate.Limit, i int) []byte {
	if len(b) > 0 {
		b = append(b, ", "...)
	}
	b = append(append(b, '"'), list[i].Dim.String()...)
	for j := range list {
		if j != i && list[j].Dim == list[i].Dim && list[i].Span > 0 {
			b = strconv.AppendInt(append(b, '-'), ceilSeconds(list[i].Span), 10)
			b = append(b, 's')
			break
		}
	}
	return append(b, '"')
}

func ceilSeconds(d time.Duration) int64 {
	return int64((max(d, 0) + time.Second - 1) / time.Second)
}
