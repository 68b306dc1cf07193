package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "acceptance:", err)
		os.Exit(1)
	}
}

var errFailed = errors.New("not every promise was kept")

// settings are the flags.
type settings struct {
	only     *regexp.Regexp
	quick    bool
	parallel int
	data     string
	list     bool
	keep     string
	long     bool  // the cases that run only when they are named, too
	named    bool  // -run was given
	requests int64 // of the case nonce
}

func parseFlags(args []string) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("acceptance", flag.ContinueOnError)
	only := flags.String("run", "", "only cases whose name matches this expression")
	flags.BoolVar(&s.quick, "quick", false, "shorter cases, whose figures are less certain")
	flags.IntVar(&s.parallel, "parallel", 6, "light cases at once")
	flags.StringVar(&s.data, "data", "", "folder of AzureLLMInferenceTrace_conv.csv and _code.csv")
	flags.BoolVar(&s.list, "list", false, "list the cases and run none")
	flags.StringVar(&s.keep, "keep", "", "folder in which reports and logs are kept")
	flags.BoolVar(&s.long, "long", false, "the cases that take long, too; without it they run only where -run names them")
	flags.Int64Var(&s.requests, "requests", 1_000_000, "requests of the case nonce")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	var err error
	s.named = *only != ""
	if s.only, err = regexp.Compile(*only); err != nil {
		return s, fmt.Errorf("-run: %w", err)
	}
	if s.parallel < 1 {
		return s, errors.New("-parallel: at least 1")
	}
	if s.requests < 1 {
		return s, errors.New("-requests: at least 1")
	}
	return s, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	s, err := parseFlags(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "millrace-acceptance-")
	if err != nil {
		return fmt.Errorf("temporary folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	cases, err := selected(s, dir, out)
	if err != nil || s.list {
		return err
	}
	r := &runner{binary: filepath.Join(dir, "millrace"), dir: dir, out: out}
	if s.keep != "" {
		if r.dir, err = filepath.Abs(s.keep); err != nil {
			return fmt.Errorf("-keep: %w", err)
		}
	}
	if err := build(ctx, r.binary); err != nil {
		return err
	}
	return r.all(ctx, cases, s.parallel)
}

// selected are the cases to run, or to list.
func selected(s settings, dir string, out io.Writer) ([]scenario, error) {
	var cases []scenario
	planned := planCases(s, out)
	for _, c := range slices.Concat(table(s.quick), ownCases(s.requests), planned) {
		if s.only.MatchString(c.name) && (!c.long || s.long || s.named) {
			cases = append(cases, c)
		}
	}
	traces, err := traceCases(s, dir, out)
	if err != nil {
		return nil, err
	}
	cases = append(cases, traces...)
	if s.list {
		for _, c := range cases {
			fmt.Fprintf(out, "%-36s about %s\n", c.name, c.length())
		}
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("no case matches %s; -list shows them", s.only)
	}
	return cases, nil
}

func build(ctx context.Context, binary string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/millrace/millrace/cmd/millrace")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build millrace: %w\n%s", err, strings.TrimSpace(string(text)))
	}
	return nil
}
