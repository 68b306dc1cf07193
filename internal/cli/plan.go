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

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/app"
	"github.com/millrace/millrace/internal/capacity"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/load"
)

// planFlags is what the command line says about a plan.
type planFlags struct {
	source   config.Source
	options  capacity.Options
	latency  capacity.Latency
	users    string
	rate     string
	mix      string
	manner   string
	workload string
	arrivals string
	model    string
	trace    string
	output   float64
	forUsers int
	json     bool
	html     string
}

func newPlanCommand() *cobra.Command {
	f := &planFlags{}
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say how many users a configuration serves, what binds, and what to change",
		Long: "Play users against a configuration, with the gateway's own queue and quotas in simulated time, and say for\n" +
			"each number of users what they would see, what binds, and the smallest change that lifts it.\n" +
			"Nothing is started and nothing is asked of any provider.",
		Example: "  millrace plan --users 5,10,15,20,30,200 --requests-per-user 2/m --tokens 6000\n" +
			"  millrace plan --config millrace.yaml --class analysis:2,chat:1 --html plan.html\n" +
			"  millrace plan --for-users 200 --max-p95-wait 5s",
		Args:         noArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // a second signal kills
			return f.run(ctx, cmd.OutOrStdout())
		},
	}
	registerSource(cmd, &f.source)
	f.register(cmd)
	return cmd
}

func (f *planFlags) register(cmd *cobra.Command) {
	fs, o := cmd.Flags(), &f.options
	w, l := &o.Work, &f.latency
	fs.StringVar(&f.users, "users", "5,10,15,20,30,200", "numbers of users, a row each")
	fs.StringVar(&f.rate, "requests-per-user", "2/m", "how often a user asks, where nothing makes him wait")
	fs.DurationVar(&w.Think, "think", 0, "instead of --requests-per-user: mean time between an answer and the user's next request")
	fs.Float64Var(&w.Input.Mean, "tokens", 6000, "mean prompt tokens of a request")
	fs.Float64Var(&w.Input.Sigma, "tokens-sigma", 0, "spread of --tokens: standard deviation of its logarithm")
	fs.Float64Var(&f.output, "output", 0, "tokens of an answer (default: random, median 151)")
	fs.IntVar(&w.MaxOutput, "max-tokens", 0, "max_tokens of the requests (0: not sent)")
	fs.StringVar(&f.mix, "class", "", "class, or a mix such as analysis:2,chat:1 (default: the first endpoint's, else chat)")
	fs.StringVar(&f.manner, "as", "", "how clients ask: json, stream or task (default: task where --class was left to an endpoint, else json)")
	fs.StringVar(&f.model, "model", "", "model that clients name, whose route counts (default: the first route's)")
	fs.StringVar(&f.workload, "workload", "constant", "sizes: constant (--tokens), or fitted to records: chat, analysis, code")
	fs.StringVar(&f.arrivals, "arrivals", "closed", "closed: users wait for answers; poisson or bursts: requests come whatever happens")
	fs.Float64Var(&w.CV, "cv", 0, "coefficient of variation of the gaps of bursts (default 13)")
	fs.StringVar(&f.trace, "trace", "", "CSV file to replay: TIMESTAMP,ContextTokens,GeneratedTokens")
	fs.IntVar(&w.TraceUsers, "trace-users", 20, "users the trace is of; with more its time runs faster")
	fs.DurationVar(&l.Total, "latency", 0, "mean time of a whole answer (default: a model of first and later tokens)")
	fs.Float64Var(&l.Sigma, "sigma", 0, "spread of --latency: standard deviation of its logarithm")
	fs.DurationVar(&o.Duration, "duration", 0, "simulated time that is measured (default 1h, or the whole trace)")
	fs.DurationVar(&o.WarmUp, "warmup", 0, "simulated time before it (default 5m; before a trace none)")
	fs.DurationVar(&o.MaxP95, "max-p95-wait", capacity.DefaultMaxP95, "the longest p95 wait that is called good")
	fs.IntVar(&f.forUsers, "for-users", 0, "the inverse: the quota that so many users need")
	fs.BoolVar(&o.NoAdvice, "no-advice", false, "do not look for what lifts a row")
	fs.Uint64Var(&o.Seed, "seed", 1, "seed of everything random; the same seed plays the same")
	fs.BoolVar(&f.json, "json", false, "write the rows as JSON")
	fs.StringVar(&f.html, "html", "", "write a page with plots to this file too")
}

func (f *planFlags) run(ctx context.Context, stdout io.Writer) error {
	c, err := loadConfig(f.source)
	if err != nil {
		return err
	}
	if err := f.complete(c); err != nil {
		return &usageError{err}
	}
	// Simulations make much garbage and hold little.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	if f.forUsers > 0 {
		return f.runNeed(ctx, stdout)
	}
	report, err := capacity.New(ctx, f.options)
	if err != nil {
		return planned(err)
	}
	if f.html != "" {
		if err := f.writePage(report); err != nil {
			return err
		}
	}
	if f.json {
		return writeJSON(stdout, report.Rows)
	}
	return report.WriteText(stdout)
}

// planned tells a wrong command line from a plan that failed.
func planned(err error) error {
	if errors.Is(err, capacity.ErrOptions) {
		return &usageError{err}
	}
	return err
}

func writeJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// complete fills in what flags say in words, and what the configuration says.
func (f *planFlags) complete(c *config.Config) error {
	var faults []error
	for _, step := range []func() error{
		f.completeUsers, f.completeRate, f.completeSizes, f.completeTrace, func() error { return f.completeMix(c) },
		func() error { return f.completeGate(c) },
	} {
		faults = append(faults, step())
	}
	f.options.Say = func(path, value string) string { return say(c, path, value) }
	return errors.Join(faults...)
}

func (f *planFlags) completeUsers() error {
	if f.forUsers > 0 {
		f.options.Users = []int{f.forUsers}
		return nil
	}
	for word := range strings.SplitSeq(f.users, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil {
			return fmt.Errorf("--users: %q is no number: write some with commas, such as 5,10,20", word)
		}
		f.options.Users = append(f.options.Users, n)
	}
	return nil
}

func (f *planFlags) completeRate() (err error) {
	w := &f.options.Work
	switch f.arrivals {
	case "closed":
	case "poisson":
		w.Open, w.CV = true, 1
	case "bursts":
		if w.Open = true; w.CV == 0 {
			w.CV = 13
		}
	default:
		return fmt.Errorf("--arrivals %q: use closed, poisson or bursts", f.arrivals)
	}
	if w.Think > 0 && !w.Open {
		return nil
	}
	if w.Rate, err = parseRate(f.rate); err != nil {
		return fmt.Errorf("--requests-per-user: %w", err)
	}
	return nil
}

// fits are sizes fitted to records of real use: conversations and code completions of
// the Azure traces of 2023, and long documents with findings.
var fits = map[string][2]capacity.Size{
	"chat":     {{Mean: 1236, Sigma: 0.99, Most: 14050}, {Mean: 219, Sigma: 0.86, Most: 1000}},
	"code":     {{Mean: 2765, Sigma: 1.36, Most: 7437}, {Mean: 23, Sigma: 0.85, Most: 1899}},
	"analysis": {{Mean: 12035, Sigma: 1.05, Most: 126195}, {Mean: 382, Sigma: 0.42, Most: 2000}},
}

func (f *planFlags) completeSizes() error {
	w := &f.options.Work
	if fit, known := fits[f.workload]; known {
		w.Input, w.Output = fit[0], fit[1]
	} else if f.workload != "constant" {
		return fmt.Errorf("--workload %q: use constant, chat, analysis or code", f.workload)
	}
	if f.output > 0 {
		w.Output = capacity.Size{Mean: f.output}
	}
	return nil
}

func (f *planFlags) completeTrace() error {
	if f.trace == "" {
		return nil
	}
	rows, err := load.ReadTrace(f.trace, 0)
	if err != nil {
		return err
	}
	arrivals := make([]capacity.Arrival, len(rows))
	for i, r := range rows {
		arrivals[i] = capacity.Arrival{At: r.At, Input: r.Context, Output: r.Generated}
	}
	f.options.Work.Trace = arrivals
	return nil
}

// manners are the words of --as.
var manners = map[string]capacity.Manner{"json": capacity.JSON, "stream": capacity.Stream, "task": capacity.Task}

func (f *planFlags) completeMix(c *config.Config) error {
	w := &f.options.Work
	mix, as := f.mix, "json"
	if mix == "" && len(c.Endpoints) > 0 {
		mix, as = c.Endpoints[0].Class, "task"
	}
	if f.manner != "" {
		as = f.manner
	}
	var known bool
	if w.Manner, known = manners[as]; !known {
		return fmt.Errorf("--as %q: use json, stream or task", as)
	}
	if mix == "" {
		mix = string(flow.Chat)
	}
	for entry := range strings.SplitSeq(mix, ",") {
		name, part, parted := strings.Cut(strings.TrimSpace(entry), ":")
		share := capacity.Share{Class: flow.Class(name), Part: 1}
		if n, err := strconv.ParseFloat(part, 64); parted && (err != nil || n <= 0) {
			return fmt.Errorf("--class: %q has no part above 0: write it as analysis:2,chat:1", entry)
		} else if parted {
			share.Part = n
		}
		w.Mix = append(w.Mix, share)
	}
	for i := range c.Keys {
		w.Tenants = append(w.Tenants, c.Keys[i].Tenant)
	}
	return nil
}

func (f *planFlags) completeGate(c *config.Config) (err error) {
	o := &f.options
	if o.Gate, err = app.Gate(c); err != nil {
		return err
	}
	model := f.model
	if model == "" {
		model = c.Routes[0].Model
	}
	route, found := app.Route(c, model)
	if !found {
		return fmt.Errorf("--model %q: no route leads anywhere", model)
	}
	o.Route, o.Hold = route, c.Limits.Hold
	for i := range c.Routes {
		if c.Routes[i].Model == model && c.Routes[i].Hold > 0 {
			o.Hold = c.Routes[i].Hold
		}
	}
	for i := range c.Upstreams {
		l := f.latency
		if c.Upstreams[i].Provider == config.ProviderSim && l.Total == 0 {
			l.Speed = app.SimulatorSpeed
		}
		o.Latency = append(o.Latency, l)
	}
	return nil
}

// variables are the settings that people may know by a variable's name.
var variables = map[string]string{
	"upstreams.0.quota.requests": "MAX_REQUESTS_PER_MINUTE",
	"upstreams.0.quota.tokens":   "MAX_TOKENS_PER_MINUTE",
	"upstreams.0.quota.seats":    "MAX_CONCURRENT_REQUESTS",
	"classes.analysis.rate":      "ANALYSIS_TASK_RATE_LIMIT",
	"classes.chat.rate":          "CHAT_TASK_RATE_LIMIT",
	"classes.health.rate":        "HEALTH_TASK_RATE_LIMIT",
	"tasks.concurrency":          "CELERY_CONCURRENCY",
}

// say writes a setting by its variable, unless the file has spoken about it.
func say(c *config.Config, path, value string) string {
	first := strings.Replace(path, "upstreams."+c.Upstreams[0].Name+".", "upstreams.0.", 1)
	name, known := variables[first]
	if !known || c.Origin(first).Layer == config.LayerFile {
		return path + "=" + value
	}
	if strings.HasSuffix(name, "_PER_MINUTE") {
		count, perMinute := strings.CutSuffix(value, "/m")
		if !perMinute {
			return path + "=" + value
		}
		value = count
	}
	return name + "=" + value
}

func (f *planFlags) runNeed(ctx context.Context, stdout io.Writer) error {
	need, err := capacity.Quota(ctx, f.options, f.forUsers)
	if err != nil {
		return planned(err)
	}
	if f.json {
		return writeJSON(stdout, []*capacity.Need{need})
	}
	return need.WriteText(stdout)
}

func (f *planFlags) writePage(r *capacity.Report) error {
	if err := os.WriteFile(f.html, r.Page(), 0o600); err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	return nil
}
