package gate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/fairqueue"
	"github.com/millrace/millrace/internal/flow"
)

// FlowState is one flow as an operator sees it.
type FlowState struct {
	Key              flow.Key
	Waiting, Running int
	Position         int           // of its head, 1 is next; 0 when nothing waits. Status tells the same
	ETA              time.Duration // of its head, as Status tells it
	ETAP90           time.Duration
	Unknown          bool // when it will be its head's turn: ETA and ETAP90 are 0
	Reason           flow.Reason
	Oldest           time.Time // arrival of its oldest waiting request; zero when nothing waits
	Weight           float64   // its class's times its tenant's
	Share            float64   // of what its upstreams dispatched lately, by cost, 0 to 1
	FairShare        float64   // 0 to 1: what it would get if all active flows got their due
	Paused           bool      // its class is
	MovedUp          bool      // its head goes next of its class
}

// ClassState is one class as an operator sees it.
type ClassState struct {
	Name             flow.Class
	Waiting, Running int
	Oldest           time.Time // arrival of the oldest waiting request; zero for none
	Weight           float64
	Rate             Rate      // as configured
	Started          int       // starts that count against Rate now
	Next             time.Time // when Rate allows the next start; zero for now
	Exceeded         int64     // starts that Rate, being a shadow, would have delayed
	Paused           bool
}

// byClass lists the classes, of which so many requests wait.
func (g *Gate) byClass(now time.Time, waiting map[flow.Class]int) []ClassState {
	list := make([]ClassState, 0, len(g.classes))
	for name, c := range g.classes {
		s := ClassState{
			Name: name, Waiting: waiting[name], Weight: g.pools[0].queue.Weight(name), Rate: c.rate,
			Started: c.starts.count(now), Exceeded: c.exceeded, Paused: c.paused,
		}
		if at := c.next(); at.After(now) {
			s.Next = at
		}
		for e := c.first; e != nil && s.Oldest.IsZero(); e = e.newer {
			if e.state == queued {
				s.Oldest = e.arrived
			}
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b ClassState) int { return cmp.Compare(a.Name, b.Name) })
	for _, e := range g.runs {
		if i, ok := slices.BinarySearchFunc(list, e.class.name, func(s ClassState, n flow.Class) int { return cmp.Compare(s.Name, n) }); ok {
			list[i].Running++
		}
	}
	return list
}

// AppendFlows appends at most most flows: those that wait, in the order in which they
// will be served, then those that only run.
func (g *Gate) AppendFlows(dst []FlowState, now time.Time, most int) []FlowState {
	clear(g.rows)
	from := len(dst)
	for _, p := range g.pools {
		g.looked = p.queue.AppendWaiting(g.looked[:0], most)
		for i := range g.looked {
			if s := g.wait(now, &g.looked[i]); s.Waiting > 0 {
				dst = g.merge(dst, s)
			}
		}
	}
	clear(g.looked[:cap(g.looked)])
	slices.SortFunc(dst[from:], byTurn)
	if len(dst)-from > most {
		dst = dst[:from+max(most, 0)]
	}
	clear(g.rows)
	for i := range dst[from:] {
		g.rows[dst[from+i].Key] = from + i
	}
	for _, e := range g.runs {
		i, known := g.rows[e.ask.Flow]
		if !known && len(dst)-from < most {
			i, known = len(dst), true
			g.rows[e.ask.Flow] = i
			dst = append(dst, g.running(e))
		}
		if known {
			dst[i].Running++
		}
	}
	return dst
}

// AppendKeys appends the flow of every request that waits or runs, in no order.
func (g *Gate) AppendKeys(dst []flow.Key) []flow.Key {
	for _, e := range g.entries {
		if e.state != kept {
			dst = append(dst, e.ask.Flow)
		}
	}
	return dst
}

// AppendStates appends one state for each of the flows, as they stand in the queue. Of
// one that has ended nothing waits and nothing runs.
func (g *Gate) AppendStates(dst []FlowState, now time.Time, keys []flow.Key) []FlowState {
	clear(g.rows)
	for _, key := range keys {
		g.rows[key] = len(dst)
		dst = append(dst, FlowState{Key: key})
		for _, p := range g.pools {
			if f, known := p.queue.Look(key); known {
				dst = g.merge(dst, g.wait(now, &f))
			}
		}
	}
	for _, e := range g.runs {
		if i, asked := g.rows[e.ask.Flow]; asked {
			if dst[i].Weight == 0 { // no pool of today knows it
				dst[i] = g.running(e)
			}
			dst[i].Running++
		}
	}
	return dst
}

// running shows the flow of an entry that runs, where it is booked.
func (g *Gate) running(e *entry) FlowState {
	f, _ := e.booked.Look(e.ask.Flow)
	f.Key = e.ask.Flow
	return g.show(&f)
}

// merge appends a flow, or adds it to what is known of it from another pool.
func (g *Gate) merge(dst []FlowState, s FlowState) []FlowState {
	i, known := g.rows[s.Key]
	if !known {
		g.rows[s.Key] = len(dst)
		return append(dst, s)
	}
	old := &dst[i]
	s.Share, s.FairShare = max(s.Share, old.Share), max(s.FairShare, old.FairShare)
	if s.Waiting == 0 || old.Waiting > 0 && byTurn(*old, s) < 0 {
		s.Position, s.ETA, s.ETAP90, s.Unknown, s.Reason = old.Position, old.ETA, old.ETAP90, old.Unknown, old.Reason
	}
	s.Waiting, s.Oldest = s.Waiting+old.Waiting, earlier(s.Oldest, old.Oldest)
	s.MovedUp = s.MovedUp || old.MovedUp
	dst[i] = s
	return dst
}

func byTurn(a, b FlowState) int {
	return cmp.Or(
		cmp.Compare(a.Position, b.Position), cmp.Compare(a.ETA, b.ETA), a.Oldest.Compare(b.Oldest), strings.Compare(a.Key.User, b.Key.User),
	)
}

func (g *Gate) show(f *fairqueue.Flow) FlowState {
	c := g.classes[f.Key.Class]
	return FlowState{
		Key: f.Key, Weight: f.Weight,
		Share: f.Share, FairShare: f.FairShare, MovedUp: f.MovedUp, Paused: c != nil && c.paused,
	}
}

// wait shows a flow that waits. Kept places are not told of: nobody waits there.
func (g *Gate) wait(now time.Time, f *fairqueue.Flow) FlowState {
	s := g.show(f)
	var head *entry
	f.Each(func(it *fairqueue.Item) {
		e := it.Owner.(*entry)
		if e.state != queued {
			return
		}
		s.Waiting++
		s.Oldest = earlier(s.Oldest, e.arrived)
		if head == nil || e.item.Before(&head.item) {
			head = e
		}
	})
	if head != nil {
		at := g.status(now, head)
		s.Position, s.ETA, s.ETAP90, s.Unknown, s.Reason = at.Position, at.ETA, at.ETAP90, at.Unknown, at.Reason
	}
	return s
}
