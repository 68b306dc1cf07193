package dispatch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/coalesce"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
	"github.com/millrace/millrace/internal/respcache"
)

// wide is an admission controller with plenty of everything.
func wide(t testing.TB) *admission.Controller {
	t.Helper()
	limits := []quota.Limit{{Dim: quota.Requests, Max: 1 << 40, Span: time.Minute, Kind: quota.Sliding}}
	c, err := admission.New(admission.Options{
		Upstreams: []gate.Upstream{
			{Name: "first", Quota: quota.Options{Seats: 500, Limits: limits}},
			{Name: "second", Quota: quota.Options{Seats: 500, Limits: limits}},
		},
		Routes:  []gate.Route{byBoth: {Upstreams: []int{0, 1}}, straight: {Upstreams: []int{1}}},
		MaxFlow: 1000,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// echo answers with the body of the request, in pieces; some of its calls fail.
type echo struct{ failures float64 }

func (e echo) Do(ctx context.Context, c *llm.Call) (*llm.Answer, error) {
	said := bytes.Repeat(c.Body, 4)
	select {
	case <-time.After(time.Duration(1+rand.IntN(40)) * time.Millisecond):
	case <-ctx.Done():
		return nil, &llm.Error{Kind: llm.KindCanceled, Err: ctx.Err()}
	}
	if rand.Float64() < e.failures {
		return nil, failure(llm.KindTransient)
	}
	return &llm.Answer{Status: 200, Header: http.Header{}, Stream: c.Stream, Body: &echoed{ctx: ctx, left: said, room: make([]byte, 32), cut: rand.Float64() < e.failures/4}}, nil
}

// echoed uses the same memory for every piece.
type echoed struct {
	ctx  context.Context
	left []byte
	room []byte
	cut  bool
}

func (b *echoed) Next() ([]byte, error) {
	select {
	case <-time.After(time.Duration(1+rand.IntN(5)) * time.Millisecond):
	case <-b.ctx.Done():
		return nil, &llm.Error{Kind: llm.KindCanceled, Err: b.ctx.Err()}
	}
	if len(b.left) < 20 && b.cut {
		return nil, failure(llm.KindTransient)
	}
	if len(b.left) == 0 {
		return nil, io.EOF
	}
	n := copy(b.room, b.left)
	b.left = b.left[n:]
	return b.room[:n], nil
}

func (b *echoed) Usage() llm.Usage { return llm.Usage{Input: 1, Output: 1} }
func (b *echoed) Counted() int64   { return 1 }
func (b *echoed) Close() error     { clear(b.room); return nil }

// nonceRequests is how many requests the test of foreign nonces makes, and nonceRounds
// in how many parts.
const (
	nonceRequests = 20_000
	nonceRounds   = 10
)

// Two hundred users ask a few questions of their own again and again, through cache,
// shared calls and fallback, and leave at random. Nobody ever reads a byte of
// another's answer, and what is whole is whole.
func TestI8NoForeignNonces(t *testing.T) {
	var counts [32]int64
	for range nonceRounds {
		synctest.Test(t, func(t *testing.T) { nonceRound(t, &counts) })
	}
	t.Logf("served %d, coalesced %d, cached %d, failed %d, left %d", counts[flow.OutcomeServed], counts[flow.OutcomeCoalesced],
		counts[flow.OutcomeCached], counts[flow.OutcomeFailed], counts[flow.OutcomeCanceled]+counts[flow.OutcomeDisconnected])
	for _, o := range []flow.Outcome{flow.OutcomeServed, flow.OutcomeCoalesced, flow.OutcomeCached, flow.OutcomeFailed, flow.OutcomeCanceled} {
		if counts[o] < nonceRequests/2000 {
			t.Errorf("only %d requests were %v: the test shows nothing", counts[o], o)
		}
	}
}

func nonceRound(t *testing.T, counts *[32]int64) {
	const users, requests = 200, nonceRequests / nonceRounds
	h := &house{admission: wide(t), book: &book{}}
	var err error
	h.Dispatcher, err = New(
		Options{
			Upstreams: []Upstream{{Name: "first"}, {Name: "second"}}, Cache: respcache.Options{Bytes: 200_000, Entry: 1 << 16},
			Share: coalesce.Options{Bytes: 1 << 16, Total: 1 << 20},
		},
		Deps{Admission: h.admission, Providers: []Provider{echo{0.1}, echo{0.02}}, Sink: h.book},
	)
	if err != nil {
		t.Fatal(err)
	}
	keys := flow.NewSharer([32]byte{7})
	var mu sync.Mutex
	var workers sync.WaitGroup
	for user := range users {
		for range 2 {
			workers.Go(func() {
				for range requests / users / 2 {
					got := h.nonce(t, keys, user)
					mu.Lock()
					counts[got]++
					mu.Unlock()
				}
			})
		}
	}
	workers.Wait()
	s := h.admission.Snapshot()
	if s.Outstanding != 0 || s.Waiting != 0 || h.shared.book.Len() != 0 || h.shared.book.Bytes() != 0 || len(h.book.records) != requests {
		t.Errorf("I1, I6: outstanding %d, waiting %d, %d calls and %d bytes left, %d records",
			s.Outstanding, s.Waiting, h.shared.book.Len(), h.shared.book.Bytes(), len(h.book.records))
	}
}

// nonce asks one question of a user and looks at the answer. None of the waits here is
// zero: timers of a bubble that are due at once crash the race detector of Go 1.26.
func (h *house) nonce(t *testing.T, keys *flow.Sharer, user int) flow.Outcome {
	question := []byte(fmt.Sprintf("{user %d asks %d}", user, rand.IntN(4)))
	req := request(byBoth, rand.IntN(2) == 0)
	req.Ask.Flow.User = fmt.Sprint(user)
	req.Call.Body = bytes.Clone(question)
	form := []byte("json")
	if req.Call.Stream {
		form = []byte("stream")
	}
	scope := flow.Scope{Tenant: "t", User: req.Ask.Flow.User, Route: "both", Use: "flight"}
	if rand.IntN(4) > 0 {
		req.Share = keys.Key(scope, form, question)
	}
	if rand.IntN(4) > 0 {
		scope.Use = "cache"
		req.Cache, req.CacheFor = keys.Key(scope, form, question), 300*time.Millisecond
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if rand.IntN(10) == 0 {
		defer time.AfterFunc(time.Duration(1+rand.IntN(20))*time.Millisecond, cancel).Stop()
	}
	reply := &taker{client: client{t: t}}
	outcome := h.Do(ctx, req, reply)
	copy(req.Call.Body, bytes.Repeat([]byte("#"), len(req.Call.Body))) // the memory goes to another request
	want := bytes.Repeat(question, 4)
	whole := outcome == flow.OutcomeServed || outcome == flow.OutcomeCoalesced || outcome == flow.OutcomeCached
	if !bytes.HasPrefix(want, reply.body) || whole && len(reply.body) != len(want) {
		t.Errorf("I8: %s was answered %q (%v)", question, reply.body, outcome)
	}
	if whole && reply.answer.Stream != req.Call.Stream {
		t.Errorf("I8: a stream was answered to who asked for none, or the other way round")
	}
	return outcome
}
