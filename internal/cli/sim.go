package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/provider/sim"
)

// simFlags is what the command line says about the simulated provider.
type simFlags struct {
	listen    string
	options   sim.Options
	faults    []string
	faultFile string
}

func newSimCommand() *cobra.Command {
	f := &simFlags{}
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Run a simulated LLM provider that enforces its limits and judges who calls it",
		Long: "Run a simulated LLM provider with its own clock and books. It answers OpenAI-compatible requests,\n" +
			"enforces the limits below exactly, and reports what it saw under /sim/stats.\n" +
			"POST /sim/reset zeroes the books, POST /sim/fault sets the fault script.",
		Example: "  millrace sim --requests 600 --tokens 1800000 --seats 15 --latency 1s\n" +
			"  millrace sim --profile azure --requests 600 --fault 500:3% --fault hang:1%",
		Args:         noArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			if err := f.check(cmd.Flags().Changed); err != nil {
				return &usageError{err}
			}
			return f.run(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.register(cmd)
	return cmd
}

func (f *simFlags) register(cmd *cobra.Command) {
	fs, o := cmd.Flags(), &f.options
	fs.SortFlags = false
	fs.StringVar(&f.listen, "listen", "127.0.0.1:9090", "address to listen on; port 0 picks a free one")
	fs.StringVar(&o.Profile, "profile", "openai", "provider to imitate: "+strings.Join(sim.Profiles(), ", "))
	fs.Int64Var(&o.Limits.Requests, "requests", 0, "requests a minute (0: no limit)")
	fs.Int64Var(&o.Limits.Tokens, "tokens", 0, "tokens a minute (0: no limit)")
	fs.Int64Var(&o.Limits.Input, "input-tokens", 0, "input tokens a minute (0: no limit)")
	fs.Int64Var(&o.Limits.Output, "output-tokens", 0, "output tokens a minute (0: no limit)")
	fs.Int64Var(&o.Limits.DayRequests, "day-requests", 0, "requests a day (0: no limit)")
	fs.Int64Var(&o.Limits.DayTokens, "day-tokens", 0, "tokens a day (0: no limit)")
	fs.IntVar(&o.Limits.Seats, "seats", 0, "requests in progress at once (0: no limit)")
	fs.Int64Var(&o.Ramp.Above, "ramp-above", 0, "input tokens a minute above which growth is limited (0: no limit)")
	fs.StringVar(&o.Window, "window", "", "kind of every minute window: "+strings.Join(sim.Windows(), ", ")+
		" (default: the profile's)")
	fs.DurationVar(&o.Burst, "burst", 0, "what a bucket holds, as time to refill (default 6s, paced 1s)")
	fs.DurationVar(&o.Slice, "slice", 0, "length of a slice (default 10s)")
	fs.StringVar(&o.Meter, "meter", "", "token accounting: "+strings.Join(sim.Meters(), ", ")+" (default: the profile's)")
	fs.BoolVar(&o.FreeThrottled, "free-throttled", false, "a 429 takes no request")
	fs.BoolVar(&o.HideLimits, "no-limit-headers", false, "send no x-ratelimit headers")
	fs.BoolVar(&o.HideRetryAfter, "no-retry-after", false, "send no Retry-After headers")
	f.registerAnswers(cmd)
}

func (f *simFlags) registerAnswers(cmd *cobra.Command) {
	fs, o := cmd.Flags(), &f.options
	t := &o.Latency
	fs.Uint64Var(&o.Seed, "seed", 0, "seed of everything random")
	fs.DurationVar(&t.Total, "latency", 0, "mean time of a whole answer, for load tests (default: a model of first and later tokens)")
	fs.Float64Var(&t.Sigma, "sigma", 0, "spread of --latency: standard deviation of its logarithm")
	fs.DurationVar(&t.First, "ttft", 0, "median time to the first token (default 450ms)")
	fs.DurationVar(&t.FirstP95, "ttft-p95", 0, "95th percentile of it (default 3x the median)")
	fs.DurationVar(&t.InputToken, "per-input-token", 0, "time to the first token added by each input token (default 300µs)")
	fs.DurationVar(&t.Token, "per-token", 0, "time between tokens (default 15ms)")
	fs.Float64Var(&o.Speed, "speed", 1, "how many times as fast all of its time passes: a minute of a limit, latencies, times of fault rules;\n"+
		"for millrace load --speed of the same. Retry-After stays in real seconds")
	fs.BoolVar(&t.Instant, "instant", false, "answer without any wait")
	fs.Int64Var(&o.Output, "output", 0, "completion tokens of every prose answer (default: random, median 151)")
	fs.IntVar(&o.Dimensions, "dimensions", 0, "of an embedding (default 256)")
	fs.Int64Var(&o.Context, "context", 0, "prompt tokens a model takes (default: the profile's)")
	fs.IntVar(&o.Queue, "queue", 0, "requests that may wait for a seat (default: the profile's)")
	fs.StringSliceVar(&o.Keys, "key", nil, "accepted credential, repeatable (default: any)")
	fs.StringSliceVar(&o.Models, "model", nil, "listed model, repeatable")
	fs.StringArrayVar(&f.faults, "fault", nil, "fault rule, repeatable: JSON, or a name with a share such as 500:3%, "+
		"hang:1%, cut, error-frame, slow_down, insufficient_quota")
	fs.StringVar(&f.faultFile, "fault-file", "", "JSON file with a list of fault rules")
}

// profileWindow is the window of each profile that --burst or --slice is of.
var profileWindow = map[string]string{"openai": sim.WindowBucket, "azure": sim.WindowSlice, "vllm": sim.WindowBucket}

// check tells flags that would be ignored beside the others.
func (f *simFlags) check(given func(flag string) bool) error {
	o := &f.options
	faults := []error{
		exclude(given, against("latency", "ttft", "ttft-p95", "per-input-token", "per-token")...),
		idle(given, given("latency"), "sigma", "latency"),
		idle(given, o.Limits.Seats > 0, "queue", "seats"),
	}
	if o.Latency.Instant {
		faults = append(faults, exclude(given, against("instant", "latency", "ttft", "ttft-p95", "per-input-token", "per-token")...))
	}
	kind := o.Window
	if kind == "" {
		kind = profileWindow[o.Profile]
	}
	faults = append(faults,
		idle(given, kind == sim.WindowBucket || kind == sim.WindowPaced, "burst", "window bucket", "window paced"),
		idle(given, kind == sim.WindowSlice, "slice", "window slice"))
	return errors.Join(faults...)
}

func (f *simFlags) run(ctx context.Context, stdout, stderr io.Writer) error {
	if err := f.readFaults(); err != nil {
		return err
	}
	provider, err := sim.New(f.options)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	url := "http://" + listener.Addr().String()
	_, _ = fmt.Fprintf(stdout, "simulated %s provider on %s\n\n  curl %s/v1/chat/completions -H 'Content-Type: application/json' "+
		"-d '{\"model\":\"sim-large\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n\n", f.options.Profile, url, url)
	err = serveSim(ctx, listener, provider)
	return errors.Join(err, writeJSON(stderr, provider.Stats()))
}

// simDrain is how long answers in progress may take after the signal.
const simDrain = 2 * time.Second

// serveSim serves until ctx ends, then lets answers finish for simDrain.
func serveSim(ctx context.Context, listener net.Listener, handler http.Handler) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler: handler, Protocols: protocols, ReadHeaderTimeout: 10 * time.Second,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 10_000},
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), simDrain)
	defer cancel()
	if server.Shutdown(grace) != nil { // hung answers are cut off
		_ = server.Close()
	}
	<-done //nolint:errcheck // that it was closed
	return nil
}

func (f *simFlags) readFaults() error {
	for _, text := range f.faults {
		fault, err := sim.ParseFault(text)
		if err != nil {
			return err
		}
		f.options.Faults = append(f.options.Faults, fault)
	}
	if f.faultFile == "" {
		return nil
	}
	data, err := os.ReadFile(f.faultFile)
	if err != nil {
		return fmt.Errorf("read the fault file: %w", err)
	}
	rules, err := sim.ParseScript(data)
	if err != nil {
		return fmt.Errorf("read the fault file %s: %w", f.faultFile, err)
	}
	f.options.Faults = append(f.options.Faults, rules...)
	return nil
}
