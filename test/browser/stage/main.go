// Command stage serves the console over a gateway that is acted, for the browser
// tests: 200 users, quotas that are used, a breaker that is open, and names that
// try to be markup. It prints its address as JSON and ends with its standard
// input.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/millrace/millrace/internal/console"
)

func main() {
	locked := flag.Bool("locked", false, "ask for a key")
	still := flag.Bool("still", false, "nothing happens but what was before")
	hostile := flag.Bool("hostile", false, "names try to be markup")
	flag.Parse()
	if err := run(*locked, *still, *hostile); err != nil {
		fmt.Fprintln(os.Stderr, "stage:", err)
		os.Exit(1)
	}
}

// The keys of a locked stage.
const (
	operatorKey = "operator-key-of-the-stage"
	viewerKey   = "viewer-key-of-the-stage"
)

type keys bool

func (k keys) Any() bool { return bool(k) }

func (k keys) Find(sum [sha256.Size]byte) (console.Principal, bool) {
	switch sum {
	case sha256.Sum256([]byte(operatorKey)):
		return console.Principal{Name: "ops", Role: console.Operator}, true
	case sha256.Sum256([]byte(viewerKey)):
		return console.Principal{Name: "desk"}, true
	}
	return console.Principal{}, false
}

func run(locked, still, hostile bool) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p, err := newPlay(hostile)
	if err != nil {
		return err
	}
	defer p.close()
	c, err := console.New(console.Options{Version: "0.0.0-stage"}, console.Deps{
		Snapshot: p.admission.Snapshot, Settings: p.settings, Requests: p.ring, Meter: p.meter, Shadow: p.shadow, Keys: keys(locked),
		Tasks: func() console.Tasks { return console.Tasks{Waiting: 2, Running: 1} },
		Trip:  p.admission.Trip, Reset: p.admission.ResetUpstream, Flows: p.admission, Control: p.admission,
		Plan: p.plan, Load: &p.run,
		Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	defer c.Close()
	mux := http.NewServeMux()
	for _, m := range c.Mounts() {
		mux.HandleFunc(m.Pattern, func(w http.ResponseWriter, r *http.Request) { m.Handler(w, r, "req_stage") })
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	if !still {
		go p.act(ctx)
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"url": "http://" + l.Addr().String()}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}
