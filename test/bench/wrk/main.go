package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "wrk:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	binary string
	wrk    string
	conns  int
	time   time.Duration
	rounds int
	turns  bool
	most   float64
}

// percents are those that wrk prints.
var percents = []float64{50, 75, 90, 99}

// quantiles are latencies at percents, in milliseconds. Those of load hold the
// figures of its report behind them.
type quantiles []float64

func run(ctx context.Context, args []string, out io.Writer) error {
	var o options
	f := flag.NewFlagSet("wrk", flag.ContinueOnError)
	f.StringVar(&o.binary, "millrace", "bin/millrace", "the built binary")
	f.StringVar(&o.wrk, "wrk", "wrk", "the other tool")
	f.IntVar(&o.conns, "conns", 16, "connections, and users, of each tool")
	f.DurationVar(&o.time, "time", 30*time.Second, "how long each tool asks in a round")
	f.IntVar(&o.rounds, "rounds", 3, "rounds")
	f.BoolVar(&o.turns, "turns", false, "let the tools ask in turn, not at the same time: for a machine that does nothing else")
	f.Float64Var(&o.most, "most", 0.05, "the largest difference, as a share of what wrk says")
	if err := f.Parse(args); err != nil {
		return err
	}
	if o.conns < 1 || o.time < time.Second || o.rounds < 1 {
		return errors.New("-conns and -rounds must be at least 1, -time at least 1s")
	}
	path, err := exec.LookPath(o.wrk)
	if err != nil {
		_, err = fmt.Fprintln(out, "left out: the comparison with wrk, which is not installed (apt-get install wrk)")
		return err
	}
	o.wrk = path
	return compare(ctx, &o, out)
}

func compare(ctx context.Context, o *options, out io.Writer) error {
	script, err := writeScript()
	if err != nil {
		return err
	}
	dir := filepath.Dir(script)
	defer func() { _ = os.RemoveAll(dir) }()
	tools := []tool{
		{"wrk", func(url string) (quantiles, error) { return askWrk(ctx, o, script, url) }},
		{"load", func(url string) (quantiles, error) { return askLoad(ctx, o, filepath.Join(dir, "requests.csv"), url) }},
	}
	var faults []error
	for _, t := range []struct {
		name  string
		start func(context.Context, *options) (string, func(), error)
	}{{"5 to 50 ms", startSpread}, {"sim, 20 ms", startSim}} {
		url, stop, err := t.start(ctx, o)
		if err != nil {
			return fmt.Errorf("target %s: %w", t.name, err)
		}
		seen, err := askAll(o, tools, url)
		stop()
		if err != nil {
			return fmt.Errorf("target %s: %w", t.name, err)
		}
		faults = append(faults, tell(out, t.name, seen[0], seen[1], o.most))
	}
	return errors.Join(faults...)
}

// tool is one of the two.
type tool struct {
	name string
	ask  func(url string) (quantiles, error)
}

// askAll asks with all tools in each round, and returns for each tool what it
// saw, by round.
func askAll(o *options, tools []tool, url string) ([][]quantiles, error) {
	seen, errs := make([][]quantiles, len(tools)), make([]error, len(tools))
	for round := range o.rounds {
		var all sync.WaitGroup
		for turn := range tools {
			i := (turn + round) % len(tools)
			all.Go(func() {
				q, err := tools[i].ask(url)
				if err != nil {
					errs[i] = fmt.Errorf("%s: %w", tools[i].name, err)
				}
				seen[i] = append(seen[i], q)
			})
			if o.turns {
				all.Wait()
			}
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

// tell prints both tools' medians, and fails where they differ too much. The
// second half of what load saw is its own report, without what wrk adds.
func tell(out io.Writer, target string, wrk, load []quantiles, most float64) error {
	var faults []error
	for i, percent := range percents {
		a, b, plain := median(wrk, i), median(load, i), median(load, i+len(percents))
		off := b/a - 1
		_, _ = fmt.Fprintf(out, "%-11s p%-3v wrk %7.2f ms   load %7.2f ms   %+.1f %%   (as load reports it %.2f ms)\n", target, percent, a, b, 100*off, plain)
		if !(math.Abs(off) <= most) {
			faults = append(faults, fmt.Errorf("target %s: p%v differs by %.1f %%, at most %.0f %% are allowed", target, percent, 100*off, 100*most))
		}
	}
	return errors.Join(faults...)
}

func median(rounds []quantiles, i int) float64 {
	var values []float64
	for _, q := range rounds {
		values = append(values, q[i])
	}
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// body is what wrk asks; load asks about the same.
const body = `{"model":"m","messages":[{"role":"user","content":"The mill turns evenly."}]}`

func writeScript() (string, error) {
	dir, err := os.MkdirTemp("", "millrace-wrk-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "ask.lua")
	lua := "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = \"application/json\"\nwrk.body = '" + body + "'\n"
	return path, os.WriteFile(path, []byte(lua), 0o600)
}

func askWrk(ctx context.Context, o *options, script, url string) (quantiles, error) {
	cmd := exec.CommandContext(ctx, o.wrk, "-t1", "-c", strconv.Itoa(o.conns), "-d", strconv.Itoa(int(o.time.Seconds()))+"s", "--latency", "-s", script, url+"/chat/completions")
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	return readWrk(string(text))
}

var (
	wrkLine   = regexp.MustCompile(`(?m)^\s*(\d+)%\s+([\d.]+)(us|ms|s|m)\s*$`)
	wrkFaults = regexp.MustCompile(`(?m)^\s*(Socket errors:.*|Non-2xx or 3xx responses:.*)$`)
)

// readWrk reads the percentiles that wrk --latency prints.
func readWrk(text string) (quantiles, error) {
	if fault := wrkFaults.FindString(text); fault != "" {
		return nil, errors.New(fault)
	}
	unit := map[string]float64{"us": 0.001, "ms": 1, "s": 1000, "m": 60_000}
	found := map[string]float64{}
	for _, m := range wrkLine.FindAllStringSubmatch(text, -1) {
		v, err := strconv.ParseFloat(m[2], 64)
		if err != nil {
			return nil, err
		}
		found[m[1]] = v * unit[m[3]]
	}
	var q quantiles
	for _, percent := range percents {
		v, ok := found[strconv.Itoa(int(percent))]
		if !ok {
			return nil, fmt.Errorf("no p%v in what it printed:\n%s", percent, text)
		}
		q = append(q, v)
	}
	return q, nil
}
