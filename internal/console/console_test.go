package console_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/console"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// bunch keeps records as a ring would.
type bunch struct {
	records  []event.Record
	attempts []event.Attempt
}

func (b *bunch) Recent(n int) []event.Record { return b.records[:min(n, len(b.records))] }

func (b *bunch) Get(id string) (event.Record, bool) {
	for _, r := range b.records {
		if r.ID == id {
			return r, true
		}
	}
	return event.Record{}, false
}

func (b *bunch) Attempts(id string) []event.Attempt {
	var own []event.Attempt
	for _, a := range b.attempts {
		if a.Request == id {
			own = append(own, a)
		}
	}
	return own
}

// rack is the keys of a test, by token.
type rack struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]console.Principal
}

func (k *rack) Any() bool { return true }

func (k *rack) Find(sum [sha256.Size]byte) (console.Principal, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	who, ok := k.all[sum]
	return who, ok
}

func (k *rack) revoke(token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.all, sha256.Sum256([]byte(token)))
}

func newRack() *rack {
	return &rack{all: map[[sha256.Size]byte]console.Principal{
		sha256.Sum256([]byte("op")):   {Name: "ops", Role: console.Operator},
		sha256.Sum256([]byte("view")): {Name: "desk"},
	}}
}

// site is a console under test.
type site struct {
	*console.Console
	mux    *http.ServeMux
	log    *bytes.Buffer
	meter  *console.Meter
	rack   *rack
	recent *bunch
	snaps  atomic.Int64 // how often the gate was asked
	done   []string     // actions
	lines  []gate.FlowState
	queue  struct{ console.Flows } // of lines, unless a test has others

	searches, atOnce int // of lines
	plan             console.Planner
	load             runs
}

func newSite(t *testing.T, locked bool, o console.Options) *site {
	t.Helper()
	s := &site{mux: http.NewServeMux(), log: &bytes.Buffer{}, meter: console.NewMeter(), recent: &bunch{}}
	s.queue.Flows = s
	s.plan = func(context.Context, url.Values) ([]byte, error) { return []byte("[]"), nil }
	d := console.Deps{
		Snapshot: func() gate.Snapshot { s.snaps.Add(1); return snapshot(time.Now()) },
		Settings: func() []console.Setting {
			return []console.Setting{{Name: "listen", Value: "127.0.0.1:8080", Origin: "default"}}
		},
		Requests: s.recent, Meter: s.meter,
		Reset: func(name string) error { return s.note("reset", name, name == "main") },
		Trip:  func(name string) error { return s.note("trip", name, name == "main") },
		Flows: &s.queue, Control: s, Plan: func(ctx context.Context, q url.Values) ([]byte, error) { return s.plan(ctx, q) }, Load: &s.load,
		Log: slog.New(slog.NewJSONHandler(s.log, nil)),
	}
	if locked {
		s.rack = newRack()
		d.Keys = s.rack
	}
	c, err := console.New(o, d)
	if err != nil {
		t.Fatal(err)
	}
	s.Console = c
	for _, m := range c.Mounts() {
		s.mux.HandleFunc(m.Pattern, func(w http.ResponseWriter, r *http.Request) { m.Handler(w, r, "req_1") })
	}
	return s
}

func snapshot(now time.Time) gate.Snapshot {
	return gate.Snapshot{
		Waiting: 3, Running: 4, Flows: 2, Outstanding: 4, ByClass: []gate.ClassState{{Name: flow.Chat, Waiting: 3, Running: 4, Weight: 1, Oldest: now.Add(-2 * time.Second)}},
		Upstreams: []gate.UpstreamState{{
			Name: "main", Seats: 10, InUse: 4, Outstanding: 4,
			Windows: []quota.State{{Dim: quota.Requests, Span: time.Minute, Configured: 60, Learned: 50, Used: 40, Reserved: 4, Free: 6, Full: now.Add(30 * time.Second)}},
			Breaker: breaker.Snapshot{State: breaker.Closed},
		}},
	}
}

// ask sends a request; header is pairs of names and values.
func (s *site) ask(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost:8080"+target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	s.mux.ServeHTTP(w, r)
	return w
}

// login returns the cookie of a session.
func (s *site) login(t *testing.T, key string) string {
	t.Helper()
	w := s.ask("POST", "/api/v1/console/session", `{"key":"`+key+`"}`)
	cookies := w.Result().Cookies()
	if w.Code != http.StatusOK || len(cookies) != 1 {
		t.Fatalf("login: %d %s", w.Code, w.Body)
	}
	c := cookies[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || len(c.Value) != 43 { // 256 random bits, and nothing else
		t.Errorf("cookie %+v", c)
	}
	return c.Name + "=" + c.Value
}

const (
	statePath = "/api/v1/console/state"
	tripPath  = "/api/v1/console/upstreams/main/trip"
	planPath  = "/api/v1/plan"
	startPath = "/api/v1/console/load/start"
	evictPath = "/api/v1/console/flows/evict"
)

// guarded are all routes but the page's files and the login.
var guarded = map[string]string{
	statePath: "GET", "/api/v1/console/stream": "GET", "/api/v1/console/settings": "GET", "/api/v1/console/requests": "GET",
	"/api/v1/console/requests/x": "GET", tripPath: "POST", "/api/v1/console/upstreams/main/reset": "POST",
	"/api/v1/console/flows": "GET", planPath: "GET", "/api/v1/console/load": "GET", "/api/v1/console/load/report": "GET",
	"/api/v1/console/classes/chat/pause": "POST", "/api/v1/console/classes/chat/resume": "POST", "/api/v1/console/flows/move-up": "POST", evictPath: "POST",
	startPath: "POST", "/api/v1/console/load/stop": "POST",
}

func TestI1ClosedWithoutAKey(t *testing.T) {
	s := newSite(t, true, console.Options{})
	for path, method := range guarded {
		for name, header := range map[string][]string{
			"nothing": nil, "wrong key": {"Authorization", "Bearer no"}, "forged cookie": {"Cookie", "millrace_session_8080=AAAA"}, "a foreign scheme": {"Authorization", "Basic b3A="},
		} {
			if w := s.ask(method, path, "", header...); w.Code != http.StatusUnauthorized {
				t.Errorf("%s %s with %s: %d", method, path, name, w.Code)
			}
		}
	}
	if len(s.done)+len(s.load.done) > 0 || s.snaps.Load() > 0 {
		t.Errorf("strangers did %v %v and made %d frames", s.done, s.load.done, s.snaps.Load())
	}
	if w := s.ask("GET", "/api/v1/console/session", ""); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "ops") {
		t.Errorf("session for a stranger: %d %s", w.Code, w.Body)
	}
	if w := s.ask("GET", statePath, "", "Authorization", "Bearer view"); w.Code != http.StatusOK {
		t.Errorf("a program with a key: %d", w.Code)
	}
}

func TestI1SessionEndsWithItsKey(t *testing.T) {
	s := newSite(t, true, console.Options{})
	cookie := s.login(t, "op")
	if w := s.ask("GET", statePath, "", "Cookie", cookie); w.Code != http.StatusOK {
		t.Fatalf("with a session: %d", w.Code)
	}
	s.rack.revoke("op")
	if w := s.ask("GET", statePath, "", "Cookie", cookie); w.Code != http.StatusUnauthorized {
		t.Errorf("after the key was revoked: %d", w.Code)
	}
}

func TestI1LogoutAndExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, true, console.Options{Session: time.Hour})
		first, second := s.login(t, "view"), s.login(t, "view")
		if w := s.ask("DELETE", "/api/v1/console/session", "", "Cookie", first); w.Code != http.StatusNoContent {
			t.Errorf("logout: %d", w.Code)
		}
		if w := s.ask("GET", statePath, "", "Cookie", first); w.Code != http.StatusUnauthorized {
			t.Errorf("after logout: %d", w.Code)
		}
		<-time.After(59 * time.Minute)
		if w := s.ask("GET", statePath, "", "Cookie", second); w.Code != http.StatusOK {
			t.Errorf("before it expires: %d", w.Code)
		}
		<-time.After(time.Minute)
		if w := s.ask("GET", statePath, "", "Cookie", second); w.Code != http.StatusUnauthorized {
			t.Errorf("when it has expired: %d", w.Code)
		}
	})
}

func TestI2SameSite(t *testing.T) {
	for _, tc := range []struct {
		name   string
		locked bool
		header []string
		want   int
	}{
		{"own page", false, []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:8080"}, http.StatusNoContent},
		{"typed by hand", false, []string{"Sec-Fetch-Site", "none"}, http.StatusNoContent},
		{"no browser", false, nil, http.StatusNoContent},
		{"no browser, by address", false, []string{"Host", "127.0.0.1:8080"}, http.StatusNoContent},
		{"no browser, by address 6", false, []string{"Host", "[::1]:8080"}, http.StatusNoContent},
		{"another site", false, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, http.StatusForbidden},
		{"another port", false, []string{"Sec-Fetch-Site", "same-site", "Origin", "http://localhost:9999"}, http.StatusForbidden},
		{"old browser, another site", false, []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		{"old browser, no origin told", false, []string{"Origin", "null"}, http.StatusForbidden},
		{"old browser, like ours", false, []string{"Origin", "http://localhost:8080.evil.example"}, http.StatusForbidden},
		{"a name that points here", false, []string{"Host", "evil.example:8080", "Sec-Fetch-Site", "same-origin", "Origin", "http://evil.example:8080"}, http.StatusForbidden},
		{"a name like ours", false, []string{"Host", "localhost.evil.example"}, http.StatusForbidden},
		{"with keys any name", true, []string{"Host", "gw.example", "Authorization", "Bearer op"}, http.StatusNoContent},
		{"with keys another site", true, []string{"Sec-Fetch-Site", "cross-site", "Authorization", "Bearer op"}, http.StatusForbidden},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSite(t, tc.locked, console.Options{})
			if w := s.ask("POST", tripPath, "", tc.header...); w.Code != tc.want {
				t.Errorf("POST: %d, want %d: %s", w.Code, tc.want, w.Body)
			}
			if acted := len(s.done) > 0; acted != (tc.want == http.StatusNoContent) {
				t.Errorf("acted: %v", s.done)
			}
			want := http.StatusOK
			if tc.want == http.StatusForbidden {
				want = tc.want
			}
			if w := s.ask("GET", statePath, "", tc.header...); w.Code != want {
				t.Errorf("GET: %d, want %d", w.Code, want)
			}
		})
	}
}

func TestI3ViewerChangesNothing(t *testing.T) {
	s := newSite(t, true, console.Options{})
	for _, header := range [][]string{{"Cookie", s.login(t, "view")}, {"Authorization", "Bearer view"}} {
		for path, method := range guarded {
			if method == "POST" {
				if w := s.ask(method, path, "", header...); w.Code != http.StatusForbidden {
					t.Errorf("%s as a viewer: %d", path, w.Code)
				}
			}
		}
		var in struct{ Acts bool }
		if err := json.Unmarshal(s.ask("GET", "/api/v1/console/session", "", header...).Body.Bytes(), &in); err != nil || in.Acts {
			t.Errorf("a viewer is offered %+v, %v", in, err)
		}
	}
	if len(s.done)+len(s.load.done) > 0 {
		t.Errorf("a viewer did %v %v", s.done, s.load.done)
	}
}

func TestI4Audit(t *testing.T) {
	s := newSite(t, true, console.Options{})
	cookie := s.login(t, "op")
	s.ask("POST", "/api/v1/console/session", `{"key":"secret-guess"}`)
	s.ask("POST", tripPath, "", "Cookie", cookie)
	s.ask("POST", "/api/v1/console/upstreams/a%0ab/reset", "", "Cookie", cookie)
	s.ask("POST", tripPath, "", "Authorization", "Bearer view")
	s.ask("POST", tripPath, "", "Cookie", cookie, "Sec-Fetch-Site", "cross-site")
	s.ask("DELETE", "/api/v1/console/session", "", "Cookie", cookie)
	want := []string{
		`"action":"login","by":"ops","role":"operator"`, `"action":"login refused","by":"nobody"`,
		`"action":"trip breaker","by":"ops".*"upstream":"main","done":true`, `"action":"reset breaker","by":"ops".*"upstream":"a\\nb","done":false`,
		`"action":"refused","by":"desk","role":"viewer".*"path":"/api/v1/console/upstreams/main/trip"`, `"action":"refused","by":"nobody".*another site`,
		`"action":"logout","by":"ops"`,
	}
	lines := strings.Split(strings.TrimSpace(s.log.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), s.log)
	}
	for i, line := range lines {
		if ok, err := regexp.MatchString(want[i], line); err != nil || !ok || !strings.Contains(line, `"from":"192.0.2.1:1234"`) {
			t.Errorf("line %d is %s, want %s", i, line, want[i])
		}
	}
	if strings.Contains(s.log.String(), "secret-guess") || strings.Contains(s.log.String(), cookie) {
		t.Error("the log holds a credential")
	}
}

func TestI5Inert(t *testing.T) {
	s := newSite(t, false, console.Options{})
	for _, path := range []string{"/ui", "/ui/", "/ui/app.js", "/ui/none", statePath, "/api/v1/console/requests/none", "/api/v1/console/settings"} {
		h := s.ask("GET", path, "").Header()
		csp := h.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'self'") || strings.Contains(csp, "unsafe") || !strings.Contains(csp, "frame-ancestors 'none'") || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, h)
		}
	}
	page := s.ask("GET", "/ui/", "")
	if kind := page.Header().Get("Content-Type"); kind != "text/html; charset=utf-8" {
		t.Errorf("the page is %q", kind)
	}
	for _, inline := range []string{`<script>`, `<style`, `style=`, ` on\w+=`, `https?://`} {
		if regexp.MustCompile(inline).Match(page.Body.Bytes()) {
			t.Errorf("the page holds %s", inline)
		}
	}
}

func TestFilesArePackedAndTagged(t *testing.T) {
	s := newSite(t, true, console.Options{})
	w := s.ask("GET", "/ui/app.js", "", "Accept-Encoding", "gzip")
	if w.Code != http.StatusOK || w.Header().Get("Content-Encoding") != "gzip" || w.Body.Len() > 120_000 {
		t.Errorf("%d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
	if w := s.ask("GET", "/ui/app.js", "", "If-None-Match", w.Header().Get("ETag")); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
		t.Errorf("the same again: %d", w.Code)
	}
	if w := s.ask("HEAD", "/ui/app.css", ""); w.Code != http.StatusOK || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d, %d bytes", w.Code, w.Body.Len())
	}
}

func TestI7SessionsMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, true, console.Options{Sessions: 2})
		var cookies []string
		for range 3 {
			cookies = append(cookies, s.login(t, "view"))
			<-time.After(time.Second)
		}
		for i, want := range []int{http.StatusUnauthorized, http.StatusOK, http.StatusOK} {
			if w := s.ask("GET", statePath, "", "Cookie", cookies[i]); w.Code != want {
				t.Errorf("session %d: %d, want %d", i, w.Code, want)
			}
		}
	})
}

// TestI7SessionsOfAKey: however often somebody logs in, nobody else is logged out.
func TestI7SessionsOfAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, true, console.Options{Sessions: 24})
		in := func(cookie string) bool { return s.ask("GET", statePath, "", "Cookie", cookie).Code == http.StatusOK }
		logIn := func(key string, n int) (cookies []string) {
			for range n {
				<-time.After(time.Second)
				cookies = append(cookies, s.login(t, key))
			}
			return cookies
		}
		others, own := logIn("op", 4), logIn("view", 30)
		for i, cookie := range own {
			if in(cookie) != (i >= len(own)-16) {
				t.Errorf("session %d of 30: %v", i, in(cookie))
			}
		}
		if !in(others[0]) {
			t.Error("the other key's first is gone")
		}
		if logIn("op", 5); in(others[0]) || !in(others[1]) || !in(own[14]) {
			t.Error("where all have too many, it is not the key's own first that makes room")
		}
	})
}

func TestI7Listed(t *testing.T) {
	s := newSite(t, false, console.Options{})
	now := time.Now()
	for i := range 1000 {
		r := event.Record{ID: "r", Key: flow.Key{Class: flow.Class("c" + string(rune('a'+i%100))), User: string(rune(0x4e00 + i))}, Outcome: flow.OutcomeServed, Arrived: now}
		s.recent.records = append(s.recent.records, r)
		s.meter.Record(&r)
	}
	var state struct{ Users, Classes []any }
	if err := json.Unmarshal(s.ask("GET", statePath, "").Body.Bytes(), &state); err != nil || len(state.Users) != 50 || len(state.Classes) > 66 {
		t.Errorf("%d users, %d classes, %v", len(state.Users), len(state.Classes), err)
	}
	for query, want := range map[string]int{"": 100, "?limit=7": 7, "?limit=500": 500} {
		var list struct{ Requests []any }
		if err := json.Unmarshal(s.ask("GET", "/api/v1/console/requests"+query, "").Body.Bytes(), &list); err != nil || len(list.Requests) != want {
			t.Errorf("%q lists %d, %v", query, len(list.Requests), err)
		}
	}
	for _, query := range []string{"?limit=0", "?limit=501", "?limit=x", "?limit=-1"} {
		if w := s.ask("GET", "/api/v1/console/requests"+query, ""); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d", query, w.Code)
		}
	}
	if w := s.ask("POST", "/api/v1/console/session", `{"key":"`+strings.Repeat("x", 5000)+`"}`); w.Code != http.StatusBadRequest {
		t.Errorf("a long login: %d", w.Code)
	}
}

func TestRequestTellsItsStory(t *testing.T) {
	s := newSite(t, false, console.Options{})
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	s.recent.records = []event.Record{{
		ID: "req_a", Key: flow.Key{Class: flow.Chat, Tenant: "t", User: "<b>u"}, Model: "m", Outcome: flow.OutcomeServed, Attempts: 2,
		Arrived: at, Queued: 1500 * time.Millisecond, Total: 4 * time.Second, Used: llm.Usage{Input: 5, CacheRead: 2, Output: 9},
	}}
	s.recent.attempts = []event.Attempt{
		{Request: "req_a", Number: 1, Kind: llm.KindThrottle, Status: 429, Started: at.Add(time.Second), Total: 20 * time.Millisecond},
		{Request: "req_a", Number: 2, Started: at.Add(2 * time.Second), Total: 2 * time.Second, Used: llm.Usage{Input: 5, CacheRead: 2, Output: 9}},
	}
	var story struct {
		User   string
		Queued float64 `json:"queued_ms"`
		Used   struct{ Input, Output int64 }
		Tries  []struct {
			Kind  string
			Start float64 `json:"start_ms"`
		}
	}
	if err := json.Unmarshal(s.ask("GET", "/api/v1/console/requests/req_a", "").Body.Bytes(), &story); err != nil {
		t.Fatal(err)
	}
	if story.User != "<b>u" || story.Queued != 1500 || story.Used.Input != 7 || len(story.Tries) != 2 || story.Tries[0].Kind != "throttle" || story.Tries[1].Start != 2000 {
		t.Errorf("%+v", story)
	}
}

func TestNewTellsAllFaults(t *testing.T) {
	_, err := console.New(console.Options{Streams: -1}, console.Deps{})
	if err == nil || !strings.Contains(err.Error(), "Snapshot") || !strings.Contains(err.Error(), "negative") {
		t.Errorf("error %v", err)
	}
}
