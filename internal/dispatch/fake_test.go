package dispatch

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// Routes of the test's admission: by way of both upstreams, and straight to the
// second, which has one seat.
const (
	byBoth   = 0
	straight = 1
)

// control is an admission controller with two upstreams of one seat each.
func control(t testing.TB) *admission.Controller {
	t.Helper()
	wide := []quota.Limit{{Dim: quota.Requests, Max: 6_000_000, Span: time.Minute, Kind: quota.Sliding}}
	c, err := admission.New(admission.Options{
		Upstreams: []gate.Upstream{
			{Name: "first", Quota: quota.Options{Seats: 1, Limits: wide}},
			{Name: "second", Quota: quota.Options{Seats: 1, Limits: wide}},
		},
		Routes: []gate.Route{byBoth: {Upstreams: []int{0, 1}}, straight: {Upstreams: []int{1}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// occupy takes the one seat of the second upstream until it is released.
func occupy(t testing.TB, c *admission.Controller) (release func()) {
	t.Helper()
	ticket, err := c.Enter(request(straight, false).Ask)
	if err != nil {
		t.Fatal(err)
	}
	<-ticket.Ready()
	if _, err := ticket.Grant(); err != nil {
		t.Fatal(err)
	}
	return func() { ticket.Settle(admission.Result{Sent: true, Usage: llm.Usage{Input: 1}}) }
}

// request is a request for a route.
func request(route int, stream bool) *Request {
	return &Request{
		ID: "req_1", Arrived: time.Now(),
		Ask:  admission.Ask{Route: route, Flow: flow.Key{Class: flow.Chat, Tenant: "t", User: "u"}, Model: "m", Size: llm.Size{TextBytes: 400, Messages: 1}},
		Call: llm.Call{Stream: stream, Body: []byte("{}")},
	}
}

// exchange is one call of a fake provider: what it does, and what became of it.
type exchange struct {
	ctx     context.Context
	pieces  int
	atStart func(ctx context.Context) error        // before the header; nil for nothing
	atPiece func(ctx context.Context, n int) error // before piece n, from 0; piece n == pieces is the end
	onClose func()
	header  http.Header // of the answer; nil for none

	next   int
	opened time.Time
	closed time.Time // zero while open
}

func (e *exchange) Next() ([]byte, error) {
	if e.atPiece != nil {
		if err := e.atPiece(e.ctx, e.next); err != nil {
			return nil, err
		}
	}
	if e.next == e.pieces {
		return nil, io.EOF
	}
	e.next++
	return []byte("piece"), nil
}

// Usage comes with the end, as providers do it.
func (e *exchange) Usage() llm.Usage {
	if e.next < e.pieces {
		return llm.Usage{}
	}
	return llm.Usage{Input: 100, Output: int64(e.pieces)}
}

func (e *exchange) Counted() int64 { return int64(4 * e.next) }

func (e *exchange) Close() error {
	e.closed = time.Now()
	if e.onClose != nil {
		e.onClose()
	}
	return nil
}

// provider makes an exchange for each call, by its number from 0.
type provider struct {
	make func(n int) *exchange

	mu        sync.Mutex
	exchanges []*exchange
}

func (p *provider) Do(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
	p.mu.Lock()
	e := p.make(len(p.exchanges))
	p.exchanges = append(p.exchanges, e)
	p.mu.Unlock()
	e.ctx, e.opened = ctx, time.Now()
	if e.atStart != nil {
		if err := e.atStart(ctx); err != nil {
			e.closed = time.Now()
			return nil, err
		}
	}
	if e.header == nil {
		e.header = http.Header{}
	}
	return &llm.Answer{Status: 200, Header: e.header, Stream: c.Stream, Body: e}, nil
}

// hang waits for the end of the context, as a call to a silent upstream does.
func hang(ctx context.Context) error {
	<-ctx.Done()
	return &llm.Error{Kind: llm.KindCanceled, Message: "canceled", Err: context.Cause(ctx)}
}

// failure is a failed answer of a kind.
func failure(kind llm.ErrorKind) *llm.Error {
	return &llm.Error{Kind: kind, Status: 599, Message: kind.String()}
}

// unsent is a failure before anything was sent.
type unsent struct{}

func (unsent) Error() string { return "connection refused" }
func (unsent) Sent() bool    { return false }

// client is a fake Reply. It objects to calls at the same time or after the end.
type client struct {
	t       testing.TB
	onWrite func(n int) error // before write n, from 0; nil for nothing

	busy   atomic.Bool
	queued []time.Time
	states []admission.Status
	begun  int
	writes int
	ended  int
	err    error
	meta   Meta
}

func (c *client) enter() func() {
	if !c.busy.CompareAndSwap(false, true) {
		c.t.Error("two calls of the Reply at once")
	}
	if c.ended > 0 {
		c.t.Error("a call of the Reply after its end")
	}
	return func() { c.busy.Store(false) }
}

func (c *client) Queued(s admission.Status) error {
	defer c.enter()()
	c.queued, c.states = append(c.queued, time.Now()), append(c.states, s)
	return nil
}

func (c *client) Begin(*llm.Answer, *Meta) {
	defer c.enter()()
	c.begun++
}

func (c *client) Write([]byte) error {
	defer c.enter()()
	if c.onWrite != nil {
		if err := c.onWrite(c.writes); err != nil {
			return err
		}
	}
	c.writes++
	return nil
}

func (c *client) End(err error, m *Meta) int {
	defer c.enter()()
	c.ended++
	c.err, c.meta = err, *m
	return 200
}

// book keeps what a Dispatcher tells.
type book struct {
	mu       sync.Mutex
	records  []event.Record
	attempts []event.Attempt
}

func (b *book) Record(r *event.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records = append(b.records, *r)
}

func (b *book) Attempt(a *event.Attempt) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.attempts = append(b.attempts, *a)
}

var errPipe = errors.New("broken pipe")
