package gateway

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/testkit"
)

// in runs a test in a bubble with a served world.
func in(t *testing.T, seats int, p provider, test func(t *testing.T, w *world, client *http.Client), change ...func(*Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := build(t, seats, p, change...)
		test(t, w, w.serve(t))
	})
}

func send(t testing.TB, client *http.Client, method, path string, edits ...func(*http.Request)) *http.Response {
	t.Helper()
	return post(t, client, path, "", append(edits, func(r *http.Request) { r.Method = method })...)
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestOtherOperations(t *testing.T) {
	var got []llm.Operation
	p := func(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
		got = append(got, c.Operation)
		return echo(ctx, c)
	}
	in(t, 4, p, func(t *testing.T, _ *world, client *http.Client) {
		for path, body := range map[string]string{
			"/v1/completions": `{"model":"m","prompt":"p"}`,
			"/v1/embeddings":  `{"model":"m","input":"i","stream":true}`,
		} {
			if resp := post(t, client, path, body); resp.StatusCode != 200 || readAll(t, resp) != answerText {
				t.Errorf("%s: %d", path, resp.StatusCode)
			}
		}
	})
	if len(got) != 2 {
		t.Errorf("operations %v", got)
	}
}

func TestI1BodiesPassUntouched(t *testing.T) {
	body := "\n {\"messages\":[ {\"content\":\"\\u00e9 \xc3\xa9\"} ], \"model\":\"m\" ,\"zzz\":1e3}\n"
	var got string
	p := func(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
		got = string(c.Body)
		return echo(ctx, c)
	}
	in(t, 4, p, func(t *testing.T, _ *world, client *http.Client) {
		readAll(t, post(t, client, "/v1/chat/completions", body, func(r *http.Request) { r.ContentLength = -1 }))
	})
	if got != body {
		t.Errorf("the provider got %q", got)
	}
}

func TestI1BoundsOfBodies(t *testing.T) {
	small := func(o *Options) { o.MaxBody = 200 }
	in(t, 4, echo, func(t *testing.T, w *world, client *http.Client) {
		over := strings.Replace(chatBody, "hi", strings.Repeat("x", 300), 1)
		wantError(t, post(t, client, "/v1/chat/completions", over), 413, "request_too_large")
		chunked := func(r *http.Request) { r.ContentLength = -1 }
		wantError(t, post(t, client, "/v1/chat/completions", over, chunked), 413, "request_too_large")
		wantError(t, post(t, client, "/v1/chat/completions", chatBody, header("Content-Encoding", "gzip")), 415, "unsupported_encoding")
		exact := chatBody + strings.Repeat(" ", 200-len(chatBody))
		if resp := post(t, client, "/v1/chat/completions", exact, header("Content-Encoding", "identity")); resp.StatusCode != 200 {
			t.Errorf("exactly at the bound: %d", resp.StatusCode)
		} else {
			readAll(t, resp)
		}
		if got := w.records.outcomes(); len(got) != 4 || got[2] != flow.OutcomeRefused || got[3] != flow.OutcomeServed {
			t.Errorf("outcomes %v", got)
		}
	}, small)
}

func TestUnknownPathsAndMethods(t *testing.T) {
	in(t, 4, echo, func(t *testing.T, _ *world, client *http.Client) {
		wantError(t, send(t, client, "GET", "/v1/nothing"), 404, "unknown_url")
		wantError(t, send(t, client, "POST", "/"), 404, "unknown_url")
		for path, allow := range map[string]string{"/v1/chat/completions": "POST", "/v1/embeddings": "POST", "/v1/models": "GET, HEAD", "/v1/models/x": "GET, HEAD"} {
			resp := send(t, client, "DELETE", path)
			wantError(t, resp, 405, "method_not_allowed")
			if got := resp.Header.Get("Allow"); got != allow {
				t.Errorf("%s: Allow %q", path, got)
			}
		}
	})
}

func TestModels(t *testing.T) {
	routes := func(o *Options) {
		o.Routes = []Route{{Model: "gpt-4o"}, {Model: "gpt-*"}}
	}
	in(t, 4, echo, func(t *testing.T, _ *world, client *http.Client) {
		var list struct {
			Object string
			Data   []model
		}
		if err := json.Unmarshal([]byte(readAll(t, send(t, client, "GET", "/v1/models"))), &list); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range list.Data {
			names = append(names, m.ID)
			if m.Object != "model" || m.Created == 0 || m.OwnedBy == "" {
				t.Errorf("model %+v", m)
			}
		}
		if diff := cmp.Diff([]string{"gpt-4o", "gpt-5"}, names); diff != "" || list.Object != "list" {
			t.Errorf("%s (-want +got):\n%s", list.Object, diff)
		}
		var one model
		if err := json.Unmarshal([]byte(readAll(t, send(t, client, "GET", "/v1/models/gpt-5"))), &one); err != nil || one.ID != "gpt-5" {
			t.Errorf("%v, %v", one, err)
		}
		wantError(t, send(t, client, "GET", "/v1/models/org/other"), 404, "model_not_found")
		wantError(t, post(t, client, "/v1/chat/completions", chatBody), 404, "model_not_found")
	}, routes)
}

func TestI2WhoAsks(t *testing.T) {
	key := func(name string) [32]byte { return sha256.Sum256([]byte(name)) }
	keys := func(o *Options) {
		o.Keys = []Key{{SHA256: key("sk-a"), Tenant: "acme"}, {SHA256: key("sk-b"), Tenant: "beta", Class: flow.Analysis}}
	}
	tests := map[string]struct {
		body  string
		edits []func(*http.Request)
		want  flow.Key
	}{
		"the user in the body": {
			`{"model":"m","messages":[],"user":"u"}`,
			[]func(*http.Request){header("Authorization", "Bearer sk-a")},
			flow.Key{Class: flow.Chat, Tenant: "acme", User: "u"},
		},
		"the header goes first": {
			`{"model":"m","messages":[],"user":"u"}`,
			[]func(*http.Request){header("Authorization", "bearer sk-a"), header("Millrace-User", "h")},
			flow.Key{Class: flow.Chat, Tenant: "acme", User: "h"},
		},
		"the hash of the bearer": {
			chatBody,
			[]func(*http.Request){header("Authorization", "Bearer sk-a")},
			flow.Key{Class: flow.Chat, Tenant: "acme", User: "d1e4bea5c6b0da1c"},
		},
		"a class may be lowered": {
			chatBody,
			[]func(*http.Request){header("Authorization", "Bearer sk-a"), header("Millrace-User", "u"), header("Millrace-Class", "analysis")},
			flow.Key{Class: flow.Analysis, Tenant: "acme", User: "u"},
		},
		"a class may not be raised": {
			chatBody,
			[]func(*http.Request){header("Authorization", "Bearer sk-a"), header("Millrace-User", "u"), header("Millrace-Class", "health")},
			flow.Key{Class: flow.Chat, Tenant: "acme", User: "u"},
		},
		"a class may not be made up": {
			chatBody,
			[]func(*http.Request){header("Authorization", "Bearer sk-a"), header("Millrace-User", "u"), header("Millrace-Class", "mine")},
			flow.Key{Class: flow.Chat, Tenant: "acme", User: "u"},
		},
		"the class of the key": {
			chatBody,
			[]func(*http.Request){header("Authorization", "Bearer sk-b"), header("Millrace-User", "u"), header("Millrace-Class", "chat")},
			flow.Key{Class: flow.Analysis, Tenant: "beta", User: "u"},
		},
		"forwarding headers say nothing": {
			chatBody,
			[]func(*http.Request){header("Authorization", "Bearer sk-a"), header("X-Forwarded-For", "1.2.3.4"), header("Millrace-Tenant", "beta")},
			flow.Key{Class: flow.Chat, Tenant: "acme", User: "d1e4bea5c6b0da1c"},
		},
	}
	sum := sha256.Sum256([]byte("sk-a"))
	bearer := func(k flow.Key) flow.Key {
		if k.User == "d1e4bea5c6b0da1c" {
			k.User = hexOf(sum[:8])
		}
		return k
	}
	in(t, 4, echo, func(t *testing.T, w *world, client *http.Client) {
		for name, tc := range tests {
			resp := post(t, client, "/v1/chat/completions", tc.body, tc.edits...)
			readAll(t, resp)
			synctest.Wait()
			w.records.mu.Lock()
			got := w.records.records[len(w.records.records)-1].Key
			w.records.mu.Unlock()
			if got != bearer(tc.want) {
				t.Errorf("%s: %v, want %v", name, got, bearer(tc.want))
			}
			if c := resp.Header.Get("Millrace-Class"); c != string(tc.want.Class) {
				t.Errorf("%s: told class %q", name, c)
			}
		}
		for _, auth := range []string{"", "Bearer ", "Bearer sk-A", "sk-a", "Basic sk-a", "Bearer sk-a sk-a"} {
			resp := post(t, client, "/v1/chat/completions", chatBody, header("Authorization", auth))
			wantError(t, resp, 401, "invalid_api_key")
			wantError(t, send(t, client, "GET", "/v1/models", header("Authorization", auth)), 401, "invalid_api_key")
		}
	}, keys)
}

func hexOf(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

func TestWithoutKeysAddressesAreUsers(t *testing.T) {
	in(t, 4, echo, func(t *testing.T, w *world, client *http.Client) {
		readAll(t, post(t, client, "/v1/chat/completions", chatBody, header("X-Forwarded-For", "1.2.3.4")))
		synctest.Wait()
		if got := w.records.records[0].Key; got.Tenant != "local" || got.User != "memory" {
			t.Errorf("%v", got)
		}
	})
}

func TestLimitHeaders(t *testing.T) {
	in(t, 4, echo, func(t *testing.T, _ *world, client *http.Client) {
		resp := post(t, client, "/v1/chat/completions", chatBody)
		readAll(t, resp)
		if got := resp.Header.Get("Access-Control-Expose-Headers"); got != "" {
			t.Errorf("no script asked, but was told what it may read: %q", got)
		}
		resp = post(t, client, "/v1/chat/completions", chatBody, header("Origin", "https://app.example"))
		readAll(t, resp)
		limit := resp.Header.Get("X-Ratelimit-Limit-Requests")
		if limit != "6000000" || resp.Header.Get("X-Ratelimit-Limit-Tokens") != "1000000000" {
			t.Errorf("limits %v", resp.Header)
		}
		for _, name := range []string{"X-Ratelimit-Reset-Requests", "X-Ratelimit-Reset-Tokens"} {
			if _, err := time.ParseDuration(resp.Header.Get(name)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := resp.Header.Get("RateLimit"); !strings.Contains(got, `"requests";r=`) || !strings.Contains(got, `"tokens";r=`) {
			t.Errorf("RateLimit %q", got)
		}
		if got := resp.Header.Get("RateLimit-Policy"); !strings.Contains(got, `"requests";q=6000000;w=60`) {
			t.Errorf("RateLimit-Policy %q", got)
		}
		if got := resp.Header.Get("Access-Control-Expose-Headers"); !strings.Contains(got, "Millrace-Queue-Reason") || !strings.Contains(got, "RateLimit-Policy") {
			t.Errorf("exposed %q", got)
		}
	})
}

// The hold ends before the turn comes: the client learns when to come back, and
// that it should.
func TestI4HoldEnds(t *testing.T) {
	p := func(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
		<-ctx.Done()
		return nil, &llm.Error{Kind: llm.KindCanceled, Err: ctx.Err()}
	}
	in(t, 1, p, func(t *testing.T, w *world, client *http.Client) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			req, _ := http.NewRequestWithContext(ctx, "POST", testkit.URL+"/v1/chat/completions", strings.NewReader(chatBody))
			if resp, err := client.Do(req); err == nil {
				resp.Body.Close()
			}
		}()
		synctest.Wait()
		start := time.Now()
		resp := post(t, client, "/v1/chat/completions", chatBody, header("X-Stainless-Timeout", "40"))
		wantError(t, resp, 429, "rate_limit_exceeded")
		if took := time.Since(start); took != 30*time.Second {
			t.Errorf("held for %v, want the client's 40 s less 10", took)
		}
		checkRetryAfter(t, resp.Header)
		if resp.Header.Get("X-Should-Retry") != "true" || resp.Header.Get("Millrace-Queue-Wait-Ms") != "30000" || resp.Header.Get("X-Request-Id") == "" {
			t.Errorf("headers %v", resp.Header)
		}
		cancel()
		<-done
		synctest.Wait()
		if got := w.records.outcomes(); len(got) != 2 || got[0] != flow.OutcomeHoldExpired || got[1] != flow.OutcomeCanceled {
			t.Errorf("outcomes %v", got)
		}
	})
}

func checkRetryAfter(t *testing.T, h http.Header) {
	t.Helper()
	seconds, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || seconds < 1 || seconds > 59 {
		t.Errorf("Retry-After %q", h.Get("Retry-After"))
	}
	ms, err := strconv.Atoi(h.Get("Retry-After-Ms"))
	if err != nil || ms < 1000 || ms > 1000*seconds {
		t.Errorf("Retry-After-Ms %q beside %d s", h.Get("Retry-After-Ms"), seconds)
	}
}

func TestI4RetryAfterStaysInItsBounds(t *testing.T) {
	for _, after := range []time.Duration{time.Nanosecond, time.Second, 58 * time.Second, 59 * time.Second, time.Minute, time.Hour, 1 << 62} {
		for range 50 {
			h := http.Header{}
			(&fault{after: after}).advise(h)
			checkRetryAfter(t, h)
		}
	}
	h := http.Header{}
	(&fault{}).advise(h)
	if len(h) != 0 {
		t.Errorf("%v", h)
	}
}

func TestClientGoneCancelsUpstream(t *testing.T) {
	closed := make(chan time.Time, 1)
	p := func(ctx context.Context, _ *llm.Call) (*llm.Answer, error) {
		context.AfterFunc(ctx, func() { closed <- time.Now() })
		return streamAnswer(ctx, 20*time.Second, "data: 1\n\n", "data: 2\n\n"), nil
	}
	in(t, 1, p, func(t *testing.T, w *world, client *http.Client) {
		resp := post(t, client, "/v1/chat/completions", streamBody)
		if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		left := time.Now()
		resp.Body.Close()
		if late := (<-closed).Sub(left); late > time.Second {
			t.Errorf("the upstream was closed %v after the client had left", late)
		}
		synctest.Wait()
		if got := w.records.outcomes(); len(got) != 1 || got[0] != flow.OutcomeDisconnected {
			t.Errorf("outcomes %v", got)
		}
		if s := w.admission.Snapshot(); s.Outstanding != 0 {
			t.Errorf("outstanding %d", s.Outstanding)
		}
	})
}

// An upstream that fails late, after the stream has begun: a frame of OpenAI's
// shape is the last thing; where the provider has sent its own, none is added.
func TestI5LateFailureOfAStream(t *testing.T) {
	own := "data: {\"error\":{\"message\":\"own\"}}\n\n"
	for name, tc := range map[string]struct {
		fail *llm.Error
		want string
	}{
		"broken": {&llm.Error{Kind: llm.KindTransient, Message: "secret detail"}, `data: {"error":{"message":"The upstream failed to answer.","type":"server_error","param":null,"code":"upstream_error"}}` + "\n\n"},
		"framed": {&llm.Error{Kind: llm.KindTransient, Status: 200, Body: []byte("{}")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := func(ctx context.Context, _ *llm.Call) (*llm.Answer, error) {
				a := streamAnswer(ctx, 0, own)
				a.Body.(*body).fail = tc.fail
				return a, nil
			}
			in(t, 1, p, func(t *testing.T, _ *world, client *http.Client) {
				if got := readAll(t, post(t, client, "/v1/chat/completions", streamBody)); got != own+tc.want {
					t.Errorf("%q", got)
				}
			})
		})
	}
}

// A whole answer that breaks off must not look whole.
func TestI5TruncatedAnswerBreaksTheConnection(t *testing.T) {
	p := func(ctx context.Context, _ *llm.Call) (*llm.Answer, error) {
		a := jsonAnswer(ctx, `{"half":`)
		a.Body.(*body).fail = &llm.Error{Kind: llm.KindTransient, Message: "reset"}
		return a, nil
	}
	in(t, 1, p, func(t *testing.T, w *world, client *http.Client) {
		req, _ := http.NewRequestWithContext(t.Context(), "POST", testkit.URL+"/v1/chat/completions", strings.NewReader(chatBody))
		resp, err := client.Do(req)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Error("the client saw a whole answer")
		}
		if strings.Contains(w.log.String(), "panic") {
			t.Errorf("logged: %s", w.log)
		}
	})
}

// The stream has begun with comments when the upstream refuses: the error comes
// as a frame.
func TestI5EarlyErrorAfterComments(t *testing.T) {
	p := func(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
		if !c.Stream {
			<-time.After(20 * time.Second)
			return echo(ctx, c)
		}
		return nil, &llm.Error{Kind: llm.KindInvalid, Status: 400, Message: "bad tool", Code: "bad", Body: []byte(`{"error":{"message":"bad tool"}}`)}
	}
	in(t, 1, p, func(t *testing.T, _ *world, client *http.Client) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			readAll(t, post(t, client, "/v1/chat/completions", chatBody))
		}()
		synctest.Wait()
		got := readAll(t, post(t, client, "/v1/chat/completions", streamBody))
		if !strings.HasPrefix(got, ": queued ") || !strings.HasSuffix(got, `data: {"error":{"message":"bad tool","type":"invalid_request_error","param":null,"code":"bad"}}`+"\n\n") {
			t.Errorf("%q", got)
		}
		<-done
	})
}

// A later request on the connection of an earlier one has its own time.
func TestI6DeadlinesDoNotOutliveTheirAnswer(t *testing.T) {
	in(t, 1, echo, func(t *testing.T, _ *world, client *http.Client) {
		for _, path := range []string{"/healthz", "/v1/models", "/v1/none", "/healthz"} {
			readAll(t, post(t, client, "/v1/chat/completions", streamBody))
			<-time.After(100 * time.Second)
			readAll(t, send(t, client, "GET", path))
		}
	})
}

func TestI7Drain(t *testing.T) {
	p := func(ctx context.Context, _ *llm.Call) (*llm.Answer, error) {
		return streamAnswer(ctx, 10*time.Second, "data: 1\n\n", "data: 2\n\n", "data: 3\n\n"), nil
	}
	for name, tc := range map[string]struct {
		grace time.Duration
		want  string
	}{
		"long enough": {time.Minute, "data: 1\n\ndata: 2\n\ndata: 3\n\n"},
		"too short":   {15 * time.Second, "data: 1\n\n" + `data: {"error":{"message":"The gateway is restarting. Please try again in a moment.","type":"server_error","param":null,"code":"server_is_overloaded"}}` + "\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, 4, p, func(t *testing.T, w *world, client *http.Client) {
				got := make(chan string)
				go func() { got <- readAll(t, post(t, client, "/v1/chat/completions", streamBody)) }()
				synctest.Wait()
				w.gateway.Drain()
				if resp := send(t, client, "GET", "/readyz"); resp.StatusCode != 503 {
					t.Errorf("ready while draining: %d", resp.StatusCode)
				} else {
					readAll(t, resp)
				}
				resp := post(t, client, "/v1/chat/completions", chatBody)
				wantError(t, resp, 503, "server_is_overloaded")
				checkRetryAfter(t, resp.Header)
				if !resp.Close {
					t.Error("the connection of a refused request is kept")
				}
				ctx, cancel := context.WithTimeout(t.Context(), tc.grace)
				defer cancel()
				start := time.Now()
				stopped := make(chan error)
				go func() { stopped <- w.gateway.Shutdown(ctx) }()
				if text := <-got; text != tc.want {
					t.Errorf("%q", text)
				}
				if err := <-stopped; err != nil {
					t.Errorf("shutdown: %v", err)
				}
				if took := time.Since(start); took > min(tc.grace, 40*time.Second)+lastWords {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

func TestHealthAndReadiness(t *testing.T) {
	in(t, 1, echo, func(t *testing.T, _ *world, client *http.Client) {
		for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n"} {
			if got := readAll(t, send(t, client, "GET", path)); got != want {
				t.Errorf("%s: %q", path, got)
			}
		}
		wantError(t, send(t, client, "GET", "/metrics"), 404, "unknown_url")
	})
}

func TestH2C(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := build(t, 4, echo)
		l := testkit.Listen()
		done := make(chan error, 1)
		go func() { done <- w.gateway.Serve(l) }()
		transport := &http.Transport{DialContext: l.Dial, Protocols: &http.Protocols{}}
		transport.Protocols.SetUnencryptedHTTP2(true)
		client := &http.Client{Transport: transport}
		for _, body := range []string{chatBody, streamBody} {
			resp := post(t, client, "/v1/chat/completions", body)
			readAll(t, resp)
			if resp.ProtoMajor != 2 || resp.StatusCode != 200 {
				t.Errorf("%s %d", resp.Proto, resp.StatusCode)
			}
		}
		transport.CloseIdleConnections()
		if err := w.gateway.server.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.admission.Close()
	})
}

func TestI3PanicBecomes500(t *testing.T) {
	panics := func(o *Options) {
		o.Mounts = []Mount{{Pattern: "GET /panic", Access: Open, Handler: func(http.ResponseWriter, *http.Request, Caller) { panic("secret detail") }}}
	}
	in(t, 1, echo, func(t *testing.T, w *world, client *http.Client) {
		if m := wantError(t, send(t, client, "GET", "/panic"), 500, "internal_error"); strings.Contains(m, "secret") {
			t.Errorf("told %q", m)
		}
		if !strings.Contains(w.log.String(), "secret detail") {
			t.Error("not logged")
		}
	}, panics)
}

func TestNewNamesEveryFault(t *testing.T) {
	_, err := New(Options{
		Routes: []Route{{}, {Model: "a*b"}, {Model: "x", Hold: -1}}, Keys: []Key{{}, {Tenant: "t", SHA256: sha256.Sum256(nil)}}, MaxBody: -1,
	}, Deps{})
	for _, want := range []string{"dispatcher", "routes[0]", "routes[1]", "routes[2].hold", "keys[0]", "keys[1]", "max_body"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not speak of %s", err, want)
		}
	}
	if _, err := New(Options{}, Deps{}); err == nil || !strings.Contains(err.Error(), "no routes") {
		t.Errorf("%v", err)
	}
}

var errUnlisted = errors.New("password=hunter2")
