package console

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
)

// Bounds of the flows that are shown.
const (
	maxLines   = 200
	maxSearch  = 20_000 // flows that a search looks at
	maxPattern = 200    // letters that it looks for

	// atOnce is how many flows a search asks the gate for at a time. It stands still
	// meanwhile, for 0.3 ms.
	atOnce = 100
	// searchShare is the part of one core that searches may take: of more flows the
	// same states are used for longer.
	searchShare = 0.1
)

// Flows are those of the queue; *admission.Controller tells them. Each call keeps
// the queue waiting.
type Flows interface {
	AppendFlows(dst []gate.FlowState, most int) []gate.FlowState         // those that wait, in the order of service, then those that run
	AppendKeys(dst []flow.Key) []flow.Key                                // of every request that waits or runs
	AppendStates(dst []gate.FlowState, keys []flow.Key) []gate.FlowState // one for each key
}

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
	c.flows = c.deps.Flows.AppendFlows(c.flows[:0], maxLines)
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

// search is what searches look through.
type search struct {
	mu    sync.Mutex // held by the one who gathers it
	until time.Time  // it is used again
	found crowd
}

// crowd is the flows of one moment, in the order of service. It is never changed, but
// replaced.
type crowd struct {
	at    time.Time
	flows []gate.FlowState
	all   int // flows that there are
}

// look returns the flows of this second, however many people look for one.
func (s *search) look(all Flows) crowd {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); !now.Before(s.until) {
		s.found = gather(now, all)
		again := max(tick, time.Duration(float64(time.Since(now))/searchShare))
		s.until = now.Add(again)
		time.AfterFunc(again, s.drop)
	}
	return s.found
}

// drop gives the memory back of what will not be used again.
func (s *search) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !time.Now().Before(s.until) {
		s.found = crowd{}
	}
}

// forget makes the next look a new one.
func (s *search) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Time{}
}

// gather asks for the names first, which takes the gate little time, and then for some
// flows after the other.
func gather(now time.Time, all Flows) crowd {
	keys := all.AppendKeys(nil)
	known := make(map[flow.Key]bool)
	keys = slices.DeleteFunc(keys, func(key flow.Key) bool {
		twice := known[key]
		known[key] = true
		return twice
	})
	c := crowd{at: now, flows: make([]gate.FlowState, 0, min(len(keys), maxSearch)), all: len(keys)}
	for some := range slices.Chunk(keys[:cap(c.flows)], atOnce) {
		c.flows = all.AppendStates(c.flows, some)
	}
	c.flows = slices.DeleteFunc(c.flows, func(f gate.FlowState) bool { // those that have ended meanwhile
		ended := f.Waiting+f.Running == 0
		if ended {
			c.all--
		}
		return ended
	})
	slices.SortFunc(c.flows, byTurn)
	return c
}

// byTurn puts who waits before who only runs, and who is served first before the others.
func byTurn(a, b gate.FlowState) int {
	return cmp.Or(
		cmp.Compare(min(b.Waiting, 1), min(a.Waiting, 1)), cmp.Compare(a.Position, b.Position), cmp.Compare(a.ETA, b.ETA),
		a.Oldest.Compare(b.Oldest), cmp.Compare(a.Key.Class, b.Key.Class), cmp.Compare(a.Key.Tenant, b.Key.Tenant), cmp.Compare(a.Key.User, b.Key.User),
	)
}

// serveFlows answers with the first of the flows of a class, or whose names hold a
// pattern, in the order of service.
func (c *Console) serveFlows(v *visit) {
	q := v.r.URL.Query()
	class, pattern := q.Get("class"), strings.ToLower(q.Get("find"))
	if !v.offered(c.deps.Flows != nil) {
		return
	}
	if len(pattern) > maxPattern {
		v.problem(http.StatusBadRequest, "Look for at most 200 letters.")
		return
	}
	all := c.search.look(c.deps.Flows)
	list, found := []line{}, 0
	for i := range all.flows {
		f := &all.flows[i]
		if class != "" && string(f.Key.Class) != class {
			continue
		}
		if !strings.Contains(strings.ToLower(f.Key.User), pattern) && !strings.Contains(strings.ToLower(f.Key.Tenant), pattern) {
			continue
		}
		if found++; found <= maxLines {
			list = append(list, lineOf(all.at, f))
		}
	}
	v.json(map[string]any{"flows": list, "found": found, "looked": len(all.flows), "all": all.all})
}
