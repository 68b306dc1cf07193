package gateway

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/task"
)

const taskID = "0123456789abcdef0123456789abcdef"

// greet is a mount's handler that says whom it took its caller for.
func greet(w http.ResponseWriter, _ *http.Request, c Caller) { _ = json.NewEncoder(w).Encode(c) }

// keyed has two tenants, and a mount of every access.
func keyed(o *Options) {
	o.Routes = []Route{{Model: "gpt-*"}, {Model: "other-*"}}
	o.Keys = []Key{
		{Name: "a", SHA256: sha256.Sum256([]byte("sk-a")), Tenant: "acme", Models: []string{"gpt-*"}, Role: RoleOperator},
		{Name: "b", SHA256: sha256.Sum256([]byte("sk-b")), Tenant: "beta", Models: []string{"other-1", "other-2*"}, Classes: []flow.Class{flow.Chat}, Role: RoleViewer},
	}
	o.Mounts = []Mount{
		{Pattern: "GET /open", Access: Open, Dialect: App, Handler: greet},
		{Pattern: "POST /app", Access: Keyed, Dialect: App, Handler: greet},
		{Pattern: "GET /app/{id}", Access: Keyed, Dialect: App, Handler: greet},
		{Pattern: "GET /stats", Access: Operator, Dialect: App, Handler: greet},
		{Pattern: "POST /reset", Access: Operator, Dialect: App, Handler: greet},
	}
}

// mutations of a request that must not reach what the request itself does not.
var mutations = map[string]func(*http.Request){
	"two slashes":        onPath(func(p string) string { return "/" + p }),
	"two slashes in":     onPath(func(p string) string { return strings.Replace(p, "/", "//", 2) }),
	"%2f":                onPath(func(p string) string { return "/" + strings.ReplaceAll(p[1:], "/", "%2f") + "%2f" }),
	"%252f":              onPath(func(p string) string { return "/" + strings.ReplaceAll(p[1:], "/", "%252f") + "%252f" }),
	"dots":               onPath(func(p string) string { return "/x/.." + p }),
	"encoded dots":       onPath(func(p string) string { return "/x/%2e%2e" + p }),
	"dots of Java":       onPath(func(p string) string { return "/open/..;" + p }),
	"one dot":            onPath(func(p string) string { return "/." + p }),
	"a dot at the end":   onPath(func(p string) string { return p + "." }),
	"a slash at the end": onPath(func(p string) string { return p + "/" }),
	"capitals":           onPath(strings.ToUpper),
	"a NUL":              onPath(func(p string) string { return p + "%00" }),
	"a space":            onPath(func(p string) string { return p + "%20" }),
	"OPTIONS":            func(r *http.Request) { r.Method = "OPTIONS" },
	"TRACE":              func(r *http.Request) { r.Method = "TRACE" },
	"CONNECT":            func(r *http.Request) { r.Method = "CONNECT" },
	"lower case":         func(r *http.Request) { r.Method = strings.ToLower(r.Method) },
}

// disguises leave a request as it is for those who look at path and method alone.
var disguises = map[string]func(*http.Request){
	"as it is":       func(*http.Request) {},
	"a query":        func(r *http.Request) { r.URL.RawQuery = "a=b" },
	"an odd host":    func(r *http.Request) { r.Host = "open" },
	"a host's path":  func(r *http.Request) { r.Host = "localhost/open" },
	"no host":        func(r *http.Request) { r.Host = "" },
	"absolute":       func(r *http.Request) { r.URL.Scheme, r.URL.Host = "http", "elsewhere.example" },
	"X-Original-URL": func(r *http.Request) { r.Header.Set("X-Original-Url", "/open"); r.Header.Set("X-Rewrite-Url", "/open") },
	"other method":   func(r *http.Request) { r.Header.Set("X-Http-Method-Override", "GET") },
	"Connection":     func(r *http.Request) { r.Header.Set("Connection", "authorization, x-api-key, millrace-user") },
	"forwarded": func(r *http.Request) {
		r.Header.Set("X-Forwarded-For", "127.0.0.1")
		r.Header.Set("X-Forwarded-Host", "localhost")
	},
	"a preflight": func(r *http.Request) { r.Header.Set("Access-Control-Request-Method", "POST") },
	"an upgrade":  func(r *http.Request) { r.Header.Set("Upgrade", "websocket"); r.Header.Set("Connection", "upgrade") },
	"underscores": func(r *http.Request) { r.Header["X_api_key"] = []string{"sk-a"} },
}

func onPath(change func(string) string) func(*http.Request) {
	return func(r *http.Request) {
		u, err := url.Parse("http://h" + change(r.URL.EscapedPath()))
		if err != nil {
			panic(err)
		}
		u.Scheme, u.Host = "", ""
		r.URL = u
	}
}

// Every registered pattern, every credential, every way to write the path: an
// answer comes only to those whom the pattern's access names.
func TestI8NothingOpensButByItsPattern(t *testing.T) {
	for _, loopback := range []bool{false, true} {
		w := build(t, 4, echo, keyed, func(o *Options) { o.Loopback = loopback })
		t.Cleanup(w.admission.Close)
		w.tasks.put(task.Task{ID: taskID, Kind: "openai/chat", Flow: flow.Key{Tenant: "acme"}})
		table := w.gateway.table.Load()
		if len(table.main.patterns) < 10 || len(table.admin.patterns) < 5 {
			t.Fatalf("%d and %d patterns", len(table.main.patterns), len(table.admin.patterns))
		}
		if _, there := table.main.patterns["GET /stats"]; there != loopback {
			t.Errorf("loopback %v: the operator's pattern is on the main listener: %v", loopback, there)
		}
		for _, d := range []*desk{table.main, table.admin} {
			for _, p := range d.patterns {
				walk(t, d, p)
			}
		}
		w.records.mu.Lock()
		if slices.ContainsFunc(w.records.records, func(r event.Record) bool { return r.Outcome == flow.OutcomeFailed }) || w.log.Len() > 0 {
			t.Errorf("failures: %s", w.log)
		}
		w.records.mu.Unlock()
	}
}

// walk tries one pattern with every credential in every disguise and mutation.
func walk(t *testing.T, d *desk, p *pattern) {
	t.Helper()
	method, target, _ := strings.Cut(p.path, " ")
	target = strings.NewReplacer("{id}", taskID, "{model...}", "gpt-4o", "{profile...}", "symbol").Replace(target)
	for token, may := range map[string]bool{"": false, "sk-wrong": false, "sk-a": true, "sk-b": !strings.Contains(target, taskID) && !strings.HasPrefix(target, "/v1/") || target == "/v1/models"} {
		may = may || p.access == Open
		if strings.HasPrefix(target, "/app/") {
			may = token == "sk-a" || token == "sk-b"
		}
		may = may && (p.access != Operator || token == "sk-a")
		try := func(name string, edit func(*http.Request), may bool) {
			resp := do(t, d, method+" "+target, strings.Replace(chatBody, `"m"`, `"gpt-4o","prompt":"p","input":"i"`, 1), header("Authorization", "Bearer "+token), edit)
			_, _ = io.Copy(io.Discard, resp.Body)
			if ok := resp.StatusCode/100 == 2; ok != may || resp.StatusCode >= 500 {
				t.Errorf("%s as %q, %s: %d", p.path, token, name, resp.StatusCode)
			}
		}
		for name, edit := range disguises {
			try(name, edit, may)
		}
		for name, edit := range mutations {
			if strings.HasSuffix(p.path, "}") && strings.HasPrefix(name, "a ") || strings.Contains(p.path, "...") {
				continue // what it changes is a name, not the path
			}
			try(name, edit, false)
		}
		_, rest, _ := strings.Cut(p.path, " ")
		_, get := d.patterns["GET "+rest]
		try("HEAD", func(r *http.Request) { r.Method = "HEAD" }, may && get)
	}
}

func TestI8EveryPatternSaysForWhom(t *testing.T) {
	mount := func(edit func(*Mount)) Mount {
		m := Mount{Pattern: "GET /x", Access: Keyed, Handler: greet}
		edit(&m)
		return m
	}
	for name, m := range map[string]Mount{
		"no access":       mount(func(m *Mount) { m.Access = 0 }),
		"unknown access":  mount(func(m *Mount) { m.Access = 9 }),
		"unknown dialect": mount(func(m *Mount) { m.Dialect = 9 }),
		"no handler":      mount(func(m *Mount) { m.Handler = nil }),
		"no method":       mount(func(m *Mount) { m.Pattern = "/x" }),
		"no path":         mount(func(m *Mount) { m.Pattern = "GET x" }),
		"a host":          mount(func(m *Mount) { m.Pattern = "GET h/x" }),
		"malformed":       mount(func(m *Mount) { m.Pattern = "GET /{x" }),
		"taken":           mount(func(m *Mount) { m.Pattern = "GET /v1/models" }),
		"overlapping":     mount(func(m *Mount) { m.Pattern = "GET /{x}/models/{y}" }),
	} {
		_, err := New(Options{Routes: []Route{{Model: "*"}}, Mounts: []Mount{m}}, Deps{Dispatcher: &spy{}, Limits: control(t, 1), Catalog: twoModels{}})
		if err == nil || !strings.Contains(err.Error(), "pattern") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOneCredential(t *testing.T) {
	w := build(t, 4, echo, keyed)
	defer w.admission.Close()
	tests := map[string]struct {
		header http.Header
		status int
	}{
		"bearer":              {http.Header{"Authorization": {"Bearer sk-a"}}, 200},
		"any case":            {http.Header{"Authorization": {"bEARER  sk-a "}}, 200},
		"Anthropic's":         {http.Header{"X-Api-Key": {"sk-a"}}, 200},
		"Azure's":             {http.Header{"Api-Key": {" sk-a"}}, 200},
		"the same twice":      {http.Header{"Authorization": {"Bearer sk-a"}, "X-Api-Key": {"sk-a"}}, 200},
		"an empty one beside": {http.Header{"Authorization": {"Bearer "}, "X-Api-Key": {"sk-a"}, "Api-Key": {""}}, 200},
		"contradictory":       {http.Header{"Authorization": {"Bearer sk-a"}, "X-Api-Key": {"sk-b"}}, 401},
		"contradictory lines": {http.Header{"Authorization": {"Bearer sk-a", "Bearer sk-b"}}, 401},
		"contradictory keys":  {http.Header{"X-Api-Key": {"sk-a", "sk-b"}}, 401},
		"another scheme":      {http.Header{"Authorization": {"Basic sk-a"}}, 401},
		"beside another":      {http.Header{"Authorization": {"Basic sk-a"}, "X-Api-Key": {"sk-a"}}, 401},
		"no scheme":           {http.Header{"Authorization": {"sk-a"}}, 401},
		"no space":            {http.Header{"Authorization": {"Bearersk-a"}}, 401},
		"two in one":          {http.Header{"Authorization": {"Bearer sk-a, Bearer sk-b"}}, 401},
		"none":                {http.Header{}, 401},
		"the hash itself":     {http.Header{"X-Api-Key": {fmt.Sprintf("%x", sha256.Sum256([]byte("sk-a")))}}, 401},
		"with underscores":    {http.Header{"X_api_key": {"sk-a"}}, 401},
		"in a cookie":         {http.Header{"Cookie": {"api-key=sk-a"}}, 401},
	}
	for name, tc := range tests {
		resp := do(t, w.gateway, "GET /v1/models", "", func(r *http.Request) { r.Header = tc.header })
		if resp.StatusCode != tc.status {
			t.Errorf("%s: %d", name, resp.StatusCode)
		}
	}
}

// Two tokens that differ in one byte, at any place, are two.
func TestTokensDifferInEveryByte(t *testing.T) {
	const token = "sk-mr-0123456789abcdefghijklmnopqrstuvwxyzABCDEF"
	w := build(t, 4, echo, func(o *Options) { o.Keys = []Key{{SHA256: sha256.Sum256([]byte(token)), Tenant: "acme"}} })
	defer w.admission.Close()
	ask := func(token string) int {
		return do(t, w.gateway, "GET /v1/models", "", header("Authorization", "Bearer "+token)).StatusCode
	}
	if got := ask(token); got != 200 {
		t.Fatalf("the token itself: %d", got)
	}
	for i := range token {
		near := []byte(token)
		near[i] ^= 1
		for _, other := range []string{string(near), token[:i], token + token[:i+1]} {
			if got := ask(other); got != 401 {
				t.Errorf("%q: %d", other, got)
			}
		}
	}
}

// A model that a key may not ask for is to it as one that does not exist.
func TestI8ModelsOfAKey(t *testing.T) {
	w := build(t, 4, echo, keyed)
	defer w.admission.Close()
	for _, tc := range []struct {
		token, model string
		status       int
	}{
		{"sk-a", "gpt-4o", 200},
		{"sk-a", "gpt-", 200},
		{"sk-a", "other-1", 404},
		{"sk-a", "none", 404},
		{"sk-a", "GPT-4o", 404},
		{"sk-b", "other-1", 200},
		{"sk-b", "other-11", 404},
		{"sk-b", "other-22", 200},
		{"sk-b", "gpt-4o", 404},
	} {
		auth := header("Authorization", "Bearer "+tc.token)
		resp := do(t, w.gateway, "POST /v1/chat/completions", strings.Replace(chatBody, `"m"`, `"`+tc.model+`"`, 1), auth)
		if tc.status == 404 {
			if got, want := wantError(t, resp, 404, "model_not_found"), unknownModel(tc.model).message; got != want {
				t.Errorf("told %q", got)
			}
		} else if resp.StatusCode != tc.status {
			t.Errorf("%s asks for %s: %d", tc.token, tc.model, resp.StatusCode)
		}
		if resp := do(t, w.gateway, "GET /v1/models/"+tc.model, "", auth); resp.StatusCode != tc.status {
			t.Errorf("%s looks at %s: %d", tc.token, tc.model, resp.StatusCode)
		}
	}
	for token, want := range map[string]int{"sk-a": 2, "sk-b": 0} {
		resp := do(t, w.gateway, "GET /v1/models", "", header("X-Api-Key", token))
		if got := strings.Count(readAll(t, resp), `"id"`); got != want {
			t.Errorf("%s is told of %d models, want %d", token, got, want)
		}
	}
}

func TestI2ClassesOfAKey(t *testing.T) {
	hash := func(s string) [32]byte { return sha256.Sum256([]byte(s)) }
	options := func(o *Options) {
		o.Routes = []Route{{Model: "m"}, {Model: "slow", Class: flow.Analysis}}
		o.Keys = []Key{
			{SHA256: hash("only"), Tenant: "t", Classes: []flow.Class{flow.Analysis}},
			{SHA256: hash("own"), Tenant: "t", Class: flow.Analysis, Classes: []flow.Class{flow.Analysis}},
		}
	}
	w := build(t, 4, echo, options)
	defer w.admission.Close()
	for _, tc := range []struct {
		token, model, wish string
		status             int
		class              string
	}{
		{"only", "m", "", 403, ""},
		{"only", "m", "analysis", 200, "analysis"},
		{"only", "slow", "", 200, "analysis"},
		{"own", "m", "", 200, "analysis"},
		{"own", "m", "chat", 200, "analysis"},
	} {
		body := strings.Replace(chatBody, `"m"`, `"`+tc.model+`"`, 1)
		resp := do(t, w.gateway, "POST /v1/chat/completions", body, header("X-Api-Key", tc.token), header("Millrace-Class", tc.wish))
		if resp.StatusCode != tc.status || resp.Header.Get("Millrace-Class") != tc.class {
			t.Errorf("%+v: %d, class %q", tc, resp.StatusCode, resp.Header.Get("Millrace-Class"))
		}
	}
	options = func(o *Options) {
		o.Keys = []Key{{SHA256: hash("x"), Tenant: "t", Class: flow.Chat, Classes: []flow.Class{flow.Batch}, Models: []string{"a*b"}}, {SHA256: hash("x"), Tenant: "u"}}
	}
	o := Options{Routes: []Route{{Model: "*"}}}
	options(&o)
	_, err := New(o, Deps{Dispatcher: &spy{}, Limits: w.admission, Catalog: twoModels{}})
	for _, want := range []string{"keys[0].class", "keys[0].models", "keys[1] has the hash of keys[0]"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not speak of %s", err, want)
		}
	}
}

func TestMountsMeetTheirCaller(t *testing.T) {
	w := build(t, 4, echo, keyed)
	defer w.admission.Close()
	for _, tc := range []struct {
		method, path, token string
		want                Caller
	}{
		{"POST", "/app", "sk-b", Caller{Tenant: "beta", Key: "b", User: "u", Models: []string{"other-1", "other-2*"}, Classes: []flow.Class{flow.Chat}}},
		{"GET", "/open", "", Caller{User: "u"}},
		{"GET", "/open", "sk-a", Caller{Tenant: "acme", Key: "a", User: "u", Models: []string{"gpt-*"}}},
	} {
		resp := do(t, w.gateway, tc.method+" "+tc.path, "", header("X-Api-Key", tc.token), header("Millrace-User", "u"))
		var got Caller
		if err := json.Unmarshal([]byte(readAll(t, resp)), &got); err != nil {
			t.Fatal(err)
		}
		if got.ID == "" || got.ID != resp.Header.Get("Millrace-Request-Id") {
			t.Errorf("id %q, told %q", got.ID, resp.Header.Get("Millrace-Request-Id"))
		}
		if got.ID = ""; fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("%s %s: %+v, want %+v", tc.method, tc.path, got, tc.want)
		}
	}
	resp := do(t, w.gateway, "POST /app", "")
	if got := readAll(t, resp); resp.StatusCode != 401 || !strings.HasPrefix(got, `{"success":false,"error":"Incorrect`) {
		t.Errorf("a stranger: %d %s", resp.StatusCode, got)
	}
	resp = do(t, w.gateway, "DELETE /app", "")
	if got := readAll(t, resp); resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST" || !strings.HasPrefix(got, `{"success":false`) {
		t.Errorf("DELETE: %d %s %v", resp.StatusCode, got, resp.Header)
	}
}

// hostile returns values of a header that some parser may stumble over.
func hostile(r *rand.Rand) string {
	parts := []string{
		"Bearer", "bearer ", "Basic ", "sk-a", "sk-b", " ", "\t", ",", ";", "=", `"`, `\`, "'", "\x00", "\r\n", "\u2028", "é", "\xff", "%00", "%2f",
		"..", "' OR 1=1--", "${jndi:ldap://x}", "{{7*7}}", "\x1b[31m", strings.Repeat("A", 3000), "null", "undefined", "-1", "1e400", "0x", "Bearer sk-a",
		"respond-async", "wait=", "99999999999999999999", "127.0.0.1", "::1", "[::1]:80", "for=1;by=2", "Digest a=\"b\"",
	}
	var s strings.Builder
	for range r.IntN(6) {
		s.WriteString(parts[r.IntN(len(parts))])
	}
	return s.String()
}

// headersOfOurs are all that the gateway reads.
var headersOfOurs = []string{
	"Authorization", "X-Api-Key", "Api-Key", "Millrace-User", "Millrace-Class", "Prefer", "Cache-Control", "X-Forwarded-For", "Content-Encoding",
	"X-Stainless-Timeout", "X-Stainless-Retry-Count", "Openai-Beta", "Origin", "Connection", "Host", "Content-Type", "Expect", "Transfer-Encoding",
}

// 10,000 values of Authorization: who is not let in is told so, and nothing else
// happens.
func TestHostileAuthorization(t *testing.T) {
	w := build(t, 4, echo, keyed)
	defer w.admission.Close()
	r := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		v := hostile(r)
		req := httptest.NewRequest("GET", "/v1/models", nil)
		req.Header["Authorization"] = []string{v}
		rec := httptest.NewRecorder()
		w.gateway.ServeHTTP(rec, req)
		token, ok := bearer(v)
		may := ok && (token == "sk-a" || token == "sk-b")
		if rec.Code != 401 && !may || rec.Code != 200 && may {
			t.Fatalf("%q: %d", v, rec.Code)
		}
	}
}

// 10,000 requests with something wrong in path, method, header or body: none is
// the gateway's fault.
func TestMalformedRequests(t *testing.T) {
	w := build(t, 4, echo, keyed, func(o *Options) { o.MaxBody, o.Loopback = 4096, true })
	defer w.admission.Close()
	r := rand.New(rand.NewPCG(3, 4))
	paths := []string{"/v1/chat/completions", "/v1/embeddings", "/v1/models", "/v1/models/x", "/api/v1/tasks/x", "/app", "/", "//", "*", "/v1/%zz", "/healthz", "/debug/pprof/none"}
	methods := []string{"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "get", "", "X\x00"}
	statuses := map[int]int{}
	for range 10_000 {
		req := httptest.NewRequest("POST", "/", nil)
		req.Method, req.URL.Path = methods[r.IntN(len(methods))], paths[r.IntN(len(paths))]
		if r.IntN(2) == 0 {
			req.Method, req.URL.Path = "POST", paths[r.IntN(2)]
		}
		body := []byte(strings.Replace(chatBody, `"m"`, `"gpt-4o","input":""`, 1))
		for range r.IntN(4) {
			switch at := r.IntN(len(body)); r.IntN(4) {
			case 0:
				body[at] ^= byte(1 << r.IntN(8))
			case 1:
				body = body[:at+1]
			case 2:
				body = append(body[:at:at], append([]byte(hostile(r)), body[at:]...)...)
			}
		}
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body)-r.IntN(3))
		req.Header["X-Api-Key"] = []string{"sk-a"}
		for range r.IntN(4) {
			req.Header[headersOfOurs[r.IntN(len(headersOfOurs))]] = []string{hostile(r), hostile(r)}[:1+r.IntN(2)]
		}
		rec := httptest.NewRecorder()
		w.gateway.ServeHTTP(rec, req)
		if statuses[rec.Code]++; rec.Code >= 500 || rec.Code < 200 {
			t.Fatalf("%s %s %v %q: %d %s", req.Method, req.URL.Path, req.Header, body, rec.Code, rec.Body)
		}
	}
	if strings.Contains(w.log.String(), "panic") {
		t.Errorf("log: %s", w.log)
	}
	for _, status := range []int{200, 400, 401, 404, 405, 413, 415} {
		if statuses[status] == 0 {
			t.Errorf("no request was answered with %d: %v", status, statuses)
		}
	}
}

func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{"Bearer sk-a", "bearer", "Basic eDp5", "Bearer  ", "Bearer sk-a, Bearer sk-b", "\x00", "' OR 1=1"} {
		f.Add(s, s)
	}
	w := build(f, 4, echo, keyed)
	f.Cleanup(w.admission.Close)
	f.Fuzz(func(t *testing.T, auth, key string) {
		req := httptest.NewRequest("GET", "/v1/models", nil)
		req.Header["Authorization"], req.Header["X-Api-Key"] = []string{auth}, []string{key}
		rec := httptest.NewRecorder()
		w.gateway.ServeHTTP(rec, req)
		named := strings.Contains(auth+key, "sk-a") || strings.Contains(auth+key, "sk-b")
		if rec.Code != 401 && (rec.Code != 200 || !named) {
			t.Fatalf("%q, %q: %d", auth, key, rec.Code)
		}
	})
}
