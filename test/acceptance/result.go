package main

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/provider/sim"
)

// result is what was seen of one leg.
type result struct {
	leg     *leg
	load    load.Result
	books   sim.Stats // of the judge, when all was over
	metrics samples   // of the gateway, likewise; nil without one
}

// throttled counts what the judge refused.
func (r *result) throttled() int64 { return r.books.Throttled }

// errorShare is the share of requests that met an error.
func (r *result) errorShare() float64 {
	return ratio(float64(r.load.Errors), float64(r.load.Answered+r.load.Errors))
}

// used is the use of one of the judge's limits at the end of the load.
func (r *result) used(limit string) float64 {
	for _, l := range r.load.Judge.AtEnd.Limits {
		if l.Name == limit {
			return l.Utilization
		}
	}
	return 0
}

// binding is the name of the limit used most, and its use.
func (r *result) binding() (name string, use float64) {
	name, use = "seats", r.seatsUsed()
	for _, l := range r.load.Judge.AtEnd.Limits {
		if l.Utilization > use {
			name, use = l.Name, l.Utilization
		}
	}
	return name, use
}

// seatsUsed is the mean share of the seats in use: answers times the time each
// took at the judge, which is what its user waited without the queue.
func (r *result) seatsUsed() float64 {
	served := (r.load.Latency.Mean - r.load.Wait.Mean) / 1000 * float64(r.load.Judge.AtEnd.Answered)
	return ratio(served, float64(r.leg.judge.seats)*r.load.Seconds)
}

// attempts is how many requests reached the judge for each that was answered.
func (r *result) attempts() float64 {
	return ratio(float64(r.books.Requests), float64(r.books.Answered))
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// samples are the values of a metrics page by name and labels, as written.
type samples map[string]float64

func parseSamples(page io.Reader) (samples, error) {
	all := samples{}
	lines := bufio.NewScanner(page)
	for lines.Scan() {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, found := cutLast(line, " ")
		number, err := strconv.ParseFloat(value, 64)
		if !found || err != nil {
			return nil, fmt.Errorf("metrics: %.80q is no sample", line)
		}
		all[name] = number
	}
	return all, lines.Err()
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// sum adds the samples of a name whose labels hold all the given texts, such as
// kind="none".
func (s samples) sum(name string, labels ...string) float64 {
	total := 0.0
	for sample, value := range s {
		own, rest, _ := strings.Cut(sample, "{")
		if own == name && holdsAll(rest, labels) {
			total += value
		}
	}
	return total
}

func holdsAll(s string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// verdict gathers the figures of a case and which of them are missed.
type verdict struct {
	figures []string
	missed  int
}

func (v *verdict) show(format string, args ...any) {
	v.figures = append(v.figures, fmt.Sprintf(format, args...))
}

func (v *verdict) atMost(name string, got, limit float64) {
	v.judge(got <= limit, name, got, "<= "+figure(limit))
}

func (v *verdict) atLeast(name string, got, limit float64) {
	v.judge(got >= limit, name, got, ">= "+figure(limit))
}

func (v *verdict) equal(name string, got, want float64) {
	v.judge(got == want, name, got, "= "+figure(want))
}

func (v *verdict) judge(kept bool, name string, got float64, want string) {
	mark := ""
	if !kept {
		mark = " MISSED"
		v.missed++
	}
	if kept && want == "<= 0" {
		want = ""
	}
	if want != "" {
		want = " (" + want + ")"
	}
	v.figures = append(v.figures, name+" "+figure(got)+want+mark)
}

// fault records that something is wrong which has no figure.
func (v *verdict) fault(format string, args ...any) {
	v.missed++
	v.show(format+" MISSED", args...)
}

func (v *verdict) String() string { return strings.Join(v.figures, ", ") }

// figure writes whole numbers whole and shares with four places.
func figure(x float64) string {
	if x == float64(int64(x)) {
		return strconv.FormatInt(int64(x), 10)
	}
	return strings.TrimRight(strconv.FormatFloat(x, 'f', 4, 64), "0")
}
