package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// What a child process can be.
const (
	roleProvider = "provider"
	roleProxy    = "proxy"
	roleRequests = "requests"
	roleStreams  = "streams"
)

// The cores of the proxy under test, and of all the rest.
const (
	proxyCore = 0
	restCore  = 1
)

// ahead puts the process that it becomes before all others, as far as that is
// allowed, so that whatever else the machine does disturbs a measurement less.
const ahead = `{ echo -20 >/proc/self/autogroup; renice -n -20 -p $$; } >/dev/null 2>&1; exec "$0" "$@"`

// host starts children on their cores.
type host struct {
	self    string // path of this binary
	taskset string // empty where it cannot be used
	setsid  string // likewise
}

func newHost() (*host, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the own binary: %w", err)
	}
	h := &host{self: self}
	if path, err := exec.LookPath("taskset"); err == nil && runtime.NumCPU() > restCore {
		h.taskset = path
	}
	if path, err := exec.LookPath("setsid"); err == nil {
		h.setsid = path
	}
	return h, nil
}

// String says how the proxy is held to one core.
func (h *host) String() string {
	if h.taskset == "" {
		return "proxy with GOMAXPROCS=1, not pinned"
	}
	return fmt.Sprintf("proxy on core %d, provider and load on core %d", proxyCore, restCore)
}

// command is a child on a core. It sees nothing of this process's environment
// that could configure it.
func (h *host) command(ctx context.Context, core int, args ...string) *exec.Cmd {
	if h.taskset != "" {
		args = append([]string{h.taskset, "-c", strconv.Itoa(core)}, args...)
	}
	if h.setsid != "" {
		args = append([]string{h.setsid, "sh", "-c", ahead}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "GOMAXPROCS=1"}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// server is a child that listens.
type server struct {
	address string
	cmd     *exec.Cmd
	errs    *bytes.Buffer
	stop    context.CancelFunc
}

// serve starts a child and returns once it listens at address.
func (h *host) serve(ctx context.Context, core int, address string, args ...string) (*server, error) {
	ctx, stop := context.WithCancel(ctx)
	s := &server{address: address, cmd: h.command(ctx, core, args...), errs: &bytes.Buffer{}, stop: stop}
	s.cmd.Stderr = s.errs
	if err := s.cmd.Start(); err != nil {
		stop()
		return nil, err
	}
	if err := await(ctx, address); err != nil {
		s.close()
		return nil, fmt.Errorf("start %s: %w: %s", filepath.Base(args[0]), err, s.errs)
	}
	return s, nil
}

func (s *server) close() {
	s.stop()
	_ = s.cmd.Wait() // it was told to end
}

// await returns once somebody listens at address.
func await(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freeAddress is a port of the loopback that nobody uses now.
func freeAddress(ctx context.Context) (string, error) {
	l, err := listen(ctx, "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// flags are the options that a child must share.
func (o *options) flags(role string, more ...string) []string {
	return append([]string{
		"-role", role, "-rounds", strconv.Itoa(o.rounds),
		"-rate", strconv.FormatFloat(o.rate, 'g', -1, 64), "-time", o.time.String(), "-delay", o.delay.String(), "-conns", strconv.Itoa(o.conns),
		"-streams", strconv.Itoa(o.streams), "-at-once", strconv.Itoa(o.atOnce), "-chunks", strconv.Itoa(o.chunks), "-every", o.every.String(),
	}, more...)
}

// provider starts the mock.
func (h *host) provider(ctx context.Context, o *options) (*server, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	return h.serve(ctx, restCore, address, slices.Insert(o.flags(roleProvider, "-listen", address), 0, h.self)...)
}

// reverseProxy starts what the gateway is compared with.
func (h *host) reverseProxy(ctx context.Context, o *options, upstream string) (*server, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	args := o.flags(roleProxy, "-listen", address, "-target", upstream)
	return h.serve(ctx, proxyCore, address, slices.Insert(args, 0, h.self)...)
}

// millrace starts the gateway, with everything as it is by default but for a
// quota that nothing has to wait for.
func (h *host) millrace(ctx context.Context, o *options, upstream string) (*server, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "millrace.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, settings, address, dir, upstream), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s, err := h.serve(ctx, proxyCore, address, o.gateway, "serve", "--config", file)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	stop := s.stop
	s.stop = func() { stop(); _ = os.RemoveAll(dir) }
	return s, nil
}

const settings = `
listen: %s
state_dir: %s
upstreams:
  - name: main
    provider: openai
    base_url: http://%s/v1
    api_key: sk-fedcba9876543210fedcba9876543210
    quota: {requests: 100000000/m, tokens: 1000000000000/m, seats: 100000}
limits: {queue: 100000, queue_per_user: 100000}
`

// load runs one measurement of a proxy.
func (h *host) load(ctx context.Context, o *options, role string, proxy *server) (*result, error) {
	args := o.flags(role, "-target", proxy.address, "-pid", strconv.Itoa(proxy.cmd.Process.Pid))
	cmd := h.command(ctx, restCore, slices.Insert(args, 0, h.self)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", role, err)
	}
	r := &result{}
	if err := json.Unmarshal(out, r); err != nil {
		return nil, fmt.Errorf("measure %s: %w", role, err)
	}
	return r, nil
}
