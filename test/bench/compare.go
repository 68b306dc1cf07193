package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// errOver is how a run ends that measured too much.
var errOver = errors.New("the gateway is not within its bounds")

// round is what one round found of one proxy.
type round struct{ requests, streams *result }

// book is what all rounds found.
type book struct{ gateway, bare []round }

// compare measures both proxies, prints the table and judges it.
func compare(ctx context.Context, o *options, out io.Writer) error {
	if _, err := os.Stat(o.gateway); err != nil {
		return fmt.Errorf("there is no gateway to measure, run make build: %w", err)
	}
	h, err := newHost()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s; %s\n", machine(), h)
	provider, err := h.provider(ctx, o)
	if err != nil {
		return err
	}
	defer provider.close()
	var b book
	for i := range o.rounds {
		if err := b.round(ctx, h, o, provider.address, i); err != nil {
			return err
		}
		fmt.Fprintf(out, "round %d of %d: gateway %s; ReverseProxy %s\n", i+1, o.rounds, b.gateway[i], b.bare[i])
	}
	rows := b.table(o)
	show(out, rows)
	return b.judge(rows, out)
}

// round measures both proxies; who is first changes.
func (b *book) round(ctx context.Context, h *host, o *options, upstream string, i int) error {
	type proxy struct {
		start starter
		into  *[]round
	}
	order := []proxy{{h.reverseProxy, &b.bare}, {h.millrace, &b.gateway}}
	if i%2 == 1 {
		slices.Reverse(order)
	}
	for _, p := range order {
		var r round
		var first, second error
		r.requests, first = h.measure(ctx, o, roleRequests, upstream, p.start)
		r.streams, second = h.measure(ctx, o, roleStreams, upstream, p.start)
		if err := errors.Join(first, second); err != nil {
			return err
		}
		*p.into = append(*p.into, r)
	}
	return nil
}

// starter starts a proxy in front of the provider at upstream.
type starter func(ctx context.Context, o *options, upstream string) (*server, error)

// measure puts one kind of load on a fresh proxy.
func (h *host) measure(ctx context.Context, o *options, role, upstream string, start starter) (*result, error) {
	s, err := start(ctx, o, upstream)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return h.load(ctx, o, role, s)
}

// String is a round in one line, for those who wait for the table.
func (r round) String() string {
	return fmt.Sprintf("%.1f us/request, %.1f us/chunk, %.0f MB", r.perRequest(), r.perChunk(), r.megabytes())
}

func (r round) perRequest() float64 {
	return micros(r.requests.CPU) / float64(max(r.requests.Served, 1))
}

func (r round) perChunk() float64  { return micros(r.streams.CPU) / float64(max(r.streams.Chunks, 1)) }
func (r round) megabytes() float64 { return float64(r.streams.Peak) / 1e6 }

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// row is one line of the table.
type row struct {
	what          string
	gateway, bare float64   // medians
	ratios        []float64 // of the rounds, in order
	ratio         float64   // their median
	bound         float64   // 0 for none
}

func (r *row) over() bool { return r.bound > 0 && r.ratio > r.bound }

// table compares the rounds in pairs, since what disturbs the one disturbs the
// other.
func (b *book) table(o *options) []row {
	pair := func(what string, bound float64, of func(round) float64) row {
		r := row{what: what, bound: bound}
		var gateway, bare []float64
		for i := range b.gateway {
			gateway, bare = append(gateway, of(b.gateway[i])), append(bare, of(b.bare[i]))
			r.ratios = append(r.ratios, gateway[i]/bare[i])
		}
		r.gateway, r.bare, r.ratio = median(gateway), median(bare), median(r.ratios)
		return r
	}
	return []row{
		pair(fmt.Sprintf("CPU us/request, %g/s, %s", o.rate, o.delay), o.maxCPU, round.perRequest),
		pair(fmt.Sprintf("CPU us/chunk, %d streams", o.atOnce), o.maxChunk, round.perChunk),
		pair(fmt.Sprintf("peak RSS MB, %d streams", o.atOnce), o.maxRSS, round.megabytes),
		pair("added ms, median", 0, func(r round) float64 { return micros(r.requests.Median) / 1e3 }),
		pair("added ms, p99", 0, func(r round) float64 { return micros(r.requests.P99) / 1e3 }),
	}
}

// median of an even number is the mean of the two in the middle.
func median(list []float64) float64 {
	sorted := slices.Sorted(slices.Values(list))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func show(out io.Writer, rows []row) {
	fmt.Fprintf(out, "\n%-30s %9s %13s %7s %6s\n", "", "gateway", "ReverseProxy", "ratio", "bound")
	for i := range rows {
		r := &rows[i]
		bound, verdict := "", ""
		if r.bound > 0 {
			bound, verdict = fmt.Sprintf("%.2f", r.bound), "ok"
		}
		if r.over() {
			verdict = "OVER"
		}
		fmt.Fprintf(out, "%-30s %9.2f %13.2f %7.2f %6s %-4s rounds", r.what, r.gateway, r.bare, r.ratio, bound, verdict)
		for _, ratio := range r.ratios {
			fmt.Fprintf(out, " %.2f", ratio)
		}
		fmt.Fprintln(out)
	}
}

// judge prints what was lost, and fails over a bound or for anything that the
// gateway lost.
func (b *book) judge(rows []row, out io.Writer) error {
	var faults []error
	for i := range rows {
		if rows[i].over() {
			faults = append(faults, fmt.Errorf("%s: %.2f times ReverseProxy, at most %.2f", rows[i].what, rows[i].ratio, rows[i].bound))
		}
	}
	requests := func(r round) *result { return r.requests }
	streams := func(r round) *result { return r.streams }
	failed, cut := sum(b.gateway, requests), sum(b.gateway, streams)
	fmt.Fprintf(out, "requests failed: gateway %s; ReverseProxy %s\n", failed, sum(b.bare, requests))
	fmt.Fprintf(out, "streams cut: gateway %s; ReverseProxy %s\n", cut, sum(b.bare, streams))
	if failed.lost+cut.lost > 0 {
		faults = append(faults, fmt.Errorf("the gateway failed %d requests and cut %d streams", failed.lost, cut.lost))
	}
	if len(faults) > 0 {
		return errors.Join(append([]error{errOver}, faults...)...)
	}
	return nil
}

// tally is what was lost of all that was asked.
type tally struct {
	lost, all int64
	fault     string // the first
}

func (t tally) String() string {
	text := fmt.Sprintf("%d of %d", t.lost, t.all)
	if t.fault != "" {
		text += " (" + t.fault + ")"
	}
	return text
}

func sum(rounds []round, of func(round) *result) tally {
	var t tally
	for _, r := range rounds {
		one := of(r)
		t.lost += one.Lost
		t.all += one.Lost + one.Served
		t.fault = cmp.Or(t.fault, one.Fault)
	}
	return t
}

// machine says where the figures come from.
func machine() string {
	model := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%s, %d cores, %s %s, %s", model, runtime.NumCPU(), runtime.GOOS, strings.TrimSpace(string(kernel)), runtime.Version())
}
