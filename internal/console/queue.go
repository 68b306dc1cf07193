package console

import (
	"net/http"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
)

// Bounds of the flows that are shown.
const (
	maxLines   = 200
	maxSearch  = 1000 // flows that a search looks at: the gate stands still meanwhile, for 4 ms
	maxPattern = 200  // letters that it looks for
)

// class is a kind of work: who waits now, and what ended since the start. One that
// is no longer configured has ended requests alone.
type class struct {
	Name     string  `json:"name"`
	Waiting  int     `json:"waiting"`
	Running  int     `json:"running"`
	Oldest   float64 `json:"oldest_ms"` // how long the oldest has waited; 0: nobody waits
	Weight   float64 `json:"weight"`    // 0: it is no longer configured
	Rate     *rate   `json:"rate,omitempty"`
	Paused   bool    `json:"paused,omitempty"`
	Finished int64   `json:"finished"`
	Served   int64   `json:"served"`
	Refused  int64   `json:"refused"`
}

// rate is how often requests of a class may start.
type rate struct {
	Max      int     `json:"max"`
	Per      float64 `json:"per_ms"`
	Started  int     `json:"started"` // that count now
	Next     float64 `json:"next_ms"` // until the next may start; 0: now
	Shadow   bool    `json:"shadow,omitempty"`
	Exceeded int64   `json:"exceeded"` // started although it had no room
}

// line is one flow as it stands in the queue.
type line struct {
	Class    string  `json:"class"`
	Tenant   string  `json:"tenant"`
	User     string  `json:"user"`
	Waiting  int     `json:"waiting"`
	Running  int     `json:"running"`
	Position int     `json:"position"` // of its first; 0: nothing waits
	Eta      float64 `json:"eta_ms"`
	EtaP90   float64 `json:"eta_p90_ms"`
	Unknown  bool    `json:"unknown,omitempty"` // no time is known
	Reason   string  `json:"reason"`
	Oldest   float64 `json:"oldest_ms"`
	Share    float64 `json:"share"`      // of what its upstreams did lately, 0 to 1
	Fair     float64 `json:"fair_share"` // what it is due
	Paused   bool    `json:"paused,omitempty"`
	MovedUp  bool    `json:"moved_up,omitempty"`
}

func classesOf(now time.Time, snap *gate.Snapshot, f *figures) []class {
	all := make(map[flow.Class]class)
	for name, n := range f.classes {
		all[name] = class{Finished: n.finished, Served: n.served, Refused: n.refused}
	}
	for i := range snap.ByClass {
		s := &snap.ByClass[i]
		c := all[s.Name]
		c.Waiting, c.Running, c.Oldest, c.Weight, c.Paused = s.Waiting, s.Running, since(now, s.Oldest), s.Weight, s.Paused
		if s.Rate.Max > 0 {
			c.Rate = &rate{Max: s.Rate.Max, Per: ms(s.Rate.Per), Started: s.Started, Shadow: s.Rate.Shadow, Exceeded: s.Exceeded}
			if !s.Next.IsZero() {
				c.Rate.Next = ms(max(s.Next.Sub(now), 0))
			}
		}
		all[s.Name] = c
	}
	list := make([]class, 0, len(all))
	for _, name := range names(all) {
		one := all[name]
		one.Name = string(name)
		list = append(list, one)
	}
	return list
}

// since is how long ago that was; 0 for no time.
func since(now, at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return ms(max(now.Sub(at), 0))
}

// queue is the flows that a frame shows. The console's lock is held.
func (c *Console) queue(now time.Time) []line {
	if c.deps.Flows == nil {
		return []line{}
	}
	c.flows = c.deps.Flows(c.flows[:0], maxLines)
	list := make([]line, len(c.flows))
	for i := range c.flows {
		list[i] = lineOf(now, &c.flows[i])
	}
	clear(c.flows) // keeps no name alive
	return list
}

func lineOf(now time.Time, f *gate.FlowState) line {
	return line{
		Class: string(f.Key.Class), Tenant: f.Key.Tenant, User: f.Key.User, Waiting: f.Waiting, Running: f.Running,
		Position: f.Position, Eta: ms(f.ETA), EtaP90: ms(f.ETAP90), Unknown: f.Unknown, Reason: string(f.Reason),
		Oldest: since(now, f.Oldest), Share: f.Share, Fair: f.FairShare, Paused: f.Paused, MovedUp: f.MovedUp,
	}
}

// search is what searches look through: never changed, but replaced.
type search struct {
	at    time.Time
	flows []gate.FlowState
}

// searchable are the flows of this second: the gate stands still while they are gathered,
// however many people look for one.
func (c *Console) searchable(now time.Time) search {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := &c.search; s.at.IsZero() || now.Sub(s.at) >= tick {
		s.at, s.flows = now, c.deps.Flows(nil, maxSearch)
	}
	return c.search
}

// serveFlows answers with the flows of a class, or whose names hold a pattern, among
// the first in the order of service: more than a frame has room for.
func (c *Console) serveFlows(v *visit) {
	q := v.r.URL.Query()
	class, pattern := q.Get("class"), strings.ToLower(q.Get("find"))
	if c.deps.Flows == nil {
		v.problem(http.StatusNotFound, "This gateway does not offer that.")
		return
	}
	if len(pattern) > maxPattern {
		v.problem(http.StatusBadRequest, "Look for at most 200 letters.")
		return
	}
	s, list, found := c.searchable(time.Now()), []line{}, 0
	for i := range s.flows {
		f := &s.flows[i]
		if class != "" && string(f.Key.Class) != class {
			continue
		}
		if !strings.Contains(strings.ToLower(f.Key.User), pattern) && !strings.Contains(strings.ToLower(f.Key.Tenant), pattern) {
			continue
		}
		if found++; found <= maxLines {
			list = append(list, lineOf(s.at, f))
		}
	}
	v.json(map[string]any{"flows": list, "found": found, "looked": len(s.flows)})
}
