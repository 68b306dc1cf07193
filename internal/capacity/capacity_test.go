package capacity

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
	"github.com/millrace/millrace/internal/testkit"
)

// mixtures are plans of every kind of work, some of which overload the gate.
func mixtures() map[string]Options {
	mixed := office(40)
	mixed.Work.Mix, mixed.Work.Manner = []Share{{flow.Analysis, 2}, {flow.Chat, 1}}, JSON
	think := chat(25)
	think.Work.Rate, think.Work.Think, think.Work.Input = 0, 3*time.Second, Size{Mean: 2000, Sigma: 1}
	bursts := chat(10)
	bursts.Work.Open, bursts.Work.CV = true, 13
	trace := chat(20)
	trace.Work.Trace = recorded(300, 4*time.Minute)
	stream := chat(60)
	stream.Work.Manner = Stream
	bound := chat(200)
	bound.Gate.MaxQueue, bound.Gate.MaxFlow, bound.Gate.Hold = 5, 1, 20*time.Second
	usage := chat(40)
	usage.Gate.Upstreams[0].Quota.Meter, _ = quota.MeterFor("usage")
	tenants := chat(30)
	tenants.Gate.Tenants = []gate.Tenant{{Name: "small", Requests: gate.Rate{Max: 5, Per: time.Minute}}}
	tenants.Work.Tenants = []string{"small", "large"}
	all := map[string]Options{
		"calm": office(5), "tasks": office(40), "mix": mixed, "think": think, "bursts": bursts, "trace": trace,
		"streams": stream, "bounds": bound, "usage": usage, "tenants": tenants,
	}
	for name, o := range all {
		o.Duration, o.NoAdvice, o.Seed = 10*time.Minute, true, 3
		all[name] = o
	}
	return all
}

// recorded is a trace of n requests at random moments of a span.
func recorded(n int, span time.Duration) []Arrival {
	rng := rand.New(rand.NewPCG(1, 2))
	trace := make([]Arrival, n)
	at := 0.0
	for i := range trace {
		trace[i] = Arrival{At: time.Duration(at), Input: 100 + rng.IntN(9000), Output: 1 + rng.IntN(400)}
		at += rng.ExpFloat64() * float64(span) / float64(n)
	}
	return trace
}

func TestI1Conserved(t *testing.T) {
	t.Parallel()
	for name, o := range mixtures() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := played(t, o)
			total := tally{}
			for i := range b.classes {
				c := &b.classes[i].tally
				total.arrived, total.served = total.arrived+c.arrived, total.served+c.served
				total.refused, total.evicted, total.left = total.refused+c.refused, total.evicted+c.evicted, total.left+c.left
			}
			if total != b.measured {
				t.Errorf("classes %+v, all %+v", total, b.measured)
			}
			if left := int64(b.gateLeft); b.all.left != left || b.measured.left < 0 || b.measured.left > left {
				t.Errorf("%+v, but the gate still has %d", b.all, b.gateLeft)
			}
			if b.measured.arrived == 0 || b.measured.served == 0 || b.waiting != 0 || b.runs != 0 {
				t.Errorf("%+v, %d waiting, %d running", b.measured, b.waiting, b.runs)
			}
			if n := len(b.classes[0].waits); int64(n) != b.classes[0].served {
				t.Errorf("%d waits of %d answers", n, b.classes[0].served)
			}
		})
	}
}

func TestI2Deterministic(t *testing.T) {
	t.Parallel()
	o := office(12)
	o.Duration = 10 * time.Minute
	text := func(seed uint64) string {
		o.Seed = seed
		out, err := json.Marshal(planned(t, o))
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if diff := cmp.Diff(text(1), text(1)); diff != "" {
		t.Errorf("one seed, two reports (-one +two):\n%s", diff)
	}
	if text(1) == text(2) {
		t.Error("two seeds, one report")
	}
}

func TestI3Bounded(t *testing.T) {
	t.Parallel()
	for _, kind := range []quota.Kind{quota.Sliding, quota.Bucket, quota.Fixed, quota.Slice, quota.Paced} {
		o := chat(60)
		for i := range o.Gate.Upstreams[0].Quota.Limits {
			o.Gate.Upstreams[0].Quota.Limits[i].Kind = kind
			if kind == quota.Slice {
				o.Gate.Upstreams[0].Quota.Limits[i].Slice = 10 * time.Second
			}
		}
		o.NoAdvice, o.WarmUp, o.Duration = true, -1, 20*time.Minute
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			row := planned(t, o).Rows[0]
			for _, u := range row.Use {
				if u.Used > 1+1e-9 {
					t.Errorf("%s: %.4f of %s used", u.Path, u.Used, u.Value)
				}
			}
			if row.Utilization < 0.9 {
				t.Errorf("only %.3f used although twice as much is asked", row.Utilization)
			}
			if row.Most > 15 {
				t.Errorf("%d of 15 seats", row.Most)
			}
		})
	}
}

// TestI4ConstantService: one seat and constant service is the queue M/D/1, whose mean wait
// is rho/(2(1-rho)) of the service time.
func TestI4ConstantService(t *testing.T) {
	t.Parallel()
	for _, rho := range []float64{0.3, 0.5, 0.7} {
		o := Options{Gate: free(), Users: []int{100}, Duration: 24 * time.Hour, NoAdvice: true, Latency: []Latency{{Total: 3 * time.Second}}}
		o.Gate.Upstreams[0].Quota.Seats = 1
		o.Work = Work{Rate: rho / 3 / 100, Open: true, Input: Size{Mean: 10}}
		b := played(t, o)
		mean := 0.0
		for _, w := range b.classes[0].waits {
			mean += float64(w) / float64(len(b.classes[0].waits))
		}
		want := rho / (2 * (1 - rho)) * 3
		t.Logf("rho %.1f: mean wait %.3f s, by hand %.3f s, seat used %.3f", rho, mean, want, b.busy[0]/b.seconds())
		if math.Abs(mean-want) > 0.08*want {
			t.Errorf("rho %.1f: mean wait %.3f s, want %.3f s", rho, mean, want)
		}
		if used := b.busy[0] / b.seconds(); math.Abs(used-rho) > 0.02 {
			t.Errorf("seat used %.3f, want %.3f", used, rho)
		}
	}
}

// TestI4Fluid: where twice as much is asked as a window allows, all of it is used, and
// requests that wait for nobody queue up by what is left over.
func TestI4Fluid(t *testing.T) {
	t.Parallel()
	o := Options{
		Gate:  free(quota.Limit{Dim: quota.Requests, Max: 60, Span: time.Minute, Kind: quota.Sliding}),
		Users: []int{60}, Duration: 30 * time.Minute, WarmUp: -1, NoAdvice: true, Latency: []Latency{{Total: time.Second}},
		Work: Work{Rate: 2.0 / 60, Open: true, Input: Size{Mean: 10}},
	}
	b := played(t, o)
	if used := b.charged[0][quota.Requests] / (60 * 30); used < 0.97 || used > 1 {
		t.Errorf("%.3f of the window used", used)
	}
	// The gate keeps its 60 within any 61 s. The last of n requests is served when all
	// are, and waits from the end of the half hour on; who came half way waits half as long.
	last := float64(b.measured.arrived)*61/60 - 1800
	if p50, p95 := b.quantiles(); math.Abs(p50-0.5*last) > 40 || math.Abs(p95-0.95*last) > 40 {
		t.Errorf("waits p50 %.0f s, p95 %.0f s; by hand %.0f s and %.0f s", p50, p95, 0.5*last, 0.95*last)
	}
}

// TestI5Proven: the change that a row names makes it good, and nine tenths of it do not.
func TestI5Proven(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{office(12), chat(30)} {
		o.Duration = 30 * time.Minute
		r := planned(t, o)
		row := &r.Rows[0]
		if row.Good || len(row.Change) == 0 {
			t.Errorf("%d users: %s; %s", row.Users, row.Verdict, row.Advice)
			continue
		}
		if with := changed(t, o, row, 1); !with.Good {
			t.Errorf("%d users: with %v %s", row.Users, row.Change, with.Verdict)
		}
		if less := changed(t, o, row, 0.9); less.Good {
			t.Errorf("%d users: with a tenth less than %v %s", row.Users, row.Change, less.Verdict)
		}
	}
}

// TestI5ProvenWhereItIsRare: so is that of a row in which what makes users wait comes
// seldom: large documents, bursts that use little of any limit in the mean, and prompts
// that are larger than a limit.
func TestI5ProvenWhereItIsRare(t *testing.T) {
	t.Parallel()
	documents, bursts, large := office(10), office(5), office(5)
	documents.Work.Input, documents.Work.Output = Size{Mean: 12035, Sigma: 1.05, Most: 126195}, Size{Mean: 382, Sigma: 0.42, Most: 2000}
	bursts.Work.Open, bursts.Work.CV = true, 13
	large.Work.Input = Size{Mean: 500_000}
	for name, o := range map[string]Options{"documents": documents, "bursts": bursts, "larger than a limit": large} {
		o.Seed = 1
		row := &planned(t, o).Rows[0]
		if row.Good || len(row.Change) == 0 {
			t.Errorf("%s: %s; %s", name, row.Verdict, row.Advice)
		} else if with := changed(t, o, row, 1); !with.Good {
			t.Errorf("%s: with %v %s", name, row.Change, with.Verdict)
		}
	}
}

// TestServesAgrees: no more users are said to be served than a row of so many says.
func TestServesAgrees(t *testing.T) {
	t.Parallel()
	o := office(1, 10)
	o.Work.Input, o.Work.Output, o.Seed = Size{Mean: 12035, Sigma: 1.05, Most: 126195}, Size{Mean: 382, Sigma: 0.42, Most: 2000}, 1
	serves := planned(t, o).Serves
	if o.Users, o.NoAdvice = []int{serves, serves + 1}, true; serves == 0 {
		t.Fatal("nobody is served")
	}
	if r := planned(t, o).Rows; !r[0].Good || r[1].Good {
		t.Errorf("%d users are served; so many: %s; one more: %s", serves, r[0].Verdict, r[1].Verdict)
	}
}

// changed plays a row again with the change that it names, or a share of it.
func changed(t *testing.T, o Options, row *Row, share float64) *Row {
	t.Helper()
	for _, l := range limitsOf(&o) {
		for _, c := range row.Change {
			if c.Path != l.Path {
				continue
			}
			to := l
			for to.Value() != c.To {
				to.Max++
			}
			o.Gate = l.with(o.Gate, int64(float64(to.Max)*share))
		}
	}
	o.NoAdvice = true
	return &planned(t, o).Rows[0]
}

// TestI6Enough: 20 users get a quota that does, with other seeds too, and a tenth less
// does not.
func TestI6Enough(t *testing.T) {
	t.Parallel()
	o := office()
	o.Duration = 30 * time.Minute
	need, err := Quota(t.Context(), o, 20)
	if err != nil {
		t.Fatal(err)
	}
	if !need.With.Good || need.Less.Good {
		t.Errorf("with it %s; with a tenth less %s", need.With.Verdict, need.Less.Verdict)
	}
	g := seeds()
	for _, l := range limitsOf(&Options{Gate: g, Work: Work{Mix: []Share{{flow.Analysis, 1}}, Manner: Task}}) {
		for _, n := range need.Limits {
			if to := l; n.Path == l.Path {
				for to.Max = 1; to.Value() != n.Value; to.Max++ {
				}
				g = l.with(g, to.Max)
			}
		}
	}
	for seed := range uint64(needSeeds) {
		o := office(20)
		o.Duration = 30 * time.Minute
		o.Gate, o.Seed, o.NoAdvice = g, seed, true
		if row := planned(t, o).Rows[0]; !row.Good {
			t.Errorf("seed %d: %s", seed, row.Verdict)
		}
	}
	if need.With.WaitP95 > 5 || need.Less.WaitP95 <= 5 {
		t.Errorf("p95 wait %.1f s with it, %.1f s with a tenth less", need.With.WaitP95, need.Less.WaitP95)
	}
}

// TestSeedMatrix: the rows of the matrix, as text, JSON and page.
func TestSeedMatrix(t *testing.T) {
	t.Parallel()
	o := office(5, 10, 15, 20, 30)
	o.Duration = 20 * time.Minute
	r := planned(t, o)
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, "matrix", text.Bytes())
	for line := range strings.SplitSeq(text.String(), "\n") {
		if len([]rune(line)) > 120 {
			t.Errorf("%d columns: %s", len([]rune(line)), line)
		}
	}
	for i := range r.Rows {
		row := &r.Rows[i]
		asked := 2 * float64(min(row.Users, 10))
		if row.Served < 0.85*asked || row.Served > 1.05*asked || row.Jain < 0.95 || row.Refused != 0 {
			t.Errorf("%d users: %.1f a minute, Jain %.2f, %d refused", row.Users, row.Served, row.Jain, row.Refused)
		}
		if row.Users >= 10 && row.Binds != "classes.analysis.rate=20/m" {
			t.Errorf("%d users: %q binds", row.Users, row.Binds)
		}
	}
	if !r.Rows[0].Good || r.Rows[1].Good || r.Serves < 5 || r.Serves > 9 {
		t.Errorf("5 users %s, 10 users %s, %d are served", r.Rows[0].Verdict, r.Rows[1].Verdict, r.Serves)
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	o := office(5, 12)
	o.Duration = 10 * time.Minute
	o.Say = func(string, string) string { return `<script>alert("1")</script>` }
	page := string(planned(t, o).Page())
	if strings.Contains(page, "<script") || strings.Contains(page, "http") || !strings.Contains(page, "&lt;script&gt;") {
		t.Error("the page holds a script or an address, or does not hold the name")
	}
	for _, want := range []string{`lang="en"`, `<th scope="row">12</th>`, "12 users: requests", "prefers-color-scheme:dark"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") {
		t.Error("the page holds what is no number")
	}
}

func TestFaultsAreToldTogether(t *testing.T) {
	t.Parallel()
	o := office(0, 200_000)
	o.Route, o.MaxP95, o.Work.Input, o.Work.Rate = 7, -1, Size{}, -1
	_, err := New(t.Context(), o)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"no route 7", "users: 0", "users: 200000", "p95", "prompt", "rate"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	o = office(100_000)
	o.Duration, o.Work.Rate = 24*time.Hour, 1
	if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "would be simulated") {
		t.Errorf("a plan that takes hours: %v", err)
	}
	o = office(200)
	o.Duration, o.Work.Open, o.Work.CV, o.Work.Rate = 10*time.Minute, true, 1, 100
	if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "would be simulated") {
		t.Errorf("requests that come a hundred times a second of each user: %v", err)
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	o := chat()
	o.Gate.Hold, o.Gate.MaxQueue = 240*time.Second, 1
	o.Work.Input = Size{Mean: 6000}
	o.Gate.Upstreams[0].Quota.Ramp = quota.Ramp{Above: 10_000, Growth: 0.01, Every: time.Hour}
	if _, err := Quota(t.Context(), o, 20); !errors.Is(err, ErrUnreachable) {
		t.Errorf("the use may not grow, and yet: %v", err)
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, users := range []int{200, 10_000} {
		o := chat(users)
		o.NoAdvice = true
		wide := o
		wide.Gate = free(quota.Limit{Dim: quota.Requests, Max: int64(2 * users), Span: time.Minute, Kind: quota.Sliding})
		for name, o := range map[string]Options{"overload": o, "served": wide} {
			b.Run(name+"/"+strconv.Itoa(users), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					planned(b, o)
				}
			})
		}
	}
}

// TestI6Steady: a quota is not enough if a quarter of the time is bad, although the
// whole is good.
func TestI6Steady(t *testing.T) {
	t.Parallel()
	o := Options{MaxP95: 5 * time.Second}
	played := func(slow int) *book {
		b := &book{o: &o, ended: 1, classes: make([]classBook, 1)}
		for i := range 4 * needParts * needWaits {
			wait := float32(1)
			if i%4 == 0 && i < slow {
				wait = 9
			}
			b.classes[0].waits = append(b.classes[0].waits, wait)
		}
		return b
	}
	if b := played(240); b.steady() || !b.meets() {
		t.Error("a bad quarter is called good, or all of it bad")
	}
	if b := played(60); !b.steady() || !b.meets() {
		t.Error("a few long waits are called bad")
	}
}

// TestShadow: limits that are only counted bind nobody, and their use is told.
func TestShadow(t *testing.T) {
	t.Parallel()
	o := chat(30)
	o.Duration = 6 * time.Minute
	o.Gate.Upstreams[0].Quota.SeatsShadow = true
	for i := range o.Gate.Upstreams[0].Quota.Limits {
		o.Gate.Upstreams[0].Quota.Limits[i].Shadow = true
	}
	o.Gate.Classes[0].Rate.Shadow = true
	row := planned(t, o).Rows[0]
	if !row.Good || row.Utilization != 0 || row.Nearest != "" {
		t.Errorf("%s, %.2f of %q used", row.Verdict, row.Utilization, row.Nearest)
	}
	for _, u := range row.Use {
		if !u.Shadow || u.What == "tokens" && u.Used < 1.5 {
			t.Errorf("%s: shadow %v, %.2f used", u.Path, u.Shadow, u.Used)
		}
	}
	need, err := Quota(t.Context(), o, 30)
	if err != nil || len(need.Limits) != 3 || !need.With.Good || need.Less.Good {
		t.Errorf("%+v: %v", need, err)
	}
}

// TestDayIsSpent: a quota that lasts for the hour that is played, and not for the day that
// it is for, is not called enough, and what is suggested lasts.
func TestDayIsSpent(t *testing.T) {
	t.Parallel()
	day := quota.Limit{Dim: quota.Requests, Max: 10_000, Span: 24 * time.Hour, Kind: quota.Sliding}
	o := chat(3, 10)
	o.Gate = free(quota.Limit{Dim: quota.Requests, Max: 600, Span: time.Minute, Kind: quota.Sliding}, day)
	r := planned(t, o)
	if calm := &r.Rows[0]; !calm.Good || calm.Verdict != "yes: hardly anybody waits" { // 8,640 a day
		t.Errorf("3 users: %s", calm.Verdict)
	}
	busy := &r.Rows[1]
	if want := "no: upstreams.main.quota.requests_per_day=10000 would be spent after 8."; busy.Good || !strings.HasPrefix(busy.Verdict, want) {
		t.Errorf("10 users: good %v, %q does not begin with %q", busy.Good, busy.Verdict, want)
	}
	if len(busy.Change) != 1 || busy.Change[0].Path != "upstreams.main.quota.requests_per_day" {
		t.Fatalf("%+v, %s", busy.Change, busy.Advice)
	}
	if to, err := strconv.Atoi(busy.Change[0].To); err != nil || to < 27_000 || to > 29_500 { // nearly 2 a minute of each
		t.Errorf("%s", busy.Change[0].To)
	}
	if r.Serves < 3 || r.Serves > 4 {
		t.Errorf("it serves %d users", r.Serves)
	}
	need, err := Quota(t.Context(), o, 10)
	if err != nil || len(need.Notes) != 1 || !strings.Contains(need.Notes[0], "day") {
		t.Errorf("%v, %+v", err, need)
	}
}
