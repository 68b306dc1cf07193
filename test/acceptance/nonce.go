package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/millrace/millrace/test/acceptance/crowd"
)

// nonceCase: everybody gets his own answer. Each prompt holds a nonce that the
// judge echoes, of its user on the route that shares nothing between users, of its
// tenant on the one that does. Some prompts are the same for all: there the id
// that the judge gave an answer tells whose it is.
func nonceCase(requests int64) scenario {
	return scenario{
		name: "nonce", heavy: true, takes: time.Duration(requests) * 250 * time.Microsecond,
		own: func(ctx context.Context, s *site, v *verdict) error { return nonceCourse(ctx, s, v, requests) },
	}
}

// nonceFile configures two upstreams that stand in for each other, and short
// lives in the cache, so that hits, misses and shared calls mix.
func nonceFile(first, second string) string {
	text := fmt.Sprintf(`upstreams:
  - {name: first, base_url: %s/v1, quota: {seats: 48}, timeout: {first_byte: 10s}, breaker: {open: 5s}}
  - {name: second, base_url: %s/v1, quota: {seats: 48}, timeout: {first_byte: 10s}, breaker: {open: 5s}}
routes:
  - {model: mine, upstreams: [first, second], coalesce: true, cache: 2s, share: user}
  - {model: ours, upstreams: [second, first], coalesce: true, cache: 2s, share: tenant}
tasks: {concurrency: 32, keep: 1m}
limits: {connections_per_ip: 0, cache: 16MiB}
keys:
`, first, second)
	var keys strings.Builder
	for i := range crowd.Tenants {
		fmt.Fprintf(&keys, "  - {name: app%d, tenant: tenant%d, sha256: %s}\n", i, i, hashOf(crowd.Key(i)))
	}
	return text + keys.String()
}

func nonceCourse(ctx context.Context, s *site, v *verdict, requests int64) error {
	instant := []string{"sim", "--listen", "127.0.0.1:0", "--latency", "30ms", "--sigma", "0.5", "--fault"} // long enough that identical requests meet
	first, err := s.start(ctx, "first", append(instant, "500:3%", "--fault", "hang:0.01%", "--seed", "1")...)
	if err != nil {
		return err
	}
	second, err := s.start(ctx, "second", append(instant, "503:1%", "--seed", "2")...)
	if err != nil {
		return err
	}
	front, err := s.gateway(ctx, nonceFile(first.base, second.base))
	if err != nil {
		return err
	}
	if err := pause(ctx, 2*time.Second); err != nil { // an upstream's quota has to refill first
		return err
	}
	c := crowd.New(front.base, requests)
	began := time.Now()
	c.Run(ctx, s.say)
	took := time.Since(began)
	if err := ctx.Err(); err != nil {
		return err
	}
	all, err := front.rest(ctx, crowd.Key(0))
	if err != nil {
		return err
	}
	nonceVerdict(v, requests, c.Report(), float64(requests)/took.Seconds(), all)
	if err := nonceBooks(ctx, v, all, first, second); err != nil {
		return err
	}
	return v.unpanicked(front)
}

// nonceBooks compares what the gateway settled with what reached the judges.
func nonceBooks(ctx context.Context, v *verdict, all samples, judges ...*server) error {
	reached, left := int64(0), int64(0)
	for _, j := range judges {
		b, err := j.books(ctx)
		if err != nil {
			return err
		}
		reached, left = reached+b.Requests, left+int64(b.InFlight)
	}
	booked, canceled := all.sum("millrace_attempts_total"), all.sum("millrace_attempts_total", `kind="canceled"`)
	v.equal("outstanding", all.sum("millrace_attempts_outstanding"), 0)
	v.equal("in flight at the judges", float64(left), 0)
	v.atLeast("attempts booked", booked, float64(reached))
	v.atMost("of them canceled before they were sent", booked-float64(reached), canceled)
	return nil
}

func nonceVerdict(v *verdict, requests int64, r crowd.Report, rate float64, all samples) {
	n := float64(requests)
	v.equal("requests", float64(r.Ended), n)
	v.atMost("foreign nonces", float64(r.Foreign), 0)
	v.atMost("tasks shown to others", float64(r.Peeked), 0)
	v.atMost("errors", float64(r.Errors), 0)
	for _, text := range r.Samples {
		v.show("[%s]", text)
	}
	v.show("%.0f/s", rate)
	v.show("longest pause of all %v, breakers opened %.0f times", r.Pause, all.sum("millrace_breaker_trips_total"))
	v.atLeast("cached", all.sum("millrace_requests_total", `outcome="cached"`), n/20)
	v.atLeast("coalesced", all.sum("millrace_requests_total", `outcome="coalesced"`), n/50)
	v.atLeast("failed attempts made good", all.sum("millrace_attempts_total", `kind="transient"`)+
		all.sum("millrace_attempts_total", `kind="overload"`)+all.sum("millrace_attempts_total", `kind="timeout"`), n/500)
	v.atLeast("canceled", float64(r.Canceled), n/50)
	v.show("users saw: hits %d, joined %d, fallbacks %d, streams %d, tasks %d, owners by id %d", r.Hits, r.Joined, r.Again, r.Streams, r.Tasks, r.Owners)
}
