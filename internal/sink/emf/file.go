package emf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// File is a file to write to by name: when what bears the name is another file than
// before, or none, the next Write opens it anew. Whoever rotates it may so rename or
// remove it, and tells nobody. It is safe for concurrent use. Use Open.
type File struct {
	mu   sync.Mutex
	path string
	file *os.File // nil when it could not be opened anew, or was closed
	over bool
}

// Open opens a file to append to, and makes it, for its owner alone, if there is none.
func Open(path string) (*File, error) {
	whole, err := filepath.Abs(path) // wherever the process goes
	if err != nil {
		return nil, fmt.Errorf("where is %s: %w", path, err)
	}
	f := &File{path: whole}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) open() (err error) {
	f.file, err = os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		f.file = nil
	}
	return err
}

// Write appends to the file that bears the name now. Where that cannot be opened
// nothing is written, and the next Write tries again.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return 0, fmt.Errorf("write %s: %w", f.path, os.ErrClosed)
	}
	if err := f.follow(); err != nil {
		return 0, err
	}
	return f.file.Write(p)
}

// follow opens the file anew if the name is no longer its own.
func (f *File) follow() error {
	if f.file == nil {
		return f.open()
	}
	there, err := os.Stat(f.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	held, heldErr := f.file.Stat()
	if err == nil && heldErr == nil && os.SameFile(there, held) {
		return nil
	}
	_ = f.file.Close() // what was written there is whole, or was told
	return f.open()
}

// Close closes the file; what is written afterwards fails.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = true
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
