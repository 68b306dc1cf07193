package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/provider/sim"
)

// site is where a case with a course of its own starts its processes.
type site struct {
	r    *runner
	name string
	dir  string
	ends []func() error // of what was started, the first first
}

// ownCases are the cases with a course of their own.
func ownCases(requests int64) []scenario {
	all := append(seedCases(), nonceCase(requests), consoleCase())
	return append(all, hostileCases()...)
}

// course runs a case with a course of its own and ends what it started.
func (r *runner) course(ctx context.Context, c *scenario, v *verdict) (err error) {
	s := &site{r: r, name: c.name, dir: filepath.Join(r.dir, strings.ReplaceAll(c.name, "/", "-"))}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	defer func() {
		for _, end := range slices.Backward(s.ends) {
			err = errors.Join(err, end())
		}
	}()
	return c.own(ctx, s, v)
}

// say prints how far the case is.
func (s *site) say(format string, args ...any) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	fmt.Fprintf(s.r.out, "     %s: %s\n", s.name, fmt.Sprintf(format, args...))
}

// start runs the binary until the case ends.
func (s *site) start(ctx context.Context, name string, args ...string) (*server, error) {
	p, err := startServer(ctx, s.r.binary, s.dir, name, serverOptions{args: args, env: []string{}})
	if err != nil {
		return nil, err
	}
	s.ends = append(s.ends, p.end)
	return p, nil
}

// gateway starts a gateway with the configuration, to which it adds a folder for
// its state.
func (s *site) gateway(ctx context.Context, configuration string) (*server, error) {
	state, file := filepath.Join(s.dir, "state"), filepath.Join(s.dir, "millrace.yaml")
	if err := os.RemoveAll(state); err != nil { // an older run's, in a folder that is kept
		return nil, err
	}
	text := "listen: 127.0.0.1:0\nstate_dir: " + state + "\n" + configuration
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return s.start(ctx, "gateway", "serve", "--config", file)
}

// read returns the metrics of a gateway; key may be empty.
func (s *server) read(ctx context.Context, key string) (all samples, err error) {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", response.Status)
	}
	return parseSamples(response.Body)
}

// books returns what a judge wrote down.
func (s *server) books(ctx context.Context) (b sim.Stats, err error) {
	err = fetch(ctx, s.base+"/sim/stats", func(r io.Reader) error { return json.NewDecoder(r).Decode(&b) })
	return b, err
}

// rest waits until nothing is outstanding at the gateway, for settleLimit at
// most, and returns its last metrics.
func (s *server) rest(ctx context.Context, key string) (samples, error) {
	limit := time.Now().Add(settleLimit)
	for {
		all, err := s.read(ctx, key)
		if err != nil || all.sum("millrace_attempts_outstanding") == 0 && all.sum("millrace_queue_depth") == 0 || time.Now().After(limit) {
			return all, err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return all, err
		}
	}
}

// complaints counts the lines of a server's log that tell of panics, and gives
// the first.
func (s *server) complaints() (panics int, first string, err error) {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return 0, "", err
	}
	for line := range bytes.Lines(text) {
		if bytes.Contains(line, []byte("panic")) || bytes.Contains(line, []byte("fatal error")) {
			if panics++; first == "" {
				first = strings.TrimSpace(string(line))
			}
		}
	}
	return panics, first, nil
}

// unpanicked judges a gateway's log.
func (v *verdict) unpanicked(s *server) error {
	panics, first, err := s.complaints()
	v.atMost("panics in the log", float64(panics), 0)
	if first != "" {
		v.show("%.200s", first)
	}
	return err
}

// pause waits so long, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hashOf is how a configuration names a key.
func hashOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
