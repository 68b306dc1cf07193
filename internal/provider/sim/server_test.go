package sim

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve runs p on loopback, HTTP/1.1 and HTTP/2 without TLS.
func serve(t testing.TB, p *Provider) (url string, clients map[string]*http.Client) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	both, only2 := new(http.Protocols), new(http.Protocols)
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	only2.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: p, Protocols: both, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	h1, h2 := &http.Transport{MaxIdleConnsPerHost: 1000}, &http.Transport{Protocols: only2}
	t.Cleanup(func() {
		h1.CloseIdleConnections()
		h2.CloseIdleConnections()
		_ = server.Close()
		<-done
	})
	return "http://" + listener.Addr().String(), map[string]*http.Client{
		"HTTP/1.1": {Transport: h1}, "HTTP/2.0": {Transport: h2},
	}
}

func send(ctx context.Context, client *http.Client, url, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+chatPath, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	return client.Do(req)
}

// TestI3OverTheNetwork: a client that leaves in the middle of a stream or of a
// silent wait is noticed at once, and a cut reaches the client as one.
func TestI3OverTheNetwork(t *testing.T) {
	t.Parallel()
	for protocol := range map[string]bool{"HTTP/1.1": true, "HTTP/2.0": true} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, Options{Output: 50, Limits: Limits{Seats: 1}, Latency: Latency{First: time.Millisecond, Token: time.Minute}})
			url, clients := serve(t, p)
			for i, more := range []string{`"stream":true`, `"stream":false`} {
				ctx, cancel := context.WithCancel(t.Context())
				answer := make(chan *http.Response, 1)
				go func() {
					resp, err := send(ctx, clients[protocol], url, chat("x", more))
					if err != nil {
						resp = nil
					}
					answer <- resp
				}()
				if i == 0 {
					resp := <-answer
					if _, err := bufio.NewReader(resp.Body).ReadString('\n'); err != nil || resp.Proto != protocol {
						t.Fatalf("%s: %v", resp.Proto, err)
					}
					cancel()
					_ = resp.Body.Close()
				} else {
					eventually(t, func() bool { return p.Stats().InFlight == 1 })
					cancel()
					<-answer
				}
				eventually(t, func() bool { s := p.Stats(); return s.InFlight == 0 && s.Aborted == int64(i+1) })
			}
			resp, err := send(t.Context(), clients[protocol], url, forModel(chat("x", `"max_tokens":1`), "sim-cut"))
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				_ = resp.Body.Close()
			}
			if err == nil {
				t.Error("a cut answer came whole")
			}
		})
	}
}

// eventually waits for what another process of the network does.
func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(10 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not happen within 10 s")
		}
	}
}

// TestManyStreams: hundreds of streams at once end whole.
func TestManyStreams(t *testing.T) {
	t.Parallel()
	const n = 300
	p := newProvider(t, Options{Output: 20, Latency: Latency{Total: 300 * time.Millisecond}})
	url, clients := serve(t, p)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			resp, err := send(t.Context(), clients["HTTP/1.1"], url, chat("x", `"stream":true`))
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || !strings.HasSuffix(string(body), "data: [DONE]\n\n") {
				t.Errorf("%v: ends %q", err, body[max(0, len(body)-40):])
			}
		})
	}
	wg.Wait()
	if s := p.Stats(); s.StreamsDone != n || s.InFlight != 0 {
		t.Errorf("stats %+v", s)
	}
}
