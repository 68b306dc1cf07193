package gateway

import (
	"testing"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
)

// control is an admission controller of one upstream with so many seats, far
// from its other limits.
func control(t testing.TB, seats int) *admission.Controller {
	t.Helper()
	c, err := admission.New(admission.Options{
		Upstreams: []gate.Upstream{{Name: "main", Quota: quota.Options{
			Seats: seats,
			Limits: []quota.Limit{
				{Dim: quota.Requests, Max: 6_000_000, Span: time.Minute, Kind: quota.Bucket},
				{Dim: quota.Total, Max: 1_000_000_000, Span: time.Minute, Kind: quota.Bucket},
			},
		}}},
		Routes:  []gate.Route{{Upstreams: []int{0}}, {Upstreams: []int{0}}, {Upstreams: []int{0}}},
		Classes: []gate.Class{{Name: flow.Chat, Weight: 6}, {Name: flow.Analysis, Weight: 3}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
