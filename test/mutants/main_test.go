package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// source is the tree: one line that a bug replaces.
const source = "first\nright\nlast\n"

// check stands in for a test of the line.
const check = `read -r first && read -r second && test "$second" = right || { echo "--- FAIL: TestLine"; exit 1; }`

// patch replaces the line by a bug.
func patch(run, line string) string {
	return "# run: " + run + `
diff --git a/source b/source
--- a/source
+++ b/source
@@ -1,3 +1,3 @@
 first
-right
+` + line + `
 last
`
}

// TestRun tries every way a patch can go right or wrong, on a small tree.
func TestRun(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	const command = "{ " + check + "; } < source"
	cases := map[string]struct{ patch, want string }{
		"killed":    {patch(command, "wrong"), "caught"},
		"keen":      {patch(command+"; rm source", "broken"), "caught"}, // leaves a trace, in its own copy
		"survived":  {patch("true", "wrong"), "SURVIVED"},
		"unbuilt":   {patch("( "+command+" ) || { echo 'FAIL m [build failed]'; false; }", "wrong"), "does not build"},
		"misplaced": {strings.Replace(patch(command, "wrong"), "-right", "-left", 1), "does not apply"},
		"red":       {patch("echo --- FAIL; false", "wrong"), "fails without the bug too"},
		"none":      {patch("echo 'testing: warning: no tests to run'", "wrong"), "runs no test"},
		"nameless":  {strings.Replace(patch(command, "wrong"), "# run: ", "# ", 1), "the first line is not"},
		"other":     {patch(`{ read -r first; read -r second; test "$second" = right; } < source`, "wrong"), "not by a test"},
	}
	root := t.TempDir()
	write(t, filepath.Join(root, "source"), source)
	for name, tc := range cases {
		write(t, filepath.Join(root, "test/mutants", name+".patch"), tc.patch)
	}
	if out, err := exec.CommandContext(t.Context(), "git", "init", "-q", root).CombinedOutput(); err != nil {
		t.Fatalf("git init: %v\n%s", err, out)
	}

	var out bytes.Buffer
	if err := run(t.Context(), []string{"-root", root}, &out); !errors.Is(err, errSurvived) {
		t.Errorf("error %v", err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if got, want := lines[len(lines)-1], "2 passed, 7 failed"; got != want {
		t.Errorf("summary %q, want %q", got, want)
	}
	for name, tc := range cases {
		if !hasLine(lines, name, tc.want) {
			t.Errorf("%s is not reported as %q in\n%s", name, tc.want, &out)
		}
	}

	out.Reset()
	if err := run(t.Context(), []string{"-root", root, "-only", "k"}, &out); err != nil {
		t.Errorf("only caught bugs: %v\n%s", err, &out)
	}
}

func hasLine(lines []string, name, want string) bool {
	for _, line := range lines {
		if strings.Contains(line, " "+name+" ") && strings.Contains(line, want) {
			return true
		}
	}
	return false
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
