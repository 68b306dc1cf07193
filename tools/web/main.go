// Command web bundles the console: web/ becomes internal/console/dist. With
// -check it writes nothing and fails if dist is not what it would have written.
//
// It fetches nothing: the packages that the pages stand on are in web/vendor, and
// a file there whose hash is not the recorded one is refused.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

func main() {
	root := flag.String("root", "../..", "the repository")
	check := flag.Bool("check", false, "compare, and write nothing")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	source, dist := filepath.Join(root, "web"), filepath.Join(root, "internal", "console", "dist")
	vendored, err := readVendor(filepath.Join(source, "vendor"))
	if err != nil {
		return err
	}
	if err := forbidden(filepath.Join(source, "src")); err != nil {
		return err
	}
	made, err := bundle(source, vendored)
	if err != nil {
		return err
	}
	size, err := weigh(made)
	if err != nil {
		return err
	}
	if check {
		if err := compare(dist, made); err != nil {
			return err
		}
		fmt.Printf("web: dist is what web/ makes, %d bytes gzipped\n", size)
		return nil
	}
	if err := write(dist, made); err != nil {
		return err
	}
	fmt.Printf("web: %d files, %d bytes gzipped\n", len(made), size)
	return nil
}

// names are the files of a bundle in order.
func names(made map[string][]byte) []string {
	all := make([]string, 0, len(made))
	for name := range made {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// compare tells every file in which dist differs.
func compare(dist string, made map[string][]byte) error {
	var faults []error
	for _, name := range names(made) {
		have, err := os.ReadFile(filepath.Join(dist, name))
		if errors.Is(err, fs.ErrNotExist) {
			faults = append(faults, fmt.Errorf("%s is missing: run make web", name))
		} else if err != nil {
			faults = append(faults, err)
		} else if !bytes.Equal(have, made[name]) {
			faults = append(faults, fmt.Errorf("%s is not what web/ makes: run make web, and never edit it", name))
		}
	}
	entries, err := os.ReadDir(dist)
	if err != nil {
		return errors.Join(append(faults, err)...)
	}
	for _, e := range entries {
		if _, known := made[e.Name()]; !known {
			faults = append(faults, fmt.Errorf("%s is not made by web/: remove it", e.Name()))
		}
	}
	return errors.Join(faults...)
}

// write replaces dist.
func write(dist string, made map[string][]byte) error {
	if err := os.RemoveAll(dist); err != nil {
		return err
	}
	if err := os.MkdirAll(dist, 0o755); err != nil {
		return err
	}
	for _, name := range names(made) {
		if err := os.WriteFile(filepath.Join(dist, name), made[name], 0o644); err != nil {
			return err
		}
	}
	return nil
}
