package app

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/testkit"
)

// Tokens of two tenants, which differ in the last byte, and of a key that may do little.
const (
	annKey  = "sk-mr-0123456789abcdefghijABCDEFGHIJ0123456789aba"
	bobKey  = "sk-mr-0123456789abcdefghijABCDEFGHIJ0123456789abb"
	slimKey = "sk-mr-slim0123456789abcdefghijABCDEFGHIJ012345678"
)

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// keyed starts an app that three keys open, in front of an upstream that answers
// when it is let to. Of ann's limits more says.
func keyed(t *testing.T, m *model, listen, more string) *App {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "millrace.yaml")
	text := fmt.Sprintf(`
listen: %s
admin: {listen: 127.0.0.1:0}
state_dir: %s
upstreams: [{name: main, base_url: %q, quota: {seats: 100}}]
routes: [{model: dear, upstreams: [main], hold: 5s}, {model: "*", upstreams: [main], hold: 5s}]
endpoints: [{path: /ask, class: chat, model: m, model_field: model, flow: session_id, prompt: "{question}", wait: 0s}]
keys:
  - {name: ann, role: operator, sha256: %s%s}
  - {name: bob, sha256: %s}
  - {name: slim, role: viewer, sha256: %s, classes: [chat, batch], models: [m, gpt-*]}
`, listen, filepath.Join(dir, "state"), m.URL+"/v1", hashOf(annKey), more, hashOf(bobKey), hashOf(slimKey))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Source{File: file, Environ: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := running(t, c)
	return a
}

// reach is an address on which to reach a listener.
func reach(address string) string {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// letter is a request as it is written.
type letter struct {
	line, key, body string // the key goes as a bearer token
	header          []string
}

// tell sends one request as it is written and returns status and body.
func tell(t *testing.T, address string, l letter) (int, string) {
	t.Helper()
	text := l.line + " HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
	if !slices.ContainsFunc(l.header, func(h string) bool { return strings.HasPrefix(h, "Host:") }) {
		text += "Host: localhost\r\n"
	}
	if l.key != "" {
		text += "Authorization: Bearer " + l.key + "\r\n"
	}
	for _, h := range l.header {
		text += h + "\r\n"
	}
	answer := raw(t, reach(address), text+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(l.body), l.body))
	method, _, _ := strings.Cut(l.line, " ")
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), &http.Request{Method: method})
	if err != nil {
		return 0, fmt.Sprintf("no answer: %q", answer)
	}
	content, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(content)
}

// door is a registered pattern, and a request that it answers with 2xx.
type door struct {
	pattern, line string
	open          bool // needs no key
	operator      bool // beyond loopback on the admin's listener alone
	health        bool // on both listeners
	name          bool // its last segment is anything
	task          bool // its last segment is a task of ann's
}

const anyBody = `{"model":"m","messages":[{"role":"user","content":"x"}],"prompt":"x","input":"x","question":"x","session_id":"s"}`

// doors are all that the app registers.
var doors = []door{
	{pattern: "POST /v1/chat/completions"},
	{pattern: "POST /v1/completions"},
	{pattern: "POST /v1/embeddings"},
	{pattern: "GET /v1/models"},
	{pattern: "GET /v1/models/{model...}", line: "GET /v1/models/dear", name: true},
	{pattern: "GET /healthz", open: true, health: true},
	{pattern: "GET /readyz", open: true, health: true},
	{pattern: "GET /debug/pprof/{profile...}", line: "GET /debug/pprof/symbol", operator: true},
	{pattern: "GET /metrics", open: true, operator: true},
	{pattern: "GET /api/v1/tasks/{id}", line: "GET /api/v1/tasks/", task: true},
	{pattern: "DELETE /api/v1/tasks/{id}", line: "DELETE /api/v1/tasks/", task: true},
	{pattern: "GET /task_status/{id}", line: "GET /task_status/", name: true, task: true},
	{pattern: "POST /cancel_task/{id}", line: "POST /cancel_task/", name: true, task: true},
	{pattern: "GET /queue_stats"},
	{pattern: "GET /model_stats"},
	{pattern: "POST /reset_model_cooldowns", operator: true},
	{pattern: "GET /health", open: true},
	{pattern: "POST /ask"},
}

var written = regexp.MustCompile(`"((?:GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) )?(/[^" ]*)"`)

// registered are the patterns of the gateway, as its table spells them, and of the
// endpoints.
func registered(t *testing.T, a *App) []string {
	t.Helper()
	source, err := os.ReadFile("../gateway/table.go")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(source), `" + taskPath + "`, "/api/v1/tasks/")
	_, text, _ = strings.Cut(text, ") patterns(")
	text, _, found := strings.Cut(text, "\n}\n")
	var all []string
	for _, m := range written.FindAllStringSubmatch(text, -1) {
		if m[1] == "" {
			m[1] = "POST " // through the function that says so
		}
		all = append(all, m[1]+m[2])
	}
	if !found || len(all) < 8 {
		t.Fatal("the gateway's table is not where it was: ", all)
	}
	for _, m := range a.endpoints.Load().Mounts() {
		all = append(all, m.Pattern)
	}
	return all
}

// TestDoorsAreAll: what is registered is walked below.
func TestDoorsAreAll(t *testing.T) {
	m := newModel(t)
	a := keyed(t, m, "127.0.0.1:0", "")
	var known []string
	for _, d := range doors {
		known = append(known, d.pattern)
	}
	all := registered(t, a)
	for _, p := range all {
		if !slices.Contains(known, p) {
			t.Errorf("%q is registered, but nobody tries to break in there", p)
		}
	}
	for _, p := range known {
		if !slices.Contains(all, p) {
			t.Errorf("%q is tried, but not registered", p)
		}
	}
}

// detours write a path in another way. None of them is the path.
var detours = map[string]func(string) string{
	"//":             func(p string) string { return "/" + p },
	"// within":      func(p string) string { return strings.Replace(p[1:], "/", "//", 1) },
	"%2f":            func(p string) string { return "/" + strings.ReplaceAll(p[1:], "/", "%2f") + "%2F" },
	"%252f":          func(p string) string { return "/" + strings.ReplaceAll(p[1:], "/", "%252f") + "%252f" },
	"..":             func(p string) string { return "/healthz/.." + p },
	"%2e%2e":         func(p string) string { return "/healthz/%2e%2e" + p },
	"..;":            func(p string) string { return "/healthz/..;" + p },
	"..; at the end": func(p string) string { return p + "/..;/healthz" },
	"/./":            func(p string) string { return "/." + p },
	"a dot":          func(p string) string { return p + "." },
	"a slash":        func(p string) string { return p + "/" },
	"capitals":       strings.ToUpper,
	"NUL":            func(p string) string { return p + "%00" },
	"a raw NUL":      func(p string) string { return p + "\x00" },
	"a space":        func(p string) string { return p + "%20" },
	"a tab":          func(p string) string { return p + "\t" },
	"a backslash":    func(p string) string { return strings.ReplaceAll(p, "/", `\`) },
	"a new line":     func(p string) string { return p + "%0d%0aX:%20y" },
	"overlong":       func(p string) string { return strings.ReplaceAll(p, "/", "%c0%af") },
	"a parameter":    func(p string) string { return p + ";a=b" },
	"absolute, //":   func(p string) string { return "http://localhost/" + p },
}

// masks leave the path as it is.
var masks = map[string]struct {
	line   func(string) string
	header []string
}{
	"as it is":   {},
	"a query":    {line: func(p string) string { return p + "?key=" + annKey + "&api_key=" + annKey }},
	"a fragment": {line: func(p string) string { return p + "?#/healthz" }},
	"encoded":    {line: func(p string) string { return p[:len(p)-1] + fmt.Sprintf("%%%02x", p[len(p)-1]) }},
	"absolute":   {line: func(p string) string { return "http://elsewhere.example" + p }},
	"odd host":   {header: []string{"Host: healthz"}},
	"host, path": {header: []string{"Host: localhost/healthz"}},
	"no host":    {header: []string{"Host:"}},
	"two hosts":  {header: []string{"Host: a", "Host: localhost"}},
	"original":   {header: []string{"X-Original-URL: /healthz", "X-Rewrite-URL: /healthz", "X-Forwarded-Prefix: /healthz"}},
	"override":   {header: []string{"X-HTTP-Method-Override: GET", "X-Forwarded-Method: GET"}},
	"forwarded":  {header: []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: localhost", "Forwarded: for=127.0.0.1;host=localhost", "X-Real-IP: 127.0.0.1"}},
	"named":      {header: []string{"Connection: authorization, x-api-key", "X_Api_Key: " + annKey, "X-Tenant: ann", "Millrace-Tenant: ann", "Cookie: api-key=" + annKey}},
	"preflight":  {header: []string{"Origin: https://evil.example", "Access-Control-Request-Method: POST"}},
	"an upgrade": {header: []string{"Upgrade: h2c", "Connection: upgrade, http2-settings", "HTTP2-Settings: AAMAAABkAAQAAP__"}},
}

// walker tries doors on one listener.
type walker struct {
	t       *testing.T
	address string
	tasks   chan string // of ann's, each to be used once
	tried   int
}

func (w *walker) try(d *door, l letter, what string, may bool) {
	w.t.Helper()
	w.tried++
	status, answer := tell(w.t, w.address, l)
	if ok := status/100 == 2; ok && !may || status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported {
		w.t.Errorf("%s with key %.60q, %s (%q): %d %.200s", d.pattern, l.key, what, l.line, status, answer)
	}
}

// walk tries a door with one key; may says that the key opens it.
func (w *walker) walk(d *door, key string, may bool) {
	line := d.line
	if line == "" {
		line = d.pattern
	}
	if d.task {
		line += <-w.tasks
	}
	method, path, _ := strings.Cut(line, " ")
	for name, m := range masks {
		target := path
		if m.line != nil {
			target = m.line(path)
		}
		w.try(d, letter{method + " " + target, key, anyBody, m.header}, name, may)
	}
	for name, detour := range detours {
		if target := detour(path); target != path {
			named := d.name || d.pattern == "GET /v1/models" && strings.HasPrefix(target, "/v1/models/") // a model's name
			w.try(d, letter{method + " " + target, key, anyBody, nil}, name, may && named)
		}
	}
	w.try(d, letter{"HEAD " + path, key, anyBody, nil}, "HEAD", may && (method == http.MethodGet || method == http.MethodDelete))
	for _, other := range []string{"OPTIONS", "TRACE", "CONNECT", "PUT", "PATCH", "PROPFIND", strings.ToLower(method), method + "X"} {
		w.try(d, letter{other + " " + path, key, anyBody, nil}, other, false)
	}
	w.try(d, letter{method + " " + path, key, anyBody, nil}, "as it is, at last", may)
}

// plant makes tasks of ann's.
func plant(t *testing.T, a *App, n int) chan string {
	t.Helper()
	tasks := make(chan string, n)
	for range n {
		status, answer := tell(t, a.Addr(), letter{"POST /ask", annKey, anyBody, nil})
		id := taskName.FindString(answer)
		if status != http.StatusOK || id == "" {
			t.Fatalf("plant: %d %s", status, answer)
		}
		tasks <- id
	}
	return tasks
}

// TestNobodyGetsInWithoutAKey: every pattern of either listener, every kind of key, and
// every way to write the request: an answer comes only where the key opens the
// pattern, and nothing of the operator's is on a listener that others can reach.
func TestNobodyGetsInWithoutAKey(t *testing.T) {
	testkit.LeakCheck(t)
	for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0"} {
		if raced && listen == "127.0.0.1:0" {
			continue // the others are twice as many
		}
		m := newModel(t)
		m.entered = make(chan struct{}, 100_000)
		a := keyed(t, m, listen, "")
		tasks := plant(t, a, 80)
		close(m.release)
		var walkers sync.WaitGroup
		for _, address := range slices.Compact([]string{a.Addr(), a.AdminAddr()}) {
			w := &walker{t: t, address: address, tasks: tasks}
			walkers.Go(func() {
				for i := range doors {
					here := a.Addr() == a.AdminAddr() || doors[i].health || doors[i].operator == (address == a.AdminAddr())
					for key, known := range map[string]bool{"": false, annKey[:len(annKey)-1] + "c": false, hashOf(annKey): false, annKey: true, bobKey: true} {
						foreign := doors[i].task && !doors[i].name && key == bobKey
						private := doors[i].operator && !doors[i].open && key == bobKey
						w.walk(&doors[i], key, here && (known || doors[i].open) && !foreign && !private)
					}
				}
				for _, line := range []string{"OPTIONS *", "GET *", "GET /", "POST /", "GET /debug", "GET /debug/vars", "GET /admin", "GET /keys.yaml", "PRI *"} {
					w.try(&door{pattern: line}, letter{line, annKey, anyBody, nil}, "of no pattern", false)
				}
				if w.tried < 3_000 {
					t.Errorf("%d tries", w.tried)
				}
			})
		}
		walkers.Wait()
		for i := range doors { // each opens at all, where it should
			d, line := &doors[i], doors[i].line
			if line == "" {
				line = d.pattern
			}
			if d.task {
				line += <-tasks
			}
			address := a.Addr()
			if d.operator {
				address = a.AdminAddr()
			}
			if status, answer := tell(t, address, letter{line, annKey, anyBody, nil}); status != http.StatusOK {
				t.Errorf("%s on %s: %d %.200s", d.pattern, listen, status, answer)
			}
			if d.operator && listen != "127.0.0.1:0" {
				if status, answer := tell(t, a.Addr(), letter{line, annKey, anyBody, nil}); status != http.StatusNotFound {
					t.Errorf("%s on the listener for all: %d %.200s", d.pattern, status, answer)
				}
			}
		}
	}
}

// TestTasksAreTheirTenants: another tenant learns nothing of a task and cannot end it,
// though its key differs in the last byte alone.
func TestTasksAreTheirTenants(t *testing.T) {
	testkit.LeakCheck(t)
	m := newModel(t)
	a := keyed(t, m, "127.0.0.1:0", "")
	ids := []string{<-plant(t, a, 1)}
	status, answer := tell(t, a.Addr(), letter{"POST /v1/chat/completions", annKey, question, []string{"Prefer: respond-async, wait=0"}})
	if id := taskName.FindString(answer); status != http.StatusAccepted || id == "" {
		t.Fatalf("%d %s", status, answer)
	} else {
		ids = append(ids, id)
	}
	spy := func(when string) {
		t.Helper()
		for _, id := range ids {
			status, pending := tell(t, a.Addr(), letter{"GET /task_status/" + id, bobKey, "", nil})
			_, none := tell(t, a.Addr(), letter{"GET /task_status/" + strings.Repeat("0", 32), bobKey, "", nil})
			if status != http.StatusOK || strings.ReplaceAll(none, strings.Repeat("0", 32), id) != pending || !strings.Contains(pending, `"PENDING"`) {
				t.Errorf("%s, the status tells: %d %s, of none %s", when, status, pending, none)
			}
			if _, answer := tell(t, a.Addr(), letter{"POST /cancel_task/" + id, bobKey, "", nil}); !strings.Contains(answer, `"success":false`) {
				t.Errorf("%s, canceled: %s", when, answer)
			}
			for _, method := range []string{"GET", "DELETE"} {
				if status, answer := tell(t, a.Addr(), letter{method + " /api/v1/tasks/" + id, bobKey, "", nil}); status != http.StatusNotFound {
					t.Errorf("%s, %s: %d %s", when, method, status, answer)
				}
			}
		}
	}
	spy("waiting")
	close(m.release)
	for _, id := range ids {
		status, answer := tell(t, a.Addr(), letter{"GET /api/v1/tasks/" + id + "?wait=10s", annKey, "", nil})
		if status != http.StatusOK || !strings.Contains(answer, `"SUCCESS"`) {
			t.Errorf("the owner is told: %d %s", status, answer)
		}
	}
	spy("done")
}

// TestTenantsDoNotWaitForEachOther: who has used up the requests of a minute waits; who
// has not does not.
func TestTenantsDoNotWaitForEachOther(t *testing.T) {
	testkit.LeakCheck(t)
	m := newModel(t)
	close(m.release)
	a := keyed(t, m, "127.0.0.1:0", ", requests: 2/m")
	say := func(key string) (int, string) {
		return tell(t, a.Addr(), letter{"POST /v1/chat/completions", key, question, nil})
	}
	for i := range 2 {
		if status, answer := say(annKey); status != http.StatusOK {
			t.Fatalf("request %d: %d %s", i, status, answer)
		}
	}
	third, err := net.Dial("tcp", a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = third.Close() }()
	const stream = `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`
	if _, err := fmt.Fprintf(third, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", annKey, len(stream), stream); err != nil {
		t.Fatal(err)
	}
	waiting := func() bool { return a.admission.Snapshot().Waiting == 1 }
	waitFor(t, waiting)
	for i := range 20 {
		if status, answer := say(bobKey); status != http.StatusOK || !waiting() {
			t.Errorf("the other tenant's request %d: %d %s; the first still waits: %t", i, status, answer, waiting())
		}
	}
}

// TestKeysOpenWhatTheyName: models and classes beyond a key's do not exist for it.
func TestKeysOpenWhatTheyName(t *testing.T) {
	testkit.LeakCheck(t)
	m := newModel(t)
	close(m.release)
	a := keyed(t, m, "127.0.0.1:0", "")
	chat := func(model string) string { return strings.Replace(question, `"m"`, `"`+model+`"`, 1) }
	for _, tc := range []struct {
		line, body, class string
		status            int
	}{
		{"POST /v1/chat/completions", chat("m"), "", 200},
		{"POST /v1/chat/completions", chat("gpt-5"), "", 200},
		{"POST /v1/chat/completions", chat("dear"), "", 404},
		{"POST /v1/chat/completions", chat("M"), "", 404},
		{"POST /v1/chat/completions", chat("mm"), "", 404},
		{"POST /v1/chat/completions", chat("gpt"), "", 404},
		{"POST /v1/chat/completions", chat("*"), "", 404},
		{"POST /v1/chat/completions", chat("m"), "batch", 200},
		{"POST /v1/chat/completions", chat("m"), "analysis", 200}, // it is not its, so the header says nothing
		{"POST /v1/embeddings", `{"model":"dear","input":"x"}`, "", 404},
		{"POST /v1/completions", `{"model":"dear","prompt":"x"}`, "", 404},
		{"GET /v1/models/dear", "", "", 404},
		{"GET /v1/models/m", "", "", 200},
		{"POST /ask", `{"question":"x","session_id":"s"}`, "", 200},
		{"POST /ask", `{"question":"x","session_id":"s","model":"dear"}`, "", 403},
		{"POST /ask", `{"question":"x","session_id":"s"}`, "analysis", 403},
		{"POST /ask", `{"question":"x","session_id":"s"}`, "batch", 200},
	} {
		if status, answer := tell(t, a.Addr(), letter{tc.line, slimKey, tc.body, []string{"Millrace-Class: " + tc.class}}); status != tc.status {
			t.Errorf("%s %s, class %q: %d %s, want %d", tc.line, tc.body, tc.class, status, answer, tc.status)
		}
	}
	_, list := tell(t, a.Addr(), letter{"GET /v1/models", slimKey, "", nil})
	var models struct{ Data []struct{ ID string } }
	if err := json.Unmarshal([]byte(list), &models); err != nil || strings.Contains(list, "dear") {
		t.Errorf("told of models: %s: %v", list, err)
	}
}
