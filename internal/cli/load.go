package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/load"
)

// loadFlags is what the command line says about the load.
type loadFlags struct {
	options     load.Options
	limits      load.Limits
	targets     []string
	keyFile     string
	stream      bool
	thinkDist   string
	othersRate  string
	trace       string
	preset      string
	rate        string
	limitRows   int
	maxErrors   string
	maxThrottle int64
	json        bool
	quiet       bool
}

// progressPlain is the time between progress lines where they are not redrawn.
const progressPlain = 5 * time.Second

func newLoadCommand() *cobra.Command {
	f := &loadFlags{}
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Put users on an OpenAI-compatible endpoint and measure how they fare",
		Long: "Put users on one or several OpenAI-compatible endpoints, one after the other, and report side by side:\n" +
			"errors, latency, waits, fairness and, with a millrace simulator as the judge, how the quota was used.\n" +
			"Users ask, wait, think and ask again (closed loop), or requests come at the times of a recorded trace.\n" +
			"Exits with an error when a limit below is breached. An interrupt ends the run with the report so far.",
		Example: "  millrace load --users 40 --think 3s --tokens 6000 --duration 60s\n" +
			"  millrace load --target straight=http://127.0.0.1:9090/v1 --target gateway=http://127.0.0.1:8080/v1 \\\n" +
			"    --judge http://127.0.0.1:9090 --warmup 61s --duration 120s --check gateway --max-errors 0 --min-utilization 0.97\n" +
			"  millrace load --trace AzureLLMInferenceTrace_conv.csv --speed 20",
		Args:         noArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // a second signal kills
			return f.run(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.register(cmd)
	return cmd
}

func (f *loadFlags) register(cmd *cobra.Command) {
	fs, o := cmd.Flags(), &f.options
	fs.SortFlags = false
	fs.StringArrayVar(&f.targets, "target", []string{"http://127.0.0.1:8080/v1"}, "base URL to ask, or name=URL; repeatable, asked in turn")
	fs.StringVar(&o.Model, "model", "gpt-4o-mini", "model name in the requests")
	fs.StringVar(&o.Key, "key", "", "bearer token to send")
	fs.StringVar(&f.keyFile, "key-file", "", "file that holds the bearer token, so that it is not seen in the process list")
	fs.StringVar(&o.Class, "class", "", "Millrace-Class header to send")
	fs.StringVar(&o.Judge, "judge", "", "base URL of the millrace simulator that keeps the books, such as http://127.0.0.1:9090")
	fs.DurationVar(&o.Duration, "duration", 0, "measured time (default 60s; the whole trace; no end but --until-answers)")
	fs.DurationVar(&o.WarmUp, "warmup", 0, "time before it that is not measured; the judge's books are reset after it")
	fs.DurationVar(&o.Pause, "pause", 61*time.Second, "time between two targets, for the provider's windows to pass")
	fs.DurationVar(&o.Grace, "grace", 5*time.Minute, "how long requests in flight may take after the end")
	fs.DurationVar(&o.Timeout, "timeout", 5*time.Minute, "the longest a request may take")
	fs.IntVar(&o.UntilAnswers, "until-answers", 0, "end when every user has so many answers (0: only by --duration)")
	fs.IntVar(&o.MaxInFlight, "max-in-flight", 0, "arrivals of a trace beyond are left out and counted (default 20000)")
	fs.Uint64Var(&o.Seed, "seed", 1, "seed of everything random; the same seed asks the same")
	f.registerUsers(cmd)
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

func (f *loadFlags) registerTrace(cmd *cobra.Command) {
	fs, o := cmd.Flags(), &f.options
	fs.StringVar(&f.trace, "trace", "", "CSV file to replay: TIMESTAMP,ContextTokens,GeneratedTokens")
	fs.StringVar(&f.preset, "preset", "", "replay a fitted trace instead: conv or code")
	fs.StringVar(&f.rate, "rate", "", "mean arrivals of the preset, such as 328/m (default as recorded)")
	fs.Float64Var(&o.Speed, "speed", 1, "how much faster than recorded")
	fs.IntVar(&o.TraceUsers, "trace-users", 20, "users the arrivals are dealt to in turn")
	fs.IntVar(&f.limitRows, "limit-rows", 0, "replay only so many (0: all)")
}

func (f *loadFlags) registerLimits(cmd *cobra.Command) {
	fs, l := cmd.Flags(), &f.limits
	fs.StringVar(&f.maxErrors, "max-errors", "1.0", "errors allowed: a count (0, 12) or a share (0.01, 1%); 1.0 allows all")
	fs.Float64Var(&l.MinFairness, "min-fairness", 0, "least Jain index of the cost served per user")
	fs.DurationVar(&l.MaxP95, "max-p95", 0, "highest p95 latency, of the others when one is greedy")
	fs.Int64Var(&f.maxThrottle, "max-throttled", -1, "throttles allowed on the judge's books (-1: any)")
	fs.Float64Var(&l.MinUtilization, "min-utilization", 0, "least use of the binding limit on the judge's books, 0 to 1")
	fs.StringArrayVar(&l.Targets, "check", nil, "name of a target these hold for; repeatable (default: all)")
	fs.BoolVar(&f.json, "json", false, "write the report as JSON")
	fs.BoolVar(&f.quiet, "quiet", false, "show no progress")
}

func (f *loadFlags) run(ctx context.Context, stdout, stderr io.Writer) error {
	if err := f.complete(); err != nil {
		return &usageError{err}
	}
	// The load shares the machine with what it measures, and holds little memory:
	// let it collect less often than a server should.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	done := f.showProgress(stderr)
	report, err := load.Run(ctx, f.options)
	done()
	if report == nil {
		return &usageError{err}
	}
	if len(report.Targets) > 0 {
		err = errors.Join(err, f.write(report, stdout))
	}
	return errors.Join(err, report.Check(f.limits))
}

func (f *loadFlags) write(report *load.Report, stdout io.Writer) error {
	if !f.json {
		return report.WriteText(stdout)
	}
	encoder := json.NewEncoder(stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(report)
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

func (f *loadFlags) completeLimits() error {
	allowed, err := load.ParseAllowance(f.maxErrors)
	if err != nil {
		return fmt.Errorf("--max-errors: %w", err)
	}
	if !allowed.IsShare || allowed.Share < 1 {
		f.limits.MaxErrors = &allowed
	}
	if f.maxThrottle >= 0 {
		f.limits.MaxThrottled = &f.maxThrottle
	}
	if f.options.Judge == "" && (f.maxThrottle >= 0 || f.limits.MinUtilization > 0) {
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
	o.Trace, err = load.Synthesize(load.Preset(f.preset), rate, time.Duration(float64(span)*o.Speed), f.limitRows, o.Seed)
	return err
}

// parseTarget reads URL or name=URL.
func parseTarget(raw string, i int) load.Target {
	name, url, found := strings.Cut(raw, "=")
	if found && !strings.Contains(name, "/") {
		return load.Target{Name: name, URL: url}
	}
	return load.Target{Name: "target" + strings.TrimPrefix(strconv.Itoa(i+1), "1"), URL: raw}
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

// showProgress sends the progress of the run to w: one line redrawn each second
// on a terminal, else one every few seconds. The returned function ends it.
func (f *loadFlags) showProgress(w io.Writer) (done func()) {
	if f.quiet {
		return func() {}
	}
	if !isTerminal(w) {
		f.options.ProgressEvery = progressPlain
		f.options.Progress = func(s load.Snapshot) { _, _ = fmt.Fprintln(w, s.Line()) }
		return func() {}
	}
	f.options.Progress = func(s load.Snapshot) { _, _ = fmt.Fprintf(w, "\r\x1b[K%.120s", s.Line()) }
	return func() { _, _ = fmt.Fprint(w, "\r\x1b[K") }
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
