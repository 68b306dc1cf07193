package emf

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestI5Followed: however a file is rotated, the next write stands in the one that bears
// the name, what was written before stays where it is, and one file is open.
func TestI5Followed(t *testing.T) {
	for name, rotate := range map[string]func(path string) error{
		"not at all": func(string) error { return nil },
		"renamed":    func(path string) error { return os.Rename(path, path+".1") },
		"removed":    os.Remove,
		"renamed, and made": func(path string) error {
			return errors.Join(os.Rename(path, path+".1"), os.WriteFile(path, nil, 0o600))
		},
		"removed, and made": func(path string) error { return errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600)) },
		"another put there": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
		},
		"copied and emptied": func(path string) error { return os.Truncate(path, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "emf.log")
			f, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			for i, line := range []string{"one\n", "two\n", "three\n"} {
				if i > 0 {
					if err := errors.Join(rotate(path), os.RemoveAll(path+".2")); err != nil {
						t.Fatal(err)
					}
				}
				if _, err := f.Write([]byte(line)); err != nil {
					t.Fatal(err)
				}
				text, err := os.ReadFile(path)
				if err != nil || !strings.HasSuffix(string(text), line) || name != "not at all" && string(text) != line {
					t.Errorf("after %d rotations: %q, %v", i, text, err)
				}
				if strings.HasPrefix(name, "renamed") && i > 0 {
					if old, err := os.ReadFile(path + ".1"); err != nil || string(old) != []string{"one\n", "two\n"}[i-1] {
						t.Errorf("what was rotated away holds %q, %v", old, err)
					}
				}
			}
			if n := opened(t, filepath.Dir(path)); n != 1 && runtime.GOOS == "linux" {
				t.Errorf("%d files are open", n)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
			if _, err := f.Write([]byte("four\n")); !errors.Is(err, os.ErrClosed) {
				t.Errorf("written after the end: %v", err)
			}
		})
	}
}

// opened is how many files of a folder this process has open.
func opened(t *testing.T, folder string) (n int) {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	for _, fd := range all {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, folder) {
			n++
		}
	}
	return n
}

// TestFileComesBack: where the folder is gone a batch is lost and told, and the next one
// is written when it is there again.
func TestFileComesBack(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "emf.log")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := f.Write([]byte("lost\n")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("written where no folder is: %v", err)
		}
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("back\n")); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "back\n" {
		t.Errorf("%q, %v", text, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := Open(filepath.Join(folder, "absent", "emf.log")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened where no folder is: %v", err)
	}
}

// TestFileUnderASink: batches go on in the new file, each whole.
func TestFileUnderASink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "emf.log")
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		s, err := New(Options{Classes: []string{"chat"}}, Deps{Out: f})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.Run(ctx); close(done) }()
		<-time.After(90 * time.Second)
		if err := os.Rename(path, path+".1"); err != nil {
			t.Error(err)
		}
		<-time.After(time.Minute)
		stop()
		<-done
	})
	for name, batches := range map[string]int{path + ".1": 1, path: 2} {
		text, err := os.ReadFile(name)
		if n := strings.Count(string(text), `"Class":"chat"`); err != nil || n != batches || !strings.HasSuffix(string(text), "}\n") {
			t.Errorf("%s has %d batches, want %d: %v", name, n, batches, err)
		}
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
