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
	planLimit  = 30 * time.Second
	turnLimit  = 2 * planLimit   // until a plan begins: the one before, and the pause after it
	pageHeader = "Millrace-Page" // any word that a page has chosen for itself
	maxPage    = 64              // bytes of it that count
)

// Planner plays a plan and returns it as JSON. The values are the asker's; an error
// that wraps capacity.ErrOptions says what is wrong with them. It ends early when
// ctx ends.
type Planner func(ctx context.Context, values url.Values) ([]byte, error)

// Why there is no plan.
var (
	errNewer = errors.New("a newer plan was asked for")
	errBusy  = errors.New("its turn has not come in time")
	errLong  = errors.New("it takes too long")
)

// plans are those that people wait for, one of each session. One plays at a time, and
// after each nobody does for as long as it took: so plans take half a core at most.
type plans struct {
	mu     sync.Mutex
	newest map[string]*context.CancelCauseFunc // of each session
	turn   chan time.Time                      // holds when the next may begin, while nobody plays
}

// replace ends the plan that the session has, if any, in favor of another. The function
// must be called at its end.
func (p *plans) replace(session string, cancel *context.CancelCauseFunc) (leave func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before := p.newest[session]; before != nil {
		(*before)(errNewer)
	}
	p.newest[session] = cancel
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.newest[session] == cancel {
			delete(p.newest, session)
		}
	}
}

// wait returns when the turn has come, which must be given back.
func (p *plans) wait(ctx context.Context) (now time.Time, err error) {
	ctx, stop := context.WithTimeoutCause(ctx, turnLimit, errBusy)
	defer stop()
	var next time.Time
	select {
	case next = <-p.turn:
	case <-ctx.Done():
		return now, context.Cause(ctx)
	}
	pause := time.NewTimer(time.Until(next))
	defer pause.Stop()
	select {
	case <-pause.C:
		return time.Now(), nil
	case <-ctx.Done():
		p.turn <- next
		return now, context.Cause(ctx)
	}
}

// servePlan answers with a plan of the running configuration.
func (c *Console) servePlan(v *visit) {
	if !v.offered(c.deps.Plan != nil) {
		return
	}
	rows, err := c.play(v)
	switch {
	case err == nil:
		v.w.Header().Set("Content-Type", "application/json")
		_, _ = v.w.Write(rows)
	case errors.Is(err, capacity.ErrOptions):
		v.problem(http.StatusBadRequest, err.Error())
	case errors.Is(err, errNewer):
		v.problem(http.StatusConflict, "A newer plan was asked for in this session.")
	case errors.Is(err, errBusy):
		v.w.Header().Set("Retry-After", "30")
		v.problem(http.StatusServiceUnavailable, "Others are planning: ask again later.")
	case errors.Is(err, errLong):
		v.w.Header().Set("Retry-After", "30")
		v.problem(http.StatusServiceUnavailable, "This plan takes longer than "+seconds(planLimit)+": plan for fewer users.")
	case v.r.Context().Err() != nil: // nobody reads an answer
	default:
		c.deps.Log.Error("console: plan", "error", err, "request", v.id)
		v.problem(http.StatusInternalServerError, "The plan has failed; the log says why.")
	}
}

// play plays the plan that the visitor asks for, when its turn has come.
func (c *Console) play(v *visit) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(v.r.Context())
	defer cancel(nil)
	defer c.plans.replace(c.session(v), &cancel)()
	begun, err := c.plans.wait(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { c.plans.turn <- time.Now().Add(time.Since(begun)) }()
	timed, stop := context.WithTimeoutCause(ctx, planLimit, errLong)
	defer stop()
	rows, err := c.deps.Plan(timed, v.r.URL.Query())
	if err != nil && timed.Err() != nil {
		err = context.Cause(timed)
	}
	return rows, err
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
