package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// small are options for one quick request.
func small() *options {
	return &options{rounds: 1, rate: 100, time: time.Second, conns: 1, streams: 1, atOnce: 1, chunks: 5, every: time.Millisecond}
}

// serveOn runs a server of this package on the loopback until the test ends.
func serveOn(t *testing.T, o options, serve func(context.Context, *options) error) string {
	t.Helper()
	address, err := freeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o.listen = address
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, &o) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if err := await(ctx, address); err != nil {
		t.Fatal(err)
	}
	return address
}

// TestWhole sends both kinds of request to the mock, straight and through the
// ReverseProxy. A stream that the ReverseProxy cuts, as it now and then does, is asked
// for again.
func TestWhole(t *testing.T) {
	o := small()
	o.target = serveOn(t, *o, serveProvider)
	proxied := *o
	proxied.target = serveOn(t, *o, serveProxy)
	for name, o := range map[string]*options{"straight": o, "proxied": &proxied} {
		c := &client{o: o}
		defer c.close()
		var chunks atomic.Int64
		for range 2 { // the second on the same connection
			err := errors.Join(c.ask(t.Context()), c.listen(t.Context(), &chunks))
			for try := 0; err != nil && name == "proxied" && try < 20; try++ {
				c.close() // it goes with the stream
				chunks.Store(chunks.Load() / 5 * 5)
				err = c.listen(t.Context(), &chunks)
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if chunks.Load() != 10 {
			t.Errorf("%s: counted %d chunks of 10", name, chunks.Load())
		}
	}
}

// TestCut ends streams where they must not end.
func TestCut(t *testing.T) {
	p := newProvider(small())
	whole := string(p.head) + strings.Repeat(string(p.chunk), 4) + string(p.last) + string(p.done)
	cases := map[string]string{
		"in the header":        whole[:40],
		"before the first":     string(p.head),
		"in a chunk":           whole[:len(p.head)+len(p.chunk)/2],
		"without the mark":     strings.Replace(whole, "[DONE]", "[MORE]", 1),
		"one chunk is missing": strings.Replace(whole, string(p.chunk), "", 1),
		"in the end of HTTP":   strings.TrimSuffix(whole, "0\r\n\r\n"),
		"refused":              "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
	}
	for name, answer := range cases {
		t.Run(name, func(t *testing.T) {
			l := answering(t, answer)
			o := small()
			o.target = l.Addr().String()
			load := &load{o: o}
			c := &client{o: o}
			load.stream(t.Context(), c)
			if load.lost != 1 || load.served.Load() != 0 || load.fault == nil {
				t.Errorf("lost %d, served %d, fault %v", load.lost, load.served.Load(), load.fault)
			}
		})
	}
}

// answering listens and answers one connection with text, then closes it.
func answering(t *testing.T, text string) net.Listener {
	t.Helper()
	l, err := listen(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, text)
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l
}

// rounds is a book in which the gateway costs the given multiples of 10 us, in
// each round.
func rounds(multiples ...float64) *book {
	b := &book{}
	of := func(m float64) round {
		cpu := time.Duration(m * float64(10*time.Microsecond))
		return round{requests: &result{Served: 1, CPU: cpu}, streams: &result{Served: 2, Chunks: 1, CPU: cpu, Peak: int64(m * 1e6)}}
	}
	for _, m := range multiples {
		b.gateway, b.bare = append(b.gateway, of(m)), append(b.bare, of(1))
	}
	return b
}

func TestJudge(t *testing.T) {
	bounds := options{rate: 2000, maxCPU: 1.3, maxChunk: 1.3, maxRSS: 1.5}
	cut := rounds(1, 1, 1)
	cut.gateway[2].streams.Lost = 1
	failed := rounds(1)
	failed.gateway[0].requests.Lost = 1
	bare := rounds(1)
	bare.bare[0].streams.Lost = 1
	cases := map[string]struct {
		book *book
		want []string // in the error; none: no error
	}{
		"within":                {rounds(1.2, 1.29, 1.3), nil},
		"one bad round of 3":    {rounds(1.2, 9, 1.1), nil},
		"over for CPU alone":    {rounds(1.4), []string{"us/request, ", "1.40", "us/chunk"}},
		"over for all":          {rounds(1.2, 1.6, 1.7), []string{"RSS", "1.60", "1.50"}},
		"a stream is cut":       {cut, []string{"cut 1"}},
		"a request failed":      {failed, []string{"failed 1"}},
		"cut by the other only": {bare, nil},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			rows := c.book.table(&bounds)
			err := c.book.judge(rows, io.Discard)
			if (err != nil) != (c.want != nil) {
				t.Fatal(err)
			}
			for _, w := range c.want {
				if !errors.Is(err, errOver) || !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in: %v", w, err)
				}
			}
		})
	}
}

func TestMedian(t *testing.T) {
	for want, list := range map[float64][]float64{2: {3, 1, 2}, 2.5: {4, 1, 2, 3}, 7: {7}} {
		if got := median(list); got != want {
			t.Errorf("median of %v is %v", list, got)
		}
	}
}

// TestProc reads what this process itself has used.
func TestProc(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs /proc")
	}
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Skip(err)
	}
	for start := time.Now(); time.Since(start) < 20*time.Millisecond; { // time must pass in use
	}
	after, err := cpuTime(os.Getpid())
	if used := after - before; err != nil || used <= 0 || used > time.Minute {
		t.Errorf("used %v, %v", used, err)
	}
	if peak, err := peakMemory(os.Getpid()); err != nil || peak < 1<<20 || peak > 1<<40 {
		t.Errorf("peak %d, %v", peak, err)
	}
}

func TestOptions(t *testing.T) {
	for _, args := range []string{"-rounds 0", "-rate 0", "-streams 10", "-conns 10", "-at-once 0", "-time 0s"} {
		if err := run(t.Context(), strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%s: no fault", args)
		}
	}
}
