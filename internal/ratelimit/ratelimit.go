package ratelimit

import (
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
)

// Header is one line of a response's header, its name in canonical form.
type Header struct {
	Name  string
	Value []string // of one element; to be put into an http.Header as it is
}

// Describe writes limits down: as the IETF draft has them, and as OpenAI has them.
// It puts the limit that binds first to the front of the list.
func Describe(list []gate.Limit) []Header {
	if len(list) == 0 {
		return nil
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
	all := []Header{line("RateLimit", string(state)), line("RateLimit-Policy", string(policy))}
	all = appendOpenAI(all, list, quota.Requests, "Requests")
	return appendOpenAI(all, list, quota.Total, "Tokens")
}

func line(name, value string) Header { return Header{Name: name, Value: []string{value}} }

// scarcity is the used part of a limit.
func scarcity(l *gate.Limit) float64 {
	if l.Max <= 0 {
		return 0
	}
	return 1 - float64(l.Remaining)/float64(l.Max)
}

// appendOpenAI writes the tightest limit of a dimension.
func appendOpenAI(all []Header, list []gate.Limit, dim quota.Dim, suffix string) []Header {
	var l *gate.Limit
	for i := range list {
		if list[i].Dim == dim && (l == nil || scarcity(&list[i]) > scarcity(l)) {
			l = &list[i]
		}
	}
	if l == nil {
		return all
	}
	return append(all,
		line("X-Ratelimit-Limit-"+suffix, decimal(l.Max)),
		line("X-Ratelimit-Remaining-"+suffix, decimal(max(l.Remaining, 0))),
		line("X-Ratelimit-Reset-"+suffix, l.Reset.Round(time.Millisecond).String()))
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

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
