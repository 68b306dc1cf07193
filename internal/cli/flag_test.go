package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/config"
)

// TestI2FlagFaultsInPlainWords: who mistypes a flag is told the one he may have meant, and
// how its value is written.
func TestI2FlagFaultsInPlainWords(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"load --user 5":          "millrace: unknown flag: --user; did you mean --users? See millrace load --help\n",
		"load --targte x":        "did you mean --target?",
		"plan --requests 2/m":    "did you mean --requests-per-user?",
		"sim --sede 3":           "did you mean --seed?",
		"load --nonsense":        "millrace: unknown flag: --nonsense; see millrace load --help\n",
		"load --duration 5":      "millrace: --duration: \"5\" is not a time with its unit, such as 5s or 2m; see millrace load --help\n",
		"load --users many":      "--users: \"many\" is not a whole number;",
		"plan --seed -1":         "--seed: \"-1\" is not a whole number from 0 on;",
		"plan --tokens x":        "--tokens: \"x\" is not a number;",
		"demo --no-open=perhaps": "--no-open: \"perhaps\" is not true or false;",
		"plan 5":                 "millrace: \"5\" belongs to no flag, and millrace plan takes flags alone; see millrace plan --help\n",
		"version 2":              "\"2\" belongs to no flag",
		"load --stages":          "flag needs an argument: --stages; see",
	} {
		status, out, words := do(strings.Fields(line)...)
		if status != exitUsage || out != "" || !strings.Contains(words, want) || strings.Count(words, "\n") != 1 {
			t.Errorf("%s: status %d, %q, %q; want %q", line, status, out, words, want)
		}
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for pair, want := range map[[2]string]int{
		{"", ""}: 0, {"a", ""}: 1, {"", "ab"}: 2, {"user", "users"}: 1, {"targte", "target"}: 2, {"same", "same"}: 0, {"kitten", "sitting"}: 3,
	} {
		if got := config.Edits(pair[0], pair[1]); got != want {
			t.Errorf("%q and %q: %d, want %d", pair[0], pair[1], got, want)
		}
	}
}

// TestNobodyReadsTheNullDevice: it is a device of characters, and no terminal.
func TestNobodyReadsTheNullDevice(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	if isTerminal(null) {
		t.Error("the null device is a terminal")
	}
}
