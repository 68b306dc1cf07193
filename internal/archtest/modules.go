package archtest

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// ledger is the file that gives the reason for every module.
const ledger = "docs/dependencies.md"

// module is what the rules need of a go.mod.
type module struct {
	path   string
	direct []string // required without "// indirect"
	tools  []string // packages named by tool directives
}

// readModule reads the two block forms of go.mod that the go command writes.
func readModule(fsys fs.FS, name string) (module, error) {
	src, err := fs.ReadFile(fsys, name)
	if err != nil {
		return module{}, fmt.Errorf("read module: %w", err)
	}
	var m module
	block := ""
	for line := range strings.Lines(string(src)) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(words[0], "//"):
		case words[0] == ")":
			block = ""
		case len(words) == 2 && words[1] == "(":
			block = words[0]
		case block != "":
			m.entry(block, words)
		default:
			m.entry(words[0], words[1:])
		}
	}
	return m, nil
}

func (m *module) entry(directive string, words []string) {
	switch {
	case len(words) == 0:
	case directive == "module":
		m.path = words[0]
	case directive == "tool":
		m.tools = append(m.tools, words[0])
	case directive == "require" && !slices.Contains(words, "indirect"):
		m.direct = append(m.direct, words[0])
	}
}

// entryLine is a row of the ledger: the module or tool, then the reason.
var entryLine = regexp.MustCompile("^\\| `([^`]+)` \\|(.*)\\|$")

// checkDependencies is I7.
func checkDependencies(fsys fs.FS) ([]Fault, error) {
	main, err := readModule(fsys, "go.mod")
	if err != nil {
		return nil, err
	}
	required := main.direct
	if _, err := fs.Stat(fsys, "tools/go.mod"); err == nil {
		tools, err := readModule(fsys, "tools/go.mod")
		if err != nil {
			return nil, err
		}
		required = append(required, tools.tools...)
	}
	listed, faults, err := readLedger(fsys)
	if err != nil {
		return nil, err
	}
	for _, want := range required {
		if _, ok := listed[want]; !ok {
			faults = append(faults, Fault{Rule: "dependency", Path: ledger, Text: want + " is required but has no line with its reason"})
		}
	}
	for name, line := range listed {
		if !slices.Contains(required, name) {
			faults = append(faults, Fault{Rule: "dependency", Path: ledger, Line: line, Text: name + " is listed but no longer required; delete the line"})
		}
	}
	return faults, nil
}

// readLedger returns the listed names with their lines.
func readLedger(fsys fs.FS) (map[string]int, []Fault, error) {
	src, err := fs.ReadFile(fsys, ledger)
	if err != nil {
		return nil, nil, fmt.Errorf("read list of dependencies: %w", err)
	}
	listed := map[string]int{}
	var faults []Fault
	for i, line := range strings.Split(string(src), "\n") {
		m := entryLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		listed[m[1]] = i + 1
		if len(strings.TrimSpace(m[2])) < len("a reason") {
			faults = append(faults, Fault{Rule: "dependency", Path: ledger, Line: i + 1, Text: m[1] + " needs its reason in one line"})
		}
	}
	return listed, faults, nil
}
