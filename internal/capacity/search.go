package capacity

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/gate"
)

// Bounds of a search.
const (
	probeSpan     = 15 * time.Minute // measured time of a probe at most,
	probeEnough   = 3000             // but where that brings fewer requests than these, what is rare would not be seen
	probeLeast    = 3 * time.Minute  // and at least
	probeArrivals = 20_000           // requests in a probe, where the time above allows
	wholeArrivals = 200_000          // requests in what confirms a search, likewise
	needArrivals  = 60_000           // requests in a play of the inverse, likewise
	relevant      = 0.2              // limits of which less is used are asked last
	noHelp        = 0.98             // of the misery, and more of it is left without a limit that does not help
	precision     = 0.01             // to which a least value is found
	confirmations = 7                // times that what probes have found is raised until whole runs confirm it, ever more
	affordable    = 50_000           // requests in a run that is repeated with other seeds
	smallProbes   = 400              // probes that Options.Effort is to be enough for, and more
)

// fits reports whether all are answered in time with a changed configuration.
func (p *planner) fits(g gate.Options, users int) (bool, error) {
	b, err := p.play(g, users, true)
	return err == nil && b.meets(), err
}

// probe plays a changed configuration for a shorter time.
func (p *planner) probe(g gate.Options, users int) (*book, error) { return p.play(g, users, false) }

func (p *planner) play(g gate.Options, users int, brief bool) (*book, error) {
	o := p.o
	o.Gate, o.brief = g, brief
	arrivals := probeArrivals
	if o.Effort > 0 {
		arrivals = min(arrivals, o.Effort/smallProbes)
	}
	o.Duration = min(o.Duration, max(probeSpan, o.bringing(users, probeEnough)))
	o.shorten(users, arrivals)
	return p.search(&o, users)
}

// errEffort means that a search has taken all that Options.Effort allows.
var errEffort = errors.New("capacity: the search takes longer than allowed")

// search plays options for a search, as long as there may be one.
func (p *planner) search(o *Options, users int) (*book, error) {
	if o.Effort > 0 && p.spent > o.Effort {
		return nil, errEffort
	}
	b, err := simulate(p.ctx, o, users)
	if err == nil {
		p.spent += int(b.all.arrived)
	}
	return b, err
}

// shorten leaves as much of the time as brings so many requests, if that is enough
// to see anything.
func (o *Options) shorten(users, arrivals int) {
	if o.Work.Trace != nil {
		return
	}
	o.Duration = min(o.Duration, max(o.bringing(users, arrivals), probeLeast))
	o.WarmUp = min(o.WarmUp, o.Duration/2)
}

// bringing is about how long users take to ask so many requests.
func (o *Options) bringing(users, arrivals int) time.Duration {
	perSecond := float64(users) / o.Work.gap().Seconds()
	return time.Duration(min(float64(arrivals)/perSecond, maxDuration.Seconds()) * float64(time.Second))
}

// finally is fits for the whole time.
func (p *planner) finally(g gate.Options, users int) (bool, error) {
	b, err := p.whole(g, users, true)
	return err == nil && b.meets(), err
}

// large reports that the simulations of a search would take minutes.
func (p *planner) large(users int) bool {
	return p.o.Work.Trace == nil && float64(users)*probeLeast.Seconds() > 2*probeArrivals*p.o.Work.gap().Seconds()
}

func (p *planner) whole(g gate.Options, users int, brief bool) (*book, error) {
	o := p.o
	o.Gate, o.brief = g, brief
	o.shorten(users, wholeArrivals)
	return p.search(&o, users)
}

// advise finds what binds, and the smallest change after which all are answered in
// time: each limit is taken away in turn, and what helps most is kept away until
// enough has been; then each of these is put back at the least value that still does.
func (p *planner) advise(r *Row) error {
	if p.large(r.Users) {
		r.Advice = fmt.Sprintf("The most is used of %s; what lifts it is not searched for with so many users, but --for-users %d finds what they need.", r.Nearest, r.Users)
		return nil
	}
	var taken, changed []Limit
	for changed == nil {
		more, err := p.lift(r.Users, taken)
		if err != nil {
			return err
		}
		if len(more) == len(taken) {
			break
		}
		taken = more
		if changed, err = p.restore(r.Users, taken); err != nil {
			return err
		}
	}
	if len(taken) == 0 {
		r.Advice = "No limit of the configuration binds: users wait for the model itself."
		return nil
	}
	r.Binds = p.o.Say(taken[0].Path, taken[0].Value())
	if changed == nil {
		r.Advice = r.Binds + " binds, but what would lift it was not found."
		return p.silent(r, taken)
	}
	for _, l := range changed {
		r.Change = append(r.Change, Change{Path: l.Path, From: p.was(l).Value(), To: l.Value()})
	}
	r.Advice = p.advice(r, changed)
	if p.o.Diff != nil {
		r.Diff = p.o.Diff(r.Change)
	}
	return nil
}

// silent says so where nothing can be found because without what binds nobody is
// answered within the time that is simulated.
func (p *planner) silent(r *Row, taken []Limit) error {
	b, err := p.whole(p.without(taken), r.Users, false)
	if err == nil && b.unseen() {
		_, mend := b.silence()
		r.Advice += " " + mend
	}
	return err
}

// was is a limit as it is configured.
func (p *planner) was(l Limit) Limit {
	i := slices.IndexFunc(p.limits, l.same)
	return p.limits[i]
}

// advice is the sentence about a row's change.
func (p *planner) advice(r *Row, changed []Limit) string {
	var to []string
	for _, l := range changed {
		if len(changed) == 1 && p.o.Say(l.Path, p.was(l).Value()) == r.Binds {
			to = append(to, l.Value())
		} else {
			to = append(to, p.o.Say(l.Path, l.Value()))
		}
	}
	return fmt.Sprintf("%s binds: %s would serve %d users.", r.Binds, listed(to), r.Users)
}

// listed is a list in a sentence.
func listed(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}

// lift takes limits away, one at least beside those that are, until all are answered in
// time, and returns them in the order in which they bound.
func (p *planner) lift(users int, taken []Limit) ([]Limit, error) {
	g := p.without(taken)
	b, err := p.probe(g, users)
	if err != nil {
		return nil, err
	}
	for ok := false; !ok && len(taken) < len(p.limits); {
		best, found, err := p.helpful(g, users, b, taken)
		if err != nil || found == nil {
			return taken, err
		}
		taken, b = append(taken, *found), best
		g = p.without(taken)
		if ok, err = p.finally(g, users); err != nil {
			return nil, err
		}
	}
	return taken, nil
}

// without is the gate without some limits.
func (p *planner) without(taken []Limit) gate.Options {
	g := p.o.Gate
	for _, l := range taken {
		g = l.with(g, unlimited)
	}
	return g
}

// helpful is the limit without which it gets best, and how it is then. Limits of which
// little is used are asked only where no other helps: they bind in bursts, or turn away
// what is larger than they are. Where none alone helps, because several bind at once, it
// is the one of which most is used.
func (p *planner) helpful(g gate.Options, users int, b *book, taken []Limit) (best *book, found *Limit, err error) {
	var most *Limit
	var without *book // most
	for _, much := range []bool{true, false} {
		for i := range p.limits {
			l := &p.limits[i]
			if l.Shadow || slices.ContainsFunc(taken, l.same) || (b.used(l) >= relevant) != much {
				continue
			}
			try, err := p.probe(l.with(g, unlimited), users)
			if err != nil {
				return nil, nil, err
			}
			if most == nil || b.used(l) > b.used(most) {
				most, without = l, try
			}
			if best == nil || try.misery() < best.misery() {
				best, found = try, l
			}
		}
		if best != nil && best.misery() <= noHelp*b.misery() {
			return best, found, nil
		}
	}
	return without, most, nil
}

// same reports whether both are the same limit, whatever their values.
func (l *Limit) same(other Limit) bool { return l.Path == other.Path && l.window == other.window }

// restore puts limits back that were taken away, each at the least value with which
// all are answered in time as long as the others are away; then all are raised together
// until they are for the whole time. Those that can keep their value are left out. nil
// means that it was not found.
func (p *planner) restore(users int, taken []Limit) ([]Limit, error) {
	g := p.without(taken)
	if ok, err := p.finally(g, users); err != nil || !ok {
		return nil, err
	}
	b, err := p.probe(g, users)
	if err != nil {
		return nil, err
	}
	var changed, same []Limit
	for _, l := range taken {
		to, err := p.least(users, l, g, b.demand(l))
		if err != nil || to >= unlimited {
			return nil, err
		}
		if to == l.Max {
			same = append(same, l)
			continue
		}
		l.Max = to
		changed = append(changed, l)
	}
	found, err := p.confirm(users, changed)
	if found == nil && err == nil && len(same) > 0 {
		return p.confirm(users, append(changed, same...))
	}
	return found, err
}

// least is the least value of one limit, from its own on, with which all are answered
// in time while the others are as in g. demand is what was used of it while it did not bind.
func (p *planner) least(users int, l Limit, g gate.Options, demand float64) (int64, error) {
	fits := func(n int64) (bool, error) { return p.fits(l.with(g, n), users) }
	if start := int64(0.9 * demand); start > l.Max {
		return smallest(round(start), fits)
	}
	return smallest(l.Max, fits)
}

// demand is what was used of a limit, in its own unit, or would be in a span longer than
// the measured time.
func (b *book) demand(l Limit) float64 {
	l.Max, l.window = unlimited, math.MaxInt // what its bucket held does not count
	return b.used(&l) * float64(unlimited) * max(l.Per.Seconds()/b.seconds(), 1)
}

// grain is the step in which people change a limit: the third digit.
func grain(n int64) int64 {
	step := int64(1)
	for n >= 1000 {
		n /= 10
		step *= 10
	}
	return step
}

// round is a number in whole grains, not below it.
func round(n int64) int64 { return (n + grain(n) - 1) / grain(n) * grain(n) }

// smallest is the smallest number that fits, from start on, within the precision. It
// is unlimited if none does.
func smallest(start int64, fits func(int64) (bool, error)) (int64, error) {
	low, high := start-1, start
	for {
		ok, err := fits(high)
		if err != nil {
			return 0, err
		}
		if ok {
			break
		}
		if low, high = high, round(high+max(high/4, 1)); high >= unlimited {
			return unlimited, nil
		}
	}
	return between(low, high, fits)
}

// between narrows the gap between a number that does not fit and one that does, and
// returns the latter.
func between(low, high int64, fits func(int64) (bool, error)) (int64, error) {
	for high-low > max(grain(high), int64(precision*float64(high))) {
		mid := round(low + (high-low)/2)
		if mid >= high {
			mid = low + (high-low)/2
		}
		ok, err := fits(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			high = mid
		} else {
			low = mid
		}
	}
	return high, nil
}

// confirm raises changed limits together until all are answered in time with them: a
// probe sees less of what is rare, and limits hinder each other. Each step is larger
// than the one before; what the last one took too far is taken back. nil means that they
// never are.
func (p *planner) confirm(users int, changed []Limit) ([]Limit, error) {
	for low, high, step := int64(0), int64(0), int64(1); step <= 1<<confirmations; low, high, step = high+1, high+step, 2*step {
		ok, err := p.answers(users, raised(changed, high))
		if err != nil {
			return nil, err
		}
		for ok && low < high {
			mid := low + (high-low)/2
			enough, err := p.answers(users, raised(changed, mid))
			if err != nil {
				return nil, err
			}
			if enough {
				high = mid
			} else {
				low = mid + 1
			}
		}
		if ok {
			return raised(changed, high), nil
		}
	}
	return nil, nil
}

// answers reports whether all are answered in time with changed limits, for the whole time.
func (p *planner) answers(users int, changed []Limit) (bool, error) {
	g := p.o.Gate
	for _, l := range changed {
		g = l.with(g, l.Max)
	}
	return p.finally(g, users)
}

// raised are limits larger by a number of fiftieths, and by as many grains at least.
func raised(limits []Limit, fiftieths int64) []Limit {
	limits = slices.Clone(limits)
	for i := range limits {
		l := &limits[i]
		if fiftieths > 0 {
			l.Max = round(l.Max + max(fiftieths*grain(l.Max), fiftieths*l.Max/50))
		}
	}
	return limits
}

// serves finds the most users all of whom are answered in time, between the rows that
// are good and the first that is not.
func (p *planner) serves() error {
	low, high := 0, 0
	for i := range p.report.Rows {
		r := &p.report.Rows[i]
		if r.Good {
			low = max(low, r.Users)
		} else if !r.Unknown && (high == 0 || r.Users < high) {
			high = r.Users
		}
	}
	if high == 0 || high < low || p.large(high) || p.o.NoAdvice || p.o.Work.Trace != nil {
		return nil
	}
	for high-low > max(1, low/100) {
		mid := low + (high-low)/2
		ok, err := p.fits(p.o.Gate, mid)
		if err != nil {
			return err
		}
		if ok {
			low = mid
		} else {
			high = mid
		}
	}
	p.report.Serves = low
	return nil
}
