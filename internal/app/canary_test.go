package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	stdlog "log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/testkit"
)

// Canaries. None looks like a credential, so that what is not shown was not shown
// because it was known to be one.
const (
	providerCanary = "Tz4providercanaryQm81Vxc07Lw3Ke9"
	cookieCanary   = "Hd5cookiecanaryPr62Nyb84Gu1Jf7Ss"
	wrongCanary    = "Xk8wrongkeycanaryBw37Rmh50Qa2Ze4"
	promptCanary   = "Lq7promptcanaryWs19Ckf63Tv5Yd0Ub"
	sessionCanary  = "Ru2sessioncanaryFj48Mpx91Oe6Hn3Ig"
	contentCanary  = "Vb9contentcanaryDa05Zgt72Ki8Ec4Ly"
)

// record collects what a test must not find a canary in.
type record struct {
	mu    sync.Mutex
	parts map[string][]byte
}

// add appends to what was found at a place.
func (r *record) add(place string, text []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.parts == nil {
		r.parts = make(map[string][]byte)
	}
	r.parts[place] = append(r.parts[place], text...)
}

// at is a place to write to.
func (r *record) at(place string) io.Writer { return writer(func(b []byte) { r.add(place, b) }) }

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// half is how much of a canary is a hit: what is cut in the middle is found too.
const half = 14

// hits are the places that hold a canary, whole, in part or encoded.
func (r *record) hits(canary string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	needles := []string{hex.EncodeToString([]byte(canary)), base64.StdEncoding.EncodeToString([]byte(canary))}
	for i := range len(canary) - half + 1 {
		needles = append(needles, canary[i:i+half])
	}
	var found []string
	for place, text := range r.parts {
		for _, needle := range needles {
			if i := bytes.Index(text, []byte(needle)); i >= 0 {
				found = append(found, fmt.Sprintf("%s: …%s…", place, text[max(i-200, 0):min(i+100, len(text))]))
				break
			}
		}
	}
	return found
}

// gossip is an upstream that tells all it was told wherever it can, and fails in
// the way that the prompt asks for by "ACT:way".
type gossip struct{ entered chan struct{} }

var act = regexp.MustCompile(`ACT:(\w+)`)

func (g *gossip) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	way := "success"
	if all := act.FindAllSubmatch(body, -1); all != nil { // the last question's, not those of a conversation
		way = string(all[len(all)-1][1])
	}
	// Without its scheme: what is masked by its looks proves nothing.
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	for _, name := range []string{
		"Authorization", "X-Api-Key", "X-Request-Id", "Openai-Model", "Openai-Version", "Request-Id", "Apim-Request-Id",
		"X-Ms-Region", "Www-Authenticate", "X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Tokens", "X-Echo", "Server",
	} {
		w.Header().Set(name, key)
	}
	w.Header().Set("Set-Cookie", "session="+key)
	w.Header().Set("Content-Type", "application/json")
	words, _ := json.Marshal("You sent " + key + " and " + string(body))
	status := map[string]int{"400": 400, "401": 401, "403": 403, "404": 404, "413": 413, "422": 422, "429": 429, "500": 500, "503": 503}[way]
	switch {
	case status > 0:
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, `{"error":{"message":%s,"type":%s,"code":%s,"param":%s}}`, words, words, words, words)
	case way == "text":
		w.Header().Set("Content-Type", "text/plain; key="+key)
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "You sent "+key)
	case way == "redirect":
		w.Header().Set("Location", "/v1/chat/completions?key="+key)
		w.WriteHeader(http.StatusFound)
	case way == "hang":
		g.entered <- struct{}{}
		<-r.Context().Done()
	case way == "garbled" || way == "hangup":
		g.garble(w, way, key)
	case strings.Contains(string(body), `"stream":true`):
		g.stream(w, r, way, words)
	default:
		_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"fine"}}],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}`)
	}
}

// garble answers with what is no HTTP, or with nothing.
func (g *gossip) garble(w http.ResponseWriter, way, key string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if way == "garbled" {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nno header but %s\r\n\r\n", key)
	}
	_ = conn.Close()
}

func (g *gossip) stream(w http.ResponseWriter, r *http.Request, way string, words []byte) {
	w.Header().Set("Content-Type", "text/event-stream")
	failure := fmt.Sprintf("data: {\"error\":{\"message\":%s,\"type\":%s,\"code\":%s}}\n\n", words, words, words)
	if way != "early" {
		_, _ = io.WriteString(w, sse("x", 0))
		_ = http.NewResponseController(w).Flush()
	}
	switch way {
	case "early", "late":
		_, _ = io.WriteString(w, failure)
	case "linger":
		g.entered <- struct{}{}
		<-r.Context().Done()
	default:
		_, _ = io.WriteString(w, usageEvent+doneEvent)
	}
}

// brittle is a transport that panics with all it knows, where the prompt asks for it.
type brittle struct{ http.RoundTripper }

func (b brittle) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Openai-Beta") == "panic" {
		panic(fmt.Sprint("cannot send ", r.Header))
	}
	return b.RoundTripper.RoundTrip(r)
}

// command is the built program.
func command(t *testing.T) (run func(environ []string, args ...string) (stdout, both []byte)) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "millrace")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "github.com/millrace/millrace/cmd/millrace").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return func(environ []string, args ...string) (stdout, both []byte) {
		c := exec.CommandContext(t.Context(), binary, args...)
		c.Env = environ
		var out, words bytes.Buffer
		c.Stdout, c.Stderr = &out, &words
		err := c.Run()
		if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
			t.Fatal(err)
		}
		return out.Bytes(), append(bytes.Clone(out.Bytes()), words.Bytes()...)
	}
}

// aviary is a whole app in front of a gossip, and all that gets out of it.
type aviary struct {
	*App
	stop     func() error
	upstream *gossip
	key      string // of its caller
	answers  record // what its own client is told
	rest     record // everything else
}

const canaryFile = `
upstreams:
  - name: main
    base_url: %q
    api_key: ${PROVIDER_KEY}
    quota: {seats: 50}
    breaker: {failures: 10000, ratio: 1, open: 1s}
    timeout: {first_byte: 2s}
  - {name: slow, base_url: %q, api_key: ${PROVIDER_KEY}, quota: {seats: 50}}
routes: [{model: slow, upstreams: [slow], hold: 1s}, {model: "*", upstreams: [main], hold: 1s}]
classes: {chat: {retries: 1, retry_after: 50ms, max_wait: 3s}}
endpoints: [{path: /ask, class: chat, model: m, flow: session_id, prompt: "Read {content}", history: 4, echo: [session_id], wait: 4s}]
`

func newAviary(t *testing.T) *aviary {
	t.Helper()
	v := &aviary{upstream: &gossip{entered: make(chan struct{}, 100)}}
	server := httptest.NewServer(v.upstream)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	file := filepath.Join(dir, "millrace.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, canaryFile, server.URL+"/v1", server.URL+"/v1"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"PROVIDER_KEY=" + providerCanary, "MILLRACE_STATE_DIR=" + filepath.Join(dir, "state"), "MILLRACE_LISTEN=127.0.0.1:0"}
	millrace := command(t)
	out, _ := millrace(environ, "keys", "create", "--name", "app", "--role", "operator", "--config", file)
	v.key = strings.TrimSpace(string(out))
	_, list := millrace(environ, "keys", "list", "--config", file)
	_, printed := millrace(environ, "config", "print", "--origin", "--config", file)
	if len(v.key) < 40 || !bytes.Contains(list, []byte("app")) || !bytes.Contains(printed, []byte("api_key: ***")) {
		t.Fatalf("key %q\n%s%s", v.key, list, printed)
	}
	v.rest.add("keys list", list)
	v.rest.add("config print", printed)

	c, err := config.Load(config.Source{File: file, Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewJSONHandler(v.rest.at("log"), &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true}))
	stdlog.SetOutput(v.rest.at("log of the standard library"))
	t.Cleanup(func() { stdlog.SetOutput(os.Stderr) })
	transport := &http.Transport{ResponseHeaderTimeout: c.Upstreams[0].Timeout.FirstByte}
	t.Cleanup(transport.CloseIdleConnections)
	if v.App, err = newOn(&network{listen: sockets().listen, transport: brittle{transport}}, c, log); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := serving(func() error { return v.Run(ctx) })
	v.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() { _ = v.stop() })
	return v
}

// send sends a request with the caller's key and cookie, and keeps the answer.
func (v *aviary) send(ctx context.Context, name, line, body string, header ...string) (status int, text string) {
	method, path, _ := strings.Cut(line, " ")
	r, err := http.NewRequestWithContext(ctx, method, "http://"+v.Addr()+path, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}
	r.Header.Set("Authorization", "Bearer "+v.key)
	r.Header.Set("Cookie", "session="+cookieCanary)
	r.Header.Set("Millrace-User", sessionCanary)
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(header); i += 2 {
		if r.Header.Set(header[i], header[i+1]); header[i+1] == "" {
			r.Header.Del(header[i])
		}
	}
	response, err := (&http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}).Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	head, _ := httputil.DumpResponse(response, false)
	content, _ := io.ReadAll(response.Body)
	v.answers.add(name, append(head, content...))
	return response.StatusCode, string(content)
}

func chatAbout(way string, stream bool) string {
	model := "m"
	if way == "429" {
		model = "slow" // whose quota is then learned
	}
	return fmt.Sprintf(`{"model":%q,"stream":%t,"max_tokens":4,"messages":[{"role":"user","content":"ACT:%s %s"}]}`, model, stream, way, promptCanary)
}

// ways are the ends of a chat that its upstream brings about, and their statuses,
// as an answer and as a stream; 0 where that depends on how busy the machine is (a 429
// holds the others back, too).
var ways = map[string][2]int{
	"success": {200, 200}, "400": {400, 400}, "401": {502, 502}, "403": {502, 502}, "404": {404, 404}, "413": {413, 413}, "422": {422, 422},
	"429": {0, 0}, "500": {502, 502}, "503": {503, 503}, "text": {400, 400}, "redirect": {502, 502}, "hang": {504, 504},
	"garbled": {502, 502}, "hangup": {502, 502}, "early": {200, 0}, "late": {200, 200},
}

func (v *aviary) chats(t *testing.T) {
	var all sync.WaitGroup
	for way, want := range ways {
		for i, stream := range []bool{false, true} {
			all.Go(func() {
				name := fmt.Sprintf("%s, stream %t", way, stream)
				status, answer := v.send(t.Context(), name, "POST /v1/chat/completions", chatAbout(way, stream))
				if status != want[i] && want[i] != 0 {
					t.Errorf("%s: status %d: %.300s", name, status, answer)
				}
			})
		}
	}
	all.Wait()
	if status, answer := v.send(t.Context(), "panic", "POST /v1/chat/completions", chatAbout("success", false), "Openai-Beta", "panic"); status != 500 {
		t.Errorf("panic: status %d: %s", status, answer)
	}
}

// refusals are requests that never reach the upstream.
func (v *aviary) refusals(t *testing.T) {
	for name, tc := range map[string]struct {
		line, body string
		header     []string
		status     int
	}{
		"no key":            {"GET /v1/models", "", []string{"Authorization", ""}, 401},
		"a wrong key":       {"GET /v1/models", "", []string{"Authorization", "Bearer " + wrongCanary}, 401},
		"another wrong key": {"POST /ask", `{}`, []string{"Authorization", "", "X-Api-Key", wrongCanary}, 401},
		"two keys":          {"GET /v1/models", "", []string{"X-Api-Key", wrongCanary}, 401},
		"Basic":             {"GET /queue_stats", "", []string{"Authorization", "Basic " + v.key}, 401},
		"in the query":      {"GET /v1/nowhere?api_key=" + v.key, "", nil, 404},
		"x-api-key":         {"GET /v1/models", "", []string{"Authorization", "", "X-Api-Key", v.key}, 200},
		"broken JSON":       {"POST /v1/chat/completions", `{"model":"` + promptCanary, nil, 400},
		"not JSON":          {"POST /v1/chat/completions", promptCanary, nil, 400},
		"twice a member":    {"POST /v1/chat/completions", `{"model":"m","model":"m","messages":[]}`, nil, 400},
		"an encoded body":   {"POST /v1/chat/completions", promptCanary, []string{"Content-Encoding", "gzip"}, 415},
		"a method":          {"PUT /v1/models", promptCanary, nil, 405},
		"a broken endpoint": {"POST /ask", `{"session_id":{"a":"` + sessionCanary + `"}}`, nil, 400},
		"no such task":      {"DELETE /api/v1/tasks/0123456789abcdef0123456789abcdef", "", nil, 404},
	} {
		if status, answer := v.send(t.Context(), name, tc.line, tc.body, tc.header...); status != tc.status {
			t.Errorf("%s: status %d: %s", name, status, answer)
		}
	}
	for name, text := range map[string]string{
		"a broken header": "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + v.key + "\x00\r\n\r\n",
		"no header":       "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization Bearer " + v.key + "\r\n\r\n",
		"a broken length": "POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: " + v.key + "\r\n\r\n",
		"another version": "GET /v1/models HTTP/" + v.key + "\r\n\r\n",
		"a broken chunk":  "POST /ask HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + v.key + "\r\nTransfer-Encoding: chunked\r\n\r\n" + promptCanary + "\r\n",
	} {
		v.answers.add(name, raw(t, v.Addr(), text))
	}
}

// raw sends bytes as they are and returns what comes back.
func raw(t *testing.T, address, text string) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn) // a reset is an answer too
	return answer
}

// tasks run and fail, at once and later, and are canceled.
func (v *aviary) tasks(t *testing.T) {
	about := func(way string) string {
		return fmt.Sprintf(`{"session_id":%q,"content":"ACT:%s %s"}`, sessionCanary, way, contentCanary)
	}
	for way, want := range map[string]int{"success": 200, "400": 502, "401": 502, "500": 502, "garbled": 502, "late": 502} {
		if status, answer := v.send(t.Context(), "endpoint "+way, "POST /ask", about(way)); status != want {
			t.Errorf("endpoint, %s: status %d: %.300s", way, status, answer)
		}
	}
	id := v.later(t, "/ask", about("linger"))
	<-v.upstream.entered
	if status, answer := v.send(t.Context(), "cancel", "POST /cancel_task/"+id, ""); status != 200 || !strings.Contains(answer, `true`) {
		t.Errorf("cancel: status %d: %s", status, answer)
	}
	v.send(t.Context(), "canceled", "GET /task_status/"+id, "")
	for _, way := range []string{"success", "400", "500"} {
		id := v.later(t, "/v1/chat/completions", chatAbout(way, false))
		if status, answer := v.send(t.Context(), "task "+way, "GET /api/v1/tasks/"+id+"?wait=20s", ""); status != 200 || !strings.Contains(answer, `"finished"`) {
			t.Errorf("task, %s: status %d: %.300s", way, status, answer)
		}
	}
	leaving, leave := context.WithCancel(t.Context())
	left := serving(func() error {
		v.send(leaving, "left", "POST /v1/chat/completions", chatAbout("linger", true))
		return nil
	})
	<-v.upstream.entered
	leave()
	<-left
}

var taskName = regexp.MustCompile(`[0-9a-f]{32}`)

// later sends a request whose client does not wait, and returns its task.
func (v *aviary) later(t *testing.T, path, body string) (id string) {
	t.Helper()
	status, answer := v.send(t.Context(), "later "+path, "POST "+path, body, "Prefer", "respond-async, wait=0")
	if id = taskName.FindString(answer); status/100 != 2 || id == "" {
		t.Fatalf("%s: status %d: %s", path, status, answer)
	}
	return id
}

// look reads everything that an operator can.
func (v *aviary) look(t *testing.T) {
	for _, page := range []string{
		"/metrics", "/queue_stats", "/model_stats", "/health", "/healthz", "/readyz", "/v1/models", "/debug/pprof/", "/debug/pprof/cmdline",
		"/debug/pprof/goroutine?debug=2", "/debug/pprof/goroutine?debug=1", "/debug/pprof/heap?debug=1", "/debug/pprof/allocs?debug=1",
		"/debug/pprof/block?debug=1", "/debug/pprof/mutex?debug=1", "/debug/pprof/threadcreate?debug=1", "/debug/pprof/symbol?0x1",
		"/debug/pprof/profile?seconds=1", "/debug/pprof/trace?seconds=1",
		"/api/v1/console/state", "/api/v1/console/requests?limit=500", "/api/v1/console/settings",
	} {
		before := len(v.answers.parts[page])
		status, _ := v.send(t.Context(), page, "GET "+page, "")
		if want := 200; status != want && page != "/debug/pprof/cmdline" {
			t.Errorf("%s: status %d", page, status)
		}
		v.rest.add(page, v.answers.parts[page][before:])
	}
}

// faulty are files that hold the provider's key where they are wrong.
var faulty = []string{
	"upstreams: [{name: main, api_key: <key>, qouta: {seats: 1}}]",
	"upstreams: [{name: main, api_key: \"<key>}]",
	"upstreams: [{name: main, api_key: '<key>, base_url: x}]",
	"upstreams: [{name: main, api_key: [<key>]}]",
	"upstreams: [{name: main, api_key: {<key>: 1}}]",
	"upstreams: [{name: main, api_key: <key>, api_key: <key>}]",
	"upstreams: [{name: main, api_key: <key>",
	"upstreams:\n  - name: main\n    api_key: <key>\n   seats: 3",
	"upstreams:\n  - name: main\n    api_key: <key>: <key>",
	"upstreams:\n  - name: main\n    api_key: |\n      <key>\n    qouta: 1",
	"upstreams:\n  - name: main\n    api_key: >-\n      <key>\n     base_url: x",
	"upstreams:\n  - name: main\n    api_key:\n      <key>\n    seats: [",
	"upstreams:\n\t- {name: main, api_key: <key>}",
	"upstreams: [{name: main, apikey: <key>}]",
	"upstreams: [{name: main, api-key: <key>}]",
	"upstreams: [{name: main, key: <key>}]",
	"upstreams: [{name: main, token: <key>}]",
	"upstreams: [{name: main, api_key <key>}]",
	"upstreams: [{name: main, api_key=<key>}]",
	"upstreams: [{name: main, base_url: \"https://user:<key>@host/v1\"}]",
	"upstreams: [{name: main, base_url: \"https://host/v1?api_key=<key>\"}]",
	"upstreams: [{name: main, api_key: &k <key>, base_url: *k}]",
	"upstreams: [{name: main, api_key: ${NOBODY:-<key>}, seats: x}]",
	"api_key: <key>",
	"OPENAI_API_KEY: <key>",
	"keys: [{name: app, sha256: <key>}]",
	"keys: [{name: app, key: <key>}]",
	"authorization: Bearer <key>",
}

// slips reads files that are wrong next to a credential.
func (v *aviary) slips(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broken.yaml")
	for _, text := range faulty {
		text = strings.ReplaceAll(text, "<key>", providerCanary)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Load(config.Source{File: file, Environ: []string{"MILLRACE_LISTEN=127.0.0.1:0"}}); err == nil {
			t.Errorf("is accepted: %s", text)
		} else {
			v.rest.add("the fault of "+text[:min(60, strings.Index(text, providerCanary))], []byte(err.Error()))
		}
	}
	for _, environ := range []string{"OPENAI_BASE_URL=https://user:", "MILLRACE_NOTHING=", "MILLRACE_UPSTREAMS_MAIN_APIKEY=", "OPENAI_APIKEY="} {
		c, err := config.Load(config.Source{Environ: []string{environ + providerCanary + "@x"}})
		text := fmt.Sprint(err)
		if err == nil {
			text = fmt.Sprint(c.Warnings, c.Settings(), *c)
		}
		v.rest.add("the fault of "+environ, []byte(text))
	}
}

// TestCanaries: whatever happens, credentials and cookies are nowhere to be found, and
// what a client said is told to that client alone.
func TestCanaries(t *testing.T) {
	testkit.LeakCheck(t)
	v := newAviary(t)
	v.chats(t)
	v.refusals(t)
	v.tasks(t)
	v.look(t)
	v.slips(t)
	dir := v.current().config.StateDir
	if err := v.stop(); err != nil {
		t.Error("stop:", err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) < 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		v.rest.add(filepath.Base(file), text)
	}
	if places := len(v.answers.parts) + len(v.rest.parts); places < 100 || len(v.rest.parts["log"]) < 10_000 {
		t.Errorf("looked in %d places, and %d bytes of log", places, len(v.rest.parts["log"]))
	}
	for what, canary := range map[string]string{"the provider's key": providerCanary, "the caller's key": v.key[6:], "the cookie": cookieCanary, "a wrong key": wrongCanary} {
		for _, hit := range append(v.answers.hits(canary), v.rest.hits(canary)...) {
			t.Errorf("%s is told in %s", what, hit)
		}
	}
	for what, canary := range map[string]string{"the prompt": promptCanary, "the session": sessionCanary, "the content": contentCanary} {
		for _, hit := range v.rest.hits(canary) {
			if what == "the session" && strings.HasPrefix(hit, "/api/v1/console/") {
				continue // whose requests they are is what the console tells operators
			}
			t.Errorf("%s is told in %s", what, hit)
		}
	}
}
