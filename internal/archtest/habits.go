package archtest

import (
	"go/ast"
	"regexp"
	"slices"
	"strings"
)

// vague are package names that say nothing about what is inside.
var vague = []string{
	"util", "utils", "common", "helper", "helpers", "type", "types", "base",
	"manager", "misc", "shared", "lib", "core", "pkg", "model", "models", "interfaces",
}

// checkNames is I4.
func checkNames(_ *tree, p *pkg) []Fault {
	var out []Fault
	if slices.Contains(vague, p.name) {
		out = append(out, Fault{Rule: "vague-name", Path: p.rel, Text: "package " + p.name + " says nothing; name it for the noun it owns"})
	}
	var documented []string
	files := p.production()
	for _, f := range files {
		if f.ast.Doc != nil {
			documented = append(documented, f.path)
		}
	}
	switch {
	case len(files) > 0 && len(documented) == 0:
		out = append(out, Fault{Rule: "package-comment", Path: p.rel, Text: "no package comment; write doc.go"})
	case len(documented) > 1:
		out = append(out, Fault{Rule: "package-comment", Path: p.rel, Text: "more than one package comment: " + strings.Join(documented, ", ")})
	}
	return out
}

// environment are the functions of package os that read or change it.
var environment = []string{"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Clearenv"}

// checkHabits is I6.
func checkHabits(t *tree, p *pkg) []Fault {
	var out []Fault
	testing := p.found && p.at.floor.Name == testOnly
	for _, f := range p.files {
		h := habits{t: t, p: p, f: f, testing: testing || f.test}
		out = append(out, h.check()...)
	}
	return out
}

// habits looks at one file.
type habits struct {
	t       *tree
	p       *pkg
	f       *file
	testing bool
	out     []Fault
}

func (h *habits) fault(rule string, n ast.Node, text string) {
	h.out = append(h.out, Fault{Rule: rule, Path: h.f.path, Line: h.t.line(n), Text: text})
}

func (h *habits) check() []Fault {
	for _, spec := range h.f.ast.Imports {
		if spec.Name != nil && spec.Name.Name == "." {
			h.fault("dot-import", spec, "a dot import hides where a name comes from")
		}
	}
	for _, d := range h.f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			h.fault("init", fn, "no init functions; construct it where it is wired")
		}
	}
	ast.Inspect(h.f.ast, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			h.selector(s)
		}
		return true
	})
	h.directives()
	return h.out
}

func (h *habits) selector(s *ast.SelectorExpr) {
	from, name := h.f.selector(s)
	switch {
	case h.testing && from == "time" && name == "Sleep":
		h.fault("sleep", s, "no sleep in a test: wait for the event, or use a timer in a synctest bubble")
	case !h.mayReadEnvironment() && from == "os" && slices.Contains(environment, name):
		h.fault("environment", s, "os."+name+": only internal/config reads the environment")
	}
}

func (h *habits) mayReadEnvironment() bool {
	return h.testing || h.p.rel == "internal/config" || h.p.found && h.p.at.floor.Name == harness
}

// reasoned is a directive that names its linters and says why.
var reasoned = regexp.MustCompile(`^//nolint:[a-z0-9,]+ // \S+`)

func (h *habits) directives() {
	for _, group := range h.f.ast.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//nolint") && !reasoned.MatchString(c.Text) {
				h.fault("nolint", c, "write //nolint:name // reason")
			}
		}
	}
}
