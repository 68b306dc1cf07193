package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/app"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/event"
)

// serveFlags is what the command line says about the gateway.
type serveFlags struct {
	source config.Source
	level  string
	sinks  []event.Sink
}

func newServeCommand(sinks ...event.Sink) *cobra.Command {
	f := &serveFlags{sinks: sinks}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: "Run the gateway. Without a file and without OPENAI_API_KEY it stands in front of a built-in simulator,\n" +
			"so that everything can be tried at once. SIGTERM lets requests in flight finish; a second one ends at once.",
		Example: "  millrace serve\n" +
			"  OPENAI_API_KEY=... MAX_REQUESTS_PER_MINUTE=500 MAX_TOKENS_PER_MINUTE=200000 millrace serve\n" +
			"  millrace serve --config millrace.yaml",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return f.run(ctx, Streams{Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr()})
		},
	}
	registerSource(cmd, &f.source)
	cmd.Flags().StringVar(&f.source.Listen, "listen", "", "address to listen on; beyond loopback only with keys (default 127.0.0.1:8080, or $PORT)")
	cmd.Flags().StringVar(&f.level, "log-level", "info", "least level that is logged: debug, info, warn or error")
	return cmd
}

// untilSignal returns a context that ends with the first signal to stop. By then
// the next one kills: whoever sees that the gateway drains can rely on that.
func untilSignal(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		cancel()
	}()
	return ctx, cancel
}

func registerSource(cmd *cobra.Command, s *config.Source) {
	cmd.Flags().SortFlags = false
	cmd.Flags().StringVarP(&s.File, "config", "c", "", "YAML file (default $MILLRACE_CONFIG, or none)")
	cmd.Flags().StringArrayVar(&s.Set, "set", nil, "one setting, over file and environment: --set upstreams.main.quota.requests=100/m; repeatable")
}

func loadConfig(s config.Source) (*config.Config, error) {
	c, err := config.Load(s)
	if err != nil {
		return nil, &usageError{err}
	}
	return c, nil
}

func (f *serveFlags) run(ctx context.Context, s Streams) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.level)); err != nil {
		return &usageError{fmt.Errorf("--log-level: %q is unknown; write debug, info, warn or error", f.level)}
	}
	c, err := loadConfig(f.source)
	if err != nil {
		return err
	}
	log := newLog(s.Out, level)
	for _, w := range c.Warnings {
		log.Warn(w) //nolint:sloglint // each warning is one whole line
	}
	a, err := app.New(c, log, f.sinks...)
	if err != nil {
		return err
	}
	banner(s.Err, c, a)
	unwatch := f.watch(ctx, c, a, log)
	err = a.Run(ctx)
	unwatch()
	log.Info("stopped", "clean", err == nil)
	return err
}

func newLog(w io.Writer, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if isTerminal(w) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// banner tells a person what runs, and what to do with it.
func banner(w io.Writer, c *config.Config, a *app.App) {
	root := "http://" + browsable(a.Addr())
	url := root + "/v1"
	var b strings.Builder
	fmt.Fprintf(&b, "millrace %s on %s\n\n", app.Version(), url)
	for i := range c.Upstreams {
		u := &c.Upstreams[i]
		fmt.Fprintf(&b, "  upstream  %s: %s; %s\n", u.Name, whereabouts(u), allowed(&u.Quota))
	}
	if c.Simulated {
		b.WriteString("            (answers are made up; set OPENAI_API_KEY, or name upstreams in a file, for real ones)\n")
	}
	model := "any"
	if m := c.Upstreams[0].Model; m != "" {
		model = m
	}
	key, header := "any", ""
	if len(c.Keys) > 0 {
		key = "sk-mr-..."
		header = " -H 'Authorization: Bearer " + key + "'"
	}
	fmt.Fprintf(&b, "\n  curl %s/chat/completions -H 'Content-Type: application/json'%s "+
		"-d '{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}'\n", url, header, model)
	fmt.Fprintf(&b, "  client = openai.OpenAI(base_url=\"%s\", api_key=\"%s\")\n", url, key)
	for i := range c.Endpoints {
		fmt.Fprintf(&b, "  POST %s%s\n", root, c.Endpoints[i].Path)
	}
	desk := "http://" + browsable(a.AdminAddr())
	fmt.Fprintf(&b, "  console: %s/ui/\n", desk)
	if !c.AllLoopback() {
		fmt.Fprintf(&b, "  operators: %s/metrics\n", desk)
	}
	b.WriteByte('\n')
	_, _ = io.WriteString(w, b.String())
}

// browsable is an address that a client can use.
func browsable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err == nil && net.ParseIP(host).IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

func whereabouts(u *config.Upstream) string {
	if u.Provider == config.ProviderSim {
		return "built-in simulator"
	}
	return u.BaseURL
}

// allowed is a quota in words.
func allowed(q *config.Quota) string {
	var parts []string
	for _, r := range []struct {
		rate config.Rate
		what string
	}{{q.Requests, "requests"}, {q.Tokens, "tokens"}, {q.InputTokens, "input tokens"}, {q.OutputTokens, "output tokens"}} {
		if r.rate.Count > 0 {
			parts = append(parts, r.rate.String()+" "+r.what)
		}
	}
	if q.Seats > 0 {
		parts = append(parts, fmt.Sprintf("%d at a time", q.Seats))
	}
	if parts == nil {
		return "no quota"
	}
	return strings.Join(parts, ", ")
}
