package capacity

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
)

// TestI7Seen: where nobody is answered within what is simulated, nothing is called good,
// and it is said how to see more; who is refused meanwhile is told all the same.
func TestI7Seen(t *testing.T) {
	t.Parallel()
	answersTake := func(d time.Duration, o Options) Options {
		o.Latency, o.Duration = []Latency{{Total: d}}, 10*time.Minute
		return o
	}
	rare := chat(1)
	rare.Work.Rate, rare.Duration = 1./18000, 10*time.Minute
	open := answersTake(30*time.Minute, chat(5))
	open.Work.Open, open.Gate = true, free()
	for name, c := range map[string]struct {
		o    Options
		want []string // in verdict and advice; none means that it is known
	}{
		"two hours":   {answersTake(2*time.Hour, chat(5)), []string{"unknown: nobody is answered within the 10 min", "takes about 2 h: simulate 8 h at least, after a warm-up of 2 h"}},
		"half":        {answersTake(30*time.Minute, chat(5)), []string{"unknown: nobody is answered", "30 min: simulate 2 h at least"}},
		"tasks":       {answersTake(2*time.Hour, office(20)), []string{"unknown: nobody is answered"}},
		"open":        {open, []string{"unknown: nobody is answered"}},
		"days":        {answersTake(48*time.Hour, chat(5)), []string{"too long for a plan"}},
		"nobody asks": {rare, []string{"unknown: nobody asks within the 10 min", "once in 5 h: simulate 20 h"}},
		"a minute":    {answersTake(time.Minute, chat(5)), nil},
	} {
		row := &planned(t, c.o).Rows[0]
		if row.Unknown != (c.want != nil) || row.Good == row.Unknown {
			t.Errorf("%s: unknown %v, good %v: %s", name, row.Unknown, row.Good, row.Verdict)
		}
		for _, want := range c.want {
			if !strings.Contains(row.Verdict+". "+row.Advice, want) {
				t.Errorf("%s: %q is not in %s. %s", name, want, row.Verdict, row.Advice)
			}
		}
	}
	// Fifteen sit in the seats, five wait in vain: that is known. What would help is not.
	r := planned(t, answersTake(30*time.Minute, chat(20)))
	if row := &r.Rows[0]; row.Unknown || row.Good || len(row.Change) > 0 || r.Serves != 0 || !strings.Contains(row.Advice, "An answer takes about 30 min: simulate") {
		t.Errorf("%+v, %d are served", row.Verdict+". "+row.Advice, r.Serves)
	}
	if need, err := Quota(t.Context(), answersTake(2*time.Hour, chat(5)), 5); !errors.Is(err, ErrUnseen) || !strings.Contains(err.Error(), "simulate 8 h at least") {
		t.Errorf("a quota is found for answers that are not seen: %+v, %v", need, err)
	}
	// Long answers are waited for, and their requests are not lost.
	long := answersTake(2*time.Hour, chat(5))
	long.Work.Open, long.Gate, long.Duration, long.WarmUp = true, free(), 8*time.Hour, 2*time.Hour
	if row := &planned(t, long).Rows[0]; !row.Good || row.Left != 0 {
		t.Errorf("answers of two hours in eight: %s, %d left", row.Verdict, row.Left)
	}
}

// TestTenantLimits: what a tenant may use binds like anything else, and is named.
func TestTenantLimits(t *testing.T) {
	t.Parallel()
	rate := func(n int) gate.Rate { return gate.Rate{Max: n, Per: time.Minute} }
	for path, tenant := range map[string]gate.Tenant{
		"tenants.t.requests": {Name: "t", Requests: rate(10)},
		"tenants.t.tokens":   {Name: "t", Tokens: rate(60_000)},
		"tenants.t.seats":    {Name: "t", Seats: 1},
	} {
		o := chat(20)
		o.Work.Mix, o.Work.Rate = []Share{{flow.Chat, 1}}, 1./60
		o.Gate.Tenants, o.Work.Tenants, o.Duration = []gate.Tenant{tenant}, []string{"t"}, 15*time.Minute
		o.Latency = []Latency{{Total: 6 * time.Second}}
		row := &planned(t, o).Rows[0]
		if row.Good || !strings.HasPrefix(row.Binds, path+"=") || len(row.Change) != 1 || row.Change[0].Path != path {
			t.Errorf("%s: %s binds (%s): %+v", path, row.Binds, row.Advice, row.Change)
		}
		if !strings.HasPrefix(row.Nearest, path) || row.Utilization < 0.93 || row.Utilization > 1.01 {
			t.Errorf("%s: %.3f of %s is used", path, row.Utilization, row.Nearest)
		}
	}
}

// TestNeedPage: the page of a need holds what its text holds, and the search.
func TestNeedPage(t *testing.T) {
	t.Parallel()
	o := chat()
	o.Duration = 10 * time.Minute
	o.Say = func(path, value string) string { return `<b>` + path + "=" + value }
	need, err := Quota(t.Context(), o, 20)
	if err != nil {
		t.Fatal(err)
	}
	page := string(need.Page())
	if strings.Contains(page, "<b>") || strings.Contains(page, "<script") || strings.Contains(page, "http") || strings.Contains(page, "NaN") {
		t.Error("the page holds a script or an address, what is no number, or text as markup")
	}
	for _, want := range []string{
		`<strong>20 users</strong>`, `<td>60/m</td>`, "With it: requests", "10 % less: requests", `class="b hollow"`, "not enough", need.Less.Verdict,
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if n := strings.Count(page, "<figure>"); n != 2+len(need.Limits) {
		t.Errorf("%d plots for %d limits", n, len(need.Limits))
	}
	good, bad := 0, 0
	for _, try := range need.Tries {
		if good++; !try.Good {
			good--
			bad++
		}
	}
	if good < 3 || bad < 3 {
		t.Errorf("%d good tries, %d bad ones", good, bad)
	}
}
