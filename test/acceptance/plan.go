package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/millrace/millrace/internal/capacity"
	"github.com/millrace/millrace/test/acceptance/forecast"
)

// planCases compare what millrace plan says with what then happens, and measure what
// it costs to say it.
func planCases(s settings, out io.Writer) []scenario {
	all := []scenario{inverseCase(), sizeCase()}
	loads := forecast.Workloads()
	if path, err := filepath.Abs(filepath.Join(s.data, "AzureLLMInferenceTrace_conv.csv")); err == nil && s.data != "" {
		loads = append(loads, forecast.Recorded(path))
	} else if s.named && s.only.MatchString("plan/conv") {
		fmt.Fprintln(out, "plan/conv needs -data: it is left out")
	}
	for i := range loads {
		w := &loads[i]
		all = append(all, scenario{
			name: "plan/" + w.Name, takes: w.WarmUp() + w.Span(), long: true,
			own: func(ctx context.Context, s *site, v *verdict) error { return foretold(ctx, s, v, w) },
		})
	}
	return all
}

// Show implements forecast.Judge.
func (v *verdict) Show(format string, args ...any) { v.show(format, args...) }

// Fault implements forecast.Judge.
func (v *verdict) Fault(format string, args ...any) { v.fault(format, args...) }

// foretold plans a workload, and then puts it on.
func foretold(ctx context.Context, s *site, v *verdict, w *forecast.Workload) error {
	provider, err := s.start(ctx, "judge", append([]string{"sim", "--listen", "127.0.0.1:0"}, w.Limits()...)...)
	if err != nil {
		return err
	}
	front, err := s.gateway(ctx, w.Configuration(provider.base))
	if err != nil {
		return err
	}
	var rows []capacity.Row
	if err := s.plan(ctx, &rows, nil, w.PlanArgs(filepath.Join(s.dir, "millrace.yaml"))...); err != nil {
		return err
	}
	happened, err := s.happens(ctx, front, provider, &demand{warmUp: w.WarmUp(), time: w.Span(), flags: w.LoadArgs()})
	if err != nil {
		return err
	}
	said := &rows[0]
	forecast.CompareUse(v, said, &happened.load.Judge.AtEnd)
	p95, n := happened.wait("")
	forecast.CompareWait(v, "", said.WaitP95, p95)
	for i := range said.Classes {
		if class := &said.Classes[i]; len(said.Classes) > 1 {
			p95, _ := happened.wait(class.Class)
			forecast.CompareWait(v, class.Class+" ", class.WaitP95, p95)
		}
	}
	v.show("%d answers", n)
	v.atMost("429s", float64(happened.throttled()), 0)
	v.sound(&happened.result)
	return nil
}

// plan runs millrace plan and reads what it writes.
func (s *site) plan(ctx context.Context, into any, env []string, args ...string) error {
	var text, complaint bytes.Buffer
	cmd := command(ctx, s.r.binary, args)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, env, &text, &complaint
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("plan: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	if err := os.WriteFile(filepath.Join(s.dir, "plan.json"), text.Bytes(), 0o600); err != nil {
		return err
	}
	return json.Unmarshal(text.Bytes(), into)
}

// happening is a load with the gateway's own records of it.
type happening struct {
	result
	records  forecast.Records
	from, to time.Time // what is measured
}

// wait is the p95 wait in seconds of a class, or of all.
func (h *happening) wait(class string) (p95 float64, answers int) {
	return h.records.P95(class, h.from, h.to)
}

// recordsEvery is how often a gateway is asked for its latest requests: it keeps
// about a thousand.
const recordsEvery = 2 * time.Second

// happens puts a load on a gateway and reads all books.
func (s *site) happens(ctx context.Context, front, provider *server, d *demand) (*happening, error) {
	h := &happening{result: result{leg: &leg{demand: *d, gateway: &gateway{}}}, records: forecast.Records{}}
	ctx, cancel := context.WithTimeout(ctx, d.length()+grace+time.Minute)
	defer cancel()
	watched, watching := make(chan error, 1), make(chan struct{})
	go func() { watched <- h.watch(ctx, front.base, watching) }()
	h.from = time.Now().Add(d.warmUp)
	h.to = h.from.Add(d.time)
	err := s.r.ask(ctx, s.dir, &h.result, front.base+"/v1", provider.base)
	if err == nil {
		err = settle(ctx, &h.result, front.base, provider.base)
	}
	close(watching)
	if err = errors.Join(err, <-watched); err != nil {
		return nil, err
	}
	return h, keep(s.dir, &h.result)
}

// watch collects the gateway's records until over is closed, and once more then.
func (h *happening) watch(ctx context.Context, base string, over <-chan struct{}) error {
	tick := time.NewTicker(recordsEvery)
	defer tick.Stop()
	for {
		if err := fetch(ctx, base+"/api/v1/console/requests?limit=500", h.records.Add); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-over:
			return fetch(ctx, base+"/api/v1/console/requests?limit=500", h.records.Add)
		}
	}
}

// Of the case plan/inverse.
const (
	inverseUsers = 200
	inverseWait  = 5 // s
	inverseSpan  = 10 * time.Minute
	inverseWarm  = 5 * time.Minute // as the plan's: at first all ask at once
	tenthLess    = 0.9
)

func inverseCase() scenario {
	return scenario{name: "plan/inverse", takes: inverseWarm + inverseSpan, long: true, own: inverse}
}

// inverse asks for the quota that so many users need, with no configuration at all,
// and runs it, and a tenth less of everything beside it.
func inverse(ctx context.Context, s *site, v *verdict) error {
	var needs []capacity.Need
	err := s.plan(ctx, &needs, nil, "plan", "--for-users", strconv.Itoa(inverseUsers), "--max-p95-wait", strconv.Itoa(inverseWait)+"s", "--json")
	if err != nil {
		return err
	}
	need := &needs[0]
	for _, l := range need.Limits {
		v.show("%s %s", l.Path, l.Value)
	}
	var waits [2]float64
	var faults [2]error
	var group sync.WaitGroup
	for i, share := range []float64{1, tenthLess} {
		part := &site{r: s.r, name: s.name, dir: filepath.Join(s.dir, []string{"enough", "less"}[i])}
		group.Go(func() {
			defer func() {
				for j := range part.ends {
					faults[i] = errors.Join(faults[i], part.ends[len(part.ends)-1-j]())
				}
			}()
			waits[i], faults[i] = part.tried(ctx, need, share)
		})
	}
	group.Wait()
	if err := errors.Join(faults[:]...); err != nil {
		return err
	}
	v.atMost("p95 wait s with it", waits[0], inverseWait)
	v.show("foretold %.2f", need.With.WaitP95)
	v.judge(waits[1] > inverseWait, "with a tenth less", waits[1], "> "+strconv.Itoa(inverseWait))
	v.show("foretold %.2f", need.Less.WaitP95)
	return nil
}

// tried runs a share of a quota and returns the p95 wait.
func (s *site) tried(ctx context.Context, need *capacity.Need, share float64) (p95 float64, err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return 0, err
	}
	of := map[string]int{}
	for _, l := range need.Limits {
		count, _, _ := strings.Cut(l.Value, "/")
		n, err := strconv.ParseFloat(count, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", l.Path, err)
		}
		of[l.Path] = int(math.Ceil(n * share))
	}
	const main = "upstreams.main.quota."
	j := judge{requests: of[main+"requests"], tokens: of[main+"tokens"], seats: of[main+"seats"]}
	// As the built-in simulator is, which the plan is about where nothing is configured.
	provider, err := s.start(ctx, "judge", j.with("--window", "paced", "--speed", "8", "--seed", "31").args()...)
	if err != nil {
		return 0, err
	}
	env := append((&gateway{}).variables(j, provider.base+"/v1", filepath.Join(s.dir, "state")),
		"MILLRACE_UPSTREAMS_MAIN_QUOTA_METER=openai", "ANALYSIS_TASK_RATE_LIMIT="+strconv.Itoa(of["classes.analysis.rate"])+"/m",
		"CELERY_CONCURRENCY="+strconv.Itoa(of["tasks.concurrency"]))
	front, err := startServer(ctx, s.r.binary, s.dir, "gateway", serverOptions{args: []string{"serve", "--listen", "127.0.0.1:0"}, env: env})
	if err != nil {
		return 0, err
	}
	s.ends = append(s.ends, front.end)
	h, err := s.happens(ctx, front, provider, &demand{users: inverseUsers, tokens: large, warmUp: inverseWarm, time: inverseSpan, flags: []string{
		"--tokens-sigma", "0", "--others-rate", "2/m", "--ramp", "30s", "--mix", "/analyze_section", "--seed", "32",
	}})
	if err != nil {
		return 0, err
	}
	if h.load.Errors > 0 || h.throttled() > 0 {
		return 0, fmt.Errorf("%d errors %v, %d throttled", h.load.Errors, h.load.ByError, h.throttled())
	}
	p95, answers := h.wait("")
	s.say("%.0f %% of the quota: %d answers, p95 wait %.2f s", 100*share, answers, p95)
	return p95, nil
}

// sizeCase measures what a plan of an hour costs.
func sizeCase() scenario {
	return scenario{name: "plan/size", takes: time.Minute, heavy: true, own: func(ctx context.Context, s *site, v *verdict) error {
		for _, c := range []struct {
			users, seconds float64
			args           []string
		}{
			{200, 5, nil},
			{10_000, 60, nil},
			// The same users with a quota that nearly serves them.
			{10_000, 60, []string{
				"--class", "batch", "--as", "json", "--set", "upstreams.main.quota.requests=20000/m", "--set", "upstreams.main.quota.tokens=120000000/m",
				"--set", "upstreams.main.quota.seats=1000",
			}},
		} {
			args := append([]string{"plan", "--users", strconv.Itoa(int(c.users)), "--set", "state_dir=" + s.dir}, c.args...)
			cmd := command(ctx, s.r.binary, args)
			cmd.Dir, cmd.Env = s.dir, []string{}
			began := time.Now()
			if text, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("plan: %w: %s", err, text)
			}
			usage, known := cmd.ProcessState.SysUsage().(*syscall.Rusage)
			if !known {
				return errors.New("this system does not tell what a process used")
			}
			v.atMost(fmt.Sprintf("s for %.0f users", c.users), time.Since(began).Round(10*time.Millisecond).Seconds(), c.seconds)
			v.atMost("MB", math.Round(float64(usage.Maxrss)/1024), 500)
		}
		return nil
	}}
}
