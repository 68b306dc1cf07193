package dispatch

import (
	"net/http"
	"slices"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/respcache"
)

// keeper is a Reply that also writes down the answer, so that it can be kept.
type keeper struct {
	Reply

	req    *Request
	most   int64 // bytes
	answer *llm.Answer
	body   []byte
}

// keep returns a keeper around the reply, or nil if the answer is not to be kept.
// The lock is held.
func (d *Dispatcher) keep(req *Request, reply Reply) *keeper {
	most := d.shared.cache.Most()
	if req.Cache.IsZero() || req.CacheFor <= 0 || most == 0 {
		return nil
	}
	return &keeper{Reply: reply, req: req, most: most}
}

// Begin implements Reply. An answer that is no success, or not in the form that was
// asked for, is none to keep.
func (k *keeper) Begin(a *llm.Answer, m *Meta) {
	if a.Status == http.StatusOK && a.Stream == k.req.Call.Stream {
		k.answer = &llm.Answer{Status: a.Status, Header: a.Header, Stream: a.Stream}
	}
	k.Reply.Begin(a, m)
}

// Write implements Reply.
func (k *keeper) Write(p []byte) error {
	if k.answer != nil && int64(len(k.body)+len(p)) <= k.most {
		k.body = append(k.body, p...)
	} else {
		k.answer, k.body = nil, nil
	}
	return k.Reply.Write(p)
}

// put keeps what has turned out to be a whole answer. The lock is held.
func (k *keeper) put(c *respcache.Cache) {
	if k.answer == nil || len(k.body) == 0 {
		return
	}
	if cap(k.body)-len(k.body) > len(k.body)/8 {
		k.body = slices.Clone(k.body) // an entry costs what it counts for
	}
	c.Put(time.Now(), k.req.Cache, respcache.NewEntry(k.answer.Status, k.answer.Header, k.answer.Stream, k.body), k.req.CacheFor)
}

// alone serves a request that shares its call with nobody, and keeps the answer.
func (r *run) alone() (flow.Outcome, error) {
	s := &r.d.shared
	s.mu.Lock()
	k := r.d.keep(r.req, r.reply)
	s.mu.Unlock()
	if k != nil {
		r.reply = k
	}
	outcome, err := r.serve()
	if k != nil && outcome == flow.OutcomeServed {
		s.mu.Lock()
		defer s.mu.Unlock()
		k.put(s.cache)
	}
	return outcome, err
}

// replay answers from the cache.
func (r *run) replay(e *respcache.Entry) (flow.Outcome, error) {
	r.pulse.stop()
	if r.ctx.Err() != nil {
		v := r.departed()
		return v.outcome, v.err
	}
	r.begun = true
	r.record.FirstByte = time.Since(r.req.Arrived)
	r.reply.Begin(&llm.Answer{Status: e.Status, Header: e.Header, Stream: e.Stream}, &r.meta)
	if err := r.pass(e.Body); err != nil {
		return flow.OutcomeDisconnected, flow.ErrCanceled
	}
	return flow.OutcomeCached, nil
}
