package gateway

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// spy is a Dispatcher that keeps what it is asked for.
type spy struct {
	mu    sync.Mutex
	asked []dispatch.Request
	meta  dispatch.Meta
}

func (s *spy) Do(ctx context.Context, req *dispatch.Request, reply dispatch.Reply) flow.Outcome {
	s.mu.Lock()
	s.asked = append(s.asked, *req)
	s.mu.Unlock()
	a := jsonAnswer(ctx, answerText)
	reply.Begin(a, &s.meta)
	_ = reply.Write([]byte(answerText))
	reply.End(nil, &s.meta)
	return flow.OutcomeCoalesced // so that no body is used again
}

// spied is a gateway before a spy.
func spied(t testing.TB, o Options) (*Gateway, *spy) {
	t.Helper()
	s, limits := &spy{}, control(t, 1)
	t.Cleanup(limits.Close)
	if o.Routes == nil {
		o.Routes = []Route{{Model: "*"}}
	}
	g, err := New(o, Deps{Dispatcher: s, Limits: limits, Catalog: twoModels{}})
	if err != nil {
		t.Fatal(err)
	}
	return g, s
}

// What two requests must have in common to share a call or an answer.
func TestI9WhatIsShared(t *testing.T) {
	var o Options
	keyed(&o)
	o.Mounts, o.Routes = nil, []Route{
		{Model: "plain"},
		{Model: "call", Coalesce: true},
		{Model: "kept", Cache: time.Minute},
		{Model: "both", Coalesce: true, Cache: time.Hour},
		{Model: "all", Coalesce: true, Cache: time.Hour, ShareUsers: true},
	}
	for i := range o.Keys {
		o.Keys[i].Models, o.Keys[i].Classes = nil, nil
	}
	g, s := spied(t, o)
	ask := func(path, body string, edits ...func(*http.Request)) dispatch.Request {
		t.Helper()
		edits = append([]func(*http.Request){header("X-Api-Key", "sk-a"), header("Millrace-User", "u")}, edits...)
		if resp := do(t, g, "POST "+path, body, edits...); resp.StatusCode != 200 {
			t.Fatalf("%s: %d", body, resp.StatusCode)
		}
		return s.asked[len(s.asked)-1]
	}
	const chat = "/v1/chat/completions"
	body := func(model string) string { return `{"model":"` + model + `","messages":[],"input":"","prompt":""}` }

	for model, want := range map[string]struct{ share, cache bool }{"plain": {false, false}, "call": {true, false}, "kept": {false, true}, "both": {true, true}} {
		r := ask(chat, body(model))
		if r.Share.IsZero() == want.share || r.Cache.IsZero() == want.cache || (r.CacheFor > 0) != want.cache {
			t.Errorf("%s: %+v", model, r)
		}
		if !r.Share.IsZero() && r.Share == r.Cache {
			t.Error("one key for two purposes")
		}
	}
	for name, tc := range map[string]struct {
		model, path string
		edit        func(*http.Request)
		same        bool
	}{
		"the same":              {"both", chat, header("X-Unknown", "x"), true},
		"another user":          {"both", chat, header("Millrace-User", "v"), false},
		"another user, opt-in":  {"all", chat, header("Millrace-User", "v"), true},
		"another tenant":        {"both", chat, header("X-Api-Key", "sk-b"), false},
		"another tenant, open":  {"all", chat, header("X-Api-Key", "sk-b"), false},
		"another operation":     {"both", "/v1/embeddings", header("X", "x"), false},
		"another forwarded one": {"both", chat, header("OpenAI-Beta", "b"), false},
	} {
		a, b := ask(chat, body(tc.model)), ask(tc.path, body(tc.model), tc.edit)
		if (a.Share == b.Share) != tc.same || (a.Cache == b.Cache) != tc.same {
			t.Errorf("%s: flight %v, cache %v, want %v", name, a.Share == b.Share, a.Cache == b.Cache, tc.same)
		}
	}
	if a, b := ask(chat, body("both")), ask(chat, body("both")+" "); a.Share == b.Share || a.Cache == b.Cache {
		t.Error("two bodies share")
	}
	for _, v := range []string{"no-cache", "no-store", "max-age=0, No-Store", " no-cache=\"x\""} {
		if r := ask(chat, body("both"), header("Cache-Control", v)); !r.Cache.IsZero() || r.CacheFor != 0 || r.Share.IsZero() {
			t.Errorf("Cache-Control %q: %+v", v, r)
		}
	}
	if r := ask(chat, body("both"), header("Cache-Control", "max-age=0, private")); r.Cache.IsZero() {
		t.Error("a directive that says nothing of it keeps the cache out")
	}
}

func TestCacheIsTold(t *testing.T) {
	g, s := spied(t, Options{})
	for _, word := range []string{"", "hit", "miss", "coalesced"} {
		s.meta.Cache = word
		if got := do(t, g, "POST /v1/chat/completions", chatBody).Header.Get("Millrace-Cache"); got != word {
			t.Errorf("%q, want %q", got, word)
		}
	}
}

// What SDKs say of their retries and timeouts.
func TestHoldsAndRetries(t *testing.T) {
	g, s := spied(t, Options{Routes: []Route{{Model: "m", Hold: 100 * time.Second}, {Model: "*"}}, StreamHold: 300 * time.Second})
	other := `{"model":"o","messages":[]}`
	for name, tc := range map[string]struct {
		body  string
		edits []func(*http.Request)
		hold  time.Duration
		retry bool
	}{
		"of the route":         {chatBody, nil, 100 * time.Second, false},
		"of the gateway":       {other, nil, DefaultHold, false},
		"the client's timeout": {chatBody, []func(*http.Request){header("X-Stainless-Timeout", "60")}, 50 * time.Second, false},
		"a short timeout":      {chatBody, []func(*http.Request){header("X-Stainless-Timeout", "8")}, 6 * time.Second, false},
		"a longer timeout":     {chatBody, []func(*http.Request){header("X-Stainless-Timeout", "600")}, 100 * time.Second, false},
		"not a timeout":        {chatBody, []func(*http.Request){header("X-Stainless-Timeout", "NaN")}, 100 * time.Second, false},
		"a stream":             {streamBody, nil, 300 * time.Second, false},
		"a stream has headers": {streamBody, []func(*http.Request){header("X-Stainless-Timeout", "60")}, 300 * time.Second, false},
		"a stream too short":   {streamBody, []func(*http.Request){header("X-Stainless-Timeout", "4")}, 3 * time.Second, false},
		"a wish":               {chatBody, []func(*http.Request){header("Prefer", "wait=7")}, 7 * time.Second, false},
		"a longer wish":        {chatBody, []func(*http.Request){header("Prefer", "wait=1000")}, 100 * time.Second, false},
		"not to wait":          {chatBody, []func(*http.Request){header("Prefer", "wait=0")}, 1, false},
		"without tasks":        {chatBody, []func(*http.Request){header("Prefer", "respond-async, wait=7")}, 100 * time.Second, false},
		"the first try":        {chatBody, []func(*http.Request){header("X-Stainless-Retry-Count", "0")}, 100 * time.Second, false},
		"the second try":       {chatBody, []func(*http.Request){header("X-Stainless-Retry-Count", "1")}, 100 * time.Second, true},
		"the eleventh try":     {chatBody, []func(*http.Request){header("X-Stainless-Retry-Count", "10")}, 100 * time.Second, true},
		"no number of tries":   {chatBody, []func(*http.Request){header("X-Stainless-Retry-Count", "-1")}, 100 * time.Second, false},
	} {
		before := time.Now()
		readAll(t, do(t, g, "POST /v1/chat/completions", tc.body, tc.edits...))
		r := s.asked[len(s.asked)-1]
		if hold := r.Ask.Hold.Sub(before); hold < tc.hold || hold > tc.hold+5*time.Second || r.Ask.Retry != tc.retry {
			t.Errorf("%s: hold %v, want %v; retry %v", name, hold, tc.hold, r.Ask.Retry)
		}
	}
}

// Headers that only look like ours, and what a hop should take out, change nothing.
func TestHeadersThatOnlyLookLikeOurs(t *testing.T) {
	g, s := spied(t, Options{})
	do(t, g, "POST /v1/chat/completions", chatBody, func(r *http.Request) {
		r.Header = http.Header{
			"Openai_beta": {"x"}, "Millrace_user": {"evil"}, "Millrace.User": {"evil"}, "Connection": {"millrace-user, openai-beta"},
			"Millrace-User": {"u"}, "Openai-Beta": {"b"}, "Transfer-Encoding": {"chunked"}, "X-Stainless_retry-Count": {"1"},
		}
	})
	r := s.asked[0]
	if r.Ask.Flow.User != "u" || len(r.Call.Header) != 1 || r.Call.Header.Get("Openai-Beta") != "b" || r.Ask.Retry {
		t.Errorf("%+v %v", r.Ask, r.Call.Header)
	}
	if r.Call.Operation != llm.OpChat {
		t.Errorf("%v", r.Call.Operation)
	}
}
