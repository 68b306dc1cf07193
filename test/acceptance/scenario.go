package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// scenario is one case: legs that run side by side and what is asked of their
// figures, or a course of its own.
type scenario struct {
	name  string
	heavy bool // needs the machine for itself
	long  bool // runs only when it is asked for
	legs  []leg
	check func(*verdict, []result) // gets one result for each leg, in their order
	own   func(context.Context, *site, *verdict) error
	takes time.Duration // about so long; of a case with a course of its own
}

// length is how long the case takes if nothing is left over at its end.
func (c *scenario) length() time.Duration {
	longest := c.takes
	for i := range c.legs {
		longest = max(longest, c.legs[i].demand.length())
	}
	return longest
}

// leg is one judge, one gateway and one load.
type leg struct {
	name    string
	judge   judge
	gateway *gateway // nil: the users ask the judge themselves
	demand  demand
}

// judge is a simulated provider.
type judge struct {
	requests, tokens, seats int
	flags                   []string
}

func (j judge) args() []string {
	return append([]string{
		"sim", "--listen", "127.0.0.1:0", "--requests", strconv.Itoa(j.requests),
		"--tokens", strconv.Itoa(j.tokens), "--seats", strconv.Itoa(j.seats),
	}, j.flags...)
}

// with is the judge with more flags; the last of a kind counts.
func (j judge) with(flags ...string) judge {
	j.flags = append(append([]string{}, j.flags...), flags...)
	return j
}

// gateway is what the gateway is told of its judge, beside the quota.
type gateway struct {
	environment bool          // told by variables alone, as an operator begins; the rest of the struct is empty then
	window      string        // "": the default
	burst       time.Duration // 0: not told
	slice       time.Duration // 0: not told
	meter       string        // "": not told
	firstByte   time.Duration // 0: the default
	hold        time.Duration // 0: the default
}

// variables is the environment of a gateway that has no file.
func (g *gateway) variables(j judge, base, state string) []string {
	return []string{
		"OPENAI_BASE_URL=" + base, "OPENAI_API_KEY=sk-acceptance", "MILLRACE_STATE_DIR=" + state,
		"MAX_REQUESTS_PER_MINUTE=" + strconv.Itoa(j.requests), "MAX_TOKENS_PER_MINUTE=" + strconv.Itoa(j.tokens),
		"MAX_CONCURRENT_REQUESTS=" + strconv.Itoa(j.seats),
	}
}

// file is the configuration of a gateway that has one.
func (g *gateway) file(j judge, base, state string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("state_dir: %s", state)
	line("upstreams:")
	line("  - name: main")
	line("    base_url: %s", base)
	if g.firstByte > 0 {
		line("    timeout: {first_byte: %s}", g.firstByte)
	}
	line("    quota:")
	line("      requests: %d/m", j.requests)
	line("      tokens: %d/m", j.tokens)
	line("      seats: %d", j.seats)
	for _, word := range []struct{ key, value string }{
		{"window", g.window}, {"burst", seconds(g.burst)}, {"slice", seconds(g.slice)}, {"meter", g.meter},
	} {
		if word.value != "" {
			line("      %s: %s", word.key, word.value)
		}
	}
	if g.hold > 0 {
		line("limits: {hold: %s}", g.hold)
	}
	return b.String()
}

func seconds(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}

// demand is who asks for what, for how long.
type demand struct {
	users, tokens int           // closed loop; ignored when a trace is replayed
	warmUp, time  time.Duration // time 0: the whole trace
	span          time.Duration // of the trace at its speed
	aligned       bool          // measure between two moments at which a window of the wall clock is spent
	flags         []string
}

func (d demand) length() time.Duration {
	length := d.warmUp + max(d.time, d.span)
	if d.aligned {
		length += time.Minute
	}
	return length
}

func (d demand) args(target, judgeURL string) []string {
	args := []string{
		"load", "--json", "--quiet", "--target", target, "--judge", judgeURL,
		"--grace", grace.String(), "--timeout", patience.String(),
	}
	if d.users > 0 {
		args = append(args, "--users", strconv.Itoa(d.users), "--tokens", strconv.Itoa(d.tokens), "--tokens-sigma", "0.3")
	}
	if d.time > 0 {
		args = append(args, "--duration", d.time.String(), "--warmup", d.prelude(time.Now()).String())
	}
	return append(args, d.flags...)
}

// spentBy is when in a minute of the wall clock its window is used up for sure.
const spentBy = 50 * time.Second

// prelude is the warm-up of a load that begins now.
func (d demand) prelude(now time.Time) time.Duration {
	if !d.aligned {
		return d.warmUp
	}
	end := now.Add(d.warmUp)
	moment := end.Truncate(time.Minute).Add(spentBy)
	if moment.Before(end) {
		moment = moment.Add(time.Minute)
	}
	return moment.Sub(now).Round(time.Millisecond)
}

// The longest that one request and that the requests left at the end may take.
const (
	patience = 10 * time.Minute
	grace    = 10 * time.Minute
)
