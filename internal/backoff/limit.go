package backoff

import (
	"net/http"
	"strings"
	"time"
)

// Dim is what a limit counts.
type Dim uint8

// The dimensions. Requests is the zero value.
const (
	Requests Dim = iota
	Tokens       // input and output together
	Input        // input tokens
	Output       // output tokens
)

// String returns the dimension as it appears in metrics and logs.
func (d Dim) String() string {
	switch d {
	case Requests:
		return "requests"
	case Tokens:
		return "tokens"
	case Input:
		return "input"
	case Output:
		return "output"
	}
	return "unknown"
}

// Source is the family of headers a limit was read from.
type Source uint8

// The sources. SourceOpenAI is the zero value.
const (
	SourceOpenAI    Source = iota // x-ratelimit-*-requests and the like, of many providers
	SourceAnthropic               // anthropic-ratelimit-*
	SourceDraft                   // RateLimit and RateLimit-*, the IETF drafts
	SourceLegacy                  // X-RateLimit-*
)

// Limit is what a provider says about one of its limits.
type Limit struct {
	Dim       Dim
	Source    Source
	Limit     int64         // the most in a window; -1 if unknown
	Remaining int64         // what is left now; -1 if unknown
	Reset     time.Duration // until more is left, or at OpenAI until all is, 0..MaxReset; -1 if unknown
	Window    time.Duration // span the limit is for; 0 if unknown
	Name      string        // the provider's own name for it, such as project-tokens; may be empty
}

// family names the three headers of one limit.
type family struct {
	limit, remaining, reset string // canonical names
	name                    string
	dim                     Dim
	source                  Source
	window                  time.Duration
}

// families are the limits whose numbers stand in headers of their own.
var families = [...]family{
	openAI("Requests", Requests, 0),
	openAI("Tokens", Tokens, time.Minute),
	openAI("Project-Tokens", Tokens, time.Minute),
	openAI("Input-Tokens", Input, time.Minute),
	openAI("Output-Tokens", Output, time.Minute),
	anthropic("Requests", Requests),
	anthropic("Tokens", Tokens),
	anthropic("Input-Tokens", Input),
	anthropic("Output-Tokens", Output),
	{"X-Ratelimit-Limit", "X-Ratelimit-Remaining", "X-Ratelimit-Reset", "", Requests, SourceLegacy, 0},
}

func openAI(suffix string, dim Dim, window time.Duration) family {
	const p = "X-Ratelimit-"
	return family{p + "Limit-" + suffix, p + "Remaining-" + suffix, p + "Reset-" + suffix, strings.ToLower(suffix), dim, SourceOpenAI, window}
}

func anthropic(suffix string, dim Dim) family {
	p := "Anthropic-Ratelimit-" + suffix
	return family{p + "-Limit", p + "-Remaining", p + "-Reset", strings.ToLower(suffix), dim, SourceAnthropic, time.Minute}
}

// ReadLimits is AppendLimits into a new slice.
func ReadLimits(now time.Time, h http.Header) []Limit { return AppendLimits(nil, now, h) }

// AppendLimits appends every limit that the header speaks of to dst. It
// allocates nothing if dst has room.
func AppendLimits(dst []Limit, now time.Time, h http.Header) []Limit {
	if !speaksOfLimits(h) {
		return dst
	}
	for i := range families {
		if l, ok := families[i].read(now, h); ok {
			dst = append(dst, l)
		}
	}
	return appendDraft(dst, now, h)
}

// speaksOfLimits is one cheap pass over the names, for most answers of most
// providers have nothing to say.
func speaksOfLimits(h http.Header) bool {
	for name := range h {
		if strings.HasPrefix(name, "X-Ratelimit-") || strings.HasPrefix(name, "Ratelimit") ||
			strings.HasPrefix(name, "Anthropic-Ratelimit-") {
			return true
		}
	}
	return false
}

func (f *family) read(now time.Time, h http.Header) (Limit, bool) {
	l := Limit{
		Dim: f.dim, Source: f.source, Window: f.window, Name: f.name,
		Limit:     count(first(h, f.limit)),
		Remaining: count(first(h, f.remaining)),
		Reset:     reset(now, first(h, f.reset)),
	}
	return l, l.Limit >= 0 || l.Remaining >= 0
}

// count reads the number at the front of s, as "100, 100;w=60" begins with one;
// -1 if there is none. A negative one is 0: nothing is left.
func count(s string) int64 {
	s = strings.TrimSpace(s)
	if end := strings.IndexAny(s, ",; "); end >= 0 {
		s = s[:end]
	}
	v, ok := number(s)
	if !ok {
		return -1
	}
	return int64(min(max(v, 0), 1<<53)) // up to here a float64 holds every integer
}

func reset(now time.Time, s string) time.Duration {
	if d, ok := until(now, s); ok {
		return clamp(d, MaxReset)
	}
	return -1
}
