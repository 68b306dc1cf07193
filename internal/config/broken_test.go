package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/testkit"
)

// TestI2BrokenFiles: each file of testdata/broken has one fault and gets one line,
// which names the place and the mend.
func TestI2BrokenFiles(t *testing.T) {
	paths, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(paths) < 100 {
		t.Fatalf("%d files, %v", len(paths), err)
	}
	var all strings.Builder
	for _, path := range paths {
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		_, err = newLoader(nil).load(Source{File: name}, string(source))
		var joined interface{ Unwrap() []error }
		if !errors.As(err, &joined) || len(joined.Unwrap()) != 1 {
			t.Errorf("%s: not one fault: %v", name, err)
			continue
		}
		f, ok := errors.AsType[*Fault](err)
		if !ok || f.Origin.Name != name || f.Origin.Line == 0 || f.What == "" || f.Mend == "" || strings.ContainsRune(f.What+f.Mend, '\n') {
			t.Errorf("%s: no place or no mend: %v", name, err)
			continue
		}
		line, _, _ := strings.Cut(err.Error(), "\n")
		all.WriteString(line + "\n")
	}
	testkit.Golden(t, "broken", []byte(all.String()))
}
