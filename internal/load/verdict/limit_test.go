package verdict

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/load"
)

// measured is a report with a poor target and a good one.
func measured() *load.Report {
	others := load.Summary{Count: 10, P95: 2400}
	books := load.JudgeBooks{Throttled: 7, Limits: []load.JudgeLimit{{Name: "tokens", Utilization: 0.5}, {Name: "requests", Utilization: 0.1}}}
	judge := &load.JudgeReport{AtEnd: books, Final: books}
	return &load.Report{Targets: []load.Result{
		{Target: "straight", Answered: 50, Errors: 40, Latency: load.Summary{P95: 3000}, Fairness: load.Fairness{Jain: 0.8}, Judge: judge},
		{Target: "gateway", Answered: 100, Latency: load.Summary{P95: 1500}, Others: &others, Fairness: load.Fairness{Jain: 0.991234}, Judge: judge},
	}}
}

func TestI1Check(t *testing.T) {
	none := int64(0)
	seven := int64(7)
	for _, c := range []struct {
		name   string
		limits Limits
		want   []string
	}{
		{"nothing to check", Limits{}, nil},
		{"kept", Limits{
			MaxErrors: &Allowance{}, MinFairness: 0.99, MaxP95: 2400 * time.Millisecond, MaxThrottled: &seven, MinUtilization: 0.5,
			Targets: []string{"gateway"},
		}, nil},
		{"all breached", Limits{
			MaxErrors: &Allowance{Count: 39}, MinFairness: 0.98, MaxP95: 2 * time.Second, MaxThrottled: &none, MinUtilization: 0.97,
			Targets: []string{"straight"},
		}, []string{
			"breach: straight: 40 errors of 90, above 39",
			"breach: straight: fairness 0.8000, below 0.98",
			"breach: straight: p95 latency 3s, above 2s",
			"breach: straight: 7 throttled by the judge, above 0",
			"breach: straight: utilization 0.5000, below 0.97",
		}},
		{"the others' p95", Limits{MaxP95: 2 * time.Second, Targets: []string{"gateway"}}, []string{"breach: gateway: p95 latency 2.4s, above 2s"}},
		{"a share", Limits{MaxErrors: &Allowance{Share: 0.4, IsShare: true}}, []string{"breach: straight: 40 errors of 90, above 0.4"}},
		{"a share kept", Limits{MaxErrors: &Allowance{Share: 0.5, IsShare: true}}, nil},
		{"a name mistyped", Limits{MinFairness: 0.1, Targets: []string{"gatway"}}, []string{"breach: not every target that was to be checked was asked"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := Check(measured(), c.limits)
			if (err != nil) != errors.Is(err, ErrBreach) || (err != nil) != (c.want != nil) {
				t.Fatalf("error %v", err)
			}
			if err == nil {
				return
			}
			if diff := cmp.Diff(strings.Join(c.want, "\n"), err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckOfNothing(t *testing.T) {
	limits := Limits{MaxErrors: &Allowance{}, MinUtilization: 0.1}
	for name, r := range map[string]*load.Report{
		"no target":     {},
		"no answer":     {Targets: []load.Result{{Judge: &load.JudgeReport{AtEnd: load.JudgeBooks{Limits: []load.JudgeLimit{{Utilization: 1}}}}}}},
		"no judge":      {Targets: []load.Result{{Answered: 1}}},
		"some not sent": {Targets: []load.Result{{Answered: 1, Unsent: 1, Judge: &load.JudgeReport{AtEnd: load.JudgeBooks{Limits: []load.JudgeLimit{{Utilization: 1}}}}}}},
	} {
		if err := Check(r, limits); !errors.Is(err, ErrBreach) {
			t.Errorf("%s: error %v, want a breach", name, err)
		}
	}
}

func TestParseAllowance(t *testing.T) {
	for _, c := range []struct {
		in   string
		want Allowance
		ok   bool
	}{
		{"0", Allowance{}, true},
		{"12", Allowance{Count: 12}, true},
		{"1.0", Allowance{Share: 1, IsShare: true}, true},
		{"0.01", Allowance{Share: 0.01, IsShare: true}, true},
		{"5%", Allowance{Share: 0.05, IsShare: true}, true},
		{"", Allowance{}, false},
		{"-1", Allowance{}, false},
		{"1.5", Allowance{}, false},
		{"101%", Allowance{}, false},
		{"NaN%", Allowance{}, false},
		{"many", Allowance{}, false},
		{"-0.1", Allowance{}, false},
	} {
		got, err := ParseAllowance(c.in)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("ParseAllowance(%q) = %+v, %v", c.in, got, err)
		}
		if again, err := ParseAllowance(got.String()); err != nil || again != got {
			t.Errorf("%q does not read back", got.String())
		}
	}
}
