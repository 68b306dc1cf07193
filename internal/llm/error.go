package llm

import (
	"fmt"
	"net/http"
	"time"
)

// ErrorKind says what a failed call means for the next step: retry, fall back,
// correct the quota, or give up. It is small and closed so that metrics may
// use it as a label.
type ErrorKind uint8

// The kinds. KindNone is the zero value and means success.
const (
	KindNone      ErrorKind = iota
	KindThrottle            // a temporary rate limit (429): correct the quota, keep the place in line
	KindExhausted           // a hard quota or spend limit: never retried on this upstream
	KindOverload            // the provider is overloaded (503, 529)
	KindTransient           // 5xx, connection refused or reset, broken stream
	KindTimeout             // connect, first byte or read timed out
	KindCanceled            // the client left; nobody is to blame
	KindInvalid             // the request is wrong (400, 404, 422): final
	KindTooLarge            // larger than the context or the whole quota: final
	KindAuth                // the credential was refused (401, 403): final for this upstream
	KindInternal            // a defect of ours
)

var kindNames = [...]string{
	"none", "throttle", "exhausted", "overload", "transient", "timeout",
	"canceled", "invalid", "too_large", "auth", "internal",
}

// String returns the kind as it appears in metrics and logs.
func (k ErrorKind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Kinds lists every kind, for exhaustive tests and pre-registered metrics.
func Kinds() []ErrorKind {
	kinds := make([]ErrorKind, len(kindNames))
	for i := range kinds {
		kinds[i] = ErrorKind(i)
	}
	return kinds
}

// Faulty reports whether the kind counts against an upstream's breaker.
// Throttles correct the quota instead, and a client that leaves or sends a bad
// request says nothing about the upstream.
func (k ErrorKind) Faulty() bool {
	switch k {
	case KindOverload, KindTransient, KindTimeout:
		return true
	case KindNone, KindThrottle, KindExhausted, KindCanceled, KindInvalid, KindTooLarge, KindAuth, KindInternal:
		return false
	}
	return false
}

// Fallback reports whether another upstream may succeed where this one failed.
func (k ErrorKind) Fallback() bool {
	switch k {
	case KindOverload, KindTransient, KindTimeout, KindExhausted, KindAuth:
		return true
	case KindNone, KindThrottle, KindCanceled, KindInvalid, KindTooLarge, KindInternal:
		return false
	}
	return false
}

// Error is a failed call. It carries the provider's own answer so that the
// edge can pass a final error through in the client's dialect.
type Error struct {
	Kind       ErrorKind
	Status     int           // the provider's HTTP status; 0 when there was no answer
	Message    string        // for people; never holds a secret
	Code       string        // the provider's code, such as rate_limit_exceeded
	Type       string        // the provider's type, such as invalid_request_error
	RetryAfter time.Duration // the provider's own hint; 0 when there was none
	Header     http.Header   // the provider's response header; nil when there was no answer
	Body       []byte        // the provider's error body, bounded; nil when there was none
	Err        error         // the cause, if another error lies beneath
}

// Error implements error.
func (e *Error) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("%s (status %d): %s", e.Kind, e.Status, e.Message)
	}
	return fmt.Sprintf("%s: %s", e.Kind, e.Message)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
