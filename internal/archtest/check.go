package archtest

import (
	"cmp"
	"io/fs"
	"slices"
)

// Check reads the tree of fsys and returns every fault, ordered by place. It
// returns an error if there is no go.mod or a file does not parse.
func Check(fsys fs.FS) ([]Fault, error) {
	t, err := load(fsys, Floors)
	if err != nil {
		return nil, err
	}
	deps, err := checkDependencies(fsys)
	if err != nil {
		return nil, err
	}
	faults := deps
	for _, p := range t.pkgs {
		for _, rule := range []func(*tree, *pkg) []Fault{
			checkPlace, checkImports, checkPurity, checkNames, checkSizes, checkHabits,
		} {
			faults = append(faults, rule(t, p)...)
		}
	}
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Rule, b.Rule))
	})
	return faults, nil
}
