package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// Bounds of a process's life beside its work.
const (
	startLimit = 15 * time.Second
	stopLimit  = 10 * time.Second
)

// server is a process that told where it listens.
type server struct {
	name string
	base string // http://127.0.0.1:PORT
	cmd  *exec.Cmd
	log  *os.File
	stop context.CancelFunc
}

// startServer runs the binary in dir with nothing in its environment but env,
// and waits until it has printed its address. Its output goes to NAME.log.
func startServer(ctx context.Context, binary, dir, name string, options serverOptions) (*server, error) {
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	heard := &announcement{log: log, found: make(chan string, 1)}
	cmd := command(ctx, binary, options.args)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, options.env, heard, heard
	s := &server{name: name, cmd: cmd, log: log, stop: stop}
	if err := cmd.Start(); err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), log.Close())
	}
	timeout := time.NewTimer(startLimit)
	defer timeout.Stop()
	select {
	case s.base = <-heard.found:
		return s, nil
	case <-timeout.C:
		err = fmt.Errorf("%s printed no address within %v: %s", name, startLimit, heard.text())
	case <-ctx.Done():
		err = ctx.Err()
	}
	return nil, errors.Join(err, s.end())
}

type serverOptions struct{ args, env []string }

// command is a process that is asked to end when ctx does, and killed if it
// does not.
func command(ctx context.Context, binary string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = stopLimit
	return cmd
}

// end stops the server and says if it did not end in peace.
func (s *server) end() error {
	s.stop()
	err := s.cmd.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil // it ended well, because we asked it to
	}
	if err != nil {
		err = fmt.Errorf("%s ended badly: %w", s.name, err)
	}
	return errors.Join(err, s.log.Close())
}

// address is in the first line that a server writes for people; one of the log may
// come before it, and name another's.
var address = regexp.MustCompile(`(?m)^[^{\n][^\n]* on (http://127\.0\.0\.1:[0-9]+)`)

// announcement passes output to the log and looks for the address in it that is
// the server's own.
type announcement struct {
	mu    sync.Mutex
	log   *os.File
	head  []byte
	found chan string
	done  bool
}

// Write implements io.Writer.
func (a *announcement) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.done && len(a.head) < 16<<10 {
		a.head = append(a.head, b...)
		if at := address.FindSubmatchIndex(a.head); at != nil && at[1] < len(a.head) {
			a.done = true
			a.found <- string(a.head[at[2]:at[3]])
		}
	}
	return a.log.Write(b)
}

func (a *announcement) text() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return string(a.head)
}
