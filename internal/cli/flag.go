package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/internal/config"
)

// clash is two flags of which one would be ignored.
type clash struct{ one, other string }

// exclude tells the clashes among the flags that were given.
func exclude(given func(flag string) bool, clashes ...clash) error {
	var faults []error
	for _, c := range clashes {
		if given(c.one) && given(c.other) {
			faults = append(faults, fmt.Errorf("--%s and --%s exclude each other: choose one", c.one, c.other))
		}
	}
	return errors.Join(faults...)
}

// against are the clashes of one flag with others.
func against(one string, others ...string) []clash {
	all := make([]clash, len(others))
	for i, other := range others {
		all[i] = clash{one, other}
	}
	return all
}

// idle tells a flag that was given and says nothing, for want of one of the others.
func idle(given func(flag string) bool, want bool, flag string, needs ...string) error {
	if !given(flag) || want {
		return nil
	}
	return fmt.Errorf("--%s says nothing without --%s: leave it out, or add that", flag, strings.Join(needs, " or --"))
}

// oneFile tells that two flags name one file, of which one would be lost. A device
// takes both.
func oneFile(one, path, other, second string) error {
	if path == "" || second == "" {
		return nil
	}
	same := filepath.Clean(path) == filepath.Clean(second)
	a, err := os.Stat(path)
	if b, fault := os.Stat(second); err == nil && fault == nil {
		same = a.Mode().IsRegular() && os.SameFile(a, b)
	}
	if same {
		return fmt.Errorf("--%s and --%s are one file, %s: name two", one, other, path)
	}
	return nil
}

// noArgs refuses words that belong to no flag.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return &usageError{fmt.Errorf("%.40q belongs to no flag, and %s takes flags alone; see %[2]s --help", args[0], cmd.CommandPath())}
}

// flagNamed finds the flag in what the parser says about its value.
var flagNamed = regexp.MustCompile(`--([a-z0-9-]+)" flag: `)

// forms are how values of a type are written.
var forms = map[string]string{
	"int": "a whole number", "int64": "a whole number", "uint64": "a whole number from 0 on", "float64": "a number",
	"duration": "a time with its unit, such as 5s or 2m", "bool": "true or false",
}

// flagFault says in words of people what the parser says of a flag.
func flagFault(cmd *cobra.Command, err error) error {
	if name, unknown := strings.CutPrefix(err.Error(), "unknown flag: --"); unknown {
		if near := nearest(cmd, name); near != "" {
			err = fmt.Errorf("%w; did you mean --%s?", err, near)
			return &usageError{fmt.Errorf("%w See %s --help", err, cmd.CommandPath())}
		}
	}
	var given interface{ GetValue() string }
	if found := flagNamed.FindStringSubmatch(err.Error()); found != nil && errors.As(err, &given) {
		if flag := cmd.Flags().Lookup(found[1]); flag != nil && forms[flag.Value.Type()] != "" {
			err = fmt.Errorf("--%s: %q is not %s", flag.Name, given.GetValue(), forms[flag.Value.Type()])
		}
	}
	return &usageError{fmt.Errorf("%w; see %s --help", err, cmd.CommandPath())}
}

// nearest is the flag that somebody may have meant: one that begins so, or that is one
// or two letters off. Empty if none is.
func nearest(cmd *cobra.Command, name string) (near string) {
	best := min(3, len(name)) // letters off
	for found := range strings.FieldsSeq(cmd.Flags().FlagUsages()) {
		flag, long := strings.CutPrefix(strings.TrimSuffix(found, ","), "--")
		if !long || cmd.Flags().Lookup(flag) == nil {
			continue
		}
		off := config.Edits(name, flag)
		if len(name) > 2 && strings.HasPrefix(flag, name) {
			off = min(off, 2)
		}
		if off < best {
			best, near = off, flag
		}
	}
	return near
}
