package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/load/footprint"
	"github.com/millrace/millrace/internal/load/verdict"
	"github.com/millrace/millrace/internal/load/view"
)

// loadFlags is what the command line says about the load.
type loadFlags struct {
	options     load.Options
	limits      verdict.Limits
	targets     []string
	judges      []string
	mix         []string
	stages      string
	arrivals    string
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
	html        string
	csv         string
	quiet       bool
}

// progressPlain is the time between progress lines where they are not redrawn.
const progressPlain = 5 * time.Second

func newLoadCommand() *cobra.Command {
	f := &loadFlags{}
	cmd := &cobra.Command{
		Use:   "load",
		Short: "Put users on an OpenAI-compatible endpoint and measure how they fare",
		Long: "Put users on one or several OpenAI-compatible endpoints, in turn or together, and report side by side:\n" +
			"errors, latency, waits, fairness and, with a millrace simulator as the judge, how the quota was used.\n" +
			"Users ask, wait, think and ask again (closed loop), or requests come at random times or those of a recorded\n" +
			"trace, whatever became of the ones before (open loop). Latency counts from the moment a user meant to ask.\n" +
			"Exits with an error when a limit below is breached, or a target answers nothing at all. An interrupt ends the\n" +
			"run with the report so far.",
		Example: "  millrace load --users 40 --think 3s --tokens 6000 --duration 60s\n" +
			"  millrace load --target straight=http://127.0.0.1:9090/v1 --target gateway=http://127.0.0.1:8080/v1 \\\n" +
			"    --judge http://127.0.0.1:9090 --warmup 61s --duration 120s --check gateway --max-errors 0 --min-utilization 0.97\n" +
			"  millrace load --stages 1m:50,5m:50,0s:100,2m:100 --session-turns 4 --html report.html --csv requests.csv\n" +
			"  millrace load --arrivals 20/s --arrivals-cv 3 --mix /analyze_section:weight=3 --mix /chat:weight=7,tokens=500\n" +
			"  millrace load --trace AzureLLMInferenceTrace_conv.csv --speed 20",
		Args:         noArgs,
		SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := untilSignal(cmd.Context())
			defer stop()
			defer footprint.Bound()()
			return f.run(ctx, cmd)
		},
	}
	f.register(cmd)
	return cmd
}

func (f *loadFlags) run(ctx context.Context, cmd *cobra.Command) error {
	if err := errors.Join(f.check(cmd.Flags().Changed), f.complete()); err != nil {
		return &usageError{err}
	}
	files, err := f.open()
	if err != nil {
		return &usageError{err}
	}
	// The load shares the machine with what it measures, and holds little memory:
	// let it collect less often than a server should.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	done := f.showProgress(cmd.ErrOrStderr())
	report, err := load.Run(ctx, f.options)
	done()
	if report == nil {
		return &usageError{errors.Join(err, files.discard())}
	}
	report.Parameters = parameters(cmd)
	if len(report.Targets) > 0 {
		err = errors.Join(err, f.write(report, cmd.OutOrStdout()))
	}
	return errors.Join(err, files.close(report), verdict.Check(report, f.limits))
}

func (f *loadFlags) write(report *load.Report, stdout io.Writer) error {
	if !f.json {
		return view.WriteText(stdout, report)
	}
	return writeJSON(stdout, report)
}

// loadFiles are the files a run writes. They are opened before it: an hour of load
// must not end at a folder that is not there.
type loadFiles struct {
	html, csv *os.File
	rows      *view.CSV
}

func (f *loadFlags) open() (files *loadFiles, err error) {
	files = &loadFiles{}
	if f.html != "" {
		if files.html, err = os.Create(f.html); err != nil {
			return nil, fmt.Errorf("--html: %w", err)
		}
	}
	if f.csv != "" {
		if files.csv, err = os.Create(f.csv); err != nil {
			return nil, errors.Join(fmt.Errorf("--csv: %w", err), files.discard())
		}
		files.rows = view.NewCSV(files.csv)
		f.options.Record = files.rows.Add
	}
	return files, nil
}

// close writes the report and what is left of the requests.
func (l *loadFiles) close(report *load.Report) error {
	var faults []error
	if l.rows != nil {
		faults = append(faults, l.rows.Close(), l.csv.Close())
	}
	if l.html != nil {
		w := bufio.NewWriter(l.html)
		faults = append(faults, view.WriteHTML(w, report), w.Flush(), l.html.Close())
	}
	return errors.Join(faults...)
}

// discard removes files of a run that never began.
func (l *loadFiles) discard() error {
	var faults []error
	for _, file := range []*os.File{l.html, l.csv} {
		if file == nil {
			continue
		}
		faults = append(faults, file.Close())
		if info, err := os.Lstat(file.Name()); err == nil && info.Mode().IsRegular() {
			faults = append(faults, os.Remove(file.Name()))
		}
	}
	return errors.Join(faults...)
}

// told are the flags that the report tells: none that holds a secret, and none
// that only says where the report goes.
var told = []string{
	"target", "together", "model", "class", "judge", "duration", "warmup", "pause", "grace", "timeout", "until-answers", "max-in-flight",
	"seed", "speed", "users", "think", "think-dist", "ramp", "greedy-user", "greedy-factor", "others-rate", "tokens", "tokens-sigma",
	"max-tokens", "output-tokens", "stream", "stream-share", "cancel", "cancel-within", "disconnect", "stall", "stall-for", "stages",
	"arrivals", "arrivals-cv", "session-turns", "session-pause", "mix", "trace", "preset", "rate", "trace-users", "limit-rows",
	"max-errors", "min-fairness", "max-p95", "max-throttled", "min-utilization", "check",
}

// parameters are the flags as they were.
func parameters(cmd *cobra.Command) []load.Parameter {
	var all []load.Parameter
	for _, name := range told {
		if flag := cmd.Flags().Lookup(name); flag != nil {
			all = append(all, load.Parameter{Name: "--" + name, Value: flag.Value.String(), Default: !flag.Changed})
		}
	}
	return all
}

// showProgress sends the progress of the run to w: a table drawn again each second
// on a terminal, else a line every few seconds. The returned function ends it.
func (f *loadFlags) showProgress(w io.Writer) (done func()) {
	if f.quiet {
		return func() {}
	}
	if !isTerminal(w) || config.Dumb() {
		f.options.ProgressEvery = progressPlain
		f.options.Progress = func(s load.Snapshot) { _, _ = fmt.Fprintln(w, view.Line(s)) }
		return func() {}
	}
	names := make([]string, len(f.options.Targets))
	for i, t := range f.options.Targets {
		names[i] = t.Name
	}
	live := view.NewLive(w, names...)
	f.options.Progress = live.Show
	return live.Close
}

// isTerminal reports whether somebody may be reading.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	nothing, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, nothing)
}
