package load

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadTrace(t *testing.T) {
	dir := t.TempDir()
	_, err := ReadTrace(filepath.Join(dir, "none.csv"), 0)
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "none.csv is not there") {
		t.Errorf("absent: %v", err)
	}
	path := filepath.Join(dir, "t.csv")
	if err := os.WriteFile(path, []byte("TIMESTAMP,ContextTokens,GeneratedTokens\nx\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadTrace(path, 0); err == nil || !strings.Contains(err.Error(), path+": line 2:") {
		t.Errorf("malformed: %v", err)
	}
	if _, err := ReadTrace(dir, 0); err == nil {
		t.Error("a folder was read as a trace")
	}
}
