package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// warmup precedes the measured requests: connections open, pools fill.
const warmup = time.Second

// users is how many names the requests bear.
const users = 1000

// result is what one measurement of one proxy found.
type result struct {
	Served int64 // requests or streams that came back whole
	Lost   int64 // those that did not
	Chunks int64
	CPU    time.Duration // the proxy spent on all of this
	Peak   int64         // bytes of memory it ever held
	// Of requests: how much longer than the provider they took.
	Median, P99 time.Duration
	Fault       string // of the first that was lost
}

// load sends requests to one proxy.
type load struct {
	o      *options
	served atomic.Int64
	chunks atomic.Int64

	mu     sync.Mutex
	lost   int64
	fault  error
	delays []time.Duration
}

// measure is a child's work: it prints its result as JSON.
func measure(ctx context.Context, o *options, out io.Writer) error {
	l := &load{o: o}
	work := l.requests
	if o.role == roleStreams {
		work = l.streams
	}
	r, err := work(ctx)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

// requests keeps the rate: each connection has its own due times, and asks late
// rather than never. Between the two samples everything is in its steady state.
func (l *load) requests(ctx context.Context) (*result, error) {
	start, o := time.Now(), l.o
	end := start.Add(warmup + o.time + 2*o.delay)
	var all sync.WaitGroup
	for i := range o.conns {
		all.Go(func() { l.keep(ctx, i, start, end) })
	}
	time.Sleep(warmup)
	before, err := cpuTime(o.pid)
	served := l.served.Load()
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Until(start.Add(warmup + o.time)))
	after, err := cpuTime(o.pid)
	served = l.served.Load() - served
	all.Wait()
	r, failed := l.result()
	r.Served, r.CPU = served, after-before
	return r, errors.Join(err, failed)
}

// keep carries the requests of one connection from start to end.
func (l *load) keep(ctx context.Context, i int, start, end time.Time) {
	c := &client{o: l.o, user: i}
	defer c.close()
	for n := i; ctx.Err() == nil; n += l.o.conns {
		due := start.Add(time.Duration(float64(n) / l.o.rate * float64(time.Second)))
		if due.After(end) {
			return
		}
		time.Sleep(time.Until(due))
		asked := time.Now()
		if err := c.ask(ctx); err != nil {
			l.lose(err)
			c.close()
			continue
		}
		l.served.Add(1)
		if asked.Sub(start) > warmup {
			l.mu.Lock()
			l.delays = append(l.delays, time.Since(asked)-l.o.delay)
			l.mu.Unlock()
		}
	}
}

// streams runs one round's share of the streams. They begin one after the other
// over the time that one takes, so that chunks come at any time.
func (l *load) streams(ctx context.Context) (*result, error) {
	o := l.o
	before, err := cpuTime(o.pid)
	if err != nil {
		return nil, err
	}
	apart := time.Duration(o.chunks) * o.every / time.Duration(o.atOnce)
	var left atomic.Int64
	left.Store(int64(o.streams / o.rounds))
	var all sync.WaitGroup
	for i := range o.atOnce {
		all.Go(func() {
			c := &client{o: o, user: i}
			defer c.close()
			time.Sleep(time.Duration(i) * apart)
			for ctx.Err() == nil && left.Add(-1) >= 0 {
				l.stream(ctx, c)
			}
		})
	}
	all.Wait()
	after, err := cpuTime(o.pid)
	r, failed := l.result()
	r.CPU = after - before
	return r, errors.Join(err, failed)
}

func (l *load) stream(ctx context.Context, c *client) {
	if err := c.listen(ctx, &l.chunks); err != nil {
		l.lose(err)
		c.close()
		return
	}
	l.served.Add(1)
}

func (l *load) lose(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost++
	if l.fault == nil {
		l.fault = err
	}
}

// result is what has been counted.
func (l *load) result() (*result, error) {
	r := &result{Served: l.served.Load(), Lost: l.lost, Chunks: l.chunks.Load()}
	if l.fault != nil {
		r.Fault = l.fault.Error()
	}
	if n := len(l.delays); n > 0 {
		slices.Sort(l.delays)
		r.Median, r.P99 = l.delays[n/2], l.delays[n*99/100]
	}
	var err error
	r.Peak, err = peakMemory(l.o.pid)
	return r, err
}

// client is one connection, which carries one request at a time.
type client struct {
	o    *options
	user int
	conn net.Conn // nil until asked, and after a failure
	r    *bufio.Reader
	line *bufio.Reader // of a stream's body
	out  []byte
}

// send writes a request and returns the answer once its header has come.
func (c *client) send(ctx context.Context, stream bool) (*http.Response, error) {
	if c.conn == nil {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", c.o.target)
		if err != nil {
			return nil, err
		}
		c.conn, c.r, c.line = conn, bufio.NewReader(conn), bufio.NewReader(nil)
	}
	c.user = (c.user + 1) % users
	if err := c.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(c.request(stream)); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err == nil && resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		err = fmt.Errorf("status %d: %s", resp.StatusCode, bytes.TrimSpace(text))
	}
	return resp, err
}

// request is what goes out, about 300 bytes of it body.
func (c *client) request(stream bool) []byte {
	body := fmt.Sprintf(`{"model":"gpt-4o-mini","messages":[{"role":"system","content":"You are the miller. Answer in one sentence."},`+
		`{"role":"user","content":"How does an even current of water help the wheel, and what happens when it comes in bursts?"}],`+
		`"max_tokens":200,"temperature":0.7,"stream":%t,"user":"user-%d"}`, stream, c.user)
	c.out = fmt.Appendf(c.out[:0], "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench\r\nAccept: application/json\r\n"+
		"Authorization: Bearer sk-0123456789abcdef0123456789abcdef\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		c.o.target, len(body), body)
	return c.out
}

// ask makes one request that is not a stream.
func (c *client) ask(ctx context.Context) error {
	resp, err := c.send(ctx, false)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if err == nil && n < 500 {
		err = fmt.Errorf("the answer has %d bytes only", n)
	}
	return err
}

// listen makes one request that is a stream, and counts its chunks into all. A
// stream is whole if every chunk, the end mark and the end of the body came.
func (c *client) listen(ctx context.Context, all *atomic.Int64) error {
	resp, err := c.send(ctx, true)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	c.line.Reset(resp.Body)
	chunks, done := 0, false
	for err == nil {
		var line []byte
		line, err = c.line.ReadSlice('\n')
		switch {
		case bytes.HasPrefix(line, []byte("data: {")):
			chunks++
			all.Add(1)
		case bytes.HasPrefix(line, []byte("data: [DONE]")):
			done = true
		}
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("after %d chunks: %w", chunks, err)
	}
	if want := c.o.chunks; chunks != want || !done {
		return fmt.Errorf("%d of %d chunks, end mark: %t", chunks, want, done)
	}
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}
