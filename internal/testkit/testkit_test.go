package testkit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestMain(m *testing.M) { LeakMain(m) }

// pair returns two connected ends.
func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l := Listen()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	client, err := l.Dial(t.Context(), "tcp", "anywhere:1")
	if err != nil {
		t.Fatal(err)
	}
	return client, <-accepted
}

func TestI1BytesArriveInOrder(t *testing.T) {
	client, server := pair(t)
	sent := bytes.Repeat([]byte("0123456789"), 5*BufferSize/10)
	go func() {
		if _, err := client.Write(sent); err != nil {
			t.Error(err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}()
	got, err := io.ReadAll(server)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes, error %v", len(got), len(sent), err)
	}
	if _, err := server.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("write to a closed peer: %v", err)
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read after own close: %v", err)
	}
	if _, err := client.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write after own close: %v", err)
	}
}

func TestI2StalledReaderStopsWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := pair(t)
		written := 0
		go func() {
			written, _ = client.Write(make([]byte, BufferSize+1))
		}()
		synctest.Wait()
		if written != 0 {
			t.Fatalf("the write of %d bytes did not wait", BufferSize+1)
		}
		if _, err := server.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if written != BufferSize+1 {
			t.Errorf("%d bytes written after the reader made room", written)
		}
	})
}

func TestI3Deadlines(t *testing.T) {
	past := time.Unix(1, 0)
	for name, tc := range map[string]struct {
		set   func(c net.Conn, at time.Time) error
		block func(c net.Conn) error
	}{
		"read": {net.Conn.SetReadDeadline, func(c net.Conn) error {
			_, err := c.Read(make([]byte, 1))
			return err
		}},
		"write": {net.Conn.SetWriteDeadline, func(c net.Conn) error {
			_, err := c.Write(make([]byte, 2*BufferSize))
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, _ := pair(t)
				start := time.Now()
				setAt(t, tc.set, client, start.Add(time.Minute))
				if err := tc.block(client); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
					t.Errorf("deadline ahead: %v after %v", err, time.Since(start))
				}
				setAt(t, tc.set, client, time.Time{})
				freed := make(chan error)
				go func() { freed <- tc.block(client) }()
				synctest.Wait()
				setAt(t, tc.set, client, past)
				if err := <-freed; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
					t.Errorf("deadline in the past while waiting: %v after %v", err, time.Since(start))
				}
			})
		})
	}
}

func setAt(t *testing.T, set func(net.Conn, time.Time) error, c net.Conn, at time.Time) {
	t.Helper()
	if err := set(c, at); err != nil {
		t.Fatal(err)
	}
}

func TestDialEnds(t *testing.T) {
	l := Listen()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Dial(ctx, "", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("dial without a server, canceled: %v", err)
	}
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Errorf("close twice: %v", err)
	}
	if _, err := l.Dial(t.Context(), "", ""); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial a closed listener: %v", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept on a closed listener: %v", err)
	}
}

// ticker answers with one SSE event a second, ten in all, for as long as the
// client is there.
func ticker(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	for i := range 10 {
		select {
		case <-r.Context().Done():
			return
		case <-time.After(time.Second):
		}
		if _, err := fmt.Fprintf(w, "data: %d\n\n", i); err != nil {
			return
		}
		if err := rc.Flush(); err != nil {
			return
		}
	}
}

// TestI4ServesInABubble streams to 200 clients at once, in ten virtual seconds.
func TestI4ServesInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := Serve(t, http.HandlerFunc(ticker))
		start := time.Now()
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() { watch(t, client, start) })
		}
		all.Wait()
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("200 streams of 10 s took %v", took)
		}
	})
}

// watch demands event i exactly i+1 seconds after the start.
func watch(t *testing.T, client *http.Client, start time.Time) {
	t.Helper()
	res, err := client.Get(URL)
	if err != nil {
		t.Error(err)
		return
	}
	defer res.Body.Close()
	events := 0
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		if want := strconv.Itoa(events); data != want {
			t.Errorf("event %q, want %q", data, want)
		}
		events++
		if at := time.Since(start); at != time.Duration(events)*time.Second {
			t.Errorf("event %s after %v", data, at)
		}
	}
	if events != 10 {
		t.Errorf("%d events of 10", events)
	}
}

func TestI4CanceledRequestReachesTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := make(chan time.Time, 1)
		client := Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ticker(w, r)
			left <- time.Now()
		}))
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if _, err := io.ReadAll(res.Body); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("body: %v", err)
		}
		if at := (<-left).Sub(start); at != 2500*time.Millisecond {
			t.Errorf("the handler learned after %v", at)
		}
	})
}

// recorder is a testing.TB that remembers failures instead of failing.
type recorder struct {
	testing.TB

	failures []string
	cleanups []func()
}

func (r *recorder) Helper()           {}
func (r *recorder) Cleanup(f func())  { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Error(args ...any) { r.failures = append(r.failures, fmt.Sprint(args...)) }

func (r *recorder) Errorf(f string, a ...any) { r.failures = append(r.failures, fmt.Sprintf(f, a...)) }

func TestGolden(t *testing.T) {
	path := filepath.Join(t.TempDir(), "testdata", "x.golden")
	golden(t, path, []byte("one\n"), true)
	golden(t, path, []byte("one\n"), false)
	r := &recorder{TB: t}
	golden(r, path, []byte("two\n"), false)
	if len(r.failures) != 1 || !strings.Contains(r.failures[0], "-update") {
		t.Errorf("a changed file was reported as %q", r.failures)
	}
	Golden(t, "example", []byte("what a golden file holds\n"))
}

func TestLeakCheckFindsAGoroutine(t *testing.T) {
	r := &recorder{TB: t}
	LeakCheck(r)
	stop := make(chan struct{})
	go func() { <-stop }()
	r.cleanups[0]()
	close(stop)
	if len(r.failures) != 1 || !strings.Contains(r.failures[0], "TestLeakCheckFindsAGoroutine") {
		t.Errorf("the goroutine was reported as %q", r.failures)
	}
}
