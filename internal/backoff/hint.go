package backoff

import (
	"bytes"
	"net/http"
	"strings"
	"time"
)

// What is looked at, in bytes.
const (
	maxBody   = 64 << 10
	maxHeader = 4 << 10
)

// hintOf is how long a failed answer asks to wait, 0..MaxHint; 0 if it names no wait.
func hintOf(now time.Time, h http.Header, body []byte) time.Duration {
	for _, read := range [...]func() (time.Duration, bool){
		func() (time.Duration, bool) { return headerWait(now, h) },
		func() (time.Duration, bool) { return bodyWait(now, body) },
		func() (time.Duration, bool) { return limitWait(now, h) },
	} {
		if wait, ok := read(); ok {
			return clamp(wait, MaxHint)
		}
	}
	return 0
}

// headerWait reads the headers made for it; milliseconds win, being the finer.
func headerWait(now time.Time, h http.Header) (time.Duration, bool) {
	if v, ok := number(strings.TrimSpace(first(h, "Retry-After-Ms"))); ok {
		return scaled(v, time.Millisecond), true
	}
	if d, ok := until(now, first(h, "Retry-After")); ok {
		return d, true
	}
	if v, ok := number(strings.TrimSpace(first(h, "X-Amz-Retry-After"))); ok {
		return scaled(v, time.Millisecond), true
	}
	return 0, false
}

// bodyKeys are members of error bodies that hold a wait.
var bodyKeys = [...]string{`"retryDelay"`, `"retry_after"`, `"retryAfter"`}

// bodyPhrases come before a span in the messages of providers, lower case.
var bodyPhrases = [...]string{"try again in ", "retry in ", "retry after ", "try again after "}

// bodyWait reads the body as text, so that any nesting will do.
func bodyWait(now time.Time, body []byte) (time.Duration, bool) {
	for _, key := range bodyKeys {
		if _, after, found := bytes.Cut(body, []byte(key)); found {
			if d, ok := until(now, value(after)); ok {
				return d, true
			}
		}
	}
	lower := bytes.ToLower(body)
	for _, phrase := range bodyPhrases {
		if _, after, found := bytes.Cut(lower, []byte(phrase)); found {
			if d, _, ok := span(string(after[:min(len(after), 64)])); ok {
				return d, true
			}
		}
	}
	return 0, false
}

// value is the string or number that follows a member's name in JSON.
func value(after []byte) string {
	after = bytes.TrimLeft(after[:min(len(after), 80)], " \t\r\n:")
	if len(after) > 0 && after[0] == '"' {
		text, _, _ := bytes.Cut(after[1:], []byte(`"`))
		return string(text)
	}
	end := bytes.IndexAny(after, ",}] \t\r\n")
	if end < 0 {
		end = len(after)
	}
	return string(after[:end])
}

// limitWait is the longest reset of a limit that has nothing left. OpenAI's
// resets are left out: they say when the limit is whole again, long after the
// next request would pass.
func limitWait(now time.Time, h http.Header) (time.Duration, bool) {
	var store [8]Limit
	longest := time.Duration(-1)
	for _, l := range AppendLimits(store[:0], now, h) {
		if l.Remaining == 0 && l.Source != SourceOpenAI {
			longest = max(longest, l.Reset)
		}
	}
	return longest, longest >= 0
}

// first is the first value of a header by its canonical name, or nothing if it
// is longer than any such value has a right to be.
func first(h http.Header, canonical string) string {
	if v := h[canonical]; len(v) > 0 && len(v[0]) <= maxHeader {
		return v[0]
	}
	return ""
}
