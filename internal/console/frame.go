package console

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
)

// Bounds of a frame.
const (
	scanned = 1024 // latest requests that the table of users is made of
	maxUsed = 50   // its lines
)

// frame is what changes by itself, at one moment, as it is sent.
type frame struct {
	seq   int64
	built time.Time
	bytes []byte
}

// state is a frame before it is encoded.
type state struct {
	Seq         int64      `json:"seq"`
	Now         time.Time  `json:"now"`
	Started     time.Time  `json:"started"`
	Verdict     verdict    `json:"verdict"`
	Waiting     int        `json:"waiting"`
	Running     int        `json:"running"`
	Flows       int        `json:"flows"`       // that have something waiting or running
	Outstanding int        `json:"outstanding"` // attempts under way
	Tasks       *Tasks     `json:"tasks,omitempty"`
	Today       today      `json:"today"`
	Avoided     *int64     `json:"avoided,omitempty"` // 429s, today; see Shadow
	Since       time.Time  `json:"since,omitzero"`    // when the counting of today began
	Lately      lately     `json:"lately"`
	Classes     []class    `json:"classes"`
	Queue       []line     `json:"queue"` // the first of the flows, in the order of service
	Upstreams   []upstream `json:"upstreams"`
	Users       []user     `json:"users"`
}

// upstream is what one of them allows, and how it does.
type upstream struct {
	Name        string   `json:"name"`
	Retired     bool     `json:"retired,omitempty"`
	Seats       int      `json:"seats"` // 0: no bound
	SeatsShadow bool     `json:"seats_shadow,omitempty"`
	SeatsOver   int64    `json:"seats_exceeded"`
	InUse       int      `json:"in_use"`
	Outstanding int      `json:"outstanding"`
	Windows     []window `json:"windows"`
	Breaker     circuit  `json:"breaker"`
	Attempts    int64    `json:"attempts"` // since the start
	Throttles   int64    `json:"throttles"`
	Failures    int64    `json:"failures"`
}

// window is one limit. Used, reserved and free are units of it.
type window struct {
	Dim        string  `json:"dim"`
	Kind       string  `json:"kind"`
	Span       float64 `json:"span_ms"`
	Configured int64   `json:"configured"`
	Learned    int64   `json:"learned"`
	Used       int64   `json:"used"`
	Reserved   int64   `json:"reserved"`
	Free       int64   `json:"free"`
	Burst      int64   `json:"burst"`
	Full       float64 `json:"full_ms"`          // until all is free, but for what is reserved
	Shadow     bool    `json:"shadow,omitempty"` // counted, not enforced
	Exceeded   int64   `json:"exceeded"`         // sent although it had no room
}

// circuit is a breaker.
type circuit struct {
	State     string    `json:"state"`
	Since     time.Time `json:"since,omitzero"`
	NextProbe float64   `json:"next_probe_ms"` // 0: it may be asked now
	Trips     int64     `json:"trips"`
	Run       int       `json:"run"` // failures in a row
	Reason    string    `json:"reason"`
	ByHand    bool      `json:"by_hand,omitempty"` // no time closes it
}

// user is what one flow got lately.
type user struct {
	Class    string  `json:"class"`
	Tenant   string  `json:"tenant"`
	User     string  `json:"user"`
	Requests int64   `json:"requests"`
	Tokens   int64   `json:"tokens"`
	Share    float64 `json:"share"`       // of the tokens of its class, 0 to 1
	WaitMax  float64 `json:"wait_max_ms"` // the longest
}

// latest is the frame of this second, built by whoever asks first.
func (c *Console) latest(now time.Time) frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A ticker may be early by a little; half a tick is as good as one.
	if c.frame.seq == 0 || now.Sub(c.frame.built) >= tick-tick/20 {
		c.build(now)
	}
	return c.frame
}

// refresh makes the next frame a new one: something was changed by hand.
func (c *Console) refresh() {
	c.mu.Lock()
	c.frame.built = time.Time{}
	c.mu.Unlock()
	c.search.forget()
}

func (c *Console) build(now time.Time) {
	s := c.state(now)
	s.Seq = c.frame.seq + 1
	b, err := json.Marshal(s)
	if err != nil {
		c.deps.Log.Error("console: a frame cannot be encoded", "error", err)
		return
	}
	c.frame = frame{seq: s.Seq, built: now, bytes: append(b, '\n')}
}

func (c *Console) state(now time.Time) *state {
	snap, f := c.deps.Snapshot(), c.deps.Meter.figures(now)
	s := &state{
		Now: now.UTC(), Started: c.started.UTC(), Waiting: snap.Waiting, Running: snap.Running, Flows: snap.Flows, Outstanding: snap.Outstanding,
		Today: f.today, Since: f.since.UTC(), Lately: f.lately, Classes: classesOf(now, &snap, &f),
		Queue: c.queue(now),
		Users: usersOf(now, c.deps.Requests.Recent(scanned)), Upstreams: []upstream{},
	}
	if c.deps.Tasks != nil {
		t := c.deps.Tasks()
		s.Tasks = &t
	}
	if c.deps.Shadow != nil {
		n := c.deps.Shadow.Avoided(now)
		s.Avoided = &n
	}
	for i := range snap.Upstreams {
		if u := &snap.Upstreams[i]; !u.Retired || u.Outstanding > 0 {
			s.Upstreams = append(s.Upstreams, upstreamOf(now, u, f.upstreams[u.Name]))
		}
	}
	s.Verdict = judge(now, s, &f)
	return s
}

func upstreamOf(now time.Time, u *gate.UpstreamState, n upstreamCount) upstream {
	v := upstream{
		Name: u.Name, Retired: u.Retired, Seats: u.Seats, InUse: u.InUse, Outstanding: u.Outstanding,
		Windows: make([]window, len(u.Windows)), Breaker: circuitOf(now, &u.Breaker),
		SeatsShadow: u.SeatsShadow, SeatsOver: u.SeatsExceeded,
		Attempts: n.attempts, Throttles: n.throttles, Failures: n.failures,
	}
	for i := range u.Windows {
		v.Windows[i] = windowOf(now, &u.Windows[i])
	}
	return v
}

func windowOf(now time.Time, w *quota.State) window {
	return window{
		Dim: w.Dim.String(), Kind: w.Kind.String(), Span: ms(w.Span), Configured: w.Configured, Learned: w.Learned,
		Used: w.Used, Reserved: w.Reserved, Free: w.Free, Burst: w.Burst, Full: ms(max(w.Full.Sub(now), 0)),
		Shadow: w.Shadow, Exceeded: w.Exceeded,
	}
}

func circuitOf(now time.Time, b *breaker.Snapshot) circuit {
	c := circuit{State: b.State.String(), Since: b.Since, Trips: b.Trips, Run: b.Run, Reason: b.Reason(), ByHand: b.ByHand}
	if !b.NextProbe.IsZero() {
		c.NextProbe = ms(max(b.NextProbe.Sub(now), 0))
	}
	return c
}

// usersOf sums up the latest requests by flow, those who got most first.
func usersOf(now time.Time, recent []event.Record) []user {
	sums, classes := make(map[flow.Key]*user), make(map[flow.Class]int64)
	for i := range recent {
		r := &recent[i]
		if now.Sub(r.Arrived.Add(r.Total)) > slices5m*sliceLen {
			continue
		}
		u := sums[r.Key]
		if u == nil {
			u = &user{Class: string(r.Key.Class), Tenant: r.Key.Tenant, User: r.Key.User}
			sums[r.Key] = u
		}
		u.Requests++
		u.Tokens += r.Used.Total()
		u.WaitMax = max(u.WaitMax, ms(r.Queued))
		classes[r.Key.Class] += r.Used.Total()
	}
	list := make([]user, 0, len(sums))
	for key, u := range sums {
		if all := classes[key.Class]; all > 0 {
			u.Share = float64(u.Tokens) / float64(all)
		}
		list = append(list, *u)
	}
	slices.SortFunc(list, func(a, b user) int {
		if a.Tokens != b.Tokens {
			return int(min(max(b.Tokens-a.Tokens, -1), 1))
		}
		return strings.Compare(a.Class+"\x00"+a.Tenant+"\x00"+a.User, b.Class+"\x00"+b.Tenant+"\x00"+b.User)
	})
	return list[:min(len(list), maxUsed)]
}
