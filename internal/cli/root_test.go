package cli

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/config"
)

// do runs a command line and returns what came of it.
func do(args ...string) (status int, out, words string) {
	var stdout, stderr bytes.Buffer
	status = Run(context.Background(), args, Streams{Out: &stdout, Err: &stderr})
	return status, stdout.String(), stderr.String()
}

func TestI1ExitStatus(t *testing.T) {
	t.Setenv("MILLRACE_CONFIG", filepath.Join(t.TempDir(), "none.yaml"))
	for line, want := range map[string]int{
		"version":                           exitOK,
		"help":                              exitOK,
		"serve --help":                      exitOK,
		"serv":                              exitUsage,
		"serve --nothing":                   exitUsage,
		"serve now":                         exitUsage,
		"serve --log-level loud":            exitUsage,
		"serve":                             exitUsage, // the file that MILLRACE_CONFIG names is absent
		"config check":                      exitUsage,
		"load --max-errors many":            exitUsage,
		"sim --profile nobody --listen :-1": exitError,
	} {
		if got, _, words := do(strings.Fields(line)...); got != want {
			t.Errorf("%s: status %d, want %d: %s", line, got, want, words)
		}
	}
}

func TestI2ErrorsArePrintedOnceInPlainWords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(file, []byte("limits: {hold: 5, drain: x}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"serve", "--nothing"}, {"serv"}, {"serve", "-c", file}} {
		_, out, words := do(args...)
		if out != "" || !strings.HasPrefix(words, "millrace: ") || strings.Contains(words, "Usage:") || strings.Contains(words, "goroutine") {
			t.Errorf("%v: out %q, words %q", args, out, words)
		}
		for line := range strings.Lines(words) {
			if strings.Count(words, line) != 1 && !strings.Contains(line, "|") {
				t.Errorf("%v: printed twice: %q", args, line)
			}
		}
	}
	_, _, words := do("serve", "-c", file)
	if strings.Count(words, "millrace: "+file+":1:") != 2 || !strings.Contains(words, "\n     1 | limits: {hold: 5, drain: x}\n") {
		t.Errorf("faults of a file: %s", words)
	}
}

func TestServeInProcess(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // it starts, finds that it is to stop, and stops cleanly
	var out, words bytes.Buffer
	f := &serveFlags{level: "info", source: config.Source{Listen: "127.0.0.1:0", Environ: []string{"BEDROCK_REGION=eu-west-1"}}}
	if err := f.run(ctx, Streams{Out: &out, Err: &words}); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"msg":"BEDROCK_REGION is set but has no effect yet"`, `"msg":"stopped","clean":true`} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the log lacks %s: %s", part, out.String())
		}
	}
	for _, part := range []string{"on http://127.0.0.1:", "built-in simulator; 60/m requests, 180000/m tokens, 15 at a time", "\n  curl http://"} {
		if !strings.Contains(words.String(), part) {
			t.Errorf("the banner lacks %q: %s", part, words.String())
		}
	}
}

func TestAPortThatIsTakenIsNoUsageError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	if status, _, words := do("serve", "--listen", taken.Addr().String()); status != exitError || !strings.Contains(words, "listen (--listen)") {
		t.Errorf("status %d: %s", status, words)
	}
}
