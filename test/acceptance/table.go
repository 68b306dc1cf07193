package main

import (
	"fmt"
	"strconv"
	"time"
)

// standard is the judge of most cases: 600 requests and 1.8 million tokens a
// minute, 15 seats, buckets of six seconds, answers of about a second, 95 % of
// them within 1.7 s.
func standard() judge {
	return judge{requests: 600, tokens: 1_800_000, seats: 15, flags: []string{"--latency", "1s", "--sigma", "0.35", "--seed", "7"}}
}

// The mean sizes of a request: where the tokens are what is short, and where
// they are not.
const (
	large = 6000
	small = 500
)

// told is a gateway that knows how its provider counts.
func told() *gateway { return &gateway{meter: "openai"} }

// lengths are the times of the cases.
type lengths struct {
	short        time.Duration // seeing errors
	warmUp, busy time.Duration // measuring use
	learn        time.Duration // unknown buckets, without headers
	compare      time.Duration // percentiles to be compared
}

func lengthsOf(quick bool) lengths {
	if quick {
		return lengths{short: 20 * time.Second, warmUp: 61 * time.Second, busy: time.Minute, learn: 2 * time.Minute, compare: 90 * time.Second}
	}
	return lengths{short: time.Minute, warmUp: 61 * time.Second, busy: 2 * time.Minute, learn: 10 * time.Minute, compare: 4 * time.Minute}
}

// table lists the cases but the traces.
func table(quick bool) []scenario {
	l := lengthsOf(quick)
	var all []scenario
	for _, part := range [][]scenario{straightCases(l), userCases(l), useCases(l), unknownCases(l), greedyCases(l), rudeCases(l)} {
		all = append(all, part...)
	}
	return all
}

func closed(users, tokens int, length time.Duration, flags ...string) demand {
	return demand{users: users, tokens: tokens, time: length, flags: flags}
}

func straightCases(l lengths) []scenario {
	var all []scenario
	for _, c := range []struct {
		users int
		least float64
	}{{40, .40}, {200, .80}} {
		all = append(all, scenario{
			name: "straight/" + strconv.Itoa(c.users),
			legs: []leg{{judge: standard(), demand: closed(c.users, large, l.short)}},
			check: func(v *verdict, rs []result) {
				r := &rs[0]
				v.atLeast("errors", r.errorShare(), c.least)
				v.show("judge's 429s %d, p95 %s", r.throttled(), ms(r.load.Latency.P95))
			},
		})
	}
	return all
}

func userCases(l lengths) []scenario {
	var all []scenario
	for _, users := range []int{10, 20, 40, 200} {
		all = append(all, scenario{
			name: "users/" + strconv.Itoa(users),
			legs: []leg{{judge: standard(), gateway: &gateway{environment: true}, demand: closed(users, large, l.short)}},
			check: func(v *verdict, rs []result) {
				r := &rs[0]
				unharmed(v, r)
				v.atMost("attempts an answer", r.attempts(), 1.02)
				v.show("answers %d, p50 %s, p95 %s", r.load.Answered, ms(r.load.Latency.P50), ms(r.load.Latency.P95))
			},
		})
	}
	return all
}

// unharmed: no client met an error, no request a throttle.
func unharmed(v *verdict, r *result) {
	errorsOf(v, r)
	v.atMost("429s", float64(r.throttled()), 0)
}

func errorsOf(v *verdict, r *result) {
	v.atMost("errors", float64(r.load.Errors), 0)
	if r.load.Errors > 0 {
		v.show("%v", r.load.ByError)
	}
}

// binds is a load that one limit is too small for.
type binds struct {
	limit   string
	users   int
	tokens  int
	latency string
}

func useCases(l lengths) []scenario {
	var all []scenario
	for _, kind := range []struct {
		name    string
		flags   []string
		gateway gateway
	}{
		{"bucket", []string{"--window", "bucket", "--burst", "6s"}, gateway{window: "bucket", burst: 6 * time.Second}},
		{"sliding", []string{"--window", "sliding"}, gateway{window: "sliding"}},
		{"fixed", []string{"--window", "fixed"}, gateway{window: "fixed"}},
		{"slice", []string{"--window", "slice", "--slice", "10s"}, gateway{window: "slice", slice: 10 * time.Second}},
		{"paced", []string{"--window", "paced", "--burst", "1s"}, gateway{window: "paced", burst: time.Second}},
		{"default", nil, gateway{}},
	} {
		kind.gateway.meter = "openai"
		for _, b := range []binds{
			{"tokens", 40, large, "1s"},
			{"tokens", 200, large, "1s"},
			{"requests", 200, small, "1s"},
			{"seats", 40, small, "5s"},
		} {
			all = append(all, scenario{
				name: fmt.Sprintf("use/%s/%s/%d", kind.name, b.limit, b.users),
				legs: []leg{{
					judge: standard().with("--latency", b.latency).with(kind.flags...), gateway: &kind.gateway,
					demand: demand{users: b.users, tokens: b.tokens, warmUp: l.warmUp, time: l.busy, aligned: kind.name == "fixed"},
				}},
				check: func(v *verdict, rs []result) { fullUse(v, &rs[0], b.limit) },
			})
		}
	}
	return all
}

func fullUse(v *verdict, r *result, limit string) {
	use := r.used(limit)
	if limit == "seats" {
		use = r.seatsUsed()
	}
	v.atLeast("use of "+limit, use, .97)
	unharmed(v, r)
	if name, most := r.binding(); name != limit {
		v.fault("%s binds (%.4f), not %s", name, most, limit)
	}
	v.show("p50 %s, p95 %s, longest %s", ms(r.load.Latency.P50), ms(r.load.Latency.P95), ms(r.load.Latency.Max))
}

// unknownCases: the gateway is told the minute, the judge has buckets.
func unknownCases(l lengths) []scenario {
	var all []scenario
	for _, burst := range []string{"6s", "1s"} {
		for _, tokens := range []int{large, small} {
			users := 40
			if tokens == small {
				users = 200
			}
			bucket := standard().with("--window", "bucket", "--burst", burst)
			name := fmt.Sprintf("unknown/%s/%d-tokens", burst, tokens)
			all = append(all, scenario{
				name: name + "/headers",
				legs: []leg{{judge: bucket, gateway: told(), demand: closed(users, tokens, l.busy)}},
				check: func(v *verdict, rs []result) {
					r := &rs[0]
					v.atMost("429s after the first second", float64(r.throttled()-r.books.FirstSecond), 0)
					showUnknown(v, r)
				},
			}, scenario{
				name: name + "/silent",
				legs: []leg{{
					judge: bucket.with("--no-limit-headers", "--no-retry-after"), gateway: told(),
					demand: closed(users, tokens, l.learn),
				}},
				check: func(v *verdict, rs []result) { learned(v, &rs[0]) },
			})
		}
	}
	return all
}

func learned(v *verdict, r *result) {
	first := int64(0)
	if len(r.books.PerMinute) > 0 {
		first = r.books.PerMinute[0]
	}
	v.atMost("429s in the first minute", float64(first), float64(r.leg.judge.seats+5))
	v.atMost("429s of all requests", ratio(float64(r.throttled()), float64(r.books.Requests)), .01)
	showUnknown(v, r)
}

func showUnknown(v *verdict, r *result) {
	errorsOf(v, r)
	name, use := r.binding()
	v.show("429s %d, in the first second %d, by minute %v, use of %s %.3f, p95 %s",
		r.throttled(), r.books.FirstSecond, r.books.PerMinute, name, use, ms(r.load.Latency.P95))
}

// greed is one user who asks for as much as he can.
type greed struct {
	name    string
	users   int
	flags   []string
	longest float64 // p95 of the others at 16 a minute each, ms
}

// greedyCases: the others ask for two thirds of their fair share, or think so
// long that they would ask 16 times a minute if they were answered in a second.
func greedyCases(l lengths) []scenario {
	var all []scenario
	for _, g := range []greed{
		{"40-loops-of-10", 10, []string{"--greedy-user", "40"}, 2600},
		{"10x-of-20", 20, []string{"--greedy-factor", "10"}, 2700},
	} {
		for _, front := range []struct {
			name string
			told gateway
		}{
			{"bucket", gateway{meter: "openai", window: "bucket", burst: 6 * time.Second}},
			{"default", *told()},
		} {
			all = append(all, modestCase(g, front.name, &front.told, l), busyCase(g, front.name, &front.told, l))
		}
	}
	return all
}

func modestCase(g greed, name string, front *gateway, l lengths) scenario {
	fair := standard().tokens / large / g.users // requests a minute
	modest := []string{"--others-rate", strconv.Itoa(fair*2/3) + "/m"}
	return scenario{
		name: "greedy/" + g.name + "/two-thirds/" + name,
		legs: []leg{
			{name: "with", judge: standard(), gateway: front, demand: closed(g.users, large, l.compare, append(modest, g.flags...)...)},
			{name: "without", judge: standard(), gateway: front, demand: closed(g.users-1, large, l.compare, modest...)},
		},
		check: func(v *verdict, rs []result) {
			unharmed(v, &rs[0])
			with, without := rs[0].load.Others.P95, rs[1].load.Latency.P95
			v.atMost("p95 with him over without", with/without, 1.3)
			v.show("p95 %s with, %s without, he %s", ms(with), ms(without), ms(rs[0].load.Greedy.P95))
		},
	}
}

func busyCase(g greed, name string, front *gateway, l lengths) scenario {
	flags := append([]string{"--think", "2.75s", "--think-dist", "fixed"}, g.flags...)
	return scenario{
		name: "greedy/" + g.name + "/16-a-minute/" + name,
		legs: []leg{{judge: standard(), gateway: front, demand: closed(g.users, large, l.compare, flags...)}},
		check: func(v *verdict, rs []result) {
			r := &rs[0].load
			unharmed(v, &rs[0])
			v.atMost("p95 ms of the others", r.Others.P95, g.longest)
			v.show("their p50 %s, %.1f a minute each, his p95 %s", ms(r.Others.P50),
				float64(r.Others.Count)/float64(g.users-1)/r.Seconds*60, ms(r.Greedy.P95))
		},
	}
}

// rudeCases: what the judge charged and what the gateway booked are compared
// in a run that is shorter than the minute the gateway remembers.
func rudeCases(l lengths) []scenario {
	provider := standard().with("--seed", "1", "--fault", "500:3%", "--fault", "hang:1%")
	front := &gateway{meter: "openai", firstByte: 5 * time.Second}
	manners := []string{"--stream-share", "0.5", "--cancel", "0.15", "--disconnect", "0.14"}
	books := min(l.short, 35*time.Second)
	return []scenario{
		{
			name: "rude/20",
			legs: []leg{{judge: provider, gateway: front, demand: closed(20, large, 2*l.short, manners...)}},
			check: func(v *verdict, rs []result) {
				polite(v, &rs[0])
				equalCounts(v, &rs[0])
			},
		},
		{
			name: "rude/40",
			legs: []leg{{judge: provider, gateway: front, demand: closed(40, large, 2*l.short, manners...)}},
			check: func(v *verdict, rs []result) {
				polite(v, &rs[0])
				equalCounts(v, &rs[0])
			},
		},
		{
			name: "rude/20/books",
			legs: []leg{{judge: provider, gateway: front, demand: closed(20, small, books, manners...)}},
			check: func(v *verdict, rs []result) {
				polite(v, &rs[0])
				equalCounts(v, &rs[0])
				equalCharges(v, &rs[0])
			},
		},
	}
}

func polite(v *verdict, r *result) {
	v.atMost("errors of the polite", float64(r.load.ErrorsBehaved), 0)
	if r.load.ErrorsBehaved > 0 {
		v.show("%v", r.load.ByError)
	}
	v.atMost("429s", float64(r.throttled()), 0)
	v.atMost("attempts a request", ratio(float64(r.books.Requests), float64(r.load.Started)), 1.1)
	v.show("of %d: answered %d, left %d, hung up %d; judge failed %d",
		r.load.Started, r.load.Answered, r.load.Canceled, r.load.Disconnected, r.books.Faulted)
}

// equalCounts compares the attempts that the gateway settled with the requests
// that reached the judge: the same, but for those whose client left before
// anything was sent.
func equalCounts(v *verdict, r *result) {
	booked, canceled := r.metrics.sum("millrace_attempts_total"), r.metrics.sum("millrace_attempts_total", `kind="canceled"`)
	unsent := booked - float64(r.books.Requests)
	v.atLeast("attempts booked", booked, float64(r.books.Requests))
	v.atMost("of them canceled before they were sent", unsent, canceled)
	v.equal("in flight", float64(r.books.InFlight), 0)
	v.equal("outstanding", r.metrics.sum("millrace_attempts_outstanding"), 0)
}

// equalCharges compares what the judge charged with what the gateway's windows
// hold, while they hold all of it.
func equalCharges(v *verdict, r *result) {
	v.equal("requests charged", r.metrics.sum("millrace_quota_used", `limit="requests"`), float64(r.books.Requests))
	v.equal("tokens charged", r.metrics.sum("millrace_quota_used", `limit="tokens"`), float64(r.books.Metered))
}

// ms writes milliseconds for people.
func ms(x float64) string {
	return time.Duration(x * float64(time.Millisecond)).Round(10 * time.Millisecond).String()
}
