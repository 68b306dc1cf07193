package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/console"
)

// tape is a ResponseWriter that a stream writes to.
type tape struct {
	mu     sync.Mutex
	header http.Header
	text   strings.Builder
	status int
}

func (w *tape) Header() http.Header  { return w.header }
func (w *tape) WriteHeader(code int) { w.status = code }
func (w *tape) Flush()               {}

func (w *tape) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

// events are the frames that were sent.
func (w *tape) events() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Split(strings.TrimSuffix(w.text.String(), "\n\n"), "\n\n")
}

// listen opens a stream; the function ends it and waits.
func (s *site) listen(ctx context.Context, header ...string) (*tape, func()) {
	ctx, cancel := context.WithCancel(ctx)
	w, ended := &tape{header: http.Header{}}, make(chan struct{})
	r := httptest.NewRequest("GET", "http://localhost/api/v1/console/stream", nil).WithContext(ctx)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	go func() {
		defer close(ended)
		s.mux.ServeHTTP(w, r)
	}()
	return w, func() { cancel(); <-ended }
}

func TestI6OneFrameForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, false, console.Options{})
		var tapes []*tape
		for range 20 {
			w, end := s.listen(t.Context())
			defer end()
			tapes = append(tapes, w)
			<-time.After(17 * time.Millisecond)
		}
		<-time.After(10*time.Second - 20*17*time.Millisecond + 50*time.Millisecond)
		if n := s.snaps.Load(); n < 10 || n > 11 {
			t.Errorf("%d frames for 20 pages in 10 s, want one a second", n)
		}
		first := tapes[0].events()
		for i, w := range tapes {
			if got := w.events(); len(got) < len(first)-1 || got[0] != first[0] || got[8] != first[8] {
				t.Errorf("page %d saw %d frames, the first page %d, or others", i, len(got), len(first))
			}
		}
		state := strings.TrimSpace(s.ask("GET", statePath, "").Body.String())
		if last := first[len(first)-1]; !strings.HasSuffix(last, "\ndata: "+state) {
			t.Errorf("state answers\n%s\nthe stream\n%s", state, last)
		}
	})
}

func TestI1StreamEndsWithItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, true, console.Options{})
		w, end := s.listen(t.Context(), "Authorization", "Bearer view")
		defer end()
		<-time.After(2500 * time.Millisecond)
		before := len(w.events())
		s.rack.revoke("view")
		<-time.After(5 * time.Second)
		if after := len(w.events()); before < 2 || after != before {
			t.Errorf("%d frames before the key was revoked, %d after", before, after)
		}
	})
}

func TestCloseEndsStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, false, console.Options{})
		w, end := s.listen(t.Context())
		defer end()
		synctest.Wait()
		s.Close()
		s.Close()
		<-time.After(3 * time.Second)
		if n := len(w.events()); n != 1 {
			t.Errorf("%d frames, want the first alone", n)
		}
	})
}

func TestI7Bounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, false, console.Options{Streams: 2})
		_, one := s.listen(t.Context())
		_, two := s.listen(t.Context())
		synctest.Wait()
		over, none := s.listen(t.Context())
		synctest.Wait()
		none()
		if over.status != http.StatusServiceUnavailable || over.header.Get("Retry-After") == "" {
			t.Errorf("a third stream: %d", over.status)
		}
		one()
		w, three := s.listen(t.Context())
		synctest.Wait()
		if w.status != 0 {
			t.Errorf("after one left: %d", w.status)
		}
		two()
		three()
	})
}

// TestI7StreamsOfAKey: however many pages somebody opens, others get theirs.
func TestI7StreamsOfAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, true, console.Options{})
		var ends []func()
		open := func(key string) int {
			w, end := s.listen(t.Context(), "Authorization", "Bearer "+key)
			ends = append(ends, end)
			synctest.Wait()
			return w.status
		}
		for i := range 20 {
			if status := open("view"); (status == 0) != (i < 16) {
				t.Errorf("stream %d of one key: %d", i, status)
			}
		}
		if status := open("op"); status != 0 {
			t.Errorf("the other key: %d", status)
		}
		ends[3]()
		synctest.Wait()
		if status := open("view"); status != 0 {
			t.Errorf("after one has ended: %d", status)
		}
		for _, end := range ends {
			end()
		}
	})
}
