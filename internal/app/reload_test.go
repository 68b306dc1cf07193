package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/testkit"
)

// source is an upstream that streams numbered chunks until it is told to end,
// and answers at once what is no stream.
type source struct {
	*httptest.Server
	begun atomic.Int64
	end   chan struct{}
}

func newSource(t *testing.T) *source {
	s := &source{end: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), `"stream":true`) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"done"}}],"usage":{"prompt_tokens":10,"completion_tokens":2,"total_tokens":12}}`)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		s.begun.Add(1)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			_, _ = fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d \"}}]}\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-s.end:
				_, _ = io.WriteString(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5,\"total_tokens\":15}}\n\ndata: [DONE]\n\n")
				return
			case <-r.Context().Done():
				return
			case <-tick.C:
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// follow reads one stream to its end, and says what was wrong with it.
func follow(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/v1/chat/completions",
		strings.NewReader(`{"model":"m","stream":true,"max_tokens":4,"messages":[{"role":"user","content":"Hello"}]}`))
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	lines, next := bufio.NewScanner(response.Body), 0
	for lines.Scan() {
		switch text := lines.Text(); {
		case text == "data: [DONE]":
			return nil
		case strings.Contains(text, `"delta"`):
			if want := fmt.Sprintf(`"content":"%d "`, next); !strings.Contains(text, want) {
				return fmt.Errorf("chunk %d is %s", next, text)
			}
			next++
		}
	}
	return fmt.Errorf("cut after %d chunks with status %d: %w", next, response.StatusCode, lines.Err())
}

// variant is one of many sound configurations in front of the same upstream.
func variant(url string, i int) string {
	text := fmt.Sprintf(`
upstreams:
  - {name: main, base_url: %q, quota: {requests: %d/h, tokens: %d/h, seats: %d, window: sliding}, breaker: {open: %ds}}
`, url+"/v1", 6_000_000+i, 900_000_000+i, 1_000+i, 10+i)
	if i%3 == 1 {
		text += fmt.Sprintf("  - {name: spare, base_url: %q, quota: {seats: 5, requests: 50/m}}\n", url+"/v1")
	}
	text += fmt.Sprintf("classes: {chat: {weight: %d, rate: %d/m}, extra%d: {weight: 2}}\n", 1+i%5, 90_000+i, i%4)
	if i%3 == 1 {
		text += "routes: [{model: m, upstreams: [main, spare], on_full: spill}, {model: \"*\", upstreams: [main]}]\n"
	}
	if i%2 == 1 {
		text += "endpoints: [{path: /ask, model: m, prompt: \"{question}\"}]\n"
	}
	return text + fmt.Sprintf("limits: {queue: %d, queue_per_user: %d}\n", 5000+i, 4000+i)
}

// broken is one of many configurations with a fault.
func broken(url string, i int) string {
	sound := variant(url, 0)
	return [...]string{
		strings.Replace(sound, "requests:", "reqests:", 1),
		strings.Replace(sound, "sliding", "gliding", 1),
		strings.Replace(sound, "{", "[", 1),
		sound + "admin: {listen: nowhere}\n",
		sound + "routes: [{model: m, upstreams: [nobody]}]\n",
		strings.Replace(sound, "seats: 1000", "seats: 0", 1),
		sound + "keys: [{name: a, sha256: 00}]\n",
	}[i%7] + strings.Repeat("\n", i)
}

// crowd is users of an app: some read streams, one asks again and again.
type crowd struct {
	all      sync.WaitGroup
	failures chan error
	asked    atomic.Int64  // requests that were answered
	enough   chan struct{} // closed: nothing more is asked
}

// gather starts the users and returns when all their streams have begun.
func gather(t *testing.T, a *App, up *source, streams int) *crowd {
	c := &crowd{failures: make(chan error, streams+1), enough: make(chan struct{})}
	for range streams {
		c.all.Go(func() { c.failures <- follow(t.Context(), a.Addr()) })
	}
	waitFor(t, func() bool { return up.begun.Load() == int64(streams) })
	c.all.Go(func() { c.failures <- c.keepAsking(t, a) })
	return c
}

func (c *crowd) keepAsking(t *testing.T, a *App) error {
	for {
		select {
		case <-c.enough:
			return nil
		default:
		}
		if status, answer := ask(t, a, question); status != http.StatusOK {
			return fmt.Errorf("a request during reloads: %d %s", status, answer)
		}
		c.asked.Add(1)
	}
}

// disperse waits for all users and reports what they met.
func (c *crowd) disperse(t *testing.T) {
	c.all.Wait()
	close(c.failures)
	for err := range c.failures {
		if err != nil {
			t.Error(err)
		}
	}
}

// TestI5ReloadDisturbsNobody: 100 sound and 100 broken configurations under load cut
// no stream, fail no request and reset no counter.
func TestI5ReloadDisturbsNobody(t *testing.T) {
	testkit.LeakCheck(t)
	const streams, reloads = 200, 100
	up, folder := newSource(t), t.TempDir()
	file := filepath.Join(folder, "millrace.yaml")
	read := func(text string) (*config.Config, error) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return config.Load(config.Source{File: file, Environ: []string{
			"MILLRACE_STATE_DIR=" + filepath.Join(folder, "state"), "MILLRACE_LISTEN=127.0.0.1:0",
		}})
	}
	first, err := read(variant(up.URL, 0))
	if err != nil {
		t.Fatal(err)
	}
	a, stop := running(t, first)
	users := gather(t, a, up, streams)
	for i := 1; i <= reloads; i++ {
		next, err := read(variant(up.URL, i))
		if err == nil {
			err = a.Reload(next)
		}
		if err != nil {
			t.Fatalf("configuration %d: %v", i, err)
		}
		if _, err := read(broken(up.URL, i)); err == nil {
			t.Fatalf("broken configuration %d is accepted", i)
		}
	}
	waitFor(t, func() bool { return users.asked.Load() > 0 })
	close(users.enough)
	waitFor(t, func() bool { return a.admission.Snapshot().Upstreams[0].InUse == streams }) // the last answer is settled
	s := a.admission.Snapshot()
	if used, want := s.Upstreams[0].Windows[0].Used, streams+users.asked.Load(); used < want || s.Upstreams[0].Seats != 1_000+reloads {
		t.Errorf("the hour has counted %d of %d requests; there are %d seats", used, want, s.Upstreams[0].Seats)
	}
	close(up.end)
	users.disperse(t)
	want := fmt.Sprintf("millrace_requests_total{class=\"chat\",outcome=\"served\"} %d", streams+users.asked.Load())
	waitFor(t, func() bool { return strings.Contains(fetch(t, a.Addr(), "/metrics"), want+"\n") })
	if s := a.admission.Snapshot(); s.Outstanding != 0 || s.Waiting != 0 {
		t.Errorf("left behind: %d outstanding, %d waiting", s.Outstanding, s.Waiting)
	}
	if err := stop(); err != nil {
		t.Error("stop:", err)
	}
}

func fetch(t *testing.T, address, path string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(text)
}
