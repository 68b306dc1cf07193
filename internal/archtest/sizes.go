package archtest

import (
	"fmt"
	"go/ast"
	"path"
)

// The limits of I5. They cut the tail: half of all functions should be far below.
const (
	maxFileLines    = 600
	maxDocLines     = 120 // doc.go
	maxPackageLines = 2500
	maxFuncLines    = 80
	maxParams       = 5
	maxMethods      = 5  // of an interface
	maxExported     = 40 // types and functions of a package, methods not counted
)

// packageLines raises maxPackageLines for single packages, each with its reason.
var packageLines = map[string]int{
	"internal/app":          2600, // one process: what is built, wired, reloaded and stopped together
	"internal/provider/sim": 5000, // a whole provider: profiles, windows, dialects and faults
	"internal/cli":          2520, // one command line: every flag with its words and its check
	"internal/console":      2600, // one page's server: frames, acts, sessions, the queue and plans
	"internal/gateway":      2660, // one edge: who may come, what is read, what each dialect is told
	"internal/gate":         3500, // one state machine: what waits and for what, what runs, what operators do to both
	"internal/capacity":     2640, // one search: row, advice and inverse share it
	"test/acceptance":       3000, // one table of cases, with their processes and books
	"internal/config":       2610, // one typed struct, its loader and its checks, which know each other's paths
}

// checkSizes is I5.
func checkSizes(t *tree, p *pkg) []Fault {
	var out []Fault
	exported, lines := 0, 0
	for _, f := range p.files {
		limit := maxFileLines
		if path.Base(f.path) == "doc.go" {
			limit = maxDocLines
		}
		out = appendOver(out, Fault{Rule: "file-size", Path: f.path}, f.lines, limit, "lines; split it by noun")
		if !f.test {
			exported += countExported(f.ast)
			lines += f.lines
		}
		out = append(out, t.checkDeclSizes(p, f)...)
	}
	out = appendOver(out, Fault{Rule: "exported", Path: p.rel}, exported, maxExported, "exported types and functions; hide or split")
	return appendOver(out, Fault{Rule: "package-size", Path: p.rel}, lines, max(maxPackageLines, packageLines[p.rel]), "lines without tests; split the package")
}

// appendOver adds the fault if got is over the limit.
func appendOver(out []Fault, f Fault, got, limit int, what string) []Fault {
	if got <= limit {
		return out
	}
	f.Text = fmt.Sprintf("%d of at most %d %s", got, limit, what)
	return append(out, f)
}

func countExported(f *ast.File) int {
	n := 0
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.IsExported() {
				n++
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				if s, ok := s.(*ast.TypeSpec); ok && s.Name.IsExported() {
					n++
				}
			}
		}
	}
	return n
}

func (t *tree) checkDeclSizes(p *pkg, f *file) []Fault {
	var out []Fault
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			at := Fault{Rule: "func-size", Path: f.path, Line: t.line(n.Name)}
			out = appendOver(out, at, t.span(n), maxFuncLines, "lines in "+n.Name.Name+"; name its parts")
		case *ast.FuncType:
			at := Fault{Rule: "params", Path: f.path, Line: t.line(n)}
			out = appendOver(out, at, n.Params.NumFields(), maxParams, "parameters; group those that belong together")
		case *ast.InterfaceType:
			at := Fault{Rule: "interface", Path: f.path, Line: t.line(n)}
			out = appendOver(out, at, p.countMethods(n, 0), maxMethods, "methods; ask for less, or split by consumer")
		}
		return true
	})
	return out
}

// countMethods counts an interface's methods. Embedded interfaces of the same
// package count with their own methods, others as one; depth ends recursion.
func (p *pkg) countMethods(it *ast.InterfaceType, depth int) int {
	n := 0
	for _, field := range it.Methods.List {
		if len(field.Names) > 0 {
			n += len(field.Names)
			continue
		}
		switch e := field.Type.(type) {
		case *ast.UnaryExpr, *ast.BinaryExpr: // a constraint is no method
		case *ast.Ident:
			if inner := p.interfaceNamed(e.Name); inner != nil && depth < 8 {
				n += p.countMethods(inner, depth+1)
			}
		default:
			n++
		}
	}
	return n
}

func (p *pkg) interfaceNamed(name string) *ast.InterfaceType {
	for _, f := range p.files {
		for _, d := range f.ast.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, s := range gen.Specs {
				ts, ok := s.(*ast.TypeSpec)
				if !ok || ts.Name.Name != name {
					continue
				}
				it, _ := ts.Type.(*ast.InterfaceType)
				return it
			}
		}
	}
	return nil
}
