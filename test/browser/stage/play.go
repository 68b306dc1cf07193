package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/console"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
	"github.com/millrace/millrace/internal/sink/ring"
)

// Names that are markup to whoever takes text for it.
const (
	hostileUser     = `<img src=x onerror="document.title='owned'">`
	hostileModel    = `"><script>document.title='owned'</script>`
	hostileUpstream = `<svg onload=alert(1)>`
	hostileID       = `req_<iframe srcdoc="<script>alert(2)</script>">`
	hostileValue    = `javascript:alert(3)//'"><b>`
)

// play is a gateway that is acted: a real queue and real quotas, with requests
// that nobody sent.
type play struct {
	admission *admission.Controller
	meter     *console.Meter
	shadow    *console.Shadow
	ring      *ring.Ring
	sink      event.Sink
	hostile   bool
	random    *rand.Rand // of the goroutine that acts
	serial    int
	options   admission.Options
	run       acted
	plans     sync.Map // rows by question
}

func newPlay(hostile bool) (*play, error) {
	o := admission.Options{
		Upstreams: []gate.Upstream{
			{Name: "bedrock-us-east-1", Quota: quota.Options{Seats: 15, Limits: []quota.Limit{
				{Dim: quota.Requests, Max: 60}, {Dim: quota.Total, Max: 180_000},
			}}},
			{Name: "openai", Quota: quota.Options{Limits: []quota.Limit{
				{Dim: quota.Requests, Max: 500, Kind: quota.Bucket},
				{Dim: quota.Input, Max: 40_000, Kind: quota.Bucket},
				{Dim: quota.Requests, Max: 10_000, Span: 24 * time.Hour},
			}}},
			{Name: fallback(hostile), Quota: quota.Options{Seats: 4, Limits: []quota.Limit{{Dim: quota.Requests, Max: 30}}}},
		},
		Routes:  []gate.Route{{Upstreams: []int{0}}, {Upstreams: []int{1}}, {Upstreams: []int{2}}},
		Classes: []gate.Class{{Name: flow.Chat, Weight: 6}, {Name: flow.Analysis, Weight: 3}, {Name: flow.Health}, {Name: flow.Batch}},
	}
	c, err := admission.New(o)
	if err != nil {
		return nil, err
	}
	shadow, err := console.NewShadow(time.Now().Add(-time.Hour), o, []string{"claude-*", "gpt-*", "fallback"})
	if err != nil {
		return nil, err
	}
	p := &play{
		admission: c, shadow: shadow, meter: console.NewMeter(), ring: ring.New(ring.Options{}), hostile: hostile,
		random: rand.New(rand.NewPCG(1, 2)), options: o,
	}
	if err := c.Trip(fallback(hostile)); err != nil {
		return nil, err
	}
	p.sink = event.NewFanout(p.meter, p.shadow, p.ring)
	p.past()
	p.crowd()
	return p, nil
}

func fallback(hostile bool) string {
	if hostile {
		return hostileUpstream
	}
	return "anthropic-fallback"
}

func (p *play) close() { p.admission.Close() }

// past is what ended in the last five minutes.
func (p *play) past() {
	now := time.Now()
	for at := now.Add(-295 * time.Second); at.Before(now); at = at.Add(time.Duration(550+p.random.IntN(700)) * time.Millisecond) {
		p.end(at)
	}
}

// crowd is who asks now: some run, the others wait.
func (p *play) crowd() {
	for i := range 40 {
		class := flow.Chat
		if i%4 == 3 {
			class = flow.Analysis
		}
		user := p.user()
		if i%8 == 0 {
			user = p.loud()
		}
		_, _ = p.admission.Enter(admission.Ask{
			Route: 0, Flow: flow.Key{Class: class, Tenant: "acme", User: user},
			Size: llm.Size{TextBytes: 12_000, Messages: 2, MaxOutput: 1500}, Hold: time.Now().Add(time.Hour),
		}) // who is refused is not in the crowd
	}
	for range 9 {
		t, err := p.admission.Enter(admission.Ask{
			Route: 1, Flow: flow.Key{Class: flow.Chat, Tenant: "acme", User: p.user()},
			Size: llm.Size{TextBytes: 8000, Messages: 1, MaxOutput: 400}, Hold: time.Now().Add(time.Hour),
		})
		if err == nil {
			t.Settle(admission.Result{Kind: llm.KindNone, Sent: true, Usage: llm.Usage{Input: 2000, Output: 180}})
		}
	}
}

// loud is one who asks more than others.
func (p *play) loud() string {
	if p.hostile {
		return hostileUser
	}
	return "a-user-whose-name-is-as-long-as-that-of-a-service-account@acme.example"
}

func (p *play) user() string {
	if n := p.random.IntN(200); n > 2 || !p.hostile {
		return fmt.Sprintf("user-%03d", n)
	}
	return hostileUser
}

// end tells of a request that ended at a time.
func (p *play) end(at time.Time) {
	p.serial++
	wait := time.Duration(p.random.ExpFloat64()*(1+2*float64(p.serial%90)/90)*1800) * time.Millisecond
	if p.random.IntN(3) == 0 {
		wait = 0
	}
	took := time.Duration(900+p.random.IntN(4000)) * time.Millisecond
	r := event.Record{
		ID: fmt.Sprintf("req_%06d", p.serial), Key: flow.Key{Class: flow.Chat, Tenant: "acme", User: p.user()}, Model: "claude-sonnet", Route: "claude-*",
		Stream: p.serial%2 == 0, Outcome: flow.OutcomeServed, Status: 200, Upstream: "bedrock-us-east-1", Attempts: 1,
		Arrived: at.Add(-wait - took), Queued: wait, FirstByte: wait + took/3, Total: wait + took, BytesOut: 4096,
		Estimated: llm.Size{Input: 2100, Output: 700}, Used: llm.Usage{Input: 1900, Output: int64(p.random.IntN(900))},
	}
	if p.serial%5 == 0 {
		r.Key.Class = flow.Analysis
	}
	if wait > 0 {
		r.First, r.Reason, r.Quoted, r.Position, r.EtaP50, r.EtaP90 = flow.ReasonTurn, flow.ReasonTokens, true, 1+p.random.IntN(9), wait*3/4, wait*5/4
	}
	r.Waits.Add(flow.ReasonTokens, wait*3/4)
	r.Waits.Add(flow.ReasonSeats, wait-wait*3/4)
	if p.hostile && p.serial%40 == 0 {
		r.ID, r.Model, r.Key.User = hostileID, hostileModel, hostileUser
	}
	p.tell(&r, wait, took)
}

// tell writes its attempts and its record.
func (p *play) tell(r *event.Record, wait, took time.Duration) {
	try := event.Attempt{
		Request: r.ID, Number: 1, Class: r.Key.Class, Upstream: r.Upstream, Model: "anthropic.claude-sonnet", Status: 200,
		Queued: wait, Reason: r.Reason, Started: r.Arrived.Add(wait), FirstByte: took / 3, Total: took, Estimated: r.Estimated, Used: r.Used,
	}
	switch {
	case p.serial%61 == 0: // turned away
		r.Outcome, r.Status, r.Cause, r.Attempts, r.Upstream, r.Used = flow.OutcomeRefused, 503, "too_long", 0, "", llm.Usage{}
		r.Queued, r.FirstByte, r.Total = 0, 0, 400*time.Microsecond
		p.sink.Record(r)
		return
	case p.serial%23 == 0: // another attempt helped
		first := try
		first.Upstream, first.Kind, first.Status, first.Total, first.FirstByte, first.Used = fallback(p.hostile), llm.KindOverload, 529, took/4, took/5, llm.Usage{}
		p.sink.Attempt(&first)
		r.Attempts, try.Number = 2, 2
		try.Queued, try.Reason = 50*time.Millisecond, flow.ReasonSeats
		try.Started, try.Total, try.FirstByte = try.Started.Add(took/4+50*time.Millisecond), took*3/4-50*time.Millisecond, took/4
	}
	p.sink.Attempt(&try)
	p.sink.Record(r)
}

// act goes on until ctx ends.
func (p *play) act(ctx context.Context) {
	beat := time.NewTicker(400 * time.Millisecond)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-beat.C:
			p.end(now)
		}
	}
}

func (p *play) settings() []console.Setting {
	all := []console.Setting{
		{Name: "listen", Value: "127.0.0.1:8080", Origin: "default"},
		{Name: "upstreams.bedrock-us-east-1.api_key", Value: "***", Origin: "MILLRACE_UPSTREAMS_BEDROCK_API_KEY"},
		{Name: "upstreams.bedrock-us-east-1.quota.requests", Value: "60/m", Origin: "/etc/millrace.yaml:7:22"},
		{Name: "upstreams.bedrock-us-east-1.quota.tokens", Value: "180000/m", Origin: "--set"},
		{Name: "upstreams.bedrock-us-east-1.quota.seats", Value: "15", Origin: "/etc/millrace.yaml:9:14"},
		{Name: "classes.chat.weight", Value: "6", Origin: "default"},
		{Name: "classes.analysis.rate", Value: "20/m", Origin: "ANALYSIS_TASK_RATE_LIMIT"},
		{Name: "limits.hold", Value: "4m0s", Origin: "default"},
	}
	if p.hostile {
		all = append(all, console.Setting{Name: hostileUser, Value: hostileValue, Origin: hostileModel})
	}
	return all
}
