package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/app"
	"github.com/millrace/millrace/internal/capacity"
	"github.com/millrace/millrace/internal/capacity/inquiry"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/load"
)

// planFlags is what the command line says about a plan.
type planFlags struct {
	source    config.Source
	question  inquiry.Question
	maxTokens int
	trace     string
	forUsers  int
	json      bool
	html      string
}

func newPlanCommand() *cobra.Command {
	f := &planFlags{}
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say how many users a configuration serves, what binds, and what to change",
		Long: "Play users against a configuration, with the gateway's own queue and quotas in simulated time, and say for\n" +
			"each number of users what they would see, what binds, and the smallest change that lifts it.\n" +
			"Nothing is started and nothing is asked of any provider. Exits with an error where so little was simulated\n" +
			"that nothing can be said.",
		Example: "  millrace plan --users 5,10,15,20,30,200 --requests-per-user 2/m --tokens 6000\n" +
			"  millrace plan --config millrace.yaml --class analysis:2,chat:1 --html plan.html\n" +
			"  millrace plan --for-users 200 --max-p95-wait 5s --html quota.html",
		Args:         noArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			if err := f.check(cmd.Flags().Changed); err != nil {
				return &usageError{err}
			}
			if f.question.MaxTokens = f.maxTokens; f.maxTokens == 0 && cmd.Flags().Changed("max-tokens") {
				f.question.MaxTokens = -1
			}
			if f.question.WarmUp == 0 && cmd.Flags().Changed("warmup") {
				f.question.WarmUp = -1
			}
			return f.run(ctx, cmd.OutOrStdout())
		},
	}
	registerSource(cmd, &f.source)
	f.register(cmd)
	return cmd
}

func (f *planFlags) register(cmd *cobra.Command) {
	fs, q := cmd.Flags(), &f.question
	q.Prefix = "--"
	fs.StringVar(&q.Users, "users", "5,10,15,20,30,200", "numbers of users, a row each")
	fs.StringVar(&q.Rate, "requests-per-user", "2/m", "how often a user asks, where nothing makes him wait")
	fs.DurationVar(&q.Think, "think", 0, "instead of --requests-per-user, where users wait for answers: mean time between an answer and the user's next request")
	fs.Float64Var(&q.Tokens, "tokens", 6000, "mean prompt tokens of a request")
	fs.Float64Var(&q.Sigma, "tokens-sigma", 0, "spread of --tokens: standard deviation of its logarithm")
	fs.Float64Var(&q.Output, "output", 0, "tokens of an answer (default: random, median 151)")
	fs.IntVar(&f.maxTokens, "max-tokens", 0, "max_tokens of the requests, 0 for none (default: the endpoint's where --class was left to it, else none)")
	fs.StringVar(&q.Class, "class", "", "class, or a mix such as analysis:2,chat:1 (default: the first endpoint's, else the route's, else chat)")
	fs.StringVar(&q.As, "as", "", "how clients ask: json, stream or task (default: task where --class was left to an endpoint, else json)")
	fs.StringVar(&q.Model, "model", "", "model that clients name, whose route counts (default: the first route's)")
	fs.StringVar(&q.Workload, "workload", "constant", "sizes: constant (--tokens), or fitted to records: chat, analysis, code")
	fs.StringVar(&q.Arrivals, "arrivals", "closed", "closed: users wait for answers; poisson or bursts: requests come whatever happens")
	fs.Float64Var(&q.CV, "cv", 0, "coefficient of variation of the gaps of bursts (default 13)")
	fs.StringVar(&f.trace, "trace", "", "CSV file to replay: TIMESTAMP,ContextTokens,GeneratedTokens")
	fs.IntVar(&q.TraceUsers, "trace-users", 20, "users the trace is of; with more its time runs faster")
	fs.DurationVar(&q.Latency.Total, "latency", 0, "mean time of a whole answer (default: a model of first and later tokens)")
	fs.Float64Var(&q.Latency.Sigma, "sigma", 0, "spread of --latency: standard deviation of its logarithm")
	fs.DurationVar(&q.Duration, "duration", 0, "simulated time that is measured (default 1h, or the whole trace)")
	fs.DurationVar(&q.WarmUp, "warmup", 0, "simulated time before it, 0 for none (default 5m; before a trace none)")
	fs.DurationVar(&q.MaxP95, "max-p95-wait", capacity.DefaultMaxP95, "the longest p95 wait that is called good")
	fs.IntVar(&f.forUsers, "for-users", 0, "the inverse: the quota that so many users need")
	fs.BoolVar(&q.NoAdvice, "no-advice", false, "do not look for what lifts a row")
	fs.Uint64Var(&q.Seed, "seed", 1, "seed of everything random; the same seed plays the same")
	fs.BoolVar(&f.json, "json", false, "write the rows as JSON")
	fs.StringVar(&f.html, "html", "", "write a page with plots to this file too")
}

// check tells flags that contradict each other or would say nothing, since their zero
// means that they were not given.
func (f *planFlags) check(given func(flag string) bool) error {
	q := &f.question
	faults := []error{
		exclude(given, slices.Concat(
			against("for-users", "users", "no-advice"), against("think", "requests-per-user"),
			against("trace", "requests-per-user", "think", "tokens", "tokens-sigma", "output", "workload", "arrivals", "cv"))...),
		oneFile("html", f.html, "trace", f.trace),
		idle(given, f.trace != "", "trace-users", "trace"),
		idle(given, given("latency"), "sigma", "latency"),
		idle(given, q.Arrivals == "bursts", "cv", "arrivals bursts"),
	}
	if q.Workload != "constant" {
		faults = append(faults, exclude(given, against("workload", "tokens", "tokens-sigma")...))
	}
	if given("think") && q.Arrivals != "closed" {
		faults = append(faults, fmt.Errorf("--think is of users who wait for answers: with --arrivals %s say how often they ask by --requests-per-user", q.Arrivals))
	}
	for _, positive := range []struct {
		flag string
		ok   bool
	}{
		{"for-users", f.forUsers > 0},
		{"think", q.Think > 0},
		{"cv", q.CV > 0},
		{"tokens", q.Tokens > 0},
		{"output", q.Output > 0},
		{"trace-users", q.TraceUsers > 0},
		{"latency", q.Latency.Total > 0},
		{"duration", q.Duration != 0},
		{"max-p95-wait", q.MaxP95 != 0},
	} {
		if given(positive.flag) && !positive.ok {
			faults = append(faults, fmt.Errorf("--%s: write something above 0", positive.flag))
		}
	}
	if q.WarmUp < 0 {
		faults = append(faults, fmt.Errorf("--warmup: %v is negative: 0 is none", q.WarmUp))
	}
	if f.maxTokens < 0 {
		faults = append(faults, fmt.Errorf("--max-tokens: %d is negative: 0 sends none", f.maxTokens))
	}
	if s := q.Latency.Sigma; !(s >= 0 && s <= 3) {
		faults = append(faults, fmt.Errorf("--sigma: %v is not between 0 and 3", s))
	}
	return errors.Join(faults...)
}

func (f *planFlags) run(ctx context.Context, stdout io.Writer) error {
	c, err := loadConfig(f.source)
	if err != nil {
		return err
	}
	o, err := f.options(c)
	if err != nil {
		return &usageError{err}
	}
	// Simulations make much garbage and hold little.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	if f.forUsers > 0 {
		return f.runNeed(ctx, &o, stdout)
	}
	report, err := capacity.New(ctx, o)
	if err != nil {
		return planned(err)
	}
	return errors.Join(f.write(stdout, report.Rows, report), unknown(report.Rows))
}

// unknown is the fault of a plan that has no answer for all who were asked about.
func unknown(rows []capacity.Row) error {
	var users []string
	for i := range rows {
		if rows[i].Unknown {
			users = append(users, strconv.Itoa(rows[i].Users))
		}
	}
	if users == nil {
		return nil
	}
	return fmt.Errorf("nothing can be said about %s users, because nobody was answered in the simulated time: see above, and use --duration and --warmup", strings.Join(users, ", "))
}

// finding is what a plan found.
type finding interface {
	Page() []byte
	WriteText(w io.Writer) error
}

// write writes what was found, as text or rows, and as a page too where one is wanted.
func (f *planFlags) write(stdout io.Writer, rows any, found finding) error {
	if f.html != "" {
		if err := os.WriteFile(f.html, found.Page(), 0o600); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
	}
	if f.json {
		return writeJSON(stdout, rows)
	}
	return found.WriteText(stdout)
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

// options are what the flags say, and what the configuration says beside them.
func (f *planFlags) options(c *config.Config) (o capacity.Options, err error) {
	if f.question.Trace, err = f.readTrace(); err != nil {
		return o, err
	}
	if f.forUsers > 0 {
		f.question.Users = strconv.Itoa(f.forUsers)
	}
	g, err := app.Gate(c)
	if err != nil {
		return o, err
	}
	return f.question.Options(&inquiry.Base{
		Config: c, Gate: g, Speed: app.SimulatorSpeed,
		Route: func(model string) (int, bool) { return app.Route(c, model) },
	})
}

func (f *planFlags) readTrace() ([]capacity.Arrival, error) {
	if f.trace == "" {
		return nil, nil
	}
	rows, err := load.ReadTrace(f.trace, 0)
	if err != nil {
		return nil, err
	}
	arrivals := make([]capacity.Arrival, len(rows))
	for i, r := range rows {
		arrivals[i] = capacity.Arrival{At: r.At, Input: r.Context, Output: r.Generated}
	}
	return arrivals, nil
}

func (f *planFlags) runNeed(ctx context.Context, o *capacity.Options, stdout io.Writer) error {
	need, err := capacity.Quota(ctx, *o, f.forUsers)
	if err != nil {
		return planned(err)
	}
	return f.write(stdout, []*capacity.Need{need}, need)
}
