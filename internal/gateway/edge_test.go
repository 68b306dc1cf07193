package gateway

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/testkit"
)

// A request that is turned away before dispatch ends in one outcome like all
// others, and nothing that its sender chose is in the record.
func TestTurnedAwayRequestsAreRecorded(t *testing.T) {
	narrow := func(o *Options) { o.MaxBody, o.Routes = 200, []Route{{Model: "m"}} }
	large := strings.Replace(chatBody, "hi", strings.Repeat("x", 300), 1)
	other := strings.Replace(chatBody, `"m"`, `"evil"`, 1)
	chat := "/v1/chat/completions"
	in(t, 4, echo, func(t *testing.T, w *world, client *http.Client) {
		readAll(t, post(t, client, chat, "{"))
		readAll(t, post(t, client, "/v1/embeddings", `{"model":"m"}`))
		readAll(t, post(t, client, chat, other, header("Millrace-User", "evil")))
		readAll(t, post(t, client, chat, large))
		readAll(t, post(t, client, chat, chatBody, header("Content-Encoding", "gzip")))
		breakOff(t, client)
		synctest.Wait()
		readAll(t, send(t, client, "GET", "/evil"))
		readAll(t, send(t, client, "DELETE", chat))
		w.gateway.Drain()
		readAll(t, post(t, client, chat, chatBody))

		type told struct {
			Outcome flow.Outcome
			Status  int
			Cause   string
			Stray   event.Stray
		}
		want := []told{
			{flow.OutcomeRefused, 400, "invalid", event.StrayRequest},
			{flow.OutcomeRefused, 400, "invalid", event.StrayRequest},
			{flow.OutcomeRefused, 404, "model_not_found", event.StrayModel},
			{flow.OutcomeRefused, 413, "request_too_large", event.StrayRequest},
			{flow.OutcomeRefused, 415, "unsupported_encoding", event.StrayRequest},
			{flow.OutcomeCanceled, 400, "client_left", event.StrayNone},
			{flow.OutcomeRefused, 404, "unknown_url", event.StrayPath},
			{flow.OutcomeRefused, 405, "method_not_allowed", event.StrayPath},
			{flow.OutcomeRefused, 503, "draining", event.StrayNone},
		}
		var got []told
		for _, r := range w.records.records {
			got = append(got, told{r.Outcome, r.Status, r.Cause, r.Stray})
			if r.ID == "" || r.Arrived.IsZero() || r.Model != "" || r.Key != (flow.Key{}) {
				t.Errorf("record %+v", r)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("records (-want +got):\n%s", diff)
		}
		if op := w.records.records[1].Operation; op != llm.OpEmbedding {
			t.Errorf("operation %v", op)
		}
	}, narrow)
}

// breakOff begins a request and leaves in the middle of its body.
func breakOff(t *testing.T, client *http.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	body := io.NopCloser(io.MultiReader(strings.NewReader(chatBody[:10]), torn{ctx}))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, testkit.URL+"/v1/chat/completions", body)
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, cancel)
	if resp, err := client.Do(req); err == nil {
		resp.Body.Close()
		t.Error("a request that broke off was answered")
	}
}

// torn is a body that fails when its context ends. Unlike stuck it never ends well, so
// no transport can take it for whole.
type torn struct{ context.Context }

func (r torn) Read([]byte) (int, error) {
	<-r.Done()
	return 0, r.Err()
}

func TestWrongKeyIsRecorded(t *testing.T) {
	keys := func(o *Options) { o.Keys = []Key{{SHA256: [32]byte{1}, Tenant: "acme"}} }
	in(t, 4, echo, func(t *testing.T, w *world, client *http.Client) {
		readAll(t, post(t, client, "/v1/chat/completions", chatBody, header("Authorization", "Bearer sk-secret")))
		want := []event.Record{{Outcome: flow.OutcomeRefused, Status: 401, Cause: "invalid_api_key", Stray: event.StrayKey}}
		varying := cmpopts.IgnoreFields(event.Record{}, "ID", "Arrived", "Total")
		if diff := cmp.Diff(want, w.records.records, varying); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
	}, keys)
}

// Nothing is forwarded before the body has come whole: a proxy that forwards
// while it reads can cut the one when the other ends (golang/go#40747).
func TestI1BodyIsWholeBeforeItIsForwarded(t *testing.T) {
	long := strings.Replace(chatBody, "hi", strings.Repeat("x", 1<<20), 1)
	var called time.Time
	var got string
	p := func(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
		called, got = time.Now(), string(c.Body)
		return echo(ctx, c)
	}
	in(t, 4, p, func(t *testing.T, _ *world, client *http.Client) {
		for name, length := range map[string]int64{"chunked": -1, "with a length": int64(len(long))} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			start := time.Now()
			resp := post(t, client, "/v1/chat/completions", "", func(r *http.Request) {
				half := len(long) / 2
				r.Body = io.NopCloser(io.MultiReader(strings.NewReader(long[:half]), stuck{ctx}, strings.NewReader(long[half:])))
				r.ContentLength = length
			})
			if answer := readAll(t, resp); answer != answerText || got != long {
				t.Errorf("%s: %d bytes forwarded of %d, answer %q", name, len(got), len(long), answer)
			}
			if early := called.Sub(start); early < 5*time.Second {
				t.Errorf("%s: forwarded after %v, before the body was whole", name, early)
			}
			cancel()
		}
	})
}

// What a hop keeps to itself, secrets and names stay out of both directions.
func TestHeadersPassByListOnly(t *testing.T) {
	var forwarded http.Header
	p := func(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
		forwarded = c.Header
		a, err := echo(ctx, c)
		for _, name := range []string{
			"Connection", "Keep-Alive", "Trailer", "Upgrade", "Proxy-Authenticate", "Set-Cookie", "Server", "Via", "Alt-Svc",
			"Openai-Organization", "X-Ratelimit-Remaining-Tokens", "Access-Control-Allow-Origin", "Content-Encoding", "Retry-After",
			"Millrace-Upstream", "X-Should-Retry", "Strict-Transport-Security",
		} {
			a.Header.Set(name, "theirs")
		}
		a.Header.Set("Openai-Processing-Ms", "12")
		delete(a.Header, "X-Request-Id")
		return a, err
	}
	in(t, 4, p, func(t *testing.T, _ *world, client *http.Client) {
		for _, body := range []string{chatBody, streamBody} {
			var edits []func(*http.Request)
			for _, name := range []string{
				"Connection", "Keep-Alive", "Te", "Trailer", "Upgrade", "Proxy-Authorization", "Cookie", "Authorization", "Api-Key",
				"X-Api-Key", "Openai-Organization", "Openai-Project", "X-Forwarded-For", "User-Agent", "X-Stainless-Os", "Referer",
			} {
				edits = append(edits, header(name, "mine"))
			}
			resp := post(t, client, "/v1/chat/completions", body, append(edits, header("OpenAI-Beta", "b"))...)
			readAll(t, resp)
			if diff := cmp.Diff(http.Header{"Openai-Beta": {"b"}}, forwarded); diff != "" {
				t.Errorf("forwarded (-want +got):\n%s", diff)
			}
			for name, values := range resp.Header {
				if slices.Contains(values, "theirs") {
					t.Errorf("the client sees the provider's %s", name)
				}
			}
			if resp.Header.Get("Openai-Processing-Ms") != "12" && body == chatBody {
				t.Errorf("headers %v", resp.Header)
			}
			if id := resp.Header.Get("Millrace-Request-Id"); id == "" || resp.Header.Get("X-Request-Id") != id {
				t.Errorf("request id %q beside %q", resp.Header.Get("X-Request-Id"), id)
			}
		}
	})
}

// Those who wait longest come back spread out, too.
func TestI4LongWaitsAreSpread(t *testing.T) {
	seen := map[string]bool{}
	for range 50 {
		h := http.Header{}
		(&fault{after: time.Hour}).advise(h)
		checkRetryAfter(t, h)
		seen[h.Get("Retry-After-Ms")] = true
	}
	if len(seen) < 10 {
		t.Errorf("50 clients come back at %d moments", len(seen))
	}
}

// A client that does not read is given up after one write's time, and so is its
// upstream.
func TestI6StalledClient(t *testing.T) {
	chunk := "data: " + strings.Repeat("x", 32<<10) + "\n\n"
	p := func(ctx context.Context, _ *llm.Call) (*llm.Answer, error) {
		a := streamAnswer(ctx, 0)
		for range 1000 {
			a.Body.(*body).pieces = append(a.Body.(*body).pieces, chunk)
		}
		return a, nil
	}
	in(t, 1, p, func(t *testing.T, w *world, client *http.Client) {
		start := time.Now()
		resp := post(t, client, "/v1/chat/completions", streamBody)
		defer resp.Body.Close()
		for len(w.records.outcomes()) == 0 && time.Since(start) < 10*maxWrite {
			<-time.After(time.Second)
		}
		if len(w.records.outcomes()) == 0 {
			t.Fatal("the upstream is held for as long as the client likes")
		}
		if got := w.records.outcomes()[0]; got != flow.OutcomeDisconnected {
			t.Errorf("outcome %v", got)
		}
		if took := time.Since(start); took < minWrite || took > maxWrite+time.Second {
			t.Errorf("given up after %v", took)
		}
	})
}

// A client that reads slowly is not one that has stopped: it gets all.
func TestI6SlowClientGetsAll(t *testing.T) {
	const size = 8 << 20
	p := func(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
		if c.Stream {
			return streamAnswer(ctx, 0, "data: "+strings.Repeat("x", size)+"\n\n"), nil
		}
		return jsonAnswer(ctx, strings.Repeat("x", size)), nil
	}
	in(t, 4, p, func(t *testing.T, w *world, client *http.Client) {
		for _, body := range []string{chatBody, streamBody} {
			start := time.Now()
			resp := post(t, client, "/v1/chat/completions", body)
			got, buf := 0, make([]byte, 64<<10)
			for {
				n, err := resp.Body.Read(buf)
				got += n
				if err != nil {
					break
				}
				<-time.After(time.Second)
			}
			resp.Body.Close()
			if got < size || time.Since(start) < 2*maxWrite {
				t.Errorf("%d bytes of %d in %v", got, size, time.Since(start))
			}
		}
		synctest.Wait()
		if got := w.records.outcomes(); len(got) != 2 || got[0] != flow.OutcomeServed || got[1] != flow.OutcomeServed {
			t.Errorf("outcomes %v", got)
		}
	})
}

// A stream that was held with comments and then fails with the provider's own
// error before any of its answer was passed on is told so all the same.
func TestI5EarlyErrorFrameIsTold(t *testing.T) {
	p := func(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
		if !c.Stream {
			<-time.After(20 * time.Second)
			return echo(ctx, c)
		}
		a := streamAnswer(ctx, 0)
		a.Body.(*body).fail = &llm.Error{Kind: llm.KindInvalid, Status: 200, Message: "bad tool", Body: []byte(`{"error":{"message":"bad tool"}}`)}
		return a, nil
	}
	in(t, 1, p, func(t *testing.T, _ *world, client *http.Client) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			readAll(t, post(t, client, "/v1/chat/completions", chatBody))
		}()
		synctest.Wait()
		got := readAll(t, post(t, client, "/v1/chat/completions", streamBody))
		if !strings.HasPrefix(got, ": queued ") || strings.Count(got, `data: {"error":{"message":"bad tool"`) != 1 {
			t.Errorf("held, then: %q", got)
		}
		<-done
		resp := post(t, client, "/v1/chat/completions", streamBody)
		if text := readAll(t, resp); resp.StatusCode != 400 || !strings.Contains(text, "bad tool") {
			t.Errorf("at once: %d %q", resp.StatusCode, text)
		}
	})
}

// A hold that ends keeps its place: the same request, asked again as SDKs do,
// goes before one that came in the meantime.
func TestRetryOfAnEndedHoldResumesItsPlace(t *testing.T) {
	var order []string
	p := func(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
		for _, name := range []string{"first", "early", "late"} {
			if strings.Contains(string(c.Body), name) {
				order = append(order, name)
			}
		}
		if len(order) == 1 {
			<-time.After(60 * time.Second)
		}
		return echo(ctx, c)
	}
	in(t, 1, p, func(t *testing.T, _ *world, client *http.Client) {
		done := make(chan struct{}, 2)
		ask := func(name, timeout string) *http.Response {
			return post(t, client, "/v1/chat/completions", strings.Replace(chatBody, "hi", name, 1), header("X-Stainless-Timeout", timeout))
		}
		later := func(name string) {
			go func() {
				resp := ask(name, "600")
				if text := readAll(t, resp); resp.StatusCode != 200 {
					t.Errorf("%s: %d %s", name, resp.StatusCode, text)
				}
				done <- struct{}{}
			}()
			synctest.Wait()
		}
		later("first")
		resp := ask("early", "40")
		wantError(t, resp, 429, "rate_limit_exceeded")
		checkRetryAfter(t, resp.Header)
		wait, err := time.ParseDuration(resp.Header.Get("Retry-After") + "s")
		if err != nil {
			t.Fatal(err)
		}
		later("late")
		<-time.After(wait)
		resp = ask("early", "300")
		readAll(t, resp)
		if resp.StatusCode != 200 || resp.Header.Get("Millrace-Queue-Position") != "1" {
			t.Errorf("asked again: %d at position %s", resp.StatusCode, resp.Header.Get("Millrace-Queue-Position"))
		}
		<-done
		<-done
		if want := []string{"first", "early", "late"}; !slices.Equal(order, want) {
			t.Errorf("ran in the order %v", order)
		}
	})
}
