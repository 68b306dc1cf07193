package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"sort"
	"strconv"
	"strings"
)

// Fault is one broken rule at one place.
type Fault struct {
	// Rule is the short name of the rule, such as "sideways".
	Rule string
	// Path is the file or folder, relative to the root of the tree.
	Path string
	// Line is 1 or more, or 0 if the whole file or folder is meant.
	Line int
	// Text says what is wrong and how to mend it.
	Text string
}

// String is the form an editor can jump to: path:line: rule: text.
func (f Fault) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s: %s", f.Path, f.Rule, f.Text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", f.Path, f.Line, f.Rule, f.Text)
}

// file is one parsed source file.
type file struct {
	path  string // relative to the root, with forward slashes
	test  bool   // its name ends in _test.go
	lines int
	ast   *ast.File
	names map[string]string // local name of an import -> its path
}

// pkg is one folder of Go files.
type pkg struct {
	rel   string // folder below the root; "." for the root itself
	name  string // package clause of its production files, or of its tests if it has no others
	files []*file
	at    place
	found bool
}

// production returns the files that end up in a binary.
func (p *pkg) production() []*file {
	var out []*file
	for _, f := range p.files {
		if !f.test {
			out = append(out, f)
		}
	}
	return out
}

// tree is the parsed source.
type tree struct {
	module string
	fset   *token.FileSet
	pkgs   []*pkg
}

// load parses every Go file of fsys that belongs to its module.
func load(fsys fs.FS, floors []Floor) (*tree, error) {
	mod, err := readModule(fsys, "go.mod")
	if err != nil {
		return nil, err
	}
	t := &tree{module: mod.path, fset: token.NewFileSet()}
	byDir := map[string]*pkg{}
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return skipDir(fsys, p)
		case !strings.HasSuffix(p, ".go"):
			return nil
		}
		return t.add(fsys, p, byDir)
	})
	if err != nil {
		return nil, fmt.Errorf("read tree: %w", err)
	}
	for _, p := range byDir {
		p.at, p.found = find(floors, p.rel)
		t.pkgs = append(t.pkgs, p)
	}
	sort.Slice(t.pkgs, func(i, j int) bool { return t.pkgs[i].rel < t.pkgs[j].rel })
	return t, nil
}

// skipDir leaves out what the go command leaves out too.
func skipDir(fsys fs.FS, dir string) error {
	if dir == "." {
		return nil
	}
	base := path.Base(dir)
	if base == "testdata" || base == "node_modules" || base[0] == '.' || base[0] == '_' {
		return fs.SkipDir
	}
	if _, err := fs.Stat(fsys, path.Join(dir, "go.mod")); err == nil {
		return fs.SkipDir
	}
	return nil
}

func (t *tree) add(fsys fs.FS, name string, byDir map[string]*pkg) error {
	src, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	parsed, err := parser.ParseFile(t.fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	f := &file{
		path:  name,
		test:  strings.HasSuffix(name, "_test.go"),
		lines: strings.Count(string(src), "\n"),
		ast:   parsed,
		names: importNames(parsed),
	}
	dir := path.Dir(name)
	p := byDir[dir]
	if p == nil {
		p = &pkg{rel: dir}
		byDir[dir] = p
	}
	if p.name == "" || !f.test {
		p.name = strings.TrimSuffix(parsed.Name.Name, "_test")
	}
	p.files = append(p.files, f)
	return nil
}

// importNames maps the name a file uses for an import to the import path. The
// default name is the last element that is not a major version.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		p := importPath(spec)
		name := path.Base(p)
		if len(name) > 1 && name[0] == 'v' && strings.Trim(name[1:], "0123456789") == "" {
			name = path.Base(path.Dir(p))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
	}
	return names
}

// importPath unquotes; the parser has already checked the literal.
func importPath(spec *ast.ImportSpec) string {
	p, _ := strconv.Unquote(spec.Path.Value)
	return p
}

// line returns where a node begins.
func (t *tree) line(n ast.Node) int { return t.fset.Position(n.Pos()).Line }

// span returns how many lines a node covers.
func (t *tree) span(n ast.Node) int {
	return t.fset.Position(n.End()).Line - t.line(n) + 1
}
