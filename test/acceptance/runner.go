package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/provider/sim"
)

// runner runs cases and prints what became of them.
type runner struct {
	binary string
	dir    string // holds a folder for each leg
	mu     sync.Mutex
	out    io.Writer
	ended  map[string]verdict
}

// all runs the light cases together, then the heavy ones in turn.
func (r *runner) all(ctx context.Context, cases []scenario, parallel int) error {
	began := time.Now()
	r.ended = map[string]verdict{}
	var light, heavy []scenario
	for _, c := range cases {
		if c.heavy {
			heavy = append(heavy, c)
		} else {
			light = append(light, c)
		}
	}
	// The longest first, so that none is left to run alone at the end.
	slices.SortStableFunc(light, func(a, b scenario) int { return int(b.length() - a.length()) })
	r.pool(ctx, light, parallel)
	r.pool(ctx, heavy, 1)
	return r.summary(ctx, cases, time.Since(began))
}

// pool runs cases, so many at once.
func (r *runner) pool(ctx context.Context, cases []scenario, width int) {
	free := make(chan struct{}, width)
	var group sync.WaitGroup
	for i := range cases {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		group.Go(func() {
			defer func() { <-free }()
			r.one(ctx, &cases[i])
		})
	}
	group.Wait()
}

// one runs a case and judges it.
func (r *runner) one(ctx context.Context, c *scenario) {
	var v verdict
	measure := r.legs
	if c.own != nil {
		measure = r.course
	}
	if err := measure(ctx, c, &v); err != nil {
		v.fault("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended[c.name] = v
	fmt.Fprintf(r.out, "%s %s: %s\n", v.word(), c.name, &v)
}

// legs runs the legs of a case side by side and judges them.
func (r *runner) legs(ctx context.Context, c *scenario, v *verdict) error {
	results := make([]result, len(c.legs))
	faults := make([]error, len(c.legs))
	var group sync.WaitGroup
	for i := range c.legs {
		group.Go(func() { results[i], faults[i] = r.leg(ctx, c, &c.legs[i]) })
	}
	group.Wait()
	if err := errors.Join(faults...); err != nil {
		return err
	}
	c.check(v, results)
	for i := range results {
		v.sound(&results[i])
	}
	return nil
}

func (v *verdict) word() string {
	if v.missed > 0 {
		return "FAIL"
	}
	return "PASS"
}

// busyMachine is from when on, in ms, a late load is worth a word: the figures in
// time are not the gateway's alone then.
const busyMachine = 1000

// sound looks for what makes the figures of a leg worth nothing.
func (v *verdict) sound(r *result) {
	if r.load.Answered == 0 {
		v.fault("no answer at all")
	}
	if r.load.Unsent > 0 {
		v.fault("%d requests were not sent", r.load.Unsent)
	}
	if r.books.InFlight > 0 {
		v.fault("%d in flight at the judge when all was over", r.books.InFlight)
	}
	if late := r.load.Generator.BehindMS; late > busyMachine {
		v.show("a busy machine: requests left up to %s late", ms(late))
	}
	if n := r.metrics.sum("millrace_attempts_outstanding"); n > 0 {
		v.fault("%.0f attempts outstanding at the gateway when all was over", n)
	}
	if n := r.metrics.sum("millrace_queue_depth"); n > 0 {
		v.fault("%.0f requests in the queue when all was over", n)
	}
}

// leg starts a judge and a gateway, puts the load on them and reads the books.
func (r *runner) leg(ctx context.Context, c *scenario, l *leg) (out result, err error) {
	name := strings.NewReplacer("/", "-", " ", "-").Replace(strings.TrimSuffix(c.name+"/"+l.name, "/"))
	dir := filepath.Join(r.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return out, err
	}
	out.leg = l
	ctx, cancel := context.WithTimeout(ctx, l.demand.length()+grace+time.Minute)
	defer cancel()
	provider, err := startServer(ctx, r.binary, dir, "judge", serverOptions{args: l.judge.args()})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, provider.end()) }()
	target := provider.base
	if l.gateway != nil {
		front, err := startGateway(ctx, r.binary, dir, l, provider.base+"/v1")
		if err != nil {
			return out, err
		}
		defer func() { err = errors.Join(err, front.end()) }()
		target = front.base
	}
	if err := r.ask(ctx, dir, &out, target+"/v1", provider.base); err != nil {
		return out, err
	}
	return out, errors.Join(settle(ctx, &out, target, provider.base), keep(dir, &out))
}

// keep writes the last books for people who look for causes.
func keep(dir string, out *result) error {
	for name, content := range map[string]any{"books.json": out.books, "metrics.json": out.metrics} {
		text, err := json.MarshalIndent(content, "", "  ")
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
	}
	return nil
}

func startGateway(ctx context.Context, binary, dir string, l *leg, base string) (*server, error) {
	state := filepath.Join(dir, "state")
	if err := os.RemoveAll(state); err != nil { // an older run's, in a folder that is kept
		return nil, err
	}
	if l.gateway.environment {
		return startServer(ctx, binary, dir, "gateway", serverOptions{
			args: []string{"serve", "--listen", "127.0.0.1:0"}, env: l.gateway.variables(l.judge, base, state),
		})
	}
	file := filepath.Join(dir, "millrace.yaml")
	if err := os.WriteFile(file, []byte(l.gateway.file(l.judge, base, state)), 0o600); err != nil {
		return nil, err
	}
	return startServer(ctx, binary, dir, "gateway", serverOptions{args: []string{"serve", "--listen", "127.0.0.1:0", "--config", file}})
}

// ask runs the load and reads its report.
func (r *runner) ask(ctx context.Context, dir string, out *result, target, judgeURL string) error {
	cmd := command(ctx, r.binary, out.leg.demand.args(target, judgeURL))
	var report, complaint bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, []string{}, &report, &complaint
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("load: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	if err := os.WriteFile(filepath.Join(dir, "load.json"), report.Bytes(), 0o600); err != nil {
		return err
	}
	var parsed load.Report
	if err := json.Unmarshal(report.Bytes(), &parsed); err != nil {
		return fmt.Errorf("report of the load: %w", err)
	}
	if len(parsed.Targets) != 1 || parsed.Targets[0].Judge == nil || parsed.Interrupted {
		return errors.New("the load was interrupted")
	}
	out.load = parsed.Targets[0]
	return nil
}

// settleLimit is how long what users left behind may take to end: the first-byte
// timeout of the rude cases and some.
const settleLimit = 15 * time.Second

// settle reads the books until nothing is in flight any more, or for so long.
func settle(ctx context.Context, out *result, target, judgeURL string) error {
	limit := time.NewTimer(settleLimit)
	defer limit.Stop()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		out.books = sim.Stats{}
		if err := fetch(ctx, judgeURL+"/sim/stats", func(b io.Reader) error { return json.NewDecoder(b).Decode(&out.books) }); err != nil {
			return err
		}
		if out.leg.gateway != nil {
			err := fetch(ctx, target+"/metrics", func(b io.Reader) (err error) { out.metrics, err = parseSamples(b); return err })
			if err != nil {
				return err
			}
		}
		if out.books.InFlight == 0 && out.metrics.sum("millrace_attempts_outstanding") == 0 {
			return nil
		}
		select {
		case <-limit.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func fetch(ctx context.Context, url string, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return read(response.Body)
}

// summary prints all cases in the order of the table.
func (r *runner) summary(ctx context.Context, cases []scenario, took time.Duration) error {
	passed, failed := 0, 0
	fmt.Fprintf(r.out, "\n| case | | figures |\n| --- | --- | --- |\n")
	for _, c := range cases {
		v, ended := r.ended[c.name]
		if !ended {
			v.fault("not run")
		}
		if v.missed > 0 {
			failed++
		} else {
			passed++
		}
		fmt.Fprintf(r.out, "| %s | %s | %s |\n", c.name, v.word(), &v)
	}
	fmt.Fprintf(r.out, "\n%d passed, %d failed in %v\n", passed, failed, took.Round(time.Second))
	if err := ctx.Err(); err != nil {
		return err
	}
	if failed > 0 {
		return errFailed
	}
	return nil
}
