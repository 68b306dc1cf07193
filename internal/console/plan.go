package console

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/capacity"
)

// Bounds of plans.
const (
	planLimit = 30 * time.Second
	planning  = 2 // at a time; others wait their turn

	pageHeader = "Millrace-Page" // any word that a page has chosen for itself
	maxPage    = 64              // bytes of it that count
)

// Planner plays a plan and returns it as JSON. The values are the asker's; an error
// that wraps capacity.ErrOptions says what is wrong with them. It ends early when
// ctx ends.
type Planner func(ctx context.Context, values url.Values) ([]byte, error)

// errNewer ends a plan whose asker has asked for another.
var errNewer = errors.New("a newer plan was asked for")

// plans are those that are being played, one of each session.
type plans struct {
	mu      sync.Mutex
	running map[string]*running
	slots   chan struct{}
}

// running is one plan.
type running struct {
	cancel context.CancelCauseFunc
	ended  chan struct{}
}

// begin ends the plan that the session has, if any, and waits for its turn. The
// function must be called at the end.
func (p *plans) begin(ctx context.Context, session string, cancel context.CancelCauseFunc) (func(), error) {
	own := &running{cancel: cancel, ended: make(chan struct{})}
	p.mu.Lock()
	before := p.running[session]
	p.running[session] = own
	p.mu.Unlock()
	leave := func() {
		p.mu.Lock()
		if p.running[session] == own {
			delete(p.running, session)
		}
		p.mu.Unlock()
		close(own.ended)
	}
	if before != nil {
		before.cancel(errNewer)
		<-before.ended // soon: it has been told to end
	}
	select {
	case p.slots <- struct{}{}:
		return func() { <-p.slots; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, context.Cause(ctx)
	}
}

// servePlan answers with a plan of the running configuration.
func (c *Console) servePlan(v *visit) {
	if c.deps.Plan == nil {
		v.problem(http.StatusNotFound, "This gateway does not offer that.")
		return
	}
	timed, stop := context.WithTimeout(v.r.Context(), planLimit)
	defer stop()
	ctx, cancel := context.WithCancelCause(timed)
	defer cancel(nil)
	end, err := c.plans.begin(ctx, c.session(v), cancel)
	var rows []byte
	if err == nil {
		defer end()
		rows, err = c.deps.Plan(ctx, v.r.URL.Query())
	}
	switch {
	case err == nil:
		v.w.Header().Set("Content-Type", "application/json")
		_, _ = v.w.Write(rows)
	case errors.Is(err, capacity.ErrOptions):
		v.problem(http.StatusBadRequest, err.Error())
	case errors.Is(context.Cause(ctx), errNewer):
		v.problem(http.StatusConflict, "A newer plan was asked for in this session.")
	case ctx.Err() != nil:
		v.w.Header().Set("Retry-After", "30")
		v.problem(http.StatusServiceUnavailable, "This plan takes longer than "+seconds(planLimit)+": plan for fewer users.")
	default:
		c.deps.Log.Error("console: plan", "error", err, "request", v.id)
		v.problem(http.StatusInternalServerError, "The plan has failed; the log says why.")
	}
}

// session is whom plans are counted for: the login, or whoever uses the key. A
// cookie that is none of ours is nobody's. Without keys it is the page, which says so.
func (c *Console) session(v *visit) string {
	if !c.locked() {
		page := v.r.Header.Get(pageHeader)
		return "page " + page[:min(len(page), maxPage)]
	}
	token := tokenOf(v.r)
	if _, ok := c.sessions.find(time.Now(), token); ok {
		return "cookie " + token
	}
	return "key " + v.who.Name
}
