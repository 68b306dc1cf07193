package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"sync/atomic"
	"syscall"
	"time"
)

// The answers of the first target take so long, evenly spread.
const (
	shortest = 5 * time.Millisecond
	longest  = 50 * time.Millisecond
)

const answer = `{"choices":[{"message":{"role":"assistant","content":"So it does."}}],"usage":{"prompt_tokens":6,"completion_tokens":4,"total_tokens":10}}`

// spread answers late. The n-th answer takes the n-th part of the golden ratio:
// any stretch of them is spread evenly, whoever asks.
func spread() http.Handler {
	var n atomic.Uint64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		_, _ = io.Copy(io.Discard, r.Body)
		const golden = 0x9e3779b97f4a7c15
		share := float64(n.Add(1)*golden>>11) / (1 << 53)
		late := shortest + time.Duration(share*float64(longest-shortest))
		select {
		case <-time.After(time.Until(begun.Add(late))):
		case <-r.Context().Done():
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answer)
	})
}

// startSpread serves the first target from this process.
func startSpread(ctx context.Context, _ *options) (url string, stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: spread(), ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // always ends with ErrServerClosed
	}()
	return "http://" + listener.Addr().String() + "/v1", func() {
		_ = server.Close()
		<-done
	}, nil
}

var address = regexp.MustCompile(`on (http://\S+)`)

// startSim runs the built simulator.
func startSim(ctx context.Context, o *options) (url string, stop func(), err error) {
	cmd := exec.CommandContext(ctx, o.binary, "sim", "--listen", "127.0.0.1:0", "--latency", "20ms", "--output", "10")
	cmd.Stderr = io.Discard
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, pipe)
		_ = cmd.Wait() // how it ended says nothing
	}
	line, _ := bufio.NewReader(pipe).ReadString('\n')
	found := address.FindStringSubmatch(line)
	if found == nil {
		stop()
		return "", nil, errors.New("the simulator did not say where it listens")
	}
	return found[1] + "/v1", stop, nil
}
