package backoff

import (
	"net/http"
	"strings"
	"time"
)

// maxItems bounds the items read from one header of the drafts.
const maxItems = 16

// appendDraft reads the headers of the IETF drafts: RateLimit with its policy,
// else the separate RateLimit-* of draft 6.
func appendDraft(dst []Limit, now time.Time, h http.Header) []Limit {
	policies := h["Ratelimit-Policy"]
	state := h["Ratelimit"]
	if len(state) == 0 {
		return appendDraft6(dst, now, h, policies)
	}
	for _, line := range state[:min(len(state), maxItems)] {
		dst = appendDraftLine(dst, now, line, policies)
	}
	return dst
}

func appendDraft6(dst []Limit, now time.Time, h http.Header, policies []string) []Limit {
	f := family{"Ratelimit-Limit", "Ratelimit-Remaining", "Ratelimit-Reset", "", Requests, SourceDraft, 0}
	l, ok := f.read(now, h)
	if !ok {
		return dst
	}
	l.fill(firstPolicy(policies))
	return append(dst, l)
}

// appendDraftLine reads one line: `"rpm";r=12;t=7, "tpm";r=0;t=1` since draft 8,
// `limit=1000, remaining=0, reset=612` in draft 7.
func appendDraftLine(dst []Limit, now time.Time, line string, policies []string) []Limit {
	if len(line) > maxHeader {
		return dst
	}
	seven := Limit{Source: SourceDraft, Limit: -1, Remaining: -1, Reset: -1}
	rest := line
	for range maxItems {
		var item string
		if item, rest = cutOutside(rest, ','); item == "" && rest == "" {
			break
		}
		head, params := cutOutside(item, ';')
		if key, val, ok := strings.Cut(head, "="); ok && params == "" && !strings.HasPrefix(head, `"`) {
			seven.set(now, strings.TrimSpace(key), val)
			continue
		}
		if l, ok := draftItem(now, unquote(head), params, policies); ok {
			dst = append(dst, l)
		}
	}
	if seven.Limit >= 0 || seven.Remaining >= 0 {
		seven.fill(firstPolicy(policies))
		dst = append(dst, seven)
	}
	return dst
}

// set takes one member of draft 7.
func (l *Limit) set(now time.Time, key, val string) {
	switch key {
	case "limit":
		l.Limit = count(val)
	case "remaining":
		l.Remaining = count(val)
	case "reset":
		l.Reset = reset(now, val)
	}
}

func draftItem(now time.Time, name, params string, policies []string) (Limit, bool) {
	l := Limit{
		Source: SourceDraft, Name: name, Limit: -1,
		Remaining: count(param(params, "r")),
		Reset:     reset(now, param(params, "t")),
	}
	policy := policyOf(policies, name)
	dim, ok := dimOf(unquote(param(policy, "qu")), name)
	if !ok || l.Remaining < 0 {
		return l, false
	}
	l.Dim = dim
	l.fill("", policy)
	return l, true
}

// fill takes the limit and its window from a policy, head and parameters. An
// item of drafts 6 and 7 has the limit as its head.
func (l *Limit) fill(head, policy string) {
	if l.Limit < 0 {
		l.Limit = count(param(policy, "q"))
	}
	if l.Limit < 0 {
		l.Limit = count(head)
	}
	if w := count(param(policy, "w")); w > 0 {
		l.Window = clamp(seconds(float64(w)), MaxReset)
	}
}

// dimOf tells what a policy counts, by its unit or else by its name. Units that
// are none of ours (bytes, seats) are left out.
func dimOf(unit, name string) (Dim, bool) {
	if unit == "" {
		unit = name
	} else if unit != "requests" && !strings.Contains(unit, "token") {
		return 0, false
	}
	switch {
	case strings.Contains(unit, "token") && (strings.Contains(unit, "input") || strings.Contains(name, "input")):
		return Input, true
	case strings.Contains(unit, "token") && (strings.Contains(unit, "output") || strings.Contains(name, "output")):
		return Output, true
	case strings.Contains(unit, "token") || unit == "tpm":
		return Tokens, true
	}
	return Requests, true
}

// policyOf returns the parameters of the policy with this name.
func policyOf(policies []string, name string) string {
	for _, line := range policies[:min(len(policies), maxItems)] {
		if len(line) > maxHeader {
			continue
		}
		rest := line
		for range maxItems {
			var item string
			if item, rest = cutOutside(rest, ','); item == "" && rest == "" {
				break
			}
			if head, params := cutOutside(item, ';'); unquote(head) == name {
				return params
			}
		}
	}
	return ""
}

// firstPolicy returns head and parameters of the first policy.
func firstPolicy(policies []string) (head, params string) {
	if len(policies) == 0 || len(policies[0]) > maxHeader {
		return "", ""
	}
	item, _ := cutOutside(policies[0], ',')
	return cutOutside(item, ';')
}

// param is the value of key among parameters such as `q=60;w=60`.
func param(params, key string) string {
	for range maxItems {
		var one string
		if one, params = cutOutside(params, ';'); one == "" && params == "" {
			return ""
		}
		if k, v, ok := strings.Cut(one, "="); ok && strings.TrimSpace(k) == key {
			return v
		}
	}
	return ""
}

// cutOutside cuts s at the first sep that is not inside quotes, and trims the
// first part.
func cutOutside(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == sep && !quoted:
			return strings.TrimSpace(s[:i]), s[i+1:]
		}
	}
	return strings.TrimSpace(s), ""
}

func unquote(s string) string {
	s = strings.TrimSpace(s)
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}
