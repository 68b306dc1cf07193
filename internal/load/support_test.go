package load

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/testkit"
)

func TestMain(m *testing.M) { testkit.LeakMain(m) }

// seen is a request as the target saw it.
type seen struct {
	At     time.Time
	Body   string
	Header http.Header
	User   string
	Stream bool
	Prompt string
}

// target is an endpoint that answers as its script says.
type target struct {
	script func(w http.ResponseWriter, r *http.Request, s seen)

	mu       sync.Mutex
	requests []seen
	running  int
	most     int
}

// ServeHTTP implements http.Handler.
func (t *target) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var decoded struct {
		User     string
		Stream   bool
		Messages []struct{ Content string }
	}
	if err == nil {
		err = json.Unmarshal(body, &decoded)
	}
	if err != nil || r.URL.Path != "/v1/chat/completions" || len(decoded.Messages) != 1 {
		http.Error(w, fmt.Sprintf("a bad request for %s: %v", r.URL.Path, err), http.StatusBadRequest)
		return
	}
	s := seen{time.Now(), string(body), r.Header, decoded.User, decoded.Stream, decoded.Messages[0].Content}
	t.mu.Lock()
	t.requests = append(t.requests, s)
	t.running++
	t.most = max(t.most, t.running)
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		t.running--
		t.mu.Unlock()
	}()
	t.script(w, r, s)
}

// count is how many requests have come.
func (t *target) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.requests)
}

// live is how many requests are being served.
func (t *target) live() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running
}

// start serves the script in memory and returns options that ask it.
func start(t *testing.T, script func(http.ResponseWriter, *http.Request, seen)) (*target, Options) {
	t.Helper()
	x := &target{script: script}
	client := testkit.Serve(t, x)
	return x, Options{
		Targets: []Target{{Name: "t", URL: testkit.URL + "/v1"}}, Model: "m", Transport: client.Transport,
		Users: 1, Tokens: 50, Ramp: -1, ThinkFixed: true,
	}
}

// runOne runs the options and returns the only result.
func runOne(t *testing.T, o Options) *Result {
	t.Helper()
	report, err := Run(t.Context(), o)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	if len(report.Targets) != 1 {
		t.Fatalf("%d results, want 1", len(report.Targets))
	}
	return &report.Targets[0]
}

// buckets is the sum that I1 is about.
func (r *Result) buckets() int64 {
	return r.Answered + r.Errors + r.Canceled + r.Disconnected + r.Stalled + r.Unfinished + r.WarmUp
}

// pause waits within a request; false means that the client has gone.
func pause(r *http.Request, d time.Duration) bool { return sleep(r.Context(), d) }

const usageJSON = `"usage":{"prompt_tokens":50,"prompt_tokens_details":{"cached_tokens":7},"completion_tokens":10,"total_tokens":60}`

func answerJSON(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"choices":[{"message":{"content":"hi"}}],`+usageJSON+`}`)
}

// answerStream sends four chunks, one each gap, the last with the usage, then
// the end marker if done.
func answerStream(w http.ResponseWriter, r *http.Request, gap time.Duration, done bool) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range 4 {
		if i > 0 && !pause(r, gap) {
			return
		}
		chunk := `{"choices":[{"delta":{"content":"word "}}],"usage":null}`
		if i == 3 {
			chunk = `{"choices":[],` + usageJSON + `}`
		}
		_, _ = io.WriteString(w, "data: "+chunk+"\n\n")
		_ = http.NewResponseController(w).Flush()
	}
	if done {
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
	}
}

// answer answers in the form that was asked for, after a second.
func answer(w http.ResponseWriter, r *http.Request, s seen) {
	switch {
	case !pause(r, time.Second):
	case s.Stream:
		answerStream(w, r, 0, true)
	default:
		answerJSON(w)
	}
}
