package malform

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Head begins a request to the gateway; the caller ends it.
const Head = "POST /v1/chat/completions HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/json\r\n"

// Question is a body with nothing wrong about it.
const Question = `{"model":"any","messages":[{"role":"user","content":"ECHO:hello"}]}`

// Request is the i-th malformed request, as bytes for a connection; the kinds take
// turns, and the rest is drawn from r.
func Request(i int, r *rand.Rand) string { return kinds[i%len(kinds)](r) }

// kinds are what can be wrong.
var kinds = []func(*rand.Rand) string{
	func(r *rand.Rand) string { return post("", cut(r, Question)) },
	func(r *rand.Rand) string { return post("", flip(r, Question)) },
	func(r *rand.Rand) string { return post("", fmt.Sprintf(wrongType(r), odd(r))) },
	func(r *rand.Rand) string { return post("", nest(r)) },
	func(r *rand.Rand) string { return post("", pick(r, duplicates)) },
	func(r *rand.Rand) string { return post("", strings.Replace(Question, "hello", pick(r, badText), 1)) },
	func(r *rand.Rand) string { return pick(r, smuggled) },
	func(r *rand.Rand) string { return flip(r, post("", Question)) },
	func(r *rand.Rand) string { return cut(r, post("", Question)) },
	func(r *rand.Rand) string { return strings.ReplaceAll(post("", Question), "\r\n", pick(r, lineEnds)) },
	func(r *rand.Rand) string {
		return pick(r, methods) + " " + pick(r, paths) + " HTTP/" + pick(r, versions) + "\r\nHost: x\r\n\r\n"
	},
	func(r *rand.Rand) string { return post(pick(r, headerNames)+": "+noise(r)+"\r\n", Question) },
	func(r *rand.Rand) string { return post(pick(r, headerNames)+": "+odd(r)+"\r\n", Question) },
	func(r *rand.Rand) string { return post(pick(r, headerNames)+pick(r, brokenFields), Question) },
	func(r *rand.Rand) string { return post("", noise(r)) },
	func(r *rand.Rand) string {
		return strings.Replace(post("", Question), "/v1/chat/completions", pick(r, paths), 1)
	},
	func(r *rand.Rand) string {
		return strings.Replace(post("", pick(r, duplicates)), "/v1/chat/completions", pick(r, posts), 1)
	},
	func(r *rand.Rand) string {
		return strings.Replace(post("", fmt.Sprintf(wrongType(r), odd(r))), "/v1/chat/completions", pick(r, posts), 1)
	},
}

func post(header, body string) string {
	return fmt.Sprintf("%s%sContent-Length: %d\r\n\r\n%s", Head, header, len(body), body)
}

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

func cut(r *rand.Rand, s string) string { return s[:r.IntN(len(s))] }

// flip changes up to four bytes.
func flip(r *rand.Rand, s string) string {
	b := []byte(s)
	for range 1 + r.IntN(4) {
		b[r.IntN(len(b))] = byte(r.UintN(256))
	}
	return string(b)
}

func noise(r *rand.Rand) string {
	b := make([]byte, r.IntN(200))
	for i := range b {
		b[i] = byte(r.UintN(256))
	}
	return string(b)
}

func nest(r *rand.Rand) string {
	deep := 50 + r.IntN(20_000)
	open, end := "[", "]"
	if r.IntN(2) == 0 {
		open, end = `{"a":`, "}"
	}
	text := strings.Repeat(open, deep) + "1" + strings.Repeat(end, deep)
	if r.IntN(2) == 0 {
		return text
	}
	return `{"model":"any","messages":[{"role":"user","content":` + text + `}]}`
}

// wrongType is a request with a place for a value.
func wrongType(r *rand.Rand) string {
	return pick(r, []string{
		`{"model":%s,"messages":[{"role":"user","content":"x"}]}`, `{"model":"any","messages":%s}`, `{"model":"any","messages":[%s]}`,
		`{"model":"any","messages":[{"role":%s,"content":"x"}]}`, `{"model":"any","messages":[{"role":"user","content":%s}]}`,
		`{"model":"any","max_tokens":%s,"messages":[]}`, `{"model":"any","stream":%s,"messages":[{"role":"user","content":"x"}]}`,
		`{"model":"any","user":%s,"messages":[{"role":"user","content":"x"}]}`, `{"model":"any","n":%s,"messages":[{"role":"user","content":"x"}]}`,
		`{"model":"any","stream_options":%s,"stream":true,"messages":[{"role":"user","content":"x"}]}`, `{"model":"any","input":%s}`, `{"model":"any","prompt":%s}`,
		`{"session_id":%s,"section_name":"x","content":"x"}`, `{"session_id":"x","message":%s}`, `%s`,
	})
}

// odd is a value that few expect.
func odd(r *rand.Rand) string {
	return pick(r, []string{
		"null", "true", "-1", "0", "1e400", "-0", "0x10", "1e3", "2147483648", "9223372036854775808", "1e19", "NaN", "Infinity", "01", ".5", `""`, `"\u0000"`,
		`"\ud800"`, "[]", "{}", "[[]]", `{"a":{}}`, `"` + strings.Repeat("x", 10_000) + `"`, "'single'", "//", `"a" "b"`, `"wait=99999999999999999999"`, "wait=-1",
		"respond-async, wait=1e9", "respond-async; wait", "Bearer", "Bearer  ", "Basic Zm9v", "bearer a b", "-5, 7", "\u00a0", "1.5s", "Thu, 01 Jan 1970 00:00:00 GMT",
	})
}

var (
	duplicates = []string{
		`{"model":"any","model":"other","messages":[{"role":"user","content":"x"}]}`,
		`{"model":"any","max_tokens":1,"max_tokens":100000,"messages":[{"role":"user","content":"x"}]}`,
		`{"model":"any","messages":[{"role":"user","content":"x"}],"messages":[]}`,
		`{"model":"any","mod\u0065l":"other","messages":[{"role":"user","content":"x"}]}`,
		`{"model":"any","Model":"other","MODEL":"third","messages":[{"role":"user","content":"x"}]}`,
		`{"model":"any","stream":false,"stream":true,"messages":[{"role":"user","content":"x"}]}`,
		`{"model":"any","messages":[{"role":"user","content":"x"}]} {"model":"two"}`,
		`{"model":"any","messages":[{"role":"user","content":"x"}]}]`,
		"\xef\xbb\xbf" + Question, "\xff\xfe{\x00}\x00", `{"model":"any",}`, `{"model" "any"}`, `{model:"any"}`, "{'model':'any'}", "", " ", "null", "[]", `"any"`, "3",
		`{"session_id":"a","session_id":"b","message":"x","section_name":"y"}`, `{"input":"x","input":"y","model":"any"}`, `{"prompt":"x","prompt":["y"],"model":"any"}`,
	}
	badText  = []string{"\xff\xfe", "\xc0\x80", "\xed\xa0\x80", "\x00", "a\nb", "\x1b[31m", `\u`, `\x41`, `\ud83d`, "\xf4\x90\x80\x80", `"`, `\`, "\u2028\u2029"}
	smuggled = []string{
		Head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
		Head + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGET / HTTP/1.1\r\n\r\n0\r\n\r\n",
		Head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", Head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		Head + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", Head + "Transfer-Encoding:\tchunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", Head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		Head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", Head + "Content-Length: 2, 2\r\n\r\n{}", Head + "Content-Length: -1\r\n\r\n", Head + "Content-Length: +2\r\n\r\n{}",
		Head + "Content-Length: 99999999999999999999\r\n\r\n{}", Head + "Content-Length: 0x2\r\n\r\n{}", Head + "Content-Length: 2 \r\n\r\n{}", Head + "Content-Length: 1\n\r\n{",
		Head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", Head + "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
		Head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n", Head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}x\r\n0\r\n\r\n",
		Head + "Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n", Head + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", Head + "Expect: something\r\nContent-Length: 2\r\n\r\n{}",
		"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 2\r\n\r\n{}",
		"POST /v1/chat/completions HTTP/1.1\r\nHost: a b\r\nContent-Length: 2\r\n\r\n{}", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\xff\x04\x00\x00\x00\x00\x00", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	}
	lineEnds     = []string{"\n", "\r", "\r\r\n", "\n\r", "\r\n ", "\x00\r\n", "\v\r\n"}
	methods      = []string{"GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "post", "FOO", "P\x00ST", "", "GET GET", "PROPFIND"}
	posts        = []string{"/v1/completions", "/v1/embeddings", "/v1/chat/completions", "/analyze_section", "/chat"}
	versions     = []string{"1.1", "1.0", "0.9", "2.0", "3.0", "1.1x", "", "1.1 HTTP/1.1"}
	brokenFields = []string{"\r\n", " : x\r\n", ":\x00\r\n", ": a\r\n b\r\n", ": a\rb\r\n", "\x00: b\r\n", ": a\nX: b\r\n", "(): b\r\n", "::\r\n", ": \xff\xfe\r\n"}
	headerNames  = []string{
		"Prefer", "Authorization", "X-Stainless-Timeout", "X-Stainless-Retry-Count", "Millrace-User", "Millrace-Class", "X-Api-Key", "Api-Key", "X-Forwarded-For", "Cache-Control",
		"Content-Type", "Accept", "Openai-Beta", "Origin", "Connection", "Upgrade", "Range", "If-None-Match", "Expect", "Te", "Trailer", "X-HTTP-Method-Override",
	}
	paths = []string{
		"/", "//", "*", "/v1/chat/completions/", "/v1//chat/completions", "/v1/%63hat/completions", "/v1/chat/completions%00", "/v1/../metrics", "/..;/metrics", "/%2e%2e/metrics", "/metrics/.",
		"/v1/models/%ff", "/api/v1/tasks/", "/api/v1/tasks/%00", "/api/v1/tasks/" + strings.Repeat("a", 5000), "/api/v1/tasks/x?wait=-1", "/api/v1/tasks/x?wait=%zz", "/task_status/", "/cancel_task/x",
		"/debug/pprof/../..", "http://other/v1/models", "/%", "/v1/models?%", "/\x00", "/ \t", "?", "#", "/v1/chat/completions#x", "/v1/chat/completions?model=b", "/health%20", "/readyz\\",
	}
)
