package e2e

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait of a script.
const patience = 20 * time.Second

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"http": httpMain})
}

func TestStories(t *testing.T) {
	bin := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(bin, "millrace"), "github.com/millrace/millrace/cmd/millrace")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(filepath.ListSeparator)+e.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"port": port, "await": await, "said": said, "loopback": loopback, "signal": signal, "exits": exits,
		},
		RequireExplicitExec: true,
	})
}

// port reserves nothing: it is the caller's to bind the port soon.
func port(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: port NAME")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	_, number, err := net.SplitHostPort(l.Addr().String())
	ts.Check(errors.Join(err, l.Close()))
	ts.Setenv(args[0], number)
}

func await(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: await URL [REGEXP]")
	}
	want := regexp.MustCompile("")
	if len(args) == 2 {
		want = regexp.MustCompile("(?m)" + args[1])
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for last := ""; ; {
		status, body, err := get(ctx, args[0])
		if err == nil && (status == http.StatusOK && want.MatchString(body)) != neg {
			return
		}
		if err == nil {
			last = strconv.Itoa(status) + " " + body
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("%s did not come to that: %s", args[0], last)
		case <-tick.C:
		}
	}
}

func get(ctx context.Context, url string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, string(text), errors.Join(err, response.Body.Close())
}

// said waits until a file, such as the log of a program in the background, has
// lines that match.
func said(ts *testscript.TestScript, neg bool, args []string) {
	count := 1
	if len(args) == 3 {
		n, found := strings.CutPrefix(args[0], "-count=")
		number, err := strconv.Atoi(n)
		if !found || err != nil {
			ts.Fatalf("usage: said [-count=N] FILE REGEXP")
		}
		count, args = number, args[1:]
	}
	if len(args) != 2 || neg {
		ts.Fatalf("usage: said [-count=N] FILE REGEXP")
	}
	want := regexp.MustCompile("(?m)" + args[1])
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && len(want.FindAll(text, -1)) >= count {
			return
		}
		select {
		case <-ctx.Done():
			ts.Fatalf("%s does not say that: %s", args[0], text)
		case <-tick.C:
		}
	}
}

// loopback looks at where a program in the background listens.
func loopback(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: loopback WORD")
	}
	addresses, err := listening(background(ts, args[0]).Pid)
	ts.Check(err)
	if len(addresses) == 0 {
		ts.Fatalf("%s does not listen", args[0])
	}
	open := slices.ContainsFunc(addresses, func(a netip.AddrPort) bool { return !a.Addr().IsLoopback() })
	if ts.Logf("%s listens on %v", args[0], addresses); open != neg {
		ts.Fatalf("%s listens on %v", args[0], addresses)
	}
}

// listening are the addresses on which a process accepts connections, as Linux
// tells them.
func listening(pid int) ([]netip.AddrPort, error) {
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for _, link := range links {
		target, _ := os.Readlink(link) // one that was just closed is none of a listener
		own[target] = true
	}
	var all []netip.AddrPort
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			const state, listen, inode = 3, "0A", 9
			if f := strings.Fields(line); len(f) > inode && f[state] == listen && own["socket:["+f[inode]+"]"] {
				address, err := kernelAddress(f[1])
				if err != nil {
					return nil, err
				}
				all = append(all, address)
			}
		}
	}
	return all, nil
}

// kernelAddress reads 0100007F:1F90, whose words of four bytes stand in the order
// of this machine.
func kernelAddress(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	number, wrong := strconv.ParseUint(port, 16, 16)
	for i := 0; i+4 <= len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	if err = errors.Join(err, wrong); err == nil && !ok {
		err = fmt.Errorf("%q is no address", text)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(number)), err
}

func signal(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	if len(args) != 2 || signals[args[0]] == nil {
		ts.Fatalf("usage: signal TERM|HUP WORD")
	}
	ts.Check(background(ts, args[1]).Signal(signals[args[0]]))
}

// background is the program in the background whose command line has the word.
func background(ts *testscript.TestScript, word string) *os.Process {
	for _, c := range ts.BackgroundCmds() {
		if slices.Contains(c.Args, word) {
			return c.Process
		}
	}
	ts.Fatalf("no program in the background has the word %s", word)
	return nil
}

func exits(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits STATUS PROGRAM ...")
	}
	status := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		status = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("exit status %d, want %s", status, args[0])
	}
}

// httpMain is the program http.
func httpMain() {
	body := flag.String("d", "", "body; the request is a POST then")
	var header headers
	flag.Var(&header, "H", "header")
	flag.Parse()
	if err := ask(flag.Arg(0), *body, header); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type headers []string

func (h *headers) String() string     { return strings.Join(*h, "\n") }
func (h *headers) Set(s string) error { *h = append(*h, s); return nil }

func ask(url, body string, header headers) error {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	for _, line := range header {
		name, value, _ := strings.Cut(line, ":")
		request.Header.Set(name, strings.TrimSpace(value))
		if name == "Host" {
			request.Host = strings.TrimSpace(value)
		}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	fmt.Println("status:", response.StatusCode)
	if err := response.Header.Write(os.Stdout); err != nil {
		return err
	}
	fmt.Println()
	_, err = io.Copy(os.Stdout, response.Body)
	return errors.Join(err, response.Body.Close())
}
