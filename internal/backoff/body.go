package backoff

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// detail is what an error body says, whatever its shape.
type detail struct {
	message string
	code    string // error.code, error.details.error_code, or the exception's name
	typ     string // error.type
	status  string // error.status, a gRPC status
	daily   bool   // a quota that was exceeded is one per day
	lower   string // message in lower case
}

// said reports whether the body spoke of an error at all.
func (d *detail) said() bool {
	return d.code != "" || d.typ != "" || d.status != "" || d.message != ""
}

// decode reads {"error":{...}}, {"error":"..."}, {"message":...}, AWS's and
// FastAPI's shapes, an array of any of these, or plain text.
func decode(h http.Header, body []byte) detail {
	var d detail
	var v any
	if err := json.Unmarshal(body, &v); err == nil {
		d.take(v, 0)
	} else {
		d.message = plain(body)
	}
	if name := exceptionOf(first(h, "X-Amzn-Errortype")); name != "" {
		d.code = name
	}
	d.lower = strings.ToLower(d.message)
	return d
}

// take reads a value of the body; depth bounds the nesting followed.
func (d *detail) take(v any, depth int) {
	if depth > 4 {
		return
	}
	switch v := v.(type) {
	case string:
		setIfEmpty(&d.message, v)
	case []any:
		if len(v) > 0 {
			d.take(v[0], depth+1)
		}
	case map[string]any:
		d.takeObject(v, depth)
	}
}

func (d *detail) takeObject(m map[string]any, depth int) {
	// The inner object first: an outer "type":"error" says less.
	for _, key := range [...]string{"error", "errors"} {
		if inner, ok := m[key]; ok {
			d.take(inner, depth+1)
		}
	}
	setIfEmpty(&d.message, text(m["message"]))
	setIfEmpty(&d.message, text(m["Message"]))
	setIfEmpty(&d.message, text(m["msg"]))
	setIfEmpty(&d.code, text(m["code"]))
	setIfEmpty(&d.code, exceptionOf(text(m["__type"])))
	setIfEmpty(&d.typ, text(m["type"]))
	setIfEmpty(&d.status, text(m["status"]))
	d.takeDetails(m["details"])
	if d.message == "" {
		d.take(m["detail"], depth+1)
	}
}

// takeDetails reads Anthropic's {"error_code":...} and Google's list, whose
// QuotaFailure names the quotas.
func (d *detail) takeDetails(v any) {
	switch v := v.(type) {
	case map[string]any:
		if code := text(v["error_code"]); code != "" {
			d.code = code
		}
	case []any:
		for _, one := range v {
			m, _ := one.(map[string]any)
			violations, _ := m["violations"].([]any)
			for _, violation := range violations {
				m, _ := violation.(map[string]any)
				d.daily = d.daily || strings.Contains(text(m["quotaId"]), "PerDay")
			}
		}
	}
}

func setIfEmpty(dst *string, s string) {
	if *dst == "" {
		*dst = s
	}
}

// text is a JSON string or number as text, else nothing.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// exceptionOf is the bare name in "ThrottlingException:http://..." and in
// "com.amazonaws#ThrottlingException".
func exceptionOf(s string) string {
	s, _, _ = strings.Cut(s, ":")
	if _, after, ok := strings.Cut(s, "#"); ok {
		s = after
	}
	return strings.TrimSpace(s)
}

// plain is a body that is not JSON, if it is text that a person may read.
func plain(body []byte) string {
	s := strings.TrimSpace(strings.ToValidUTF8(string(body[:min(len(body), 512)]), ""))
	if strings.HasPrefix(s, "<") {
		return "" // an HTML page of some proxy
	}
	return s
}
