package cli

import (
	"math"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/provider/sim"
	"github.com/millrace/millrace/internal/quota"
)

// compressedRun puts the same users on the same provider, both speed times as fast, with
// or without a gateway between that is configured as docs/guide/load.md says.
func compressedRun(t *testing.T, speed float64, gateway bool) load.Result {
	t.Helper()
	const requests, tokens, burst = 60, 360_000, 6 * time.Second
	minute := func(dim quota.Dim, most float64) quota.Limit {
		return quota.Limit{Dim: dim, Max: int64(most * speed), Span: time.Minute, Kind: quota.Bucket, Burst: int64(most * burst.Minutes())}
	}
	meter, _ := quota.MeterFor("openai")
	target := load.Target{Name: "straight", URL: "http://judge/v1"}
	if gateway {
		target = load.Target{Name: "gateway", URL: "http://gateway/v1"}
	}
	return measured(t, gate.Options{
		Upstreams: []gate.Upstream{{Name: "judge", Quota: quota.Options{
			Limits: []quota.Limit{minute(quota.Requests, requests), minute(quota.Total, tokens)}, Seats: 15, Meter: meter,
		}}},
		Routes: []gate.Route{{Upstreams: []int{0}}}, Classes: []gate.Class{{Name: flow.Chat}},
	}, sim.Options{
		Speed: speed, Limits: sim.Limits{Requests: requests, Tokens: tokens, Seats: 15}, Window: sim.WindowBucket, Burst: burst,
		Latency: sim.Latency{Total: 2 * time.Second, Sigma: 0.3}, Output: 20,
	}, load.Options{
		Targets: []load.Target{target}, Judge: "http://judge", Speed: speed,
		Users: 30, Think: 20 * time.Second, Tokens: 5000, TokensSigma: 0.3, WarmUp: 2 * time.Minute, Duration: 4 * time.Minute,
	})
}

// TestSpeedIsHonest: what happened at speed 10 is reported as at speed 1.
func TestSpeedIsHonest(t *testing.T) {
	t.Parallel()
	for name, gateway := range map[string]bool{"straight": false, "through a gateway": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow, fast := compressedRun(t, 1, gateway), compressedRun(t, 10, gateway)
			for _, v := range []struct {
				name       string
				want, got  float64
				share, abs float64 // tolerated
			}{
				{"answers", float64(slow.Answered), float64(fast.Answered), 0.01, 0},
				{"answers a second", slow.AnswersPerSecond, fast.AnswersPerSecond, 0.01, 0},
				{"errors", float64(slow.Errors), float64(fast.Errors), 0.05, 2},
				{"use of the quota", slow.Judge.Utilization(), fast.Judge.Utilization(), 0, 0.01},
				{"throttled", float64(slow.Judge.Final.Throttled), float64(fast.Judge.Final.Throttled), 0.05, 2},
				{"latency p50", slow.Latency.P50, fast.Latency.P50, 0.05, 50},
				{"latency p95", slow.Latency.P95, fast.Latency.P95, 0.05, 50},
				{"told wait p95", slow.Wait.P95, fast.Wait.P95, 0.1, 250},
				{"seconds", slow.Seconds, fast.Seconds, 0, 0.1},
			} {
				if math.Abs(v.got-v.want) > v.share*v.want+v.abs {
					t.Errorf("%s: %.3f at speed 10, %.3f at speed 1", v.name, v.got, v.want)
				}
			}
			if slow.Judge.Utilization() < 0.5 || slow.Answered < 150 || len(slow.Caveats) > 0 || (len(fast.Caveats) > 0) != gateway {
				t.Errorf("used %.3f, answered %d, caveats %v and %v", slow.Judge.Utilization(), slow.Answered, slow.Caveats, fast.Caveats)
			}
		})
	}
}
