package app

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/config"
)

// about is the question with another text.
func about(text string) string { return strings.Replace(question, "Hello", text, 1) }

// TestI3DrainTellsWhoIsHeld: a client that an endpoint holds when the drain's time is
// over is told so.
func TestI3DrainTellsWhoIsHeld(t *testing.T) {
	m := newModel(t) // never released
	a, stop := running(t, load(t, append(wide, m.base(), "MILLRACE_LIMITS_DRAIN=100ms")...))
	type told struct {
		status int
		body   string
	}
	held := make(chan told, 1)
	go func() {
		status, body := tell(t, a.Addr(), letter{line: "POST /chat", body: `{"session_id":"s","message":"Hello"}`, header: []string{"Prefer: wait=60"}})
		held <- told{status, body}
	}()
	<-m.entered
	if err := stop(); err != nil {
		t.Error("stop:", err)
	}
	if got := <-held; got.status != http.StatusServiceUnavailable || !json.Valid([]byte(got.body)) || !strings.Contains(got.body, "error") {
		t.Errorf("the drain ends with %d %q for who is held", got.status, got.body)
	}
}

// TestTaskWhoseAnswerIsNoJSON: what an upstream sends, of whatever kind, leaves the
// status of its task readable.
func TestTaskWhoseAnswerIsNoJSON(t *testing.T) {
	const page = `<script>alert(1)</script>`
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, page)
	}))
	t.Cleanup(upstream.Close)
	a, _ := running(t, load(t, append(wide, "OPENAI_BASE_URL="+upstream.URL+"/v1")...))
	status, answer := tell(t, a.Addr(), letter{line: "POST /v1/chat/completions", body: question, header: []string{"Prefer: respond-async"}})
	id := taskName.FindString(answer)
	if status != http.StatusAccepted || id == "" {
		t.Fatalf("%d %s", status, answer)
	}
	if ended := fetch(t, a.Addr(), "/api/v1/tasks/"+id+"?wait=5s"); !strings.Contains(ended, `"SUCCESS"`) {
		t.Fatalf("the task has not ended: %s", ended)
	}
	var view struct{ Result, Error any }
	text := fetch(t, a.Addr(), "/task_status/"+id)
	if err := json.Unmarshal([]byte(text), &view); err != nil || view.Result != page || view.Error != nil {
		t.Errorf("status %s: %v", text, err)
	}
}

// TestNobodyWaitsBehindTasks: who asks and waits runs beside tasks that wait for the
// bound on tasks, be it their owner or somebody who asks the same.
func TestNobodyWaitsBehindTasks(t *testing.T) {
	for _, share := range []bool{false, true} {
		t.Run(fmt.Sprint("coalesce ", share), func(t *testing.T) {
			m := newModel(t)
			a, _ := running(t, readFrom(t, t.TempDir(), fmt.Sprintf(`
upstreams: [{name: main, base_url: "%s/v1", quota: {seats: 5}}]
routes: [{model: "*", upstreams: [main], coalesce: %v, share: tenant}]
tasks: {concurrency: 1}
`, m.URL, share)))
			var asking sync.WaitGroup
			defer asking.Wait()
			defer close(m.release)
			send := func(user, body string, header ...string) (int, string) {
				return tell(t, a.Addr(), letter{line: "POST /v1/chat/completions", body: body, header: append(header, "Millrace-User: "+user)})
			}
			if status, answer := send("ann", about("the task that runs"), "Prefer: respond-async"); status != http.StatusAccepted {
				t.Fatalf("%d %s", status, answer)
			}
			<-m.entered
			if status, answer := send("ann", question, "Prefer: respond-async"); status != http.StatusAccepted {
				t.Fatalf("%d %s", status, answer)
			}
			waitFor(t, func() bool { return a.admission.Snapshot().Waiting == 1 })
			for _, who := range []struct{ what, user, body string }{
				{"another user's other question", "bob", about("two")},
				{"another user's same question", "cid", question},
				{"the same user's other question", "ann", about("three")},
			} {
				asking.Go(func() {
					if status, answer := send(who.user, who.body); status != http.StatusOK {
						t.Errorf("%s: %d %s", who.what, status, answer)
					}
				})
				select {
				case <-m.entered:
				case <-time.After(1500 * time.Millisecond):
					t.Errorf("%s waits behind tasks, with seats free", who.what)
				}
			}
			if s := a.admission.Snapshot(); s.Waiting != 1 {
				t.Errorf("%d wait, want the second task alone", s.Waiting)
			}
		})
	}
}

// TestOneTenantLeavesRoomForTasks: where there are several tenants, none can fill what
// there is for the tasks of all; one alone can.
func TestOneTenantLeavesRoomForTasks(t *testing.T) {
	key := func(name, token string) string { return "  - {name: " + name + ", sha256: " + hashOf(token) + "}\n" }
	for name, test := range map[string]struct {
		keys string
		room int // for ann
	}{
		"two tenants": {key("ann", annKey) + key("bob", bobKey), 2},
		"one tenant":  {key("ann", annKey), 4},
	} {
		t.Run(name, func(t *testing.T) {
			m := newModel(t) // never released
			a, _ := running(t, readFrom(t, t.TempDir(), fmt.Sprintf(`
upstreams: [{name: main, base_url: "%s/v1", quota: {seats: 1}}]
limits: {drain: 50ms}
tasks: {max: 4}
keys:
%s`, m.URL, test.keys)))
			hand := func(key string) (int, string) {
				return tell(t, a.Addr(), letter{line: "POST /v1/chat/completions", key: key, body: question, header: []string{"Prefer: respond-async"}})
			}
			for i := range test.room {
				if status, answer := hand(annKey); status != http.StatusAccepted {
					t.Errorf("task %d of %d: %d %s", i+1, test.room, status, answer)
				}
			}
			if status, answer := hand(annKey); status/100 == 2 || !strings.Contains(answer, `"error"`) {
				t.Errorf("beyond the tenant's part: %d %s", status, answer)
			}
			if status, answer := hand(bobKey); test.room < 4 && status != http.StatusAccepted {
				t.Errorf("another tenant: %d %s", status, answer)
			}
		})
	}
}

// extremes are settings at the ends of what they may be.
var extremes = []string{
	"classes.chat.weight=1e9", "classes.chat.weight=1e-300", "classes.chat.rate=20000000/d", "classes.chat.rate=1/d",
	"classes.chat.max_wait=1ns", "classes.chat.hard=1ns", "classes.chat.retry_after=24h",
	"limits.hold=24h", "limits.hold=1ns", "limits.drain=1ns", "limits.cache=64GiB",
	"limits.max_body=1B", "limits.connections=1000000", "tasks.max=10000000", "tasks.keep=1ns",
	"keys.k.weight=1e9", "keys.k.weight=1e-300", "keys.k.requests=1000000000000/s", "keys.k.tokens=1000000000000/d",
	"routes.0.hold=24h", "routes.0.cache=24h", "routes.0.spill_after=366d",
	"endpoints.e.wait=110s", "endpoints.e.temperature=2", "endpoints.e.prompt=say {{x}}",
	"endpoints.e.prompt=say {x} {{y}}", "endpoints.e.prompt={_}", "endpoints.e.path=/a.b", "endpoints.e.path=/-", "endpoints.e.path=/e/health",
	"endpoints.e.echo=error=x", "endpoints.e.echo=x=error",
	"upstreams.main.quota.seats=1000000", "upstreams.main.quota.requests=1/d", "upstreams.main.quota.tokens_per_day=1000000000000",
	"upstreams.main.breaker.failures=1000000000000", "upstreams.main.breaker.ratio=1e-300", "upstreams.main.breaker.open=1ns",
	"upstreams.main.timeout.connect=1ns", "upstreams.main.timeout.first_byte=24h",
}

// quotas are ends of what an upstream can be said to give, in every kind of window.
var quotas = []string{
	"requests=7/h", "requests=1000000000000/s", "output_tokens=7/h", "tokens_per_day=1", "burst=24h", "burst=1ns", "slice=1m", "slice=1ns",
}

// TestWhatPassesTheCheckStarts: a setting at the end of what it may be is refused by
// the check, in words, or an app can be built of it.
func TestWhatPassesTheCheckStarts(t *testing.T) {
	for _, set := range extremes {
		built(t, "paced", set)
	}
	for _, window := range []string{"paced", "sliding", "bucket", "fixed", "slice"} {
		passed := 0
		for _, quota := range quotas {
			if built(t, window, "upstreams.main.quota."+quota) {
				passed++
			}
		}
		if passed < len(quotas)/3 {
			t.Errorf("%s: only %d of %d pass the check", window, passed, len(quotas))
		}
	}
}

// built reports whether one changed setting passes the check; then an app must come of it.
func built(t *testing.T, window, set string) (passed bool) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "millrace.yaml")
	text := fmt.Sprintf(`
upstreams: [{name: main, provider: sim, quota: {requests: 60/m, tokens: 180000/m, seats: 15, window: %s}}]
endpoints: [{path: /e, model: m, prompt: "say {x}"}]
routes: [{model: "*", upstreams: [main]}]
keys: [{name: k, sha256: %s}]
`, window, hashOf(annKey))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Source{File: file, Environ: []string{}, Listen: "127.0.0.1:0", Set: []string{set, "state_dir=" + dir}})
	if err != nil {
		return false
	}
	a, err := New(c, nil)
	if err != nil {
		t.Errorf("%s: %s passes the check and breaks: %v", window, set, err)
		return true
	}
	if err := a.Close(); err != nil {
		t.Errorf("%s: %s: close: %v", window, set, err)
	}
	return true
}
