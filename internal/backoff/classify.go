package backoff

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

// maxMessage bounds the message of an error, in bytes.
const maxMessage = 1 << 10

// Classify says what an answer means. A status below 400 with a body that
// speaks of no error is KindNone; the same with one is an error that came in
// the middle of a stream.
func Classify(status int, h http.Header, body []byte) llm.ErrorKind {
	d := decode(h, body[:min(len(body), maxBody)])
	return kindOf(status, &d)
}

// Read turns a failed answer into an error. now is for hints that name a time
// of day. Header is kept as it is; Body is the first 64 KiB, sharing body's
// memory unless a secret had to be cut out of it.
func Read(now time.Time, status int, h http.Header, body []byte) *llm.Error {
	body = body[:min(len(body), maxBody):min(len(body), maxBody)]
	d := decode(h, body)
	e := &llm.Error{
		Kind:       kindOf(status, &d),
		Status:     status,
		Message:    Redact(cut(d.message, maxMessage)),
		Code:       Redact(cut(d.code, 128)),
		Type:       Redact(cut(firstOf(d.typ, d.status), 128)),
		RetryAfter: hintOf(now, h, body),
		Header:     h,
		Body:       redactBytes(body),
	}
	if e.Message == "" {
		e.Message = firstOf(http.StatusText(status), "the provider gave no reason")
	}
	if e.Kind == llm.KindNone {
		e.Kind = llm.KindTransient // the caller says it failed
	}
	return e
}

// IsRamp reports whether a throttle is about how fast the rate grew rather than
// how high it is: the answer is to grow slower, not to lower the limit.
func IsRamp(e *llm.Error) bool {
	if e == nil || e.Kind != llm.KindThrottle {
		return false
	}
	message := strings.ToLower(e.Message)
	return e.Code == "slow_down" || e.Type == "slow_down" ||
		strings.HasPrefix(message, "slow down") || hasAny(message, rampPhrases)
}

var rampPhrases = []string{"request rate increased too quickly", "acceleration limit"}

// kindOf asks the body first, then the status, which knows more than a body
// that only says "internal".
func kindOf(status int, d *detail) llm.ErrorKind {
	kind := d.kind()
	vague := kind == llm.KindTransient && status >= 500
	if kind != llm.KindNone && !vague {
		return kind
	}
	switch {
	case status >= 400:
		return kindOfStatus(status, d)
	case status >= 200 && status < 300 && !d.said():
		return llm.KindNone
	}
	return llm.KindTransient
}

func kindOfStatus(status int, d *detail) llm.ErrorKind {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return llm.KindAuth
	case http.StatusPaymentRequired:
		return llm.KindExhausted
	case http.StatusRequestTimeout, http.StatusGatewayTimeout, 524:
		return llm.KindTimeout
	case http.StatusRequestEntityTooLarge:
		return llm.KindTooLarge
	case http.StatusTooManyRequests:
		return llm.KindThrottle
	case http.StatusTooEarly, http.StatusFailedDependency, 499:
		return llm.KindTransient
	case http.StatusServiceUnavailable:
		if strings.HasPrefix(d.lower, "slow down") {
			return llm.KindThrottle
		}
		return llm.KindOverload
	case 529:
		return llm.KindOverload
	}
	if status >= 500 {
		return llm.KindTransient
	}
	return llm.KindInvalid
}

// kind is what the body alone says; KindNone if it leaves that to the status.
// The order matters: see doc.go.
func (d *detail) kind() llm.ErrorKind {
	switch {
	case d.daily || hasAnyPrefix(d.lower, exhaustedPrefixes):
		return llm.KindExhausted
	case neverFits(d.lower):
		return llm.KindTooLarge
	}
	kind := d.named()
	if kind != llm.KindNone && kind != llm.KindInvalid {
		return kind
	}
	switch {
	case hasAnyPrefix(d.lower, throttlePrefixes):
		return llm.KindThrottle
	case hasAny(d.lower, tooLongPhrases):
		return llm.KindTooLarge
	}
	return kind
}

// named is what the code, the type or the gRPC status says.
func (d *detail) named() llm.ErrorKind {
	for _, name := range [...]string{d.code, d.typ, d.status} {
		if kind, ok := kindByName[strings.ToLower(name)]; ok {
			return kind
		}
	}
	return llm.KindNone
}

// Messages that mean one thing whatever the status, in lower case. The first
// two lists are matched at the start only.
var (
	exhaustedPrefixes = []string{
		"too many tokens per day", "your credit balance is too low",
		"out of call volume quota", "insufficient balance", "insufficient credits",
	}
	throttlePrefixes = []string{
		"too many tokens, please wait", "too many requests, please wait", "your request rate is too high", "rate limit reached",
		"your request rate increased too quickly",
	}
	tooLongPhrases = []string{
		"prompt is too long", "exceeds the context window", "maximum context length", "exceeds the maximum number of tokens allowed",
		"input is too long", "context length exceeded", "exceed context limit", "reduce the length of the messages",
	}
)

// kindByName maps codes, types and gRPC statuses, in lower case. Names that a
// provider uses for more than one thing are absent: the status decides.
var kindByName = map[string]llm.ErrorKind{
	"insufficient_quota":                llm.KindExhausted,
	"credit_balance_exhausted":          llm.KindExhausted,
	"organization_spend_limit_exceeded": llm.KindExhausted,
	"project_spend_limit_exceeded":      llm.KindExhausted,
	"organization_usage_limit_exceeded": llm.KindExhausted,
	"billing_hard_limit_reached":        llm.KindExhausted,
	"billing_not_active":                llm.KindExhausted,
	"billing_error":                     llm.KindExhausted,
	"enforced_spend_limit_reached":      llm.KindExhausted,
	"servicequotaexceededexception":     llm.KindExhausted,

	"rate_limit_exceeded":                    llm.KindThrottle,
	"rate_limit_error":                       llm.KindThrottle,
	"ratelimitreached":                       llm.KindThrottle,
	"ratelimiterror":                         llm.KindThrottle,
	"slow_down":                              llm.KindThrottle,
	"throttlingexception":                    llm.KindThrottle,
	"throttling":                             llm.KindThrottle,
	"toomanyrequestsexception":               llm.KindThrottle,
	"requestlimitexceeded":                   llm.KindThrottle,
	"provisionedthroughputexceededexception": llm.KindThrottle,
	"resource_exhausted":                     llm.KindThrottle,

	"context_length_exceeded": llm.KindTooLarge,
	"string_above_max_length": llm.KindTooLarge,
	"request_too_large":       llm.KindTooLarge,

	"overloaded_error":            llm.KindOverload,
	"server_is_overloaded":        llm.KindOverload,
	"engine_overloaded":           llm.KindOverload,
	"serviceunavailableexception": llm.KindOverload,
	"modelnotreadyexception":      llm.KindOverload,
	"unavailable":                 llm.KindOverload,

	"api_error":                 llm.KindTransient,
	"server_error":              llm.KindTransient,
	"internal":                  llm.KindTransient,
	"internalserverexception":   llm.KindTransient,
	"modelerrorexception":       llm.KindTransient,
	"modelstreamerrorexception": llm.KindTransient,

	"timeout_error":         llm.KindTimeout,
	"deadline_exceeded":     llm.KindTimeout,
	"modeltimeoutexception": llm.KindTimeout,

	"invalid_api_key":                llm.KindAuth,
	"authentication_error":           llm.KindAuth,
	"permission_error":               llm.KindAuth,
	"permission_denied":              llm.KindAuth,
	"unauthenticated":                llm.KindAuth,
	"accessdeniedexception":          llm.KindAuth,
	"unrecognizedclientexception":    llm.KindAuth,
	"expiredtokenexception":          llm.KindAuth,
	"invalidsignatureexception":      llm.KindAuth,
	"missingauthenticationtoken":     llm.KindAuth,
	"incompletesignatureexception":   llm.KindAuth,
	"missingauthenticationexception": llm.KindAuth,

	"model_not_found":           llm.KindInvalid,
	"not_found_error":           llm.KindInvalid,
	"invalid_argument":          llm.KindInvalid,
	"validationexception":       llm.KindInvalid,
	"resourcenotfoundexception": llm.KindInvalid,
	"conflictexception":         llm.KindInvalid,
}

// neverFits recognizes a request that is larger than the whole quota: "Request
// too large ...", or "Limit 30000, Requested 34307" in any words.
func neverFits(message string) bool {
	if strings.HasPrefix(message, "request too large") {
		return true
	}
	limit, ok := numberAfter(message, "limit")
	if !ok {
		return false
	}
	asked, ok := numberAfter(message, "requested")
	return ok && asked > limit
}

// numberAfter is the number right after the first place where word is followed
// by one.
func numberAfter(s, word string) (int64, bool) {
	for range 8 {
		_, after, found := strings.Cut(s, word)
		if !found {
			return 0, false
		}
		after = strings.TrimLeft(after, ": ")
		end := 0
		for end < len(after) && after[end] >= '0' && after[end] <= '9' {
			end++
		}
		if n, err := strconv.ParseInt(after[:end], 10, 64); err == nil {
			return n, true
		}
		s = after
	}
	return 0, false
}

func hasAny(s string, phrases []string) bool {
	for _, p := range phrases {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

func hasAnyPrefix(s string, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return false
}

func firstOf(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}

// cut bounds a string without splitting a character.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "")
}
