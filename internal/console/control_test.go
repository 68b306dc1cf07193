package console_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/console"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// note keeps what was done; false: there is no such thing.
func (s *site) note(what, on string, known bool) error {
	s.done = append(s.done, what+" "+on)
	if !known {
		return fmt.Errorf("%w: %s", gate.ErrUnknown, on)
	}
	return nil
}

func (s *site) Pause(c flow.Class) error  { return s.note("pause", string(c), c == flow.Chat) }
func (s *site) Resume(c flow.Class) error { return s.note("resume", string(c), c == flow.Chat) }
func (s *site) MoveUp(k flow.Key) error   { return s.note("move up", k.String(), k.User == "ann") }

func (s *site) Evict(k flow.Key) (int, error) {
	return 3, s.note("evict", k.String(), k.User == "ann")
}

func matches(pattern, text string) bool { return regexp.MustCompile(pattern).MatchString(text) }

func logTo(w io.Writer) *slog.Logger { return slog.New(slog.NewJSONHandler(w, nil)) }

func (s *site) AppendFlows(dst []gate.FlowState, most int) []gate.FlowState {
	return append(dst, s.lines[:min(most, len(s.lines))]...)
}

func (s *site) AppendKeys(dst []flow.Key) []flow.Key {
	s.searches++
	for i := range s.lines {
		dst = append(dst, s.lines[len(s.lines)-1-i].Key, s.lines[i].Key)
	}
	return dst
}

func (s *site) AppendStates(dst []gate.FlowState, keys []flow.Key) []gate.FlowState {
	s.atOnce = max(s.atOnce, len(keys))
	for _, key := range keys {
		dst = append(dst, s.lines[slices.IndexFunc(s.lines, func(f gate.FlowState) bool { return f.Key == key })])
	}
	return dst
}

// runs is a Loader.
type runs struct {
	done   []string
	fault  error
	report string
}

func (r *runs) StartJSON(b []byte) error {
	if r.fault == nil {
		r.done = append(r.done, "start "+string(b))
	}
	return r.fault
}

func (r *runs) State() any { return map[string]any{"phase": "idle", "started": len(r.done)} }
func (r *runs) Stop()      { r.done = append(r.done, "stop") }
func (r *runs) Busy() bool { return errors.Is(r.fault, errUnderWay) }

func (r *runs) WriteHTML(w io.Writer) error {
	if r.report == "" {
		return errors.New("nothing has run")
	}
	_, err := io.WriteString(w, r.report)
	return err
}

const ann = `{"class":"chat","tenant":"t","user":"ann"}`

// TestI4ActsAreDoneAndSaid: each order reaches the queue once, as it was given, and
// the log says how it ended.
func TestI4ActsAreDoneAndSaid(t *testing.T) {
	const at = "/api/v1/console/"
	for _, tc := range []struct {
		path, body string
		status     int
		done, said string
	}{
		{"classes/chat/pause", "", 204, "pause chat", `"action":"pause class".*"class":"chat","done":true`},
		{"classes/chat/resume", "", 204, "resume chat", `"action":"resume class".*"class":"chat","done":true`},
		{"classes/none/pause", "", 404, "pause none", `"action":"pause class".*"class":"none","done":false,"why":"unknown: none"`},
		{"flows/move-up", ann, 204, "move up chat/t/ann", `"action":"move up".*"class":"chat","tenant":"t","user":"ann","done":true`},
		{"flows/evict", ann, 200, "evict chat/t/ann", `"action":"evict".*"user":"ann","requests":3,"done":true`},
		{"flows/evict", `{"class":"chat","user":"bob"}`, 404, "evict chat//bob", `"action":"evict".*"user":"bob".*"done":false`},
		{"flows/evict", `{"user":"ann"}`, 400, "", `"action":"evict".*"done":false,"why":"no flow named"`},
		{"flows/evict", `{"class":"chat","all":true}`, 400, "", `"done":false`},
		{"flows/evict", `{"class":"chat","user":"` + strings.Repeat("x", 40_000) + `"}`, 400, "", `"done":false`},
		{"upstreams/main/reset", "", 204, "reset main", `"action":"reset breaker".*"upstream":"main","done":true`},
		{"upstreams/none/trip", "", 404, "trip none", `"action":"trip breaker".*"upstream":"none","done":false`},
	} {
		t.Run(tc.path, func(t *testing.T) {
			s := newSite(t, true, console.Options{})
			w := s.ask("POST", at+tc.path, tc.body, "Authorization", "Bearer op")
			if w.Code != tc.status {
				t.Errorf("%d, want %d: %s", w.Code, tc.status, w.Body)
			}
			if got := strings.Join(s.done, ", "); got != tc.done {
				t.Errorf("did %q, want %q", got, tc.done)
			}
			if n := strings.Count(s.log.String(), "\n"); n != 1 || !matches(tc.said, s.log.String()) {
				t.Errorf("%d lines, want one like %s:\n%s", n, tc.said, s.log)
			}
		})
	}
}

// TestI6ActShowsAtOnce: the frame after an act is a new one.
func TestI6ActShowsAtOnce(t *testing.T) {
	s := newSite(t, false, console.Options{})
	first := s.ask("GET", statePath, "").Body.String()
	if again := s.ask("GET", statePath, "").Body.String(); again != first {
		t.Error("two frames within a moment")
	}
	s.ask("POST", "/api/v1/console/classes/chat/pause", "")
	if after := s.ask("GET", statePath, "").Body.String(); after == first {
		t.Error("the frame after an act is the one before it")
	}
}

func TestI4LoadIsStartedOnceAndSaid(t *testing.T) {
	s := newSite(t, true, console.Options{})
	op := []string{"Authorization", "Bearer op"}
	if w := s.ask("GET", "/api/v1/console/load", "", "Authorization", "Bearer view"); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "idle") {
		t.Errorf("state: %d %s", w.Code, w.Body)
	}
	if w := s.ask("GET", "/api/v1/console/load/report", "", op...); w.Code != http.StatusNotFound {
		t.Errorf("a report of nothing: %d", w.Code)
	}
	for _, step := range []struct {
		fault  error
		path   string
		status int
		said   string
	}{
		{nil, startPath, 204, `"action":"start load".*"parameters":"\{\\"users\\":5\}","done":true`},
		{errors.New("users: too many"), startPath, 400, `"action":"start load".*"done":false,"why":"users: too many"`},
		{errUnderWay, startPath, 409, `"done":false,"why":"one runs"`},
		{nil, "/api/v1/console/load/stop", 204, `"action":"stop load".*"done":true`},
	} {
		s.load.fault = step.fault
		s.log.Reset()
		if w := s.ask("POST", step.path, `{"users":5}`, op...); w.Code != step.status || !matches(step.said, s.log.String()) {
			t.Errorf("%s: %d, want %d: %s\n%s", step.path, w.Code, step.status, w.Body, s.log)
		}
	}
	if got := strings.Join(s.load.done, "; "); got != `start {"users":5}; stop` {
		t.Errorf("did %s", got)
	}
	if w := s.ask("POST", startPath, strings.Repeat("x", 9000), op...); w.Code != http.StatusBadRequest {
		t.Errorf("a long body: %d", w.Code)
	}
}

var errUnderWay = errors.New("one runs")

// TestI5ReportIsInASandbox: a report styles itself, and can do nothing else.
func TestI5ReportIsInASandbox(t *testing.T) {
	s := newSite(t, false, console.Options{})
	s.load.report = "<!doctype html><style>p{}</style><script>alert(1)</script>"
	w := s.ask("GET", "/api/v1/console/load/report", "")
	csp := w.Header().Values("Content-Security-Policy")
	if w.Code != http.StatusOK || len(csp) != 1 || !strings.HasPrefix(csp[0], "default-src 'none'; style-src 'unsafe-inline'") || !strings.HasSuffix(csp[0], "; sandbox") || strings.Contains(csp[0], "script") {
		t.Errorf("%d %q", w.Code, csp)
	}
	if got := w.Body.String(); got != s.load.report || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%s %v", got, w.Header())
	}
}

// TestNothingOffered: what Deps leaves out is answered so, and said.
func TestNothingOffered(t *testing.T) {
	log := &strings.Builder{}
	c, err := console.New(console.Options{}, console.Deps{
		Snapshot: func() gate.Snapshot { return gate.Snapshot{} }, Settings: func() []console.Setting { return nil }, Requests: &bunch{}, Meter: console.NewMeter(), Log: logTo(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, m := range c.Mounts() {
		mux.HandleFunc(m.Pattern, func(w http.ResponseWriter, r *http.Request) { m.Handler(w, r, "") })
	}
	acts := 0
	for path, method := range guarded {
		w := httptest.NewRecorder()
		switch path {
		case statePath, "/api/v1/console/stream", "/api/v1/console/settings", "/api/v1/console/requests", "/api/v1/console/requests/x":
			continue
		}
		mux.ServeHTTP(w, httptest.NewRequest(method, "http://localhost"+path, strings.NewReader(ann)))
		if w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
		if method == "POST" {
			acts++
		}
	}
	if n := strings.Count(log.String(), "not offered"); n != acts {
		t.Errorf("%d of %d said:\n%s", n, acts, log)
	}
}

// TestI7Lines: a frame and a search show a part of the flows, and say how many
// there are.
func TestI7Lines(t *testing.T) { synctest.Test(t, lines) }

func lines(t *testing.T) {
	t.Helper()
	s := newSite(t, false, console.Options{})
	for i := range 990 {
		s.lines = append(s.lines, gate.FlowState{Key: flow.Key{Class: flow.Chat, Tenant: "Acme", User: fmt.Sprintf("user-%04d", i)}, Waiting: 1, Position: i + 1, ETA: time.Second, Oldest: time.Now(), Share: 0.25})
	}
	s.lines = append(s.lines, gate.FlowState{Key: flow.Key{Class: flow.Batch, User: "last"}, Running: 1}, gate.FlowState{Key: flow.Key{Class: flow.Batch, User: "gone"}})
	var state struct{ Queue []struct{ User string } }
	if err := json.Unmarshal(s.ask("GET", statePath, "").Body.Bytes(), &state); err != nil || len(state.Queue) != 200 || state.Queue[199].User != "user-0199" {
		t.Fatalf("%d lines, %v", len(state.Queue), err)
	}
	for _, tc := range []struct {
		query         string
		listed, found int
		first         string
	}{
		{"", 200, 991, "user-0000"},
		{"?find=USER-09", 90, 90, "user-0900"},
		{"?find=acme", 200, 990, "user-0000"},
		{"?class=batch", 1, 1, "last"},
		{"?class=batch&find=user", 0, 0, ""},
		{"?find=gone", 0, 0, ""},
	} {
		got := s.search(t, tc.query)
		if len(got.Flows) != tc.listed || got.Found != tc.found || got.Looked != 991 || got.All != 991 || tc.listed > 0 && got.Flows[0].User != tc.first {
			t.Errorf("%s: %d of %d, looked at %d of %d", tc.query, len(got.Flows), got.Found, got.Looked, got.All)
		}
	}
	if s.searches != 1 || s.atOnce > 100 {
		t.Errorf("within a second the gate was asked %d times, for %d flows at once", s.searches, s.atOnce)
	}
	s.ask("POST", "/api/v1/console/flows/evict", `{"class":"chat","tenant":"t","user":"ann"}`)
	if s.search(t, ""); s.searches != 2 {
		t.Error("what was done is not seen")
	}
	if w := s.ask("GET", "/api/v1/console/flows?find="+strings.Repeat("x", 300), ""); w.Code != http.StatusBadRequest {
		t.Errorf("a long pattern: %d", w.Code)
	}
}

// found is what a search answers.
type found struct {
	Flows              []placed
	Found, Looked, All int
}

type placed struct {
	User     string
	Position int
}

func (s *site) search(t *testing.T, query string) (f found) {
	t.Helper()
	if err := json.Unmarshal(s.ask("GET", "/api/v1/console/flows"+query, "").Body.Bytes(), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestI7FindsAny: of 3,000 who wait any is found, at its place; of more than 20,000 a
// part is looked at.
func TestI7FindsAny(t *testing.T) {
	s := newSite(t, false, console.Options{})
	s.queue.Flows = crowded(t, 3000)
	for i := 999; i < 3000; i += 500 {
		name := fmt.Sprintf("user-%05d", i)
		got := s.search(t, "?find="+name)
		if got.Found != 1 || got.Flows[0].User != name || got.Flows[0].Position < 1 {
			t.Fatalf("%s: %+v", name, got)
		}
	}
	got := s.search(t, "?class=analysis")
	sorted := slices.IsSortedFunc(got.Flows, func(a, b placed) int { return cmp.Compare(a.Position, b.Position) })
	if got.Found != 750 || len(got.Flows) != 200 || !sorted || got.All != 3000 {
		t.Errorf("of a class %d of %d are found, in order: %v", got.Found, got.All, sorted)
	}
	s = newSite(t, false, console.Options{})
	s.queue.Flows = many(20_100)
	if got := s.search(t, ""); got.Looked != 20_000 || got.All != 20_100 {
		t.Errorf("looked at %d of %d", got.Looked, got.All)
	}
}

// watched tells whether the states of a search are kept.
type watched struct {
	many
	kept weak.Pointer[gate.FlowState]
}

func (w *watched) AppendStates(dst []gate.FlowState, keys []flow.Key) []gate.FlowState {
	dst = w.many.AppendStates(dst, keys)
	w.kept = weak.Make(&dst[0])
	return dst
}

// TestI7SearchForgets: what a search has found is kept for a second, and then no more.
func TestI7SearchForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, false, console.Options{})
		w := &watched{many: 20_000}
		s.queue.Flows = w
		s.search(t, "")
		<-time.After(900 * time.Millisecond)
		runtime.GC()
		if w.kept.Value() == nil {
			t.Error("forgotten within the second")
		}
		<-time.After(200 * time.Millisecond)
		synctest.Wait()
		runtime.GC()
		if w.kept.Value() != nil {
			t.Error("kept after the second")
		}
		if got := s.search(t, ""); got.Looked != 20_000 {
			t.Errorf("looked at %d", got.Looked)
		}
	})
}

// many are flows that all wait.
type many int

func (m many) AppendFlows(dst []gate.FlowState, _ int) []gate.FlowState { return dst }

func (m many) AppendKeys(dst []flow.Key) []flow.Key {
	for i := range int(m) {
		dst = append(dst, flow.Key{Class: flow.Chat, User: strconv.Itoa(i)})
	}
	return dst
}

func (m many) AppendStates(dst []gate.FlowState, keys []flow.Key) []gate.FlowState {
	for _, key := range keys {
		dst = append(dst, gate.FlowState{Key: key, Waiting: 1})
	}
	return dst
}

// crowded is a gate with n flows that wait.
func crowded(b testing.TB, n int) *admission.Controller {
	a, err := admission.New(admission.Options{
		Upstreams: []gate.Upstream{{Name: "main", Quota: quota.Options{Seats: 15, Limits: []quota.Limit{{Dim: quota.Requests, Max: 60}, {Dim: quota.Total, Max: 180_000}}}}},
		Routes:    []gate.Route{{Upstreams: []int{0}}}, MaxQueue: 2 * n, Hold: 1000 * time.Hour,
		Classes: []gate.Class{{Name: flow.Chat, Weight: 6, MaxWait: 1000 * time.Hour}, {Name: flow.Analysis, Weight: 3, MaxWait: 1000 * time.Hour}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(a.Close)
	for i := range n {
		class := flow.Chat
		if i%4 == 0 {
			class = flow.Analysis
		}
		if _, err := a.Enter(admission.Ask{
			Flow: flow.Key{Class: class, Tenant: fmt.Sprintf("tenant-%d", i%7), User: fmt.Sprintf("user-%05d", i)},
			Size: llm.Size{TextBytes: 4000, Messages: 2, MaxOutput: 200}, Hold: time.Now().Add(1000 * time.Hour),
		}); err != nil {
			b.Fatal(err)
		}
	}
	return a
}

// BenchmarkFrame10kFlows is what a second of any number of open pages costs while
// 10,000 users wait.
func BenchmarkFrame10kFlows(b *testing.B) {
	a := crowded(b, 10_000)
	c, err := console.New(console.Options{}, console.Deps{
		Snapshot: a.Snapshot, Flows: a, Settings: func() []console.Setting { return nil }, Requests: &bunch{}, Meter: console.NewMeter(), Control: a,
	})
	if err != nil {
		b.Fatal(err)
	}
	at := map[string]console.Mount{}
	for _, m := range c.Mounts() {
		at[m.Pattern] = m
	}
	ask := func(pattern, target string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "http://localhost"+target, nil)
		r.SetPathValue("name", "chat")
		at[pattern].Handler(w, r, "")
		return w
	}
	var size int
	b.Run("frame", func(b *testing.B) {
		for b.Loop() {
			ask("POST /api/v1/console/classes/{name}/resume", "/") // makes the next frame a new one
			size = ask("GET "+statePath, "/").Body.Len()
		}
		b.ReportMetric(float64(size), "bytes/frame")
	})
	b.Run("page", func(b *testing.B) { // one more that is open
		for b.Loop() {
			ask("GET "+statePath, "/")
		}
	})
	b.Run("search", func(b *testing.B) {
		for b.Loop() {
			ask("POST /api/v1/console/classes/{name}/resume", "/")
			ask("GET /api/v1/console/flows", "/?find=user-09999")
		}
	})
	b.Run("again", func(b *testing.B) { // within the same second
		for b.Loop() {
			ask("GET /api/v1/console/flows", "/?find=user-09999")
		}
	})
}
