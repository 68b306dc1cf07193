package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/testkit"
)

// wires is a network in memory: every address has its listener.
type wires struct {
	mu    sync.Mutex
	ports map[string]*testkit.Listener
	down  bool // nobody can be reached
}

// wired is a listener with an address of its own.
type wired struct {
	*testkit.Listener
	address string
}

func (w wired) Addr() net.Addr  { return w }
func (w wired) Network() string { return "memory" }
func (w wired) String() string  { return w.address }

func (w *wires) listen(string) (net.Listener, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := wired{testkit.Listen(), "127.0.0.1:" + strconv.Itoa(1+len(w.ports))}
	w.ports[l.address] = l.Listener
	return l, nil
}

func (w *wires) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	l := w.ports[address]
	if w.down {
		l = nil
	}
	w.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("nobody listens on %s", address)
	}
	return l.Dial(ctx, network, address)
}

// bubble is a whole app in virtual time, with its built-in simulator.
type bubble struct {
	*App
	wires     *wires
	transport *http.Transport
	starts    starts
}

// starts notes when attempts of class analysis began. It is an event.Sink.
type starts struct {
	mu sync.Mutex
	at []time.Time
}

func (s *starts) Record(*event.Record) {}

func (s *starts) Attempt(a *event.Attempt) {
	if a.Class == flow.Analysis {
		s.mu.Lock()
		s.at = append(s.at, a.Started)
		s.mu.Unlock()
	}
}

// most is the largest number of starts in any span.
func (s *starts) most(span time.Duration) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := 0
	for _, from := range s.at {
		n := 0
		for _, at := range s.at {
			if !at.Before(from) && at.Sub(from) < span {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

// newBubble starts an app with the embedded default configuration. Call it within
// synctest.Test.
func newBubble(t *testing.T, environ ...string) *bubble {
	t.Helper()
	c, err := config.Load(config.Source{Environ: append(environ, "MILLRACE_STATE_DIR="+t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	w := &wires{ports: make(map[string]*testkit.Listener)}
	b := &bubble{wires: w, transport: &http.Transport{DialContext: w.dial, MaxIdleConnsPerHost: 1000}}
	if b.App, err = newOn(&network{listen: w.listen, transport: b.transport, sink: &b.starts}, c, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := serving(func() error { return b.Run(ctx) })
	t.Cleanup(func() {
		b.transport.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Error("run:", err)
		}
		b.transport.CloseIdleConnections()
	})
	return b
}

// call sends a request and returns its status and JSON answer. The client gives up
// after 10 s, as the seeds' load test does.
func (b *bubble) call(method, path string, body any) (int, map[string]any, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	request, err := http.NewRequest(method, "http://"+b.Addr()+path, bytes.NewReader(text))
	if err != nil {
		return 0, nil, err
	}
	client := &http.Client{Transport: b.transport, Timeout: 10 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return 0, nil, err
	}
	answer := map[string]any{}
	raw, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err == nil {
		err = json.Unmarshal(raw, &answer)
	}
	return response.StatusCode, answer, err
}

// finish waits for the result of an answer that was queued.
func (b *bubble) finish(answer map[string]any) (map[string]any, error) {
	if answer["async"] != true {
		return answer, nil
	}
	for range 1000 {
		<-time.After(3 * time.Second)
		status, task, err := b.call(http.MethodGet, "/task_status/"+fmt.Sprint(answer["task_id"]), nil)
		if err != nil || status != http.StatusOK {
			return nil, fmt.Errorf("task status %d: %w", status, err)
		}
		if task["ready"] != true {
			continue
		}
		if task["state"] != "SUCCESS" {
			return nil, fmt.Errorf("the task ended as %v: %v", task["state"], task["error"])
		}
		result, _ := task["result"].(map[string]any)
		return result, nil
	}
	return nil, errors.New("the task never ended")
}

// analyze has one section analyzed and returns how many findings there were, and
// whether the first answer held them.
func (b *bubble) analyze(user, name, content string) (findings int, atOnce bool, err error) {
	status, answer, err := b.call(http.MethodPost, "/analyze_section", map[string]string{"session_id": user, "section_name": name, "content": content})
	if err != nil || status != http.StatusOK || answer["success"] != true {
		return 0, false, fmt.Errorf("analyze %s for %s: status %d, %v: %w", name, user, status, answer, err)
	}
	atOnce = answer["async"] != true
	result, err := b.finish(answer)
	if err != nil {
		return 0, atOnce, fmt.Errorf("analyze %s for %s: %w", name, user, err)
	}
	items, _ := result["feedback_items"].([]any)
	return len(items), atOnce, nil
}

// everybody runs f for each of n users at once and returns all errors.
func everybody(n int, f func(user string) error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f("user-" + strconv.Itoa(i)) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// TestSeedUsers: 10, 20 and 200 users ask at once, as in the seeds' load test. All are
// answered within 10 s, every task succeeds, and the class keeps its rate.
func TestSeedUsers(t *testing.T) {
	for _, users := range []int{10, 20, 200} {
		t.Run(strconv.Itoa(users), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t)
				var mu sync.Mutex
				finished := 0
				err := everybody(users, func(user string) error {
					findings, atOnce, err := b.analyze(user, "Test Section", "This is a test document for load testing.")
					if err == nil && findings == 0 {
						err = fmt.Errorf("%s has no findings", user)
					}
					mu.Lock()
					defer mu.Unlock()
					if atOnce {
						finished++
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
				if users == 10 && finished != 10 {
					t.Errorf("%d of 10 got their findings at once", finished)
				}
				if most := b.starts.most(time.Minute); most > 20 {
					t.Errorf("%d starts within a minute, the class's rate is 20/m", most)
				}
			})
		})
	}
}

// sections splits the project's own documents by their headings.
func sections(t *testing.T) (names, texts []string) {
	t.Helper()
	err := filepath.WalkDir("../../docs", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".md") {
			return err
		}
		text, err := os.ReadFile(path)
		for part := range strings.SplitSeq("\n"+string(text), "\n#") {
			heading, body, _ := strings.Cut(strings.TrimLeft(part, "# "), "\n")
			if body = strings.TrimSpace(body); body != "" {
				names, texts = append(names, heading), append(texts, body)
			}
		}
		return err
	})
	if err != nil || len(names) < 30 {
		t.Fatalf("%d sections: %v", len(names), err)
	}
	return names, texts
}

// TestSeedDocument: real text, every section for ten users at once, and then three
// questions of each about it.
func TestSeedDocument(t *testing.T) {
	names, texts := sections(t)
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		err := everybody(10, func(user string) error {
			for i := range names {
				if findings, _, err := b.analyze(user, names[i], texts[i]); err != nil || findings == 0 {
					return fmt.Errorf("%d findings: %w", findings, err)
				}
			}
			for i := range 3 {
				status, answer, err := b.call(http.MethodPost, "/chat", map[string]string{
					"session_id": user, "message": "What should be mended first?", "current_section": names[i],
				})
				if err != nil || status != http.StatusOK {
					return fmt.Errorf("question %d of %s: status %d, %v: %w", i, user, status, answer, err)
				}
				if answer, err = b.finish(answer); err != nil || answer["response"] == "" || answer["response"] == nil {
					return fmt.Errorf("question %d of %s: %v: %w", i, user, answer, err)
				}
			}
			if turns := b.history.Load("local", "/chat\x00"+user); len(turns) != 6 {
				return fmt.Errorf("%s has %d turns of 6", user, len(turns))
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if most := b.starts.most(time.Minute); most > 20 {
			t.Errorf("%d starts within a minute, the class's rate is 20/m", most)
		}
		t.Logf("%d sections, %d analyses", len(names), len(b.starts.at))
	})
}
