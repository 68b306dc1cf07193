package capacity

import (
	"context"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
)

// seeds is what the gateway runs with where nothing is configured.
func seeds() gate.Options {
	meter, _ := quota.MeterFor("openai")
	minute := func(dim quota.Dim, most int64) quota.Limit {
		return quota.Limit{Dim: dim, Max: most, Span: time.Minute, Kind: quota.Sliding}
	}
	rate := func(n int) gate.Rate { return gate.Rate{Max: n, Per: time.Minute} }
	return gate.Options{
		Upstreams: []gate.Upstream{{Name: "main", Quota: quota.Options{
			Limits: []quota.Limit{minute(quota.Requests, 60), minute(quota.Total, 180_000)}, Seats: 15, Meter: meter,
		}}},
		Routes: []gate.Route{{Upstreams: []int{0}}},
		Classes: []gate.Class{
			{Name: flow.Chat, Weight: 6, Rate: rate(30)},
			{Name: flow.Analysis, Weight: 3, Rate: rate(20), MaxWait: 30 * time.Minute},
		},
		Hold: 240 * time.Second, Tasks: 8,
	}
}

// office are users who ask twice a minute for 6,000 tokens.
func office(users ...int) Options {
	return Options{
		Gate: seeds(), Users: users, Latency: []Latency{{Speed: 8}},
		Work: Work{Rate: 2.0 / 60, Input: Size{Mean: 6000}, Mix: []Share{{flow.Analysis, 1}}, Manner: Task},
	}
}

// chat is the same for users of class chat that wait for JSON.
func chat(users ...int) Options {
	o := office(users...)
	o.Work.Mix, o.Work.Manner = []Share{{flow.Chat, 1}}, JSON
	return o
}

// free has no limit but what is added.
func free(limits ...quota.Limit) gate.Options {
	meter, _ := quota.MeterFor("openai")
	return gate.Options{
		Upstreams: []gate.Upstream{{Name: "main", Quota: quota.Options{Limits: limits, Meter: meter}}},
		Routes:    []gate.Route{{Upstreams: []int{0}}},
		Classes:   []gate.Class{{Name: flow.Chat}},
		Hold:      100 * time.Hour, MaxQueue: 1 << 20, MaxFlow: 1 << 20,
	}
}

func played(t *testing.T, o Options) *book {
	t.Helper()
	p, err := newPlanner(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := simulate(t.Context(), &p.o, p.o.Users[0])
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func planned(tb testing.TB, o Options) *Report {
	tb.Helper()
	r, err := New(context.Background(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}
