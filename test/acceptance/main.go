// Command acceptance decides whether the gateway keeps its promises in real
// time: it starts judges (millrace sim), gateways (millrace serve) and users
// (millrace load) as processes of their own, and compares what the users and
// the judge saw with what was promised.
//
//	go run ./test/acceptance [-run REGEX] [-quick] [-parallel N] [-data DIR] [-keep DIR] [-list]
//
// Each case of the table has one or several legs. A leg is one judge, one
// gateway in front of it (or none) and one load; it has free loopback ports and
// a state folder of its own. One line is printed for each case that ends, then
// a table of all in Markdown, then the counts. The exit status is 1 if a case
// failed.
//
// Groups, by the beginning of the name:
//
//	straight    no gateway: the judge is strict enough to be worth asking
//	users       60 s of 10 to 200 users: no error, no throttle, no extra attempt
//	use         over quota for long: the binding limit is used, for every kind of window
//	unknown     buckets of the judge that the gateway was not told
//	greedy      what one user who asks for everything costs the others
//	rude        users who leave, a provider that fails and hangs
//	trace       a recorded hour at 20x: Azure's traces from -data, else fitted ones
//
// All cases are light but the traces, which run after the others, alone.
// Figures that depend on chance have a fixed seed; what is left is the timing
// of a busy machine, so that -parallel should not be raised far above what its
// cores carry.
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
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	var err error
	if s.only, err = regexp.Compile(*only); err != nil {
		return s, fmt.Errorf("-run: %w", err)
	}
	if s.parallel < 1 {
		return s, errors.New("-parallel: at least 1")
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
	for _, c := range table(s.quick) {
		if s.only.MatchString(c.name) {
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
