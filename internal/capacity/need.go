package capacity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/capacity/figure"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
)

// Need is the quota that a number of users needs.
type Need struct {
	Users  int         `json:"users"`
	MaxP95 float64     `json:"max_p95_wait_s"`
	Limits []NeedLimit `json:"limits"`
	With   Row         `json:"with"` // what they see with it, with the worst of several seeds
	Less   Row         `json:"less"` // and with a tenth less of everything
	Notes  []string    `json:"notes,omitempty"`
	Tries  []Try       `json:"-"` // of the search, in their order
}

// Try is one quota that was played.
type Try struct {
	Values []int64 // of the limits; 0 where nothing was limited
	Good   bool    // all were answered in time
}

// NeedLimit is one limit of a Need.
type NeedLimit struct {
	Path       string `json:"path"`
	Setting    string `json:"setting"`              // Path and Value as people write them
	Value      string `json:"value"`                // needed, together with the others
	Alone      string `json:"alone"`                // the least where nothing else is limited
	Configured string `json:"configured,omitempty"` // empty where it is not limited
}

// ErrUnreachable means that no quota is enough, ErrUnseen that nobody was answered in
// the time that is simulated.
var (
	ErrUnreachable = errors.New("no quota is enough")
	ErrUnseen      = errors.New("nothing can be said")
)

const (
	needSeeds = 3    // plays of which the worst counts
	needMost  = 4.0  // by how much limits are raised at most because there are several
	needStep  = 0.01 // how exactly that is found
	needParts = 4    // parts of a play each of which must be good
	needWaits = 100  // answers from which on a part is worth judging
	tenthLess = 0.9
)

// needer looks for a quota.
type needer struct {
	*planner
	users  int
	limits []Limit // Max is what is needed: at first alone, then together
	was    []string
	tries  []Try
}

// Quota finds the least quota with which so many users are all answered in time: first
// of each dimension alone, then of all together by one factor. Only the first upstream
// of the route counts, with the class rates, the limits of tenants and the bound on tasks.
func Quota(ctx context.Context, o Options, users int) (*Need, error) {
	o.Users, o.NoAdvice = []int{users}, true
	p, err := newPlanner(ctx, o)
	if err != nil {
		return nil, err
	}
	n := &needer{planner: p, users: users}
	n.reduce()
	if err := n.alone(); err != nil {
		return nil, err
	}
	least := slices.Clone(n.limits)
	factor, err := n.factor()
	if err != nil {
		return nil, err
	}
	if err := n.trim(factor); err != nil {
		return nil, err
	}
	return n.result(least)
}

// reduce leaves one upstream, with a limit in each dimension that people ask
// providers for.
func (n *needer) reduce() {
	g := &n.o.Gate
	route := &g.Routes[n.o.Route]
	g.Routes = slices.Clone(g.Routes)
	g.Routes[n.o.Route] = gate.Route{Upstreams: route.Upstreams[:1]}
	if len(route.Upstreams) > 1 {
		n.report.Notes = append(n.report.Notes, "Only the first upstream of the route is counted: "+g.Upstreams[route.Upstreams[0]].Name+".")
	}
	have := limitsOf(&n.o)
	first := route.Upstreams[0]
	g.Upstreams = slices.Clone(g.Upstreams)
	q := &g.Upstreams[first].Quota
	q.Limits, q.SeatsShadow = slices.Clone(q.Limits), false
	for i := range q.Limits {
		q.Limits[i].Shadow = false // what is asked for is what would have to be enforced
	}
	all := len(q.Limits)
	q.Limits = slices.DeleteFunc(q.Limits, func(l quota.Limit) bool { return l.Span > time.Hour })
	if len(q.Limits) < all {
		n.report.Notes = append(n.report.Notes, "What is allowed in a day is not counted: days are not simulated.")
	}
	kind := quota.Paced
	if len(q.Limits) > 0 {
		kind = q.Limits[0].Kind
	}
	for _, dim := range []quota.Dim{quota.Requests, quota.Total} {
		if !slices.ContainsFunc(q.Limits, func(l quota.Limit) bool { return l.Dim == dim }) {
			q.Limits = append(q.Limits, quota.Limit{Dim: dim, Max: unlimited, Span: time.Minute, Kind: kind})
		}
	}
	if q.Seats == 0 {
		q.Seats = 1 << 20
	}
	n.limits = slices.DeleteFunc(limitsOf(&n.o), func(l Limit) bool { return l.Shadow })
	for _, l := range n.limits {
		configured := ""
		if i := slices.IndexFunc(have, func(h Limit) bool { return h.Path == l.Path }); i >= 0 {
			configured = have[i].Value()
		}
		n.was = append(n.was, configured)
	}
}

// free is the gate without any limit.
func (n *needer) free() gate.Options {
	g := n.o.Gate
	for _, l := range n.limits {
		g = l.with(g, unlimited)
	}
	return g
}

// alone finds what is needed of each limit while the others do not bind.
func (n *needer) alone() error {
	b, err := n.whole(n.free(), n.users, false)
	if err != nil {
		return err
	}
	if b.unseen() {
		verdict, mend := b.silence()
		return fmt.Errorf("capacity: %w about %d users: %s. %s", ErrUnseen, n.users, strings.TrimPrefix(verdict, "unknown: "), strings.TrimSuffix(mend, "."))
	}
	if !b.meets() {
		return fmt.Errorf("capacity: %w for %d users: %s", ErrUnreachable, n.users, n.describe(n.users, b).Verdict)
	}
	for i := range n.limits {
		l := &n.limits[i]
		least, err := smallest(round(max(int64(0.9*b.demand(*l)), 1)), func(v int64) (bool, error) {
			values := make([]int64, len(n.limits))
			values[i] = v
			ok, err := n.fits(l.with(n.free(), v), n.users)
			return n.tried(values, ok), err
		})
		if err != nil {
			return err
		}
		l.Max = least
	}
	return nil
}

// tried notes a try, and returns whether it was good.
func (n *needer) tried(values []int64, good bool) bool {
	n.tries = append(n.tries, Try{values, good})
	return good
}

func maxima(limits []Limit) []int64 {
	all := make([]int64, len(limits))
	for i := range limits {
		all[i] = limits[i].Max
	}
	return all
}

// scaled is the gate with all limits at a factor of what is needed.
func (n *needer) scaled(factor float64) (gate.Options, []Limit) {
	g, limits := n.o.Gate, slices.Clone(n.limits)
	for i := range limits {
		l := &limits[i]
		l.Max = round(int64(math.Ceil(float64(l.Max) * factor)))
		g = l.with(g, l.Max)
	}
	return g, limits
}

// factor finds by how much the limits together must exceed what each needs alone.
func (n *needer) factor() (float64, error) {
	fits := func(factor float64) (bool, error) {
		g, limits := n.scaled(factor)
		ok, err := n.meets(g)
		return n.tried(maxima(limits), ok), err
	}
	low, high := 1.0, 1.0
	for ok := false; !ok; {
		var err error
		if ok, err = fits(high); err != nil {
			return 0, err
		}
		if !ok {
			if low, high = high, high*1.1; high > needMost {
				return 0, fmt.Errorf("capacity: %w for %d users", ErrUnreachable, n.users)
			}
		}
	}
	for high-low > needStep {
		mid := (low + high) / 2
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

// trim lowers each limit as far as the others allow, the provider's first: some have
// risen only because another had to.
func (n *needer) trim(factor float64) error {
	least := slices.Clone(n.limits)
	_, n.limits = n.scaled(factor)
	for i := range n.limits {
		l := &n.limits[i]
		fits := func(v int64) (bool, error) {
			g, limits := n.scaled(1)
			limits[i].Max = v
			ok, err := n.meets(l.with(g, v))
			return n.tried(maxima(limits), ok), err
		}
		if ok, err := fits(least[i].Max); err != nil || ok {
			l.Max = least[i].Max
			if err != nil {
				return err
			}
			continue
		}
		to, err := between(least[i].Max, l.Max, fits)
		if err != nil {
			return err
		}
		l.Max = to
	}
	return nil
}

// meets plays a gate with several seeds.
func (n *needer) meets(g gate.Options) (bool, error) {
	for i := range uint64(needSeeds) {
		o := n.o
		o.Gate, o.Seed, o.brief = g, n.o.Seed+i, true
		o.shorten(n.users, needArrivals)
		b, err := simulate(n.ctx, &o, n.users)
		if err != nil || !b.steady() || !b.meets() {
			return false, err
		}
		if b.all.arrived > affordable { // one of so many is as good as several
			break
		}
	}
	return true, nil
}

// steady reports whether all are answered in time in each part of the measured time:
// whoever tries a quota for ten minutes must not meet the worst ten of an hour. It looks
// at waits in the order of the answers, before they are sorted.
func (b *book) steady() bool {
	for i := range b.classes {
		waits := b.classes[i].waits
		if len(waits) < needParts*needWaits {
			continue
		}
		for part := range slices.Chunk(waits, len(waits)/needParts) {
			if _, p95 := quantiles(slices.Clone(part)); len(part) >= needWaits && p95 > b.o.MaxP95.Seconds() {
				return false
			}
		}
	}
	return true
}

// hardest plays a gate with several seeds and returns what was worst.
func (n *needer) hardest(g gate.Options) (worst *book, err error) {
	for i := range uint64(needSeeds) {
		o := n.o
		o.Gate, o.Seed = g, n.o.Seed+i
		o.shorten(n.users, needArrivals)
		b, err := simulate(n.ctx, &o, n.users)
		if err != nil {
			return nil, err
		}
		if worst == nil || b.misery() > worst.misery() {
			worst = b
		}
		if b.all.arrived > affordable {
			break
		}
	}
	return worst, nil
}

func (n *needer) result(least []Limit) (*Need, error) {
	need := &Need{Users: n.users, MaxP95: n.o.MaxP95.Seconds(), Notes: n.report.Notes, Tries: n.tries}
	for i, l := range n.limits {
		need.Limits = append(need.Limits, NeedLimit{Path: l.Path, Setting: n.o.Say(l.Path, l.Value()), Value: l.Value(), Alone: least[i].Value(), Configured: n.was[i]})
	}
	for _, c := range []struct {
		row    *Row
		factor float64
	}{{&need.With, 1}, {&need.Less, tenthLess}} {
		g, limits := n.scaled(c.factor)
		b, err := n.hardest(g)
		if err != nil {
			return nil, err
		}
		n.planner.limits = limits
		*c.row = *n.describe(n.users, b)
	}
	return need, nil
}

// WriteText writes the need for people. The error is the writer's.
func (n *Need) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "For %d users with a p95 wait of at most %s:\n\n", n.Users, figure.Wait(n.MaxP95))
	t := figure.Table{{"needed", "alone", "configured"}}
	for _, l := range n.Limits {
		t = append(t, []string{l.Setting, l.Alone, figure.Dash(l.Configured)})
	}
	t.Write(&b)
	fmt.Fprintf(&b, "\nWith it     %s; p95 wait %s, %s refused.\n", n.With.Verdict, figure.Wait(n.With.WaitP95), figure.Percent(lostShare(&n.With)))
	fmt.Fprintf(&b, "10 %% less   %s; p95 wait %s, %s refused.\n", n.Less.Verdict, figure.Wait(n.Less.WaitP95), figure.Percent(lostShare(&n.Less)))
	for _, note := range n.Notes {
		figure.Fold(&b, note, "", 120)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
