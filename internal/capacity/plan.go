package capacity

import (
	"context"
	"errors"
	"fmt"

	"github.com/millrace/millrace/internal/capacity/figure"
	"github.com/millrace/millrace/internal/quota"
)

// Report is what a plan found: a row for each number of users.
type Report struct {
	Rows   []Row    `json:"rows"`
	Serves int      `json:"serves"`         // the most users all of whom are answered in time; 0 if that is not known
	MaxP95 float64  `json:"max_p95_wait_s"` // what in time means
	Notes  []string `json:"notes,omitempty"`
}

// Row is what happens with one number of users. Rates are per minute of the measured
// time; counts are of the requests that arrived in it.
type Row struct {
	Users   int     `json:"users"`
	Wanted  float64 `json:"wanted_per_min"` // what users would ask if nothing made them wait
	Asked   float64 `json:"asked_per_min"`
	Served  float64 `json:"served_per_min"`
	Tokens  float64 `json:"tokens_per_min"` // as the upstreams count them
	Seats   float64 `json:"seats"`          // in use, mean
	Most    int     `json:"seats_most"`
	WaitP50 float64 `json:"wait_p50_s"` // in the queue, of answers
	WaitP95 float64 `json:"wait_p95_s"`

	Requests int64            `json:"requests"`
	Answered int64            `json:"answered"`
	Refused  int64            `json:"refused"` // at arrival
	Evicted  int64            `json:"evicted"` // their hold ended while they waited
	Left     int64            `json:"left"`    // neither: they ran for more than an hour
	Causes   map[string]int64 `json:"causes,omitempty"`

	Use         []Use      `json:"use"`
	Utilization float64    `json:"utilization"`       // of the limit that is used most, 0 to 1
	Nearest     string     `json:"nearest"`           // that limit
	Jain        float64    `json:"jain"`              // of the tokens served per user
	Good        bool       `json:"good"`              // all are answered in time
	Unknown     bool       `json:"unknown,omitempty"` // nobody was answered in the measured time, nor refused: nothing can be said
	Verdict     string     `json:"verdict"`
	Binds       string     `json:"binds,omitempty"`  // the setting that binds first, with its value
	Change      []Change   `json:"change,omitempty"` // the smallest that makes it good
	Advice      string     `json:"advice,omitempty"`
	Diff        string     `json:"diff,omitempty"` // Change as lines of the configuration
	Classes     []ClassRow `json:"classes"`
	Series      Series     `json:"series"`
}

// Use is how much of one limit was used.
type Use struct {
	Limit
	Value string  `json:"value"`
	What  string  `json:"what"`
	Used  float64 `json:"used"` // 0 to 1
}

// ClassRow is one class's part of a row.
type ClassRow struct {
	Class    string  `json:"class"`
	Requests int64   `json:"requests"`
	Answered int64   `json:"answered"`
	WaitP50  float64 `json:"wait_p50_s"`
	WaitP95  float64 `json:"wait_p95_s"`
}

// Series is the course of a simulation in equal parts of its time, warm-up included.
type Series struct {
	Step    float64   `json:"step_s"`
	Waiting []float64 `json:"waiting"` // mean
	Running []float64 `json:"running"` // mean
	Served  []float64 `json:"served"`  // answers
}

// Change is a limit and what to make of it.
type Change struct {
	Path string `json:"path"`
	From string `json:"from"`
	To   string `json:"to"`
}

// ErrOptions means that what should be planned makes no sense; nothing was simulated.
var ErrOptions = errors.New("this cannot be planned")

// planner plays what Options describe, with this or that changed.
type planner struct {
	ctx    context.Context //nolint:containedctx // the object of one plan
	o      Options
	limits []Limit
	report *Report
	spent  int // requests simulated
}

// New returns the plan of every number of users. The error says all that is wrong
// with the options, or that ctx ended.
func New(ctx context.Context, o Options) (*Report, error) {
	p, err := newPlanner(ctx, o)
	if err != nil {
		return nil, err
	}
	for _, users := range p.o.Users {
		row, err := p.row(users)
		if err != nil {
			return nil, err
		}
		p.report.Rows = append(p.report.Rows, *row)
	}
	for i := range p.report.Rows {
		if r := &p.report.Rows[i]; !r.Good && !r.Unknown && !p.o.NoAdvice {
			if err := p.advise(r); errors.Is(err, errEffort) {
				r.Binds, r.Change, r.Advice = "", nil, fmt.Sprintf("The most is used of %s; what lifts it would take longer to find.", r.Nearest)
			} else if err != nil {
				return nil, err
			}
		}
	}
	if err := p.serves(); err != nil && !errors.Is(err, errEffort) {
		return nil, err
	}
	return p.report, nil
}

func newPlanner(ctx context.Context, o Options) (*planner, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	notes := o.adopt()
	p := &planner{ctx: ctx, o: o, limits: limitsOf(&o), report: &Report{MaxP95: o.MaxP95.Seconds(), Rows: []Row{}}}
	p.report.Notes = notes
	return p, nil
}

// row plays one number of users; all rows together take half the effort.
func (p *planner) row(users int) (*Row, error) {
	o := p.o
	if o.Effort > 0 {
		o.shorten(users, o.Effort/2/len(o.Users))
	}
	b, err := simulate(p.ctx, &o, users)
	if err != nil {
		return nil, err
	}
	p.spent += int(b.all.arrived)
	return p.describe(users, b), nil
}

func (p *planner) describe(users int, b *book) *Row {
	minutes, m := b.seconds()/60, b.measured
	r := &Row{
		Users: users, Wanted: p.wanted(users, b), Asked: float64(m.arrived) / minutes, Served: float64(b.ended) / minutes, Most: b.most,
		Requests: m.arrived, Answered: m.served, Refused: m.refused, Evicted: m.evicted, Left: m.left, Causes: b.causes,
		Jain: b.jain(), Good: b.meets(), Unknown: b.unseen(), Series: b.course(),
	}
	r.WaitP50, r.WaitP95 = b.quantiles()
	for u := range b.busy {
		r.Seats += b.busy[u] / b.seconds()
		r.Tokens += b.charged[u][quota.Total] / minutes
	}
	for i := range p.limits {
		l := &p.limits[i]
		use := Use{Limit: *l, Value: l.Value(), What: l.words(), Used: finite(b.used(l))}
		r.Use = append(r.Use, use)
		if use.Used > r.Utilization && !l.Shadow {
			r.Utilization, r.Nearest = use.Used, p.o.Say(l.Path, l.Value())
		}
	}
	for i := range b.classes {
		c := &b.classes[i]
		row := ClassRow{Class: string(p.o.Work.Mix[i].Class), Requests: c.arrived, Answered: c.served}
		row.WaitP50, row.WaitP95 = quantiles(c.waits)
		r.Classes = append(r.Classes, row)
	}
	if r.Verdict = p.verdict(r, b); r.Unknown {
		r.Verdict, r.Advice = b.silence()
	}
	return r
}

// verdict says in words what users see.
func (p *planner) verdict(r *Row, b *book) string {
	lost := b.measured.lost()
	spent, after := b.spent()
	switch {
	case lost > tolerated:
		return fmt.Sprintf("no: %s of the requests get no answer in time", figure.Percent(lost))
	case spent != nil:
		return fmt.Sprintf("no: %s would be spent after %s", p.o.Say(spent.Path, spent.Value()), figure.Wait(after))
	case !r.Good:
		return fmt.Sprintf("slow: all are answered, but one in 20 waits %s or longer", figure.Wait(b.worst()))
	case r.WaitP95 < 0.5:
		return "yes: hardly anybody waits"
	}
	return fmt.Sprintf("yes: 19 of 20 wait less than %s", figure.Wait(r.WaitP95))
}

// wanted is what users would ask per minute if nothing made them wait.
func (p *planner) wanted(users int, b *book) float64 {
	w := &p.o.Work
	if w.Trace != nil || w.Rate == 0 {
		return float64(b.measured.arrived) / b.seconds() * 60
	}
	return float64(users) * w.Rate * 60
}
