package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/testkit"
)

// wide is a quota that never binds.
var wide = []string{"MAX_REQUESTS_PER_MINUTE=60000000", "MAX_TOKENS_PER_MINUTE=60000000000"}

func sse(n string, i int) string {
	return fmt.Sprintf("data: {\"id\":%q,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"piece %d\"}}]}\n\n", n, i)
}

const (
	usageEvent = `data: {"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":3}}` + "\n\n"
	doneEvent  = "data: [DONE]\n\n"
	perStream  = 24 // events
)

// streamer answers with events that repeat the last word of the question, in
// parts that end within events.
func streamer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	_, rest, _ := bytes.Cut(body, []byte(`"content":"`))
	word, _, _ := bytes.Cut(rest, []byte(`"`))
	w.Header().Set("Content-Type", "text/event-stream")
	var all bytes.Buffer
	for i := range perStream {
		all.WriteString(sse(string(word), i))
	}
	all.WriteString(usageEvent + doneEvent)
	for part := all.Bytes(); len(part) > 0; {
		n := min(len(part), 900)
		_, _ = w.Write(part[:n])
		_ = http.NewResponseController(w).Flush()
		part = part[n:]
	}
}

// TestManyStreamsArriveWhole: thousands of streams through real sockets on both
// sides; not one is cut, and each is its own.
func TestManyStreamsArriveWhole(t *testing.T) {
	testkit.LeakCheck(t)
	upstream := httptest.NewServer(http.HandlerFunc(streamer))
	defer upstream.Close()
	a, stop := running(t, load(t, append(wide, "OPENAI_BASE_URL="+upstream.URL+"/v1", "MAX_CONCURRENT_REQUESTS=200")...))
	streams := int64(12_000)
	if raced || testing.Short() {
		streams = 1_200
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 300}
	client := &http.Client{Transport: transport}
	var next, bad atomic.Int64
	var workers sync.WaitGroup
	for range 250 {
		workers.Go(func() {
			for n := next.Add(1); n <= streams && bad.Load() < 5; n = next.Add(1) {
				if err := oneStream(client, a.Addr(), fmt.Sprintf("s%d", n)); err != nil {
					bad.Add(1)
					t.Errorf("stream %d: %v", n, err)
				}
			}
		})
	}
	workers.Wait()
	transport.CloseIdleConnections()
	if s := a.admission.Snapshot(); s.Outstanding != 0 || s.Waiting != 0 || s.Late != 0 {
		t.Errorf("outstanding %d, waiting %d, late %d", s.Outstanding, s.Waiting, s.Late)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func oneStream(client *http.Client, address, word string) error {
	body := `{"model":"m","stream":true,"messages":[{"role":"user","content":"` + word + `"}]}`
	resp, err := client.Post("http://"+address+"/v1/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d, %d bytes: %w", resp.StatusCode, len(got), err)
	}
	var want strings.Builder
	for i := range perStream {
		want.WriteString(sse(word, i))
	}
	want.WriteString(doneEvent)
	if string(got) != want.String() {
		return fmt.Errorf("got %d bytes, want %d: %.200q", len(got), want.Len(), got)
	}
	return nil
}

// An upstream that answers before it has read the question cuts nothing short,
// and costs no later request its connection.
func TestEarlyAnswerToALongQuestion(t *testing.T) {
	testkit.LeakCheck(t)
	const answer = `{"choices":[{"message":{"content":"early"}}]}`
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	}))
	defer upstream.Close()
	a, stop := running(t, load(t, append(wide, "OPENAI_BASE_URL="+upstream.URL+"/v1")...))
	for range 10 {
		long := strings.Replace(question, "Hello", strings.Repeat("x", 4<<20), 1)
		if status, got := ask(t, a, long); status != http.StatusOK || got != answer {
			t.Errorf("%d %.200q", status, got)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// stage is where a request is when its client leaves.
type stage string

const (
	queued          stage = "queued"
	beforeFirstByte stage = "before the first byte"
	midAnswer       stage = "mid-answer"
)

// patient is an upstream that never finishes, and knows when it was left.
type patient struct {
	*httptest.Server
	begin   atomic.Bool // send the beginning of an answer
	entered chan struct{}
	left    chan time.Time
}

func newPatient(t *testing.T) *patient {
	p := &patient{entered: make(chan struct{}, 10), left: make(chan time.Time, 10)}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if p.begin.Load() {
			kind, beginning := "application/json", `{"choices":[`
			if bytes.Contains(body, []byte(`"stream":true`)) {
				kind, beginning = "text/event-stream", sse("x", 0)
			}
			w.Header().Set("Content-Type", kind)
			_, _ = io.WriteString(w, beginning)
			_ = http.NewResponseController(w).Flush()
		}
		p.entered <- struct{}{}
		<-r.Context().Done()
		p.left <- time.Now()
	}))
	t.Cleanup(p.Close)
	return p
}

// leaver sends a request and returns how to leave it.
type leaver func(t *testing.T, address, body string) (leave func())

// socket is a client of HTTP/1.1 that leaves by what end does to its connection.
func socket(end func(*net.TCPConn) error) leaver {
	return func(t *testing.T, address, body string) func() {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if _, err := fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := end(conn.(*net.TCPConn)); err != nil {
				t.Error(err)
			}
		}
	}
}

// h2c is a client of HTTP/2 that resets its stream and keeps its connection.
func h2c(t *testing.T, address, body string) func() {
	transport := &http.Transport{Protocols: &http.Protocols{}}
	transport.Protocols.SetUnencryptedHTTP2(true)
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		resp, err := (&http.Client{Transport: transport}).Do(req)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if !errors.Is(err, context.Canceled) {
			t.Error("the request ended before its client left:", err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done; transport.CloseIdleConnections() })
	return cancel
}

// TestClientGone: whoever leaves, wherever his request is, by whatever means, is
// gone at the upstream and in the books within a second. One that only ends its
// sending side counts as gone: net/http cannot tell the two apart.
func TestClientGone(t *testing.T) {
	testkit.LeakCheck(t)
	p := newPatient(t)
	a, stop := running(t, load(t, append(wide, "OPENAI_BASE_URL="+p.URL+"/v1", "MAX_CONCURRENT_REQUESTS=1")...))
	leavers := map[string]leaver{
		"HTTP/1.1": socket((*net.TCPConn).Close), "half-close": socket((*net.TCPConn).CloseWrite), "h2c": h2c,
		"reset": socket(func(c *net.TCPConn) error { return errors.Join(c.SetLinger(0), c.Close()) }),
	}
	streamed := strings.Replace(question, "{", `{"stream":true,`, 1)
	for name, l := range leavers {
		for _, at := range []stage{queued, beforeFirstByte, midAnswer} {
			for kind, body := range map[string]string{"JSON": question, "stream": streamed} {
				t.Run(fmt.Sprintf("%s/%s/%s", name, at, kind), func(t *testing.T) {
					p.begin.Store(at == midAnswer)
					departure{l, at, body}.play(t, a, p)
				})
			}
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// departure is a client, where its request is when it leaves, and what it asks.
type departure struct {
	client leaver
	at     stage
	body   string
}

func (d departure) play(t *testing.T, a *App, p *patient) {
	var free func()
	if d.at == queued {
		free = socket((*net.TCPConn).Close)(t, a.Addr(), question)
		<-p.entered
	}
	leave := d.client(t, a.Addr(), d.body)
	if d.at == queued {
		waitFor(t, func() bool { return a.admission.Snapshot().Waiting == 1 })
	} else {
		<-p.entered
	}
	begun := time.Now()
	leave()
	if d.at == queued {
		waitFor(t, func() bool { return a.admission.Snapshot().Waiting == 0 })
	} else {
		<-p.left
	}
	if took := time.Since(begun); took > time.Second {
		t.Errorf("it took %v until the client was gone", took)
	}
	if d.at == queued {
		free()
		<-p.left
	}
	waitFor(t, func() bool { return a.admission.Snapshot().Outstanding == 0 })
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it took %v until the books were even", took)
	}
}

// What nobody obeys is said when somebody asks for it, and why a start is slow.
func TestStartSaysWhatIsOdd(t *testing.T) {
	for name, c := range map[string]struct {
		environ []string
		starts  int
		want    []string
	}{
		"nothing odd":  {nil, 1, nil},
		"after a kill": {nil, 2, []string{"quotas start as if just used up, so the first requests wait", "did not end cleanly"}},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			settings := load(t, append(c.environ, "OPENAI_BASE_URL=http://127.0.0.1:1/v1")...)
			for range c.starts {
				log.Reset()
				a, err := New(settings, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))
				if err != nil {
					t.Fatal(err)
				}
				if err := a.Close(); err != nil { // as a kill would: nothing is written
					t.Error(err)
				}
			}
			lines := strings.Count(log.String(), "\n")
			if want := min(len(c.want), 1); lines != want {
				t.Errorf("%d lines, want %d:\n%s", lines, want, log.String())
			}
			for _, words := range c.want {
				if !strings.Contains(log.String(), words) {
					t.Errorf("%q is not in %s", words, log.String())
				}
			}
		})
	}
}
