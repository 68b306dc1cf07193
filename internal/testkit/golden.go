package testkit

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what golden files should contain instead of comparing")

// Golden compares got with the file testdata/name.golden below the test's folder.
// With -update it writes the file instead.
func Golden(tb testing.TB, name string, got []byte) {
	tb.Helper()
	golden(tb, filepath.Join("testdata", name+".golden"), got, *update)
}

func golden(tb testing.TB, path string, got []byte, write bool) {
	tb.Helper()
	if write {
		if err := writeGolden(path, got); err != nil {
			tb.Fatalf("write golden file: %v", err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		tb.Fatalf("read golden file: %v; run the test with -update to make it", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		tb.Errorf("%s differs (-want +got); run the test with -update if this is meant:\n%s", path, diff)
	}
}

func writeGolden(path string, got []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	return os.WriteFile(path, got, 0o600)
}
