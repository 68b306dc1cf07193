package app

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/config"
)

func readFrom(t *testing.T, folder, text string) *config.Config {
	file := filepath.Join(folder, "millrace.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(config.Source{File: file, Environ: []string{
		"MILLRACE_STATE_DIR=" + filepath.Join(folder, "state"), "MILLRACE_LISTEN=127.0.0.1:0",
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestI5MoreUpstreamsThanSlots: a reload for which there are no slots left fails in
// words, and what was in force goes on.
func TestI5MoreUpstreamsThanSlots(t *testing.T) {
	folder := t.TempDir()
	text := func(i int) string {
		return fmt.Sprintf("upstreams: [{name: main, base_url: \"http://127.0.0.1:1/v1\", quota: {seats: 3}}, {name: u%d, base_url: \"http://127.0.0.1:1/v1\", quota: {seats: 3}}]\n", i)
	}
	a, stop := running(t, readFrom(t, folder, text(0)))
	var last error
	for i := 1; i < 70; i++ {
		last = a.Reload(readFrom(t, folder, text(i)))
	}
	if last == nil || !strings.Contains(last.Error(), "restart") {
		t.Errorf("the reload that finds no slot says: %v", last)
	}
	if err := a.Reload(readFrom(t, folder, text(3))); err != nil {
		t.Errorf("one that needs no new slot: %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestI5KeysHoldWhileTheListenerDoes: a file that would let everybody in, once this
// process listened elsewhere, lets nobody in before that.
func TestI5KeysHoldWhileTheListenerDoes(t *testing.T) {
	folder := t.TempDir()
	up := "upstreams: [{name: main, provider: sim, quota: {seats: 3}}]\n"
	file := filepath.Join(folder, "p.yaml")
	read := func(text string, env ...string) *config.Config {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Source{File: file, Environ: append(env, "MILLRACE_STATE_DIR="+filepath.Join(folder, "state"))})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	public := read(up + "listen: 0.0.0.0:0\nadmin: {listen: 127.0.0.1:0}\nkeys: [{name: a, sha256: 1c86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f77a31}]\n")
	a, stop := running(t, public)
	before, _ := ask(t, a, question)
	err := a.Reload(read(up + "listen: 127.0.0.1:0\n"))
	after, _ := ask(t, a, question)
	if err == nil || after != http.StatusUnauthorized {
		t.Errorf("the listener on %s, which asked for a key (%d), answers %d after a reload that says: %v", a.Addr(), before, after, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestI5OperatorsKeepTheirRoutes: they are where this process serves them, whatever
// the next one will do.
func TestI5OperatorsKeepTheirRoutes(t *testing.T) {
	folder := t.TempDir()
	up := "upstreams: [{name: main, provider: sim, quota: {seats: 3}}]\n"
	file := filepath.Join(folder, "p.yaml")
	read := func(text string) *config.Config {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := config.Load(config.Source{File: file, Environ: []string{"MILLRACE_STATE_DIR=" + filepath.Join(folder, "state")}})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	keys := "keys: [{name: a, sha256: 1c86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f77a31}]\n"
	a, stop := running(t, read(up+"listen: 127.0.0.1:0\n"+keys))
	before := len(fetch(t, a.AdminAddr(), "/metrics"))
	err := a.Reload(read(up + "listen: 0.0.0.0:0\nadmin: {listen: 127.0.0.1:0}\n" + keys))
	if err != nil {
		t.Error(err)
	}
	after := len(fetch(t, a.AdminAddr(), "/metrics"))
	if after < before/2 {
		t.Errorf("/metrics had %d bytes, now %d: %s", before, after, fetch(t, a.AdminAddr(), "/metrics"))
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
