package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestI8DistIsWhatWebMakes is the drift check of package console: it fails if
// dist was edited, or web/ changed without it.
func TestI8DistIsWhatWebMakes(t *testing.T) {
	if err := run("../..", true); err != nil {
		t.Error(err)
	}
}

// tree is a copy of the sources that a test may spoil.
func tree(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(filepath.Join(root, "web"), os.DirFS("../../web")); err != nil {
		t.Fatal(err)
	}
	if err := run(root, false); err != nil {
		t.Fatal(err)
	}
	return root
}

func TestSpoiledTreesAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name, file, text, want string
	}{
		{"dist was edited", "internal/console/dist/app.js", "//", "app.js is not what web/ makes"},
		{"dist has more", "internal/console/dist/extra.js", "//", "extra.js is not made by web/"},
		{"the source has changed", "web/src/theme.ts", "document.title = '';", "theme.js is not what"},
		{"a package was edited", "web/vendor/preact/preact.mjs", "//", "preact/preact.mjs is not the recorded one"},
		{"markup of text", "web/src/bad.ts", "document.body.innerHTML = location.hash;", "innerHTML makes markup"},
		{"a package from nowhere", "web/src/theme.ts", `import "left-pad";`, "left-pad is not vendored"},
		{"broken", "web/src/theme.ts", `const = 1`, "ERROR"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := tree(t)
			f, err := os.OpenFile(filepath.Join(root, tc.file), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString("\n" + tc.text + "\n"); err != nil {
				t.Fatal(err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			if err := run(root, true); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
}

func TestBundleHasABound(t *testing.T) {
	if _, err := weigh(map[string][]byte{"app.js": random(100)}); err != nil {
		t.Error(err)
	}
	if _, err := weigh(map[string][]byte{"app.js": random(2 * maxPacked)}); err == nil {
		t.Error("a bundle over the bound is not refused")
	}
}

// random is text that does not get smaller, the same each time.
func random(n int) []byte {
	b, x := make([]byte, n), uint64(88172645463325252)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 24)
	}
	return b
}
