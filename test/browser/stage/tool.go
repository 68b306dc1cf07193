package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/capacity"
)

// plan plays the stage's own quotas; of the words it knows those that matter most.
// What it has played once it knows.
func (p *play) plan(ctx context.Context, q url.Values) ([]byte, error) {
	if known, ok := p.plans.Load(q.Encode()); ok {
		rows, _ := known.([]byte)
		return rows, nil
	}
	rows, err := p.playPlan(ctx, q)
	if err == nil {
		p.plans.Store(q.Encode(), rows)
	}
	return rows, err
}

func (p *play) playPlan(ctx context.Context, q url.Values) ([]byte, error) {
	o := capacity.Options{Gate: p.options, Duration: 5 * time.Minute, WarmUp: time.Minute, NoAdvice: true}
	for word := range strings.SplitSeq(q.Get("users"), ",") {
		n, err := strconv.Atoi(word)
		if err != nil {
			return nil, fmt.Errorf("%w: users: %q is no number", capacity.ErrOptions, word)
		}
		o.Users = append(o.Users, n)
	}
	tokens, _ := strconv.ParseFloat(q.Get("tokens"), 64)
	rate, _ := strconv.ParseFloat(strings.TrimSuffix(q.Get("requests_per_user"), "/m"), 64)
	o.Work.Input.Mean, o.Work.Rate = tokens, rate/60
	o.MaxP95, _ = time.ParseDuration(q.Get("max_wait"))
	r, err := capacity.New(ctx, o)
	if err != nil {
		return nil, err
	}
	// What binds is looked for in the first row that is not good: it takes its time.
	if i := slices.IndexFunc(r.Rows, func(r capacity.Row) bool { return !r.Good }); i >= 0 {
		o.Users, o.NoAdvice = o.Users[i:i+1], false
		advised, err := capacity.New(ctx, o)
		if err != nil {
			return nil, err
		}
		r.Rows[i] = advised.Rows[0]
	}
	type row struct {
		capacity.Row
		Diff string `json:"diff,omitempty"`
	}
	rows := make([]row, len(r.Rows))
	for i := range r.Rows {
		rows[i].Row = r.Rows[i]
		for _, c := range r.Rows[i].Change {
			rows[i].Diff += " # " + c.Path + "\n-    " + c.From + "\n+    " + c.To + "\n"
		}
	}
	return json.Marshal(rows)
}

// acted is a load run that is acted: a moment of it is a second.
type acted struct {
	mu      sync.Mutex
	values  map[string]any
	begun   time.Time
	stopped time.Time
}

// length of an acted run.
const length = 4 * time.Second

// StartJSON implements console.Loader.
func (r *acted) StartJSON(b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy() {
		return errors.New("a run is under way: stop it first")
	}
	var values map[string]any
	if err := json.Unmarshal(b, &values); err != nil {
		return fmt.Errorf("the parameters are no JSON: %w", err)
	}
	if n, _ := values["users"].(float64); n > 200 {
		return errors.New("users: at most 200")
	}
	r.values, r.begun, r.stopped = values, time.Now(), time.Time{}
	return nil
}

// Busy implements console.Loader.
func (r *acted) Busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.busy()
}

func (r *acted) busy() bool {
	return !r.begun.IsZero() && r.stopped.IsZero() && time.Since(r.begun) < length
}

// State implements console.Loader.
func (r *acted) State() any {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun.IsZero() {
		return map[string]any{"phase": "idle", "statuses": map[string]int{}, "points": []int{}, "caveats": []string{}}
	}
	phase, at := "running", time.Since(r.begun)
	if !r.stopped.IsZero() {
		phase, at = "ended", r.stopped.Sub(r.begun)
	} else if at >= length {
		phase, at = "ended", length
	}
	n := int(at / (100 * time.Millisecond))
	points := make([]map[string]any, n)
	for i := range points {
		points[i] = map[string]any{"at": i, "started": 3, "answered": i % 5, "errors": 0, "in_flight": i % 7, "p50_ms": 800 + i, "p95_ms": 1000 + 100*(i%6), "wait_p95_ms": 40 * (i % 9)}
	}
	return map[string]any{
		"phase": phase, "parameters": r.values, "elapsed_seconds": at.Seconds(), "of_seconds": length.Seconds(),
		"sent": 3 * n, "answered": 2 * n, "waiting": n, "errors": 0, "p50_ms": 812, "p95_ms": 2100, "wait_p95_ms": 900, "answers_per_second": 2.7,
		"statuses": map[string]int{"200": 2 * n, "503": 1}, "points": points, "report": phase == "ended", "error": "", "caveats": []string{"the judge is another process"},
	}
}

// Stop implements console.Loader.
func (r *acted) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy() {
		r.stopped = time.Now()
	}
}

// WriteHTML implements console.Loader.
func (r *acted) WriteHTML(w io.Writer) error {
	_, err := fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Load report</title><style>body{color:#123}</style><h1>Load report</h1><p>%s</p><script>document.title='owned'</script>`, html.EscapeString(hostileUser))
	return err
}
