package gateway

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/ratelimit"
)

// limitsFor is how long the texts of a route's limits are used again. They age by
// less than the trip to the client takes.
const limitsFor = 50 * time.Millisecond

// limits are the header texts of one route.
type limits struct {
	made  time.Time
	lines []ratelimit.Header
}

// board keeps the header texts of all routes.
type board struct {
	limits Limits
	routes []atomic.Pointer[limits]
	mu     sync.Mutex // held by the one who makes new texts
}

// tell sets the limit headers of a route.
func (b *board) tell(h http.Header, route int) {
	now := time.Now()
	l := b.routes[route].Load()
	if l == nil || now.Sub(l.made) >= limitsFor {
		l = b.renew(now, route)
	}
	for i := range l.lines {
		h[l.lines[i].Name] = l.lines[i].Value
	}
}

func (b *board) renew(now time.Time, route int) *limits {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.routes[route].Load(); l != nil && now.Sub(l.made) < limitsFor {
		return l
	}
	var room [8]gate.Limit
	l := &limits{made: now, lines: ratelimit.Describe(b.limits.AppendLimits(room[:0], route))}
	b.routes[route].Store(l)
	return l
}
