package archtest_test

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/archtest"
)

// TestTree holds this repository to its own rules.
func TestTree(t *testing.T) {
	faults, err := archtest.Check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

// clean is a small tree without a fault; every fixture adds to it.
func clean() fstest.MapFS {
	tree := fstest.MapFS{}
	for name, src := range map[string]string{
		"go.mod":                           "module example.com/m\n\ngo 1.26.0\n\nrequire example.com/one v1.0.0\n\nrequire (\n\texample.com/two v1.0.0\n\texample.com/deep v1.0.0 // indirect\n)\n",
		"tools/go.mod":                     "module example.com/m/tools\n\ntool (\n\texample.com/lint\n)\n\nrequire example.com/lint v1.0.0 // indirect\n",
		"tools/ignored.go":                 "package util\n",
		"docs/dependencies.md":             "# Dependencies\n\n| module | reason |\n| --- | --- |\n| `example.com/one` | it does one thing |\n| `example.com/two` | it does two things |\n| `example.com/lint` | it finds faults |\n",
		"doc.go":                           "// Package m is the map.\npackage m\n",
		"internal/llm/doc.go":              "// Package llm is documented.\npackage llm\n",
		"internal/llm/llm.go":              "package llm\n\nimport \"net/http\"\n\n// Header is a header.\ntype Header = http.Header\n",
		"internal/llm/testdata/bad.go":     "package utils // not looked at\n",
		"internal/quota/quota.go":          "// Package quota is documented.\npackage quota\n\nimport _ \"example.com/m/internal/llm\"\n",
		"internal/quota/quota_test.go":     "package quota_test\n\nimport (\n\t_ \"os\"\n\n\t_ \"example.com/m/internal/testkit\"\n)\n",
		"internal/gate/gate.go":            "// Package gate is documented.\npackage gate\n\nimport _ \"example.com/m/internal/quota\"\n",
		"internal/provider/sim/sim.go":     "// Package sim is documented.\npackage sim\n\nimport (\n\t_ \"example.com/m/internal/gate\"\n\t_ \"example.com/one/sub\"\n)\n",
		"internal/dispatch/dispatch.go":    "// Package dispatch is documented.\npackage dispatch\n\nimport _ \"example.com/m/internal/gate\"\n",
		"internal/gateway/gateway.go":      "// Package gateway is documented.\npackage gateway\n\nimport _ \"example.com/m/internal/dispatch\"\n",
		"internal/load/load.go":            "// Package load is documented.\npackage load\n\nimport _ \"github.com/HdrHistogram/hdrhistogram-go\"\n",
		"internal/config/config.go":        "// Package config is documented.\npackage config\n\nimport \"os\"\n\n// Home is a variable.\nfunc Home() string { return os.Getenv(\"HOME\") }\n",
		"internal/app/app.go":              "// Package app is documented.\npackage app\n\nimport (\n\t_ \"example.com/m/internal/config\"\n\t_ \"example.com/m/internal/provider/sim\"\n)\n",
		"internal/testkit/testkit.go":      "// Package testkit is documented.\npackage testkit\n\nimport _ \"example.com/two\"\n",
		"internal/testkit/testkit_test.go": "package testkit\n\nfunc wait() { <-make(chan int) }\n",
		"test/bench/main.go":               "// Command bench is documented.\npackage main\n\nimport (\n\t\"os\"\n\n\t_ \"example.com/m/internal/app\"\n)\n\nfunc main() { os.Getenv(\"HOME\") }\n",
	} {
		tree[name] = &fstest.MapFile{Data: []byte(src)}
	}
	return tree
}

// fixture is one planted fault: a file that is added or replaced, and the rules
// and places that must be reported, and nothing else.
type fixture struct {
	name string
	file string
	src  string
	want []string // "rule path"
}

func TestPlantedFaults(t *testing.T) {
	for _, tc := range slices.Concat(importFixtures(), pureFixtures(), sizeFixtures(), habitFixtures(), dependencyFixtures()) {
		t.Run(tc.name, func(t *testing.T) {
			tree := clean()
			if tc.file != "" {
				tree[tc.file] = &fstest.MapFile{Data: []byte(tc.src)}
			}
			faults, err := archtest.Check(tree)
			if err != nil {
				t.Fatal(err)
			}
			got := []string{}
			for _, f := range faults {
				got = append(got, f.Rule+" "+f.Path)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s\n%v", diff, faults)
			}
		})
	}
}

// header begins a file of a package that already has its comment.
func header(pkg, imports string) string {
	return "package " + pkg + "\n\nimport " + imports + "\n"
}

func importFixtures() []fixture {
	const own = `_ "example.com/m/internal/`
	at := func(f, rule string) []string { return []string{rule + " " + f} }
	return []fixture{
		{"clean tree", "", "", []string{}},
		{"I1 package on no floor", "internal/new/new.go", "// Package new is documented.\npackage new\n", at("internal/new", "unplaced")},
		{"I1 code in the root", "code.go", "package m\n\nvar x = 1\n", at("code.go", "root")},
		{"I2 sideways", "internal/quota/x.go", header("quota", own+`breaker"`), at("internal/quota/x.go", "sideways")},
		{"I2 sideways through a rank above", "internal/quota/x.go", header("quota", own+`gate"`), at("internal/quota/x.go", "sideways")},
		{"I2 wiring in the wrong order", "internal/config/x.go", header("config", own+`app"`), at("internal/config/x.go", "sideways")},
		{"I2 upward", "internal/llm/x.go", header("llm", own+`gate"`), at("internal/llm/x.go", "upward")},
		{"I2 edge to adapter", "internal/gateway/x.go", header("gateway", own+`provider/sim"`), at("internal/gateway/x.go", "adapter")},
		{"I2 execution to adapter", "internal/dispatch/x.go", header("dispatch", own+`sink/prom"`), at("internal/dispatch/x.go", "adapter")},
		{"I2 control to adapter", "internal/admission/x.go", "// Package admission is documented.\n" + header("admission", own+`provider/sim"`), at("internal/admission/x.go", "adapter")},
		{"I2 adapter to its consumer", "internal/provider/sim/x.go", header("sim", own+`dispatch"`), at("internal/provider/sim/x.go", "upward")},
		{"I2 production to test kit", "internal/app/x.go", header("app", own+`testkit"`), at("internal/app/x.go", "test-only")},
		{"I2 module in the mechanism", "internal/quota/x.go", header("quota", `_ "example.com/one"`), at("internal/quota/x.go", "vendor")},
		{"I2 module at the edge without a reason", "internal/gateway/x.go", header("gateway", `_ "example.com/one"`), at("internal/gateway/x.go", "vendor")},
		{"I2 allowed name as a prefix only", "internal/load/x.go", header("load", `_ "github.com/HdrHistogram/hdrhistogram-gone"`), at("internal/load/x.go", "vendor")},
	}
}

func pureFixtures() []fixture {
	const f = "internal/quota/x.go"
	fixtures := []fixture{
		{"I3 goroutine", f, "package quota\n\nfunc f() { go f() }\n", []string{"goroutine " + f}},
		{"I3 clock under an alias", f, header("quota", `clock "time"`) + "\nvar f = clock.Now\n", []string{"clock " + f}},
		{"I3 local value named time", f, "package quota\n\ntype c struct{ Now int }\n\nfunc f(time c) int { return time.Now }\n", []string{}},
		{"I3 context with a timer", f, header("quota", `"context"`) + "\nvar f = context.WithTimeout\n", []string{"clock " + f}},
		{"I3 header without a reason", f, header("quota", `_ "net/http"`), []string{"impure-import " + f}},
		{"I3 clock in a test is fine", "internal/quota/x_test.go", header("quota", `"time"`) + "\nvar f = time.Now\n", []string{}},
		{"I3 clock above F1 is fine", "internal/dispatch/x.go", header("dispatch", `"time"`) + "\nvar f = time.Now\n", []string{}},
	}
	for _, name := range []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"} {
		fixtures = append(fixtures, fixture{"I3 time." + name, f, header("quota", `"time"`) + "\nvar f = time." + name + "\n", []string{"clock " + f}})
	}
	for _, path := range []string{"os", "os/exec", "net", "net/netip", "log", "log/slog", "syscall", "database/sql", "crypto/rand", "unsafe", "testing"} {
		fixtures = append(fixtures, fixture{"I3 " + path, f, header("quota", `_ "`+path+`"`), []string{"impure-import " + f}})
	}
	return fixtures
}

func sizeFixtures() []fixture {
	const f = "internal/app/x.go"
	lines := func(n int) string { return strings.Repeat("\n", n) }
	names := func(n int) string {
		var b strings.Builder
		b.WriteString("package app\n")
		for i := range n {
			fmt.Fprintf(&b, "\ntype T%d int\n\nfunc F%d() {}\n", i, i)
		}
		return b.String()
	}
	return []fixture{
		{"I5 file of 600", f, "package app\n" + lines(599), []string{}},
		{"I5 file of 601", f, "package app\n" + lines(600), []string{"file-size " + f}},
		{"I5 test file of 601", "internal/app/x_test.go", "package app\n" + lines(600), []string{"file-size internal/app/x_test.go"}},
		{"I5 doc.go of 121", "internal/app/doc.go", "package app\n" + lines(120), []string{"file-size internal/app/doc.go"}},
		{"I5 function of 80", f, "package app\n\nfunc f() {" + lines(79) + "}\n", []string{}},
		{"I5 function of 81", f, "package app\n\nfunc f() {" + lines(80) + "}\n", []string{"func-size " + f}},
		{"I5 five parameters", f, "package app\n\nfunc f(a, b, c int, d, e string) {}\n", []string{}},
		{"I5 six parameters", f, "package app\n\nfunc f(a, b, c int, d, e string, g bool) {}\n", []string{"params " + f}},
		{"I5 six parameters of a literal", f, "package app\n\nvar f = func(a, b, c, d, e, g int) {}\n", []string{"params " + f}},
		{"I5 five methods", f, "package app\n\ntype I interface{ A(); B(); C(); D(); E() }\n", []string{}},
		{"I5 six methods", f, "package app\n\ntype I interface{ A(); B(); C(); D(); E(); F() }\n", []string{"interface " + f}},
		{"I5 six methods by embedding", f, "package app\n\ntype J interface{ A(); B(); C() }\n\ntype I interface{ J; D(); E(); F() }\n", []string{"interface " + f}},
		{"I5 interface within itself ends", f, "package app\n\ntype I interface{ I; A() }\n", []string{"interface " + f}},
		{"I5 40 exported names", f, names(20), []string{}},
		{"I5 42 exported names", f, names(21), []string{"exported internal/app"}},
		{"I5 methods are not counted", f, names(20) + "\nfunc (T1) M() {}\n", []string{}},
	}
}

func habitFixtures() []fixture {
	const f = "internal/app/x.go"
	fixtures := []fixture{
		{"I4 no package comment", "internal/backoff/backoff.go", "package backoff\n", []string{"package-comment internal/backoff"}},
		{"I4 two package comments", f, "// Package app again.\npackage app\n", []string{"package-comment internal/app"}},
		{"I4 package of tests only", "internal/backoff/x_test.go", "package backoff_test\n", []string{}},
		{"I6 sleep in a test", "internal/app/x_test.go", header("app", `"time"`) + "\nfunc f() { time.Sleep(1) }\n", []string{"sleep internal/app/x_test.go"}},
		{"I6 sleep in the test kit", "internal/testkit/x.go", header("testkit", `"time"`) + "\nfunc f() { time.Sleep(1) }\n", []string{"sleep internal/testkit/x.go"}},
		{"I6 sleep in production is for review", f, header("app", `"time"`) + "\nfunc f() { time.Sleep(1) }\n", []string{}},
		{"I6 init", f, "package app\n\nfunc init() {}\n", []string{"init " + f}},
		{"I6 method named init", f, "package app\n\ntype t int\n\nfunc (t) init() {}\n", []string{}},
		{"I6 dot import", f, header("app", `. "strings"`), []string{"dot-import " + f}},
		{"I6 nolint alone", f, "package app\n\nvar x = 1 //nolint\n", []string{"nolint " + f}},
		{"I6 nolint without a reason", f, "package app\n\nvar x = 1 //nolint:gosec\n", []string{"nolint " + f}},
		{"I6 nolint with a reason", f, "package app\n\nvar x = 1 //nolint:gosec // the value is public\n", []string{}},
	}
	for _, name := range []string{"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Clearenv"} {
		fixtures = append(fixtures, fixture{"I6 os." + name, f, header("app", `"os"`) + "\nvar f = os." + name + "\n", []string{"environment " + f}})
	}
	for _, name := range []string{"util", "common", "helpers", "types", "base", "manager"} {
		dir := "test/" + name
		fixtures = append(fixtures, fixture{"I4 package " + name, dir + "/x.go", "// Package " + name + " is documented.\npackage " + name + "\n", []string{"vague-name " + dir}})
	}
	return fixtures
}

func dependencyFixtures() []fixture {
	const f = "docs/dependencies.md"
	rows := func(rows ...string) string { return "| " + strings.Join(rows, " |\n| ") + " |\n" }
	return []fixture{
		{"I7 no line for a module", f, rows("`example.com/two` | it does two things", "`example.com/lint` | it finds faults"), []string{"dependency " + f}},
		{"I7 no line for a tool", f, rows("`example.com/one` | it does one thing", "`example.com/two` | it does two things"), []string{"dependency " + f}},
		{"I7 line for an indirect module", f, rows("`example.com/one` | it does one thing", "`example.com/two` | it does two things", "`example.com/lint` | it finds faults", "`example.com/deep` | nobody asked"), []string{"dependency " + f}},
		{"I7 no reason", f, rows("`example.com/one` |", "`example.com/two` | it does two things", "`example.com/lint` | it finds faults"), []string{"dependency " + f}},
	}
}

func TestI5PackageSize(t *testing.T) {
	for last, want := range map[int]int{96: 0, 97: 1} { // 4 files of 600, dispatch.go of 4
		tree := clean()
		for i, lines := range []int{600, 600, 600, 600, last} {
			src := "package dispatch\n" + strings.Repeat("\n", lines-1)
			tree[fmt.Sprintf("internal/dispatch/x%d.go", i)] = &fstest.MapFile{Data: []byte(src)}
		}
		tree["internal/dispatch/long_test.go"] = &fstest.MapFile{Data: []byte("package dispatch\n\n\n")}
		faults, err := archtest.Check(tree)
		if err != nil || len(faults) != want {
			t.Errorf("last file of %d lines: %v, error %v; want %d faults", last, faults, err, want)
		}
	}
}

func TestCheckNeedsASoundTree(t *testing.T) {
	for name, change := range map[string]func(fstest.MapFS){
		"no go.mod":       func(m fstest.MapFS) { delete(m, "go.mod") },
		"no dependencies": func(m fstest.MapFS) { delete(m, "docs/dependencies.md") },
		"broken source":   func(m fstest.MapFS) { m["internal/llm/x.go"] = &fstest.MapFile{Data: []byte("package")} },
	} {
		t.Run(name, func(t *testing.T) {
			tree := clean()
			change(tree)
			if faults, err := archtest.Check(tree); err == nil {
				t.Errorf("no error, faults %v", faults)
			}
		})
	}
}

func TestFaultPointsAtItsLine(t *testing.T) {
	tree := clean()
	tree["internal/app/x.go"] = &fstest.MapFile{Data: []byte("package app\n\nfunc init() {}\n")}
	faults, err := archtest.Check(tree)
	if err != nil || len(faults) != 1 {
		t.Fatal(faults, err)
	}
	want := "internal/app/x.go:3: init: no init functions; construct it where it is wired"
	if got := faults[0].String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestFloorsAreSound checks the table itself: no package twice, and every floor
// imports only floors that exist.
func TestFloorsAreSound(t *testing.T) {
	names := map[string]bool{}
	places := map[string]int{}
	for _, f := range archtest.Floors {
		names[f.Name] = true
		for _, below := range f.Imports {
			if !names[below] && f.Name != "harness" {
				t.Errorf("%s imports %s, which does not stand below it", f.Name, below)
			}
		}
		for _, rank := range f.Ranks {
			for _, p := range rank {
				places[p]++
			}
		}
	}
	for _, p := range slices.Sorted(maps.Keys(places)) {
		if places[p] != 1 {
			t.Errorf("%s has %d places", p, places[p])
		}
	}
}
