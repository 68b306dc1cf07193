package gateway

import (
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// TestI10HeadersOfProvidersAreBounded: a value of theirs that is longer than any that
// says something is not passed on, nor is a name with several.
func TestI10HeadersOfProvidersAreBounded(t *testing.T) {
	long := strings.Repeat("x", maxPassed+1)
	p := func(ctx context.Context, _ *llm.Call) (*llm.Answer, error) {
		a := jsonAnswer(ctx, answerText)
		a.Header = http.Header{
			"Content-Type": {"application/json"}, "X-Request-Id": {long[1:]}, "Openai-Version": {long},
			"Openai-Model": {"a", "b"}, "X-Ms-Region": {},
		}
		return a, nil
	}
	in(t, 1, p, func(t *testing.T, _ *world, client *http.Client) {
		resp := post(t, client, chatPath, chatBody)
		if readAll(t, resp) != answerText || resp.Header.Get("X-Request-Id") != long[1:] || resp.Header.Get("Content-Type") != "application/json" {
			t.Errorf("what is short enough does not pass: %d %v", resp.StatusCode, resp.Header)
		}
		for _, name := range []string{"Openai-Version", "Openai-Model", "X-Ms-Region"} {
			if v, there := resp.Header[name]; there {
				t.Errorf("%s passes with %d values, %d bytes", name, len(v), len(strings.Join(v, "")))
			}
		}
	})
}

// TestI9UsersOfOneBeginning: names that are cut or cleaned to the same are different
// users, who share no call and no answer.
func TestI9UsersOfOneBeginning(t *testing.T) {
	g, s := spied(t, Options{Routes: []Route{{Model: "*", Coalesce: true, Cache: time.Minute}}})
	as := func(user string) (flow.Key, [2]flow.ShareKey) {
		t.Helper()
		readAll(t, do(t, g, "POST "+chatPath, chatBody, header("Millrace-User", user)))
		r := s.asked[len(s.asked)-1]
		return r.Ask.Flow, [2]flow.ShareKey{r.Share, r.Cache}
	}
	beginning := strings.Repeat("eyJ", 100)
	for _, pair := range [][2]string{
		{beginning + "alice", beginning + "bob"},
		{beginning[:field.MaxName], beginning[:field.MaxName] + "b"},
		{"al\x80ice", "al\x81ice"},
		{"al\x80ice", field.Clean("al\x80ice")},
	} {
		a, sharedA := as(pair[0])
		b, sharedB := as(pair[1])
		if a.User == b.User || sharedA[0] == sharedB[0] || sharedA[1] == sharedB[1] {
			t.Errorf("%.20q and %.20q are one: %q", pair[0], pair[1], a.User)
		}
		for _, user := range []string{a.User, b.User} {
			if user == "" || len(user) > field.MaxName || user != field.Clean(user) {
				t.Errorf("%.20q is called %q, of %d bytes", pair[0], user, len(user))
			}
		}
		if again, shared := as(pair[0]); again != a || shared != sharedA {
			t.Errorf("%.20q is another the second time", pair[0])
		}
	}
	if k, _ := as("alice"); k.User != "alice" {
		t.Errorf("alice is called %q", k.User)
	}
}

// TestI9TasksRefuseTheCache: who wants no answer of the past gets none by a task
// either, and what is kept with the task does not reach the provider.
func TestI9TasksRefuseTheCache(t *testing.T) {
	s, limits, tasks := &spy{}, control(t, 1), newShelf()
	t.Cleanup(limits.Close)
	g, err := New(Options{Routes: []Route{{Model: "*", Coalesce: true, Cache: time.Minute}}}, Deps{Dispatcher: s, Limits: limits, Catalog: twoModels{}, Tasks: tasks})
	if err != nil {
		t.Fatal(err)
	}
	tasks.work = g.Work
	for wish, cached := range map[string]bool{"no-cache": false, "max-age=0, no-store": false, "private": true} {
		resp := do(t, g, "POST "+chatPath, chatBody, header("Prefer", "respond-async, wait=5"), header("Cache-Control", wish), header("OpenAI-Beta", "b"))
		if got := readAll(t, resp); resp.StatusCode != http.StatusOK || got != answerText {
			t.Fatalf("%s: %d %s", wish, resp.StatusCode, got)
		}
		if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: a browser may guess what the answer is: %v", wish, resp.Header)
		}
		r := s.asked[len(s.asked)-1]
		if !r.Ask.Task || r.Cache.IsZero() == cached || (r.CacheFor > 0) != cached || r.Share.IsZero() {
			t.Errorf("%s: task %v, cache %v for %v", wish, r.Ask.Task, !r.Cache.IsZero(), r.CacheFor)
		}
		if h := r.Call.Header; len(h) != 1 || h.Get("OpenAI-Beta") != "b" {
			t.Errorf("%s: the provider is sent %v", wish, h)
		}
	}
}

// TestI12PagesOfOthersStayOut: where no key is asked for, a page of another site that
// the browser of a user has opened may not spend his quota.
func TestI12PagesOfOthersStayOut(t *testing.T) {
	mounts := func(o *Options) {
		keyed(o)
		o.Keys, o.Routes, o.Loopback = nil, []Route{{Model: "*"}}, true
	}
	cross := header("Sec-Fetch-Site", "cross-site")
	w := build(t, 4, echo, mounts)
	t.Cleanup(w.admission.Close)
	for line, body := range map[string]string{
		"POST " + chatPath: chatBody, "POST /app": "", "GET /app/1": "", "GET /stats": "", "POST /reset": "",
		"GET /v1/models": "", "GET /api/v1/tasks/" + taskID: "",
	} {
		if resp := do(t, w.gateway, line, body, cross); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s from another site: %d", line, resp.StatusCode)
		}
		for _, site := range []string{"same-origin", "same-site", "none"} {
			if resp := do(t, w.gateway, line, body, header("Sec-Fetch-Site", site)); resp.StatusCode == http.StatusForbidden {
				t.Errorf("%s from %s: %d", line, site, resp.StatusCode)
			}
		}
	}
	wantError(t, do(t, w.gateway, "POST "+chatPath, chatBody, cross), http.StatusForbidden, "cross_site")
	if resp := do(t, w.gateway, "GET /healthz", "", cross); resp.StatusCode != http.StatusOK {
		t.Errorf("what is open to all: %d", resp.StatusCode)
	}
	locked := build(t, 4, echo, func(o *Options) { mounts(o); o.Keys = []Key{{SHA256: sha256.Sum256([]byte("sk-a")), Tenant: "acme"}} })
	t.Cleanup(locked.admission.Close)
	if resp := do(t, locked.gateway, "POST "+chatPath, chatBody, cross, header("Authorization", "Bearer sk-a")); resp.StatusCode != http.StatusOK {
		t.Errorf("a page that knows a key: %d", resp.StatusCode)
	}
}

// TestI1TheLargestBodyFits: a body as large as may be is taken, however it grows and
// whatever the bound of all bodies says; a larger one is too large, not badly timed.
func TestI1TheLargestBodyFits(t *testing.T) {
	const most = 300 << 10
	for name, length := range map[string]int64{"announced": 0, "in chunks": -1} {
		in(t, 4, echo, func(t *testing.T, w *world, client *http.Client) {
			send := func(size int) *http.Response {
				t.Helper()
				body := chatBody + strings.Repeat(" ", size-len(chatBody))
				return post(t, client, chatPath, body, func(r *http.Request) {
					if length < 0 {
						r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), length
					}
				})
			}
			for range 2 {
				if resp := send(most); resp.StatusCode != http.StatusOK || readAll(t, resp) != answerText {
					t.Errorf("%s: the largest body ends with %d", name, resp.StatusCode)
				}
			}
			wantError(t, send(most+1), http.StatusRequestEntityTooLarge, "request_too_large")
		}, func(o *Options) { o.MaxBody, o.Bodies = most, 64<<10 })
	}
}

// TestI2TheClassOfTheKeyGoesFirst: a route's class is for those whose key has none.
func TestI2TheClassOfTheKeyGoesFirst(t *testing.T) {
	g, s := spied(t, Options{
		Routes:  []Route{{Model: "*", Class: flow.Analysis}},
		Classes: []Class{{Name: flow.Chat, Weight: 6}, {Name: flow.Analysis, Weight: 3}, {Name: flow.Batch, Weight: 1}},
		Keys: []Key{
			{Name: "a", SHA256: sha256.Sum256([]byte("sk-a")), Tenant: "a"},
			{Name: "b", SHA256: sha256.Sum256([]byte("sk-b")), Tenant: "b", Class: flow.Batch},
			{Name: "c", SHA256: sha256.Sum256([]byte("sk-c")), Tenant: "c", Class: flow.Chat},
		},
	})
	for key, want := range map[string]flow.Class{"sk-a": flow.Analysis, "sk-b": flow.Batch, "sk-c": flow.Chat} {
		readAll(t, do(t, g, "POST "+chatPath, chatBody, header("Authorization", "Bearer "+key)))
		if got := s.asked[len(s.asked)-1].Ask.Flow.Class; got != want {
			t.Errorf("%s: class %q, want %q", key, got, want)
		}
	}
}

// TestI12NamesPointedHere: where no key is asked for, a page whose own name has been
// pointed here, so that the browser takes it for ours, gets no pattern answered.
func TestI12NamesPointedHere(t *testing.T) {
	keyless := func(o *Options) {
		keyed(o)
		o.Keys, o.Routes, o.Loopback = nil, []Route{{Model: "*"}}, true
		o.Mounts = append(o.Mounts, Mount{Pattern: "GET /api/v1/requests", Access: Keyed, Dialect: Problem, Handler: greet}, Mount{Pattern: "GET /ui/", Access: Desk, Dialect: Problem, Handler: greet})
	}
	w := build(t, 4, echo, keyless)
	t.Cleanup(w.admission.Close)
	lines := map[string]Dialect{
		"POST " + chatPath: OpenAI, "GET /v1/models": OpenAI, "GET /healthz": OpenAI, "POST /app": App, "GET /app/1": App, "GET /open": App,
		"GET /stats": App, "GET /api/v1/requests": Problem, "GET /ui/": Problem,
	}
	for line, dialect := range lines {
		for _, host := range []string{"evil.example", "evil.example:8080", "localhost.evil.example:8080"} {
			resp := do(t, w.gateway, line, chatBody, func(r *http.Request) { r.Host = host }, header("Sec-Fetch-Site", "same-origin"))
			text := readAll(t, resp)
			shape := map[Dialect]string{OpenAI: `{"error":{"message":"`, App: `{"success":false,"error":"`, Problem: `{"type":"urn:millrace:problem:foreign_host"`}[dialect]
			if resp.StatusCode != http.StatusForbidden || !strings.HasPrefix(text, shape) || !strings.Contains(text, "millrace keys create") {
				t.Errorf("%s by the name %s: %d %s", line, host, resp.StatusCode, text)
			}
		}
		for _, host := range []string{"", "localhost:8080", "127.0.0.1:8080", "[::1]:8080", "192.168.1.5", "millrace:8080", "host.docker.internal:8080"} {
			if resp := do(t, w.gateway, line, chatBody, func(r *http.Request) { r.Host = host }); resp.StatusCode != http.StatusOK {
				t.Errorf("%s by the name %s: %d", line, host, resp.StatusCode)
			}
		}
	}
	locked := build(t, 4, echo, func(o *Options) { keyless(o); o.Keys = []Key{{SHA256: sha256.Sum256([]byte("sk-a")), Tenant: "acme"}} })
	t.Cleanup(locked.admission.Close)
	if resp := do(t, locked.gateway, "POST "+chatPath, chatBody, func(r *http.Request) { r.Host = "llm.example" }, header("Authorization", "Bearer sk-a")); resp.StatusCode != http.StatusOK {
		t.Errorf("with a key any name will do: %d", resp.StatusCode)
	}
}
