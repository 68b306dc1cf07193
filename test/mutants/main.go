// Command mutants decides whether the tests can fail: it plants the bugs of
// test/mutants/*.patch, one at a time, each in a copy of the tree, and demands
// that the test named by the patch turns red.
//
// A patch is a unified diff for `git apply` whose first line is the command that
// must fail, such as
//
//	# run: go test ./internal/quota -run 'TestI3'
//
// The command must pass on the tree as it is, and fail with the bug because a
// test failed: a bug that does not build, or that no test ran into, is not
// caught. One line is printed for each patch, then the summary.
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
	"strings"
	"sync"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

var errSurvived = errors.New("not every bug was caught")

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	root := flags.String("root", ".", "root of the tree, a git work tree")
	jobs := flags.Int("jobs", 2, "patches tried at once")
	only := flags.String("only", "", "only patches whose name begins so")
	limit := flags.Duration("limit", 3*time.Minute, "longest time for one command")
	if err := flags.Parse(args); err != nil {
		return err
	}
	patches, err := filepath.Glob(filepath.Join(*root, "test/mutants", *only+"*.patch"))
	if err != nil {
		return fmt.Errorf("list patches: %w", err)
	}
	r := &runner{root: *root, limit: *limit, clean: map[string]*baseline{}}
	if r.files, err = r.listFiles(ctx); err != nil {
		return err
	}
	passed, failed := r.all(ctx, patches, max(1, *jobs), out)
	fmt.Fprintf(out, "%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return errSurvived
	}
	return ctx.Err()
}

// runner tries patches; its methods may be called by several goroutines.
type runner struct {
	root  string
	limit time.Duration
	files []string // of the tree, relative to root

	mu    sync.Mutex
	clean map[string]*baseline
}

// baseline is what a command says about the tree without any bug.
type baseline struct {
	once sync.Once
	err  error
}

// all tries the patches, some at a time, and reports each when it is done.
func (r *runner) all(ctx context.Context, patches []string, jobs int, out io.Writer) (passed, failed int) {
	var mu sync.Mutex
	var workers sync.WaitGroup
	work := make(chan string)
	for range jobs {
		workers.Go(func() {
			for patch := range work {
				start := time.Now()
				err := r.try(ctx, patch)
				name := strings.TrimSuffix(filepath.Base(patch), ".patch")
				took := time.Since(start).Seconds()
				mu.Lock()
				if err != nil {
					failed++
					fmt.Fprintf(out, "FAILED %-44s %5.1fs  %v\n", name, took, err)
				} else {
					passed++
					fmt.Fprintf(out, "caught %-44s %5.1fs\n", name, took)
				}
				mu.Unlock()
			}
		})
	}
	for _, patch := range patches {
		work <- patch
	}
	close(work)
	workers.Wait()
	return passed, failed
}

// try returns nil if the bug was caught.
func (r *runner) try(ctx context.Context, patch string) error {
	command, err := readCommand(patch)
	if err != nil {
		return err
	}
	if err := r.passesClean(ctx, command); err != nil {
		return err
	}
	tree, err := r.copyTree()
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	absolute, err := filepath.Abs(patch)
	if err != nil {
		return err
	}
	if output, err := r.command(ctx, tree, "git", "apply", absolute); err != nil {
		return fmt.Errorf("does not apply: %w: %s", err, lastLine(output))
	}
	output, err := r.command(ctx, tree, "/bin/sh", "-c", command)
	return judge(output, err)
}

// judge decides about the output of a command that should have failed.
func judge(output string, err error) error {
	switch {
	case err == nil && strings.Contains(output, "no tests to run"):
		return errors.New("the command runs no test")
	case err == nil:
		return errors.New("SURVIVED: the tests pass with the bug")
	case strings.Contains(output, "[build failed]"), strings.Contains(output, "[setup failed]"):
		return errors.New("the bug does not build")
	case strings.Contains(output, "--- FAIL"), strings.Contains(output, "panic: "), strings.Contains(output, "WARNING: DATA RACE"):
		return nil
	}
	return fmt.Errorf("failed, but not by a test: %w: %s", err, lastLine(output))
}

// passesClean runs each command once on the tree as it is.
func (r *runner) passesClean(ctx context.Context, command string) error {
	r.mu.Lock()
	b := r.clean[command]
	if b == nil {
		b = &baseline{}
		r.clean[command] = b
	}
	r.mu.Unlock()
	b.once.Do(func() { b.err = r.runClean(ctx, command) })
	return b.err
}

func (r *runner) runClean(ctx context.Context, command string) error {
	tree, err := r.copyTree()
	if err != nil {
		return err
	}
	defer os.RemoveAll(tree)
	output, err := r.command(ctx, tree, "/bin/sh", "-c", command)
	if err != nil {
		return fmt.Errorf("fails without the bug too: %w: %s", err, lastLine(output))
	}
	if strings.Contains(output, "no tests to run") {
		return errors.New("the command runs no test")
	}
	return nil
}

// listFiles asks git for what is committed or could be.
func (r *runner) listFiles(ctx context.Context) ([]string, error) {
	cmd := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = r.root
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list the files of the tree: %w", err)
	}
	return strings.Split(strings.TrimSuffix(string(output), "\x00"), "\x00"), nil
}

// copyTree copies the files to a new folder of their own, so that nothing a test
// leaves behind reaches the next one.
func (r *runner) copyTree() (string, error) {
	tree, err := os.MkdirTemp("", "mutant-")
	if err != nil {
		return "", fmt.Errorf("copy the tree: %w", err)
	}
	for _, name := range r.files {
		if err := copyFile(filepath.Join(r.root, name), filepath.Join(tree, name)); err != nil {
			return "", errors.Join(fmt.Errorf("copy the tree: %w", err), os.RemoveAll(tree))
		}
	}
	return tree, nil
}

// copyFile leaves out what git lists but is deleted, and what is no plain file.
func copyFile(from, to string) error {
	info, err := os.Lstat(from)
	if errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o750); err != nil {
		return err
	}
	return os.WriteFile(to, data, info.Mode().Perm())
}

// command runs one command in a copy. With -trimpath the copies share what is
// already compiled. A child that outlives the limit is ended with its output cut.
func (r *runner) command(ctx context.Context, dir, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -trimpath", "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir))
	output, err := cmd.CombinedOutput()
	return string(output), errors.Join(err, ctx.Err())
}

// readCommand returns what stands behind "# run: " on the first line.
func readCommand(patch string) (string, error) {
	data, err := os.ReadFile(patch)
	if err != nil {
		return "", fmt.Errorf("read patch: %w", err)
	}
	first, _, _ := strings.Cut(string(data), "\n")
	command, ok := strings.CutPrefix(first, "# run: ")
	if !ok || strings.TrimSpace(command) == "" {
		return "", errors.New("the first line is not '# run: COMMAND'")
	}
	return command, nil
}

func lastLine(output string) string {
	output = strings.TrimSpace(output)
	return output[strings.LastIndexByte(output, '\n')+1:]
}
