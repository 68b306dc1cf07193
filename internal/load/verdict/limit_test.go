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

// TestI2Silent: a target that answered nothing but errors is told, with the first of them
// and how to mend it, whatever the limits; others are not.
func TestI2Silent(t *testing.T) {
	refused := load.Result{Target: "a", URL: "http://127.0.0.1:1/v1", Errors: 7, FirstError: "refused", Samples: map[string]string{"refused": "dial tcp: connection refused"}}
	wrongKey := load.Result{Target: "b", URL: "http://b/v1", Errors: 2, FirstError: "401", Samples: map[string]string{"401": "{\"error\": {\"message\": \"Incorrect\\nkey.\"}}", "500": "no"}}
	strange := load.Result{Target: "c", URL: "http://c/v1", Errors: 1, FirstError: "500"}
	left, fine := load.Result{Target: "d", Unfinished: 3}, load.Result{Target: "e", Answered: 1, Errors: 50}
	all := &load.Report{Targets: []load.Result{refused, wrongKey, strange, left, fine}}
	want := "a: nothing was answered: every request to http://127.0.0.1:1/v1 failed (7), the first with refused: dial tcp: connection refused; nothing listens there: is it started, and on this port?\n" +
		"b: nothing was answered: every request to http://b/v1 failed (2), the first with 401: Incorrect key.; give the key by --key-file\n" +
		"c: nothing was answered: every request to http://c/v1 failed (1), the first with 500"
	err := Check(all, Limits{})
	if !errors.Is(err, ErrSilent) || errors.Is(err, ErrBreach) {
		t.Fatalf("error %v", err)
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := Check(all, Limits{Targets: []string{"d", "e"}}); err != nil {
		t.Errorf("those that were named answered, or met no error: %v", err)
	}
	if err := Check(all, Limits{Targets: []string{"a", "e"}, MinFairness: 0}); !errors.Is(err, ErrSilent) {
		t.Errorf("one that was named is silent: %v", err)
	}
	if err := Check(all, Limits{MaxErrors: &Allowance{Count: 6}, Targets: []string{"a"}}); !errors.Is(err, ErrSilent) || !errors.Is(err, ErrBreach) {
		t.Errorf("one that breaches a limit is silent, too: %v", err)
	}
}

// TestMend: what people mistype is told by its name.
func TestMend(t *testing.T) {
	for said, want := range map[[2]string]string{
		{"transport", "tls: first record does not look like a TLS handshake"}: "http://",
		{"transport", "http: server gave HTTP response to HTTPS client"}:      "http://",
		{"eof", "EOF"}: "https://",
		{"transport", `net/http: HTTP/1.x transport connection broken: malformed HTTP`}:       "https://",
		{"transport", "tls: failed to verify: x509: certificate signed by unknown authority"}: "SSL_CERT_FILE",
		{"transport", "dial tcp: lookup x: no such host"}:                                     "not known",
		{"404", "404 page not found"}:                                                         "base URL",
		{"format", "no JSON object: <html>"}:                                                  "base URL",
		{"403", ""}:                                                                           "--key-file",
	} {
		if got := mend(said[0], said[1]); !strings.Contains(got, want) {
			t.Errorf("%v: %q does not say %q", said, got, want)
		}
	}
	if got := mend("503", "busy"); got != "" {
		t.Errorf("advice for what is nobody's mistake: %s", got)
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
