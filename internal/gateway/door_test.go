package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/testkit"
)

func behind(proxies ...string) func(*Options) {
	return func(o *Options) {
		for _, p := range proxies {
			o.TrustedProxies = append(o.TrustedProxies, netip.MustParsePrefix(p))
		}
	}
}

// 100,000 forged chains from one client are one user, whether it comes itself or
// through a proxy.
func TestI10ForgedChainsAreOneUser(t *testing.T) {
	w := build(t, 1, echo, behind("10.0.0.0/8"))
	defer w.admission.Close()
	table, rng := w.gateway.table.Load(), rand.New(rand.NewPCG(5, 6))
	users := map[string]int{}
	r := httptest.NewRequest("GET", "/", nil)
	for i := range 100_000 {
		forged := fmt.Sprintf("%d.%d.%d.%d, %s", rng.IntN(256), rng.IntN(256), rng.IntN(256), i%256, hostile(rng))
		if i%2 == 0 {
			r.RemoteAddr, r.Header["X-Forwarded-For"] = "203.0.113.5:1", []string{forged}
		} else {
			r.RemoteAddr, r.Header["X-Forwarded-For"] = "10.0.0.1:1", []string{forged, "203.0.113.5"}
		}
		users[table.trust().Client(r.RemoteAddr, r.Header["X-Forwarded-For"])]++
	}
	if len(users) != 1 || users["203.0.113.5"] != 100_000 {
		t.Errorf("%d users", len(users))
	}
}

func FuzzHeader(f *testing.F) {
	f.Add("Prefer", "respond-async, wait=1", "X-Stainless-Timeout", "1e400")
	f.Add("Millrace-User", "\r\nX: y", "Millrace-Class", "health")
	f.Add("Content-Encoding", "gzip", "Cache-Control", "no-store")
	f.Add("X-Stainless-Retry-Count", "99999999999999999999", "Connection", "close, authorization")
	g, s := spied(f, Options{Routes: []Route{{Model: "*", Coalesce: true, Cache: time.Minute}}, Classes: []Class{{Name: "chat", Weight: 2}, {Name: "low", Weight: 1}}})
	f.Fuzz(func(t *testing.T, name, value, name2, value2 string) {
		req := httptest.NewRequest("POST", "http://localhost"+chatPath, strings.NewReader(chatBody))
		req.Header[name], req.Header[name2] = []string{value}, []string{value2}
		rec := httptest.NewRecorder()
		g.ServeHTTP(rec, req)
		if rec.Code != 200 && rec.Code != 415 {
			t.Fatalf("%d %s", rec.Code, rec.Body)
		}
		if rec.Code == 200 {
			r := s.asked[len(s.asked)-1]
			if c := r.Ask.Flow.Class; c != "chat" && c != "low" || strings.ContainsAny(r.Ask.Flow.User, "\r\n\x00\x1b") || len(r.Ask.Flow.User) > 3*256 {
				t.Fatalf("flow %q", r.Ask.Flow)
			}
			s.asked = s.asked[:0]
		}
	})
}

// from is a connection with an address of its own.
type from struct {
	net.Conn
	addr string
}

func (f from) RemoteAddr() net.Addr { return f }
func (from) Network() string        { return "tcp" }
func (f from) String() string       { return f.addr }

// crowd is a listener whose connections come from where the test says.
type crowd struct {
	*testkit.Listener
	next chan string
}

func (c crowd) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return from{conn, <-c.next}, nil
}

// knock connects from an address and reports whether it was let in.
func (c crowd) knock(t *testing.T, addr string) (net.Conn, bool) {
	t.Helper()
	conn, err := c.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	c.next <- addr
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"); err != nil {
		return conn, false
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return conn, false
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	return conn, resp.StatusCode == 200
}

func TestI10ConnectionsAreBounded(t *testing.T) {
	bounds := func(o *Options) { o.Connections, o.ConnectionsPerIP = 6, 2 }
	synctest.Test(t, func(t *testing.T) {
		w := build(t, 1, echo, bounds, behind("10.0.0.0/8"))
		c := crowd{testkit.Listen(), make(chan string)}
		done := make(chan error, 1)
		go func() { done <- w.gateway.Serve(c) }()
		var open []net.Conn
		knock := func(addr string, want bool) net.Conn {
			t.Helper()
			conn, in := c.knock(t, addr)
			if in != want {
				t.Errorf("%s: let in %v, want %v", addr, in, want)
			}
			if in {
				open = append(open, conn)
			}
			return conn
		}
		first := knock("203.0.113.5:1", true)
		knock("203.0.113.5:2", true)
		knock("203.0.113.5:3", false)
		knock("[2001:db8::1]:1", true)
		knock("[2001:db8::2]:1", true)
		knock("[2001:db8::3]:1", false)
		knock("10.0.0.1:1", true)
		knock("10.0.0.1:2", true) // six: the house is full
		knock("10.0.0.1:3", false)
		first.Close()
		synctest.Wait()
		knock("10.0.0.1:4", true)
		knock("198.51.100.7:1", false)
		if !strings.Contains(w.log.String(), "connections are turned away") || strings.Count(w.log.String(), "turned away") > 2 {
			t.Errorf("log: %s", w.log)
		}
		for _, conn := range open {
			conn.Close()
		}
		synctest.Wait()
		if err := w.gateway.Reconfigure(Options{Routes: []Route{{Model: "*"}}, Connections: 1}, nil); err != nil {
			t.Fatal(err)
		}
		last := knock("203.0.113.5:1", true) // all were counted out
		knock("203.0.113.5:2", false)
		last.Close()
		_ = w.gateway.server.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.admission.Close()
		<-time.After(time.Second)
	})
}

// raw sends bytes and returns what comes back until the connection ends, and when
// that was.
func raw(t *testing.T, l *testkit.Listener, pieces ...string) (answer string, took time.Duration) {
	t.Helper()
	conn, err := l.Dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	got := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(conn)
		got <- string(b)
	}()
	for i, p := range pieces {
		if i > 0 {
			select {
			case answer := <-got:
				return answer, time.Since(start)
			case <-time.After(time.Second):
			}
		}
		_, _ = io.WriteString(conn, p)
	}
	return <-got, time.Since(start)
}

// Slow headers, slow bodies, headers without end: each is ended in its time.
func TestI10SlowClients(t *testing.T) {
	post := "POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"
	drip := func(head, piece string, n int) []string {
		all := []string{head}
		for range n {
			all = append(all, piece)
		}
		return all
	}
	for name, tc := range map[string]struct {
		pieces   []string
		status   string
		min, max time.Duration
	}{
		"nothing":        {nil, "", headerTime, headerTime + time.Second},
		"a slow header":  {drip("GET / HTTP/1.1\r\n", "X: y\r\n", 100), "", headerTime, headerTime + time.Second},
		"a stuck body":   {[]string{post + "{"}, "408", uploadGrace, uploadGrace + time.Second},
		"a slow body":    {drip(post, strings.Repeat(" ", 100), 100), "408", uploadGrace, uploadGrace + 2*time.Second},
		"a slowish body": {drip(post, strings.Repeat(" ", 1050), 100), "408", uploadTime - 2*time.Second, uploadTime + time.Second},
		"not let in":     {[]string{strings.Replace(post, "Content", "X-Api-Key: sk-wrong\r\nContent", 1) + "{"}, "401", uploadGrace, uploadGrace + time.Second},
		"to nowhere":     {[]string{strings.Replace(post, "/v1", "/v9", 1) + "{"}, "404", uploadGrace, uploadGrace + time.Second},
		"a GET with one": {[]string{strings.Replace(post, "POST /v1/chat/completions", "GET /open", 1) + "{"}, "200", uploadGrace, uploadGrace + time.Second},
		"a large header": {[]string{"GET /healthz HTTP/1.1\r\nHost: h\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n"}, "431", 0, 2 * time.Second},
		"many headers":   {[]string{"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n" + numbered(200) + "\r\n"}, "431", 0, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := build(t, 1, echo, func(o *Options) {
					keyed(o)
					if name != "not let in" {
						o.Keys = nil
					}
				})
				l := testkit.Listen()
				done := make(chan error, 1)
				go func() { done <- w.gateway.Serve(l) }()
				answer, took := raw(t, l, tc.pieces...)
				if took < tc.min || took > tc.max || !strings.HasPrefix(answer, strings.TrimSpace("HTTP/1.1 "+tc.status)) && tc.status != "" {
					t.Errorf("after %v: %.100q", took, answer)
				}
				_ = w.gateway.server.Close()
				if err := <-done; err != nil {
					t.Error(err)
				}
				w.admission.Close()
				<-time.After(time.Second)
			})
		})
	}
}

func numbered(n int) string {
	var s strings.Builder
	for i := range n {
		fmt.Fprintf(&s, "X-%d: y\r\n", i)
	}
	return s.String()
}

// A body that is slow, but not too slow, arrives.
func TestSlowBodyThatKeepsComing(t *testing.T) {
	in(t, 1, echo, func(t *testing.T, _ *world, client *http.Client) {
		body := strings.Replace(chatBody, "hi", strings.Repeat("x", 60<<10), 1)
		resp := postSlowly(t, client, body, 2<<10)
		if got := readAll(t, resp); resp.StatusCode != 200 {
			t.Errorf("%d %s", resp.StatusCode, got)
		}
	})
}

// slow is a body of which so many bytes come in a second.
type slow struct {
	ctx  context.Context
	text string
	rate int
}

func (s *slow) Read(p []byte) (int, error) {
	if s.text == "" {
		return 0, io.EOF
	}
	select {
	case <-time.After(time.Second):
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
	n := copy(p, s.text[:min(s.rate, len(s.text))])
	s.text = s.text[n:]
	return n, nil
}

func postSlowly(t *testing.T, client *http.Client, body string, rate int) *http.Response {
	t.Helper()
	return post(t, client, chatPath, "", func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(&slow{t.Context(), body, rate}), int64(len(body))
	})
}

// OPTIONS * is not answered by net/http behind the gateway's back.
func TestOptionsOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := build(t, 1, echo)
		l := testkit.Listen()
		done := make(chan error, 1)
		go func() { done <- w.gateway.Serve(l) }()
		answer, _ := raw(t, l, "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 404") {
			t.Errorf("%q", answer)
		}
		_ = w.gateway.server.Close()
		<-done
		w.admission.Close()
		<-time.After(time.Second)
	})
}
