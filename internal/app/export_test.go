package app

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/testkit"
)

// told remembers whose requests it was told of.
type told struct{ users chan string }

func (s *told) Record(r *event.Record) { s.users <- r.Key.User }
func (*told) Attempt(*event.Attempt)   {}

// TestExportEndsWithTheGateway: what was counted last is written when the gateway
// stops, and sinks from outside are told, too.
func TestExportEndsWithTheGateway(t *testing.T) {
	testkit.LeakCheck(t)
	file := filepath.Join(t.TempDir(), "emf.log")
	c := load(t, "PORT=0")
	c.Metrics.EMF.File = file
	sink := &told{make(chan string, 10)}
	a, err := New(c, nil, sink)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- a.Run(ctx) }()
	if status, answer := tell(t, a.Addr(), letter{"POST /v1/chat/completions", "", question, []string{"Millrace-User: ann"}}); status != http.StatusOK {
		t.Errorf("%d %.200s", status, answer)
	}
	if user := <-sink.users; user != "ann" {
		t.Errorf("the sink was told of %q", user)
	}
	if err := os.Rename(file, file+".1"); err != nil { // as who rotates it does
		t.Error(err)
	}
	next := *c
	next.Classes = map[string]*config.Class{"chat": c.Classes["chat"], "own": {Weight: 1, Spacing: "any", Enforce: true}}
	if err := a.Reload(&next); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	classes := make(map[string]bool)
	for line := range strings.Lines(string(text)) {
		var l struct {
			Class string
			AWS   struct{ Timestamp int64 } `json:"_aws"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.AWS.Timestamp == 0 {
			t.Errorf("%v: %s", err, line)
		}
		classes[l.Class] = true
	}
	if !classes["chat"] || !classes["own"] || bytes.Contains(text, []byte("ann")) {
		t.Errorf("classes %v in %s", classes, text)
	}
}

func TestExportNeedsItsFile(t *testing.T) {
	testkit.LeakCheck(t)
	c := load(t, "PORT=0")
	c.Metrics.EMF.File = filepath.Join(t.TempDir(), "missing", "emf.log")
	if _, err := New(c, nil); err == nil || !strings.HasPrefix(err.Error(), "metrics.emf.file: ") {
		t.Error(err)
	}
}
