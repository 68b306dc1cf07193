package inquiry

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/capacity"
)

// What an answer is bounded to.
const (
	maxRows     = 8
	maxUsers    = 10_000
	maxDuration = time.Hour
	maxText     = 200 // characters of a parameter

	defaultDuration = 15 * time.Minute
	effort          = 400_000 // requests
)

// Answer is the plan that a page asks for by the parameters of its query: a row for
// each number of users. An error that wraps capacity.ErrOptions is the caller's fault.
func Answer(ctx context.Context, b *Base, query url.Values) ([]capacity.Row, error) {
	q, err := Parse(query)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", capacity.ErrOptions, err)
	}
	o, err := q.Options(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", capacity.ErrOptions, err)
	}
	if len(o.Users) > maxRows || slices.Max(o.Users) > maxUsers || o.Duration > maxDuration {
		return nil, fmt.Errorf("%w: at most %d rows, %d users and a duration of %v", capacity.ErrOptions, maxRows, maxUsers, maxDuration)
	}
	o.Effort = effort
	report, err := capacity.New(ctx, o)
	if err != nil {
		return nil, err
	}
	return report.Rows, nil
}

// Parse reads the parameters of a query. Unknown ones are faults, so that a typing
// error is not taken for a default.
func Parse(query url.Values) (*Question, error) {
	q := &Question{Duration: defaultDuration, Seed: 1}
	var faults []error
	for name, values := range query {
		read, known := parameters[name]
		text := values[len(values)-1]
		switch {
		case !known:
			faults = append(faults, fmt.Errorf("%.40q is no parameter", name))
		case len(text) > maxText:
			faults = append(faults, fmt.Errorf("%s: longer than %d characters", name, maxText))
		default:
			if err := read(q, text); err != nil {
				faults = append(faults, fmt.Errorf("%s: %.40q: %w", name, text, err))
			}
		}
	}
	faults = append(faults, ignored(query)...)
	slices.SortFunc(faults, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return q, errors.Join(faults...)
}

// ignored tells parameters that would say nothing beside the others.
func ignored(query url.Values) (faults []error) {
	wrong := func(is bool, name, why string) {
		if is && query.Has(name) {
			faults = append(faults, fmt.Errorf("%s: %s", name, why))
		}
	}
	arrivals, workload := query.Get("arrivals"), query.Get("workload")
	fitted := workload != "" && workload != "constant"
	wrong(query.Has("requests_per_user"), "think", "says instead of requests_per_user how often a user asks: choose one")
	wrong(arrivals != "" && arrivals != "closed", "think", "is of users who wait for answers, which these arrivals do not")
	wrong(arrivals != "bursts", "cv", "says nothing without arrivals=bursts")
	wrong(fitted, "tokens", "the workload has sizes of its own: choose one")
	wrong(fitted, "tokens_sigma", "the workload has sizes of its own: choose one")
	return faults
}

// parameters are the words of a query.
var parameters = map[string]func(*Question, string) error{
	"users":             text(func(q *Question) *string { return &q.Users }),
	"requests_per_user": text(func(q *Question) *string { return &q.Rate }),
	"arrivals":          text(func(q *Question) *string { return &q.Arrivals }),
	"workload":          text(func(q *Question) *string { return &q.Workload }),
	"class":             text(func(q *Question) *string { return &q.Class }),
	"as":                text(func(q *Question) *string { return &q.As }),
	"model":             text(func(q *Question) *string { return &q.Model }),
	"tokens":            number(func(q *Question) *float64 { return &q.Tokens }),
	"tokens_sigma":      number(func(q *Question) *float64 { return &q.Sigma }),
	"output":            number(func(q *Question) *float64 { return &q.Output }),
	"cv":                number(func(q *Question) *float64 { return &q.CV }),
	"think":             span(func(q *Question) *time.Duration { return &q.Think }),
	"latency":           span(func(q *Question) *time.Duration { return &q.Latency.Total }),
	"duration":          span(func(q *Question) *time.Duration { return &q.Duration }),
	"max_wait":          span(func(q *Question) *time.Duration { return &q.MaxP95 }),
	"max_tokens":        func(q *Question, s string) (err error) { q.MaxTokens, err = strconv.Atoi(s); return plain(err) },
	"seed":              func(q *Question, s string) (err error) { q.Seed, err = strconv.ParseUint(s, 10, 64); return plain(err) },
	"advice":            advice,
}

func text(field func(*Question) *string) func(*Question, string) error {
	return func(q *Question, s string) error {
		if *field(q) = s; s == "" {
			return errors.New("write something, or leave it out")
		}
		return nil
	}
}

var errNumber = errors.New("is no number above 0")

func number(field func(*Question) *float64) func(*Question, string) error {
	return func(q *Question, s string) error {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil || !(v > 0 && v < 1e9) {
			return errNumber
		}
		*field(q) = v
		return nil
	}
}

func span(field func(*Question) *time.Duration) func(*Question, string) error {
	return func(q *Question, s string) error {
		v, err := time.ParseDuration(s)
		if err != nil || v <= 0 {
			return errors.New("is no time above 0 such as 5s")
		}
		*field(q) = v
		return nil
	}
}

// plain hides whose error it was.
func plain(err error) error {
	if err != nil {
		return errNumber
	}
	return nil
}

func advice(q *Question, s string) error {
	switch s {
	case "yes", "no":
		q.NoAdvice = s == "no"
		return nil
	}
	return errors.New("write yes or no")
}
