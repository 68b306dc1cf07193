package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/load/arrival"
	"github.com/millrace/millrace/internal/load/verdict"
)

// register declares the flags.
func (f *loadFlags) register(cmd *cobra.Command) {
	fs, o := cmd.Flags(), &f.options
	fs.SortFlags = false
	fs.StringArrayVar(&f.targets, "target", []string{"http://127.0.0.1:8080/v1"}, "base URL to ask, or name=URL; repeatable")
	fs.BoolVar(&o.Together, "together", false, "ask all targets at the same time, each by users of its own (default: in turn)")
	fs.StringVar(&o.Model, "model", "gpt-4o-mini", "model name in the requests")
	fs.StringVar(&o.Key, "key", "", "bearer token to send")
	fs.StringVar(&f.keyFile, "key-file", "", "file that holds the bearer token, so that it is not seen in the process list")
	fs.StringVar(&o.Class, "class", "", "Millrace-Class header to send")
	fs.StringArrayVar(&f.judges, "judge", nil, "base URL of the millrace simulator that keeps the books, such as http://127.0.0.1:9090;\n"+
		"target=URL for that of one target; repeatable")
	fs.DurationVar(&o.Duration, "duration", 0, "measured time (default 60s; the whole trace, all stages; no end but --until-answers)")
	fs.DurationVar(&o.WarmUp, "warmup", 0, "time before it that is not measured; the judge's books are reset after it")
	fs.DurationVar(&o.Pause, "pause", 61*time.Second, "time between two targets asked in turn, for the provider's windows to pass")
	fs.DurationVar(&o.Grace, "grace", 5*time.Minute, "how long requests in flight may take after the end")
	fs.DurationVar(&o.Timeout, "timeout", 5*time.Minute, "the longest a request may take")
	fs.IntVar(&o.UntilAnswers, "until-answers", 0, "end when every user has so many answers (0: only by --duration)")
	fs.IntVar(&o.MaxInFlight, "max-in-flight", 0, "open loop: arrivals beyond are left out and counted (default 20000)")
	fs.Uint64Var(&o.Seed, "seed", 1, "seed of everything random; the same seed asks the same")
	fs.Float64Var(&o.Speed, "speed", 1, "how many times as fast all time of the run passes: --duration, thinking, arrivals, a trace, timeouts;\n"+
		"for millrace sim --speed of the same. The report is in that time")
	f.registerUsers(cmd)
	f.registerSessions(cmd)
	f.registerTrace(cmd)
	f.registerLimits(cmd)
}

func (f *loadFlags) registerUsers(cmd *cobra.Command) {
	fs, o := cmd.Flags(), &f.options
	fs.IntVar(&o.Users, "users", 40, "closed-loop users")
	fs.DurationVar(&o.Think, "think", 3*time.Second, "mean time between an answer and the user's next request")
	fs.StringVar(&f.thinkDist, "think-dist", "exp", "distribution of the think time: exp or fixed")
	fs.DurationVar(&o.Ramp, "ramp", 0, "users start at random within it (default the think time; negative: at once)")
	fs.IntVar(&o.GreedyLoops, "greedy-user", 0, "user 0 runs so many loops without thinking")
	fs.IntVar(&o.GreedyFactor, "greedy-factor", 1, "user 0 asks so many times as often")
	fs.StringVar(&f.othersRate, "others-rate", "", "each user asks at most so often instead of thinking, such as 16/m (not --greedy-user's)")
	fs.IntVar(&o.Tokens, "tokens", 6000, "mean prompt tokens of a request, four characters each")
	fs.Float64Var(&o.TokensSigma, "tokens-sigma", 0, "spread of --tokens: standard deviation of its logarithm")
	fs.IntVar(&o.MaxTokens, "max-tokens", 0, "max_tokens of the requests (0: not sent)")
	fs.IntVar(&o.OutputTokens, "output-tokens", 0, "tokens a simulator is asked to answer with (0: its own choice)")
	fs.BoolVar(&f.stream, "stream", false, "ask for streams")
	fs.Float64Var(&o.StreamShare, "stream-share", 0, "share of the requests that ask for streams, 0 to 1")
	m := &o.Mischief
	fs.Float64Var(&m.Cancel, "cancel", 0, "share of requests that leave at a random moment")
	fs.DurationVar(&m.CancelWithin, "cancel-within", 2*time.Second, "the moment lies within it")
	fs.Float64Var(&m.Disconnect, "disconnect", 0, "share of requests that hang up before the last chunk")
	fs.Float64Var(&m.Stall, "stall", 0, "share of requests that stop reading for a while")
	fs.DurationVar(&m.StallFor, "stall-for", 5*time.Second, "the while")
}

func (f *loadFlags) registerSessions(cmd *cobra.Command) {
	fs, o := cmd.Flags(), &f.options
	fs.StringVar(&f.stages, "stages", "", "DURATION:LEVEL,... straight lines from 0 to each level, 0s for a step; levels are users (30s:20,5m:20)\n"+
		"or arrivals (1m:5/s,0s:20/s)")
	fs.StringVar(&f.arrivals, "arrivals", "", "open loop: conversations begun per s, m or h at random, such as 20/s")
	fs.Float64Var(&o.ArrivalsCV, "arrivals-cv", 1, "coefficient of variation of the time between arrivals: 1 Poisson, above it bursts")
	fs.IntVar(&o.Turns, "session-turns", 1, "mean requests of a conversation, each sent with the ones before it")
	fs.DurationVar(&o.SessionPause, "session-pause", 0, "mean time between a user's conversations (default --think)")
	fs.StringArrayVar(&f.mix, "mix", nil, "kind of request, repeatable: PATH[:weight=N,class=NAME,tokens=N], where PATH is /v1/chat/completions,\n"+
		"/analyze_section, /chat or another endpoint; tasks are followed to their end")
}

func (f *loadFlags) registerTrace(cmd *cobra.Command) {
	fs, o := cmd.Flags(), &f.options
	fs.StringVar(&f.trace, "trace", "", "CSV file to replay: TIMESTAMP,ContextTokens,GeneratedTokens")
	fs.StringVar(&f.preset, "preset", "", "replay a fitted trace instead: conv or code")
	fs.StringVar(&f.rate, "rate", "", "mean arrivals of the preset, such as 328/m (default as recorded)")
	fs.IntVar(&o.TraceUsers, "trace-users", 20, "users the arrivals of an open loop are dealt to in turn")
	fs.IntVar(&f.limitRows, "limit-rows", 0, "replay only so many (0: all)")
}

func (f *loadFlags) registerLimits(cmd *cobra.Command) {
	fs, l := cmd.Flags(), &f.limits
	fs.StringVar(&f.maxErrors, "max-errors", "1.0", "errors allowed: a count (0, 12) or a share (0.01, 1%); 1.0 allows all")
	fs.Float64Var(&l.MinFairness, "min-fairness", 0, "least Jain index of the cost served per user")
	fs.DurationVar(&l.MaxP95, "max-p95", 0, "highest p95 latency, of the others when one is greedy")
	fs.Int64Var(&f.maxThrottle, "max-throttled", -1, "throttles allowed on the judge's books (-1: any)")
	fs.Float64Var(&l.MinUtilization, "min-utilization", 0, "least use of the binding limit on the judge's books, 0 to 1")
	fs.StringArrayVar(&l.Targets, "check", nil, "name of a target these hold for, and that has to answer; repeatable (default: all)")
	fs.StringVar(&f.html, "html", "", "file for the report as one web page with plots")
	fs.StringVar(&f.csv, "csv", "", "file for a line about every request, with its intended start")
	fs.DurationVar(&f.options.Interval, "interval", 0, "time between two points of the plots and of the JSON report (default: about 300 points)")
	fs.BoolVar(&f.json, "json", false, "write the report as JSON")
	fs.BoolVar(&f.quiet, "quiet", false, "show no progress")
}

// complete fills what flags say in words into the options.
func (f *loadFlags) complete() error {
	o := &f.options
	var faults []error
	note := func(err error) { faults = append(faults, err) }
	for i, raw := range f.targets {
		o.Targets = append(o.Targets, parseTarget(raw, i))
	}
	if f.stream && o.StreamShare == 0 {
		o.StreamShare = 1
	}
	switch f.thinkDist {
	case "exp":
	case "fixed":
		o.ThinkFixed = true
	default:
		note(fmt.Errorf("--think-dist %q: use exp or fixed", f.thinkDist))
	}
	var err error
	if o.PacedRate, err = parseRate(f.othersRate); err != nil {
		note(fmt.Errorf("--others-rate: %w", err))
	}
	note(f.completeKey())
	note(f.completeJudges())
	note(f.completeArrivals())
	note(f.completeMix())
	note(f.completeLimits())
	note(f.completeTrace())
	return errors.Join(faults...)
}

func (f *loadFlags) completeKey() error {
	if f.keyFile == "" {
		return nil
	}
	if f.options.Key != "" {
		return errors.New("--key and --key-file exclude each other: choose one")
	}
	key, err := os.ReadFile(f.keyFile)
	if err != nil {
		return fmt.Errorf("--key-file: %w", err)
	}
	if f.options.Key = strings.TrimSpace(string(key)); f.options.Key == "" {
		return fmt.Errorf("--key-file: %s is empty", f.keyFile)
	}
	return nil
}

// completeJudges gives the judges to their targets, which are known already.
func (f *loadFlags) completeJudges() error {
	o := &f.options
	for _, raw := range f.judges {
		judge := parseTarget(raw, 0)
		of := &o.Judge
		if judge.URL != raw {
			i := slices.IndexFunc(o.Targets, func(t load.Target) bool { return t.Name == judge.Name })
			if i < 0 {
				return fmt.Errorf("--judge %q: no target is called %s", raw, judge.Name)
			}
			of = &o.Targets[i].Judge
		}
		if *of != "" {
			return fmt.Errorf("--judge %q is the second one for the same target: name one", raw)
		}
		*of = judge.URL
	}
	return nil
}

func (f *loadFlags) completeArrivals() (err error) {
	o := &f.options
	if o.Arrivals, err = parseRate(f.arrivals); err != nil {
		return fmt.Errorf("--arrivals: %w", err)
	}
	switch {
	case f.stages == "":
		return nil
	case strings.Contains(f.stages, "/"):
		o.RateStages, err = arrival.ParseStages(f.stages, func(s string) (float64, error) {
			if n, _, _ := strings.Cut(s, "/"); n == "0" {
				return 0, nil
			}
			return parseRate(s)
		})
	default:
		o.UserStages, err = arrival.ParseStages(f.stages, func(s string) (float64, error) {
			n, err := strconv.Atoi(s)
			if err != nil {
				return 0, fmt.Errorf("%q is no number of users", s)
			}
			return float64(n), nil
		})
	}
	if err != nil {
		return fmt.Errorf("--stages: %w", err)
	}
	return nil
}

func (f *loadFlags) completeMix() error {
	for _, raw := range f.mix {
		part, err := parsePart(raw)
		if err != nil {
			return fmt.Errorf("--mix %q: %w", raw, err)
		}
		f.options.Mix = append(f.options.Mix, part)
	}
	return nil
}

// parsePart reads PATH:weight=N,class=NAME,tokens=N.
func parsePart(raw string) (part load.Part, err error) {
	path, traits, _ := strings.Cut(raw, ":")
	part.Path = path
	if traits == "" {
		return part, nil
	}
	for trait := range strings.SplitSeq(traits, ",") {
		name, value, _ := strings.Cut(trait, "=")
		switch name {
		case "weight":
			if part.Weight, err = strconv.ParseFloat(value, 64); err != nil || !(part.Weight > 0) {
				return part, fmt.Errorf("weight %q is no number above 0", value)
			}
		case "class":
			part.Class = value
		case "tokens":
			if part.Tokens, err = strconv.Atoi(value); err != nil {
				return part, fmt.Errorf("tokens %q is no number", value)
			}
		default:
			return part, fmt.Errorf("%q is none of weight=, class= and tokens=", trait)
		}
	}
	return part, nil
}

func (f *loadFlags) completeLimits() error {
	allowed, err := verdict.ParseAllowance(f.maxErrors)
	if err != nil {
		return fmt.Errorf("--max-errors: %w", err)
	}
	if !allowed.IsShare || allowed.Share < 1 {
		f.limits.MaxErrors = &allowed
	}
	for _, name := range f.limits.Targets {
		if !slices.ContainsFunc(f.options.Targets, func(t load.Target) bool { return t.Name == name }) {
			return fmt.Errorf("--check %.80q: no target is called so: name one as in --target NAME=URL", name)
		}
	}
	if f.maxThrottle >= 0 {
		f.limits.MaxThrottled = &f.maxThrottle
	}
	if len(f.judges) == 0 && (f.maxThrottle >= 0 || f.limits.MinUtilization > 0) {
		return errors.New("--max-throttled and --min-utilization are read from the judge's books: name it with --judge")
	}
	return nil
}

func (f *loadFlags) completeTrace() error {
	o := &f.options
	switch {
	case f.trace != "" && f.preset != "":
		return errors.New("--trace and --preset exclude each other: choose one")
	case f.trace != "":
		rows, err := load.ReadTrace(f.trace, f.limitRows)
		o.Trace = rows
		return err
	case f.preset == "":
		return nil
	}
	rate, err := parseRate(f.rate)
	if err != nil {
		return fmt.Errorf("--rate: %w", err)
	}
	span := o.WarmUp + o.Duration
	if o.Duration == 0 {
		span += time.Minute
	}
	o.Trace, err = load.Synthesize(load.Preset(f.preset), rate, span, f.limitRows, o.Seed)
	return err
}

// parseTarget reads URL or name=URL.
func parseTarget(raw string, i int) load.Target {
	name, url, found := strings.Cut(raw, "=")
	if found && !strings.Contains(name, "/") {
		return load.Target{Name: name, URL: url}
	}
	return load.Target{Name: "target" + strings.Repeat(strconv.Itoa(i+1), min(i, 1)), URL: raw} // the first has no number
}

// parseRate reads a number per second, minute or hour, such as 16/m, into one
// per second; nothing is 0.
func parseRate(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	number, unit, _ := strings.Cut(s, "/")
	per, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !known || !(n > 0 && n < 1e9) {
		return 0, fmt.Errorf("%q is no rate: write a number above 0 per s, m or h, such as 16/m", s)
	}
	return n / per, nil
}
