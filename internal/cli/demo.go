package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/app"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/load/view"
)

// demoFlags is what the command line says about the demonstration.
type demoFlags struct {
	listen   string
	users    int
	duration time.Duration
	noOpen   bool
}

// longestDemo bounds a demonstration that nobody ends.
const longestDemo = time.Hour

func newDemoCommand() *cobra.Command {
	f := &demoFlags{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it: gateway, simulated provider and 20 users, with the console open",
		Long: "Run the gateway in front of the built-in simulator, put users on it that ask for more than its quota has, and\n" +
			"open the console. One user asks four times as often as the others. Needs no key and no file, reads no\n" +
			"environment, keeps no state and asks nobody but this machine. An interrupt ends it with the report of the users.",
		Example: "  millrace demo\n" +
			"  millrace demo --users 200 --no-open",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			return f.run(ctx, Streams{Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr()})
		},
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.listen, "listen", "127.0.0.1:8080", "address of the gateway, on loopback; a free port is taken where this one is in use")
	fs.IntVar(&f.users, "users", 20, "how many users ask, 1 to 1000")
	fs.DurationVar(&f.duration, "duration", 0, "end by itself after so long (default 1h)")
	fs.BoolVar(&f.noOpen, "no-open", false, "open no browser")
	return cmd
}

func (f *demoFlags) run(ctx context.Context, s Streams) (err error) {
	if f.users < 1 || f.users > 1000 {
		return &usageError{fmt.Errorf("--users is %d; write 1 to 1000", f.users)}
	}
	if f.duration < 0 || f.duration > longestDemo {
		return &usageError{fmt.Errorf("--duration is %v; write at most %v, or leave it out", f.duration, longestDemo)}
	}
	state, err := os.MkdirTemp("", "millrace-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(state)) }()
	a, err := f.gateway(state, s.Err)
	if err != nil {
		return err
	}
	serving, halt := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	ctx, leave := context.WithCancel(ctx) // users leave a gateway that has ended
	go func() { defer leave(); served <- a.Run(serving) }()
	root := "http://" + a.Addr()
	_, _ = fmt.Fprintf(s.Err, "millrace %s demo: %d users ask a simulated model that allows 60 requests and 180,000 tokens a minute, 15 at a time.\n\n"+
		"  Look: %s/ui/\n\n", app.Version(), f.users, root)
	if !f.noOpen && isTerminal(s.Err) {
		openBrowser(ctx, root+"/ui/")
	}
	o, done := f.load(root, s.Err)
	report, err := load.Run(ctx, o)
	done()
	halt()
	if err = errors.Join(err, <-served); report == nil || err != nil {
		return err
	}
	return view.WriteText(s.Out, report)
}

// gateway is one as it is without a file and an environment, but that the quota
// comes evenly: a minute that is spent at once would show nothing for the rest.
func (f *demoFlags) gateway(state string, log io.Writer) (*app.App, error) {
	listen := f.listen
	for {
		c, err := config.Load(config.Source{Environ: []string{}, Listen: listen, Set: []string{"state_dir=" + state, "limits.drain=1s", "upstreams.main.quota.window=bucket", "upstreams.main.quota.burst=6s"}})
		if err != nil {
			return nil, &usageError{err}
		}
		if !c.AllLoopback() {
			return nil, &usageError{fmt.Errorf("--listen is %s; a demo has no keys: name a loopback address, such as 127.0.0.1:8080", listen)}
		}
		a, err := app.New(c, newLog(log, slog.LevelError))
		if errors.Is(err, syscall.EADDRINUSE) && listen != "127.0.0.1:0" {
			listen = "127.0.0.1:0"
			continue
		}
		return a, err
	}
}

// load is what the users do: they chat, and send sections of documents to be
// analyzed. Call done when they are gone.
func (f *demoFlags) load(root string, progress io.Writer) (o load.Options, done func()) {
	o = load.Options{
		Targets: []load.Target{{Name: "gateway", URL: root + "/v1"}}, Model: "demo",
		Users: f.users, Think: 8 * time.Second, Ramp: 5 * time.Second, Turns: 4, GreedyFactor: 4,
		Tokens: 2000, TokensSigma: 0.5, OutputTokens: 300, StreamShare: 0.5,
		Mix: []load.Part{
			{Path: "/v1/chat/completions", Weight: 5, Class: "chat"},
			{Path: "/chat", Weight: 2, Tokens: 500},
			{Path: "/analyze_section", Weight: 3},
		},
		Duration: longestDemo, Grace: time.Second, ProgressEvery: progressPlain, Seed: uint64(time.Now().UnixNano()),
		Progress: func(s load.Snapshot) { _, _ = fmt.Fprintln(progress, view.Line(s)) },
	}
	if f.duration > 0 {
		o.Duration = f.duration
	}
	if isTerminal(progress) {
		live := view.NewLive(progress, "gateway")
		o.ProgressEvery, o.Progress = time.Second, live.Show
		return o, live.Close
	}
	return o, func() {}
}

// openBrowser shows a page, where this machine has a screen. That it cannot is no
// fault: the address is on the terminal.
func openBrowser(ctx context.Context, url string) {
	opener := []string{"xdg-open"}
	switch runtime.GOOS {
	case "darwin":
		opener = []string{"open"}
	case "windows":
		opener = []string{"rundll32", "url.dll,FileProtocolHandler"}
	}
	cmd := exec.CommandContext(ctx, opener[0], append(opener[1:], url)...) //nolint:gosec // the url is this process's own address
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }()
	}
}
