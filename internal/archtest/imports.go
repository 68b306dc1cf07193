package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// checkPlace is I1. The root package is the map of the tree and holds no code.
func checkPlace(t *tree, p *pkg) []Fault {
	if p.rel == "." {
		return checkRoot(t, p)
	}
	if p.found {
		return nil
	}
	return []Fault{{
		Rule: "unplaced", Path: p.rel,
		Text: "the package stands on no floor; give it a place in internal/archtest/floors.go",
	}}
}

func checkRoot(t *tree, p *pkg) []Fault {
	var out []Fault
	for _, f := range p.files {
		if len(f.ast.Decls) > 0 {
			out = append(out, Fault{
				Rule: "root", Path: f.path, Line: t.line(f.ast.Decls[0]),
				Text: "the root package is a map, not code; move this to a package on a floor",
			})
		}
	}
	return out
}

// checkImports is I2, for production files.
func checkImports(t *tree, p *pkg) []Fault {
	if !p.found {
		return nil
	}
	var out []Fault
	for _, f := range p.production() {
		for _, spec := range f.ast.Imports {
			if rule, text := t.judgeImport(p, importPath(spec)); rule != "" {
				out = append(out, Fault{Rule: rule, Path: f.path, Line: t.line(spec), Text: text})
			}
		}
	}
	return out
}

// judgeImport returns the name of the broken rule, or nothing.
func (t *tree) judgeImport(p *pkg, target string) (rule, text string) {
	rel, own := strings.CutPrefix(target, t.module+"/")
	if !own {
		return judgeVendor(p, target)
	}
	at, ok := find(Floors, rel)
	if !ok {
		return "", "" // the target itself is reported as unplaced
	}
	from, to := p.at.floor, at.floor
	switch {
	case from == to && at.rank < p.at.rank:
		return "", ""
	case from == to:
		return "sideways", fmt.Sprintf("%s may not import %s of its own floor; pass the value through the floor above", p.rel, rel)
	case slices.Contains(from.Imports, to.Name):
		return "", ""
	case to.Name == testOnly:
		return "test-only", rel + " is for tests; production code may not import it"
	case to.Name == adapter:
		return "adapter", fmt.Sprintf("%s may not import the adapter %s; declare the interface here and let internal/app hand it in", p.rel, rel)
	}
	return "upward", fmt.Sprintf("%s (%s) may not import %s (%s)", p.rel, from.Name, rel, to.Name)
}

// judgeVendor decides about imports from other modules and the standard library.
func judgeVendor(p *pkg, target string) (rule, text string) {
	host, _, _ := strings.Cut(target, "/")
	if !strings.Contains(host, ".") || p.at.floor.Vendor {
		return "", ""
	}
	for module := range vendorAllowed[p.rel] {
		if target == module || strings.HasPrefix(target, module+"/") {
			return "", ""
		}
	}
	return "vendor", fmt.Sprintf("%s may use the standard library only; put %s behind an adapter, or give a reason in vendorAllowed", p.rel, target)
}

// clocks are the functions that read or wait for time on their own.
var clocks = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"},
	"context": {
		"WithTimeout", "WithTimeoutCause", "WithDeadline", "WithDeadlineCause",
	},
}

// impure are import paths a state machine has no use for; a path covers all
// below it.
var impure = []string{"os", "net", "log", "syscall", "database/sql", "crypto/rand", "unsafe", "testing"}

// checkPurity is I3.
func checkPurity(t *tree, p *pkg) []Fault {
	if !p.found || !p.at.floor.Pure {
		return nil
	}
	var out []Fault
	for _, f := range p.production() {
		for _, spec := range f.ast.Imports {
			if target := importPath(spec); isImpure(p.rel, target) {
				out = append(out, Fault{
					Rule: "impure-import", Path: f.path, Line: t.line(spec),
					Text: target + " reaches outside; take what is needed as an argument",
				})
			}
		}
		out = append(out, t.checkPureBody(f)...)
	}
	return out
}

func isImpure(rel, target string) bool {
	if _, ok := stdAllowed[rel][target]; ok {
		return false
	}
	return slices.ContainsFunc(impure, func(bad string) bool {
		return target == bad || strings.HasPrefix(target, bad+"/")
	})
}

func (t *tree) checkPureBody(f *file) []Fault {
	var out []Fault
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			out = append(out, Fault{
				Rule: "goroutine", Path: f.path, Line: t.line(n),
				Text: "a mechanism starts no goroutine; its driver does",
			})
		case *ast.SelectorExpr:
			if from, name := f.selector(n); slices.Contains(clocks[from], name) {
				out = append(out, Fault{
					Rule: "clock", Path: f.path, Line: t.line(n),
					Text: from + "." + name + ": a mechanism takes `now time.Time` as its first argument",
				})
			}
		}
		return true
	})
	return out
}

// selector resolves pkg.Name to the import path and the name; both are empty for
// any other selector.
func (f *file) selector(s *ast.SelectorExpr) (from, name string) {
	id, ok := s.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	from, ok = f.names[id.Name]
	if !ok {
		return "", ""
	}
	return from, s.Sel.Name
}
