package forecast

import (
	"fmt"
	"strconv"
	"time"
)

// The times of a load that was foretold.
const (
	warmUp = 150 * time.Second
	span   = 12 * time.Minute
)

// Workload is one configuration and one demand.
type Workload struct {
	Name                    string
	Requests, Tokens, Seats int      // the quota: requests and tokens a minute
	Judge                   []string // flags of millrace sim beside the quota
	Rules                   string   // of the configuration, beside the upstream
	Plan                    []string // flags of millrace plan
	Load                    []string // flags of millrace load
	Users                   int      // who ask; of a trace 20
	Trace                   bool     // which has no warm-up
}

// WarmUp is the time before the measured one.
func (w *Workload) WarmUp() time.Duration {
	if w.Trace {
		return 0
	}
	return warmUp
}

// Span is the measured time.
func (w *Workload) Span() time.Duration { return span }

// Configuration is the gateway's, but for where it listens and keeps its state.
func (w *Workload) Configuration(base string) string {
	return fmt.Sprintf("upstreams:\n  - name: main\n    base_url: %s/v1\n    quota: {requests: %d/m, tokens: %d/m, seats: %d, meter: openai}\n%s\n",
		base, w.Requests, w.Tokens, w.Seats, w.Rules)
}

// Limits are the judge's flags.
func (w *Workload) Limits() []string {
	return append([]string{
		"--requests", strconv.Itoa(w.Requests), "--tokens", strconv.Itoa(w.Tokens), "--seats", strconv.Itoa(w.Seats),
	}, w.Judge...)
}

// PlanArgs are those of millrace plan. The plan is of an hour, as one would ask for
// it; a trace is followed as far as the load replays it.
func (w *Workload) PlanArgs(file string) []string {
	args := []string{"plan", "--config", file, "--json", "--no-advice", "--seed", "1", "--users", strconv.Itoa(w.Users)}
	if w.Trace {
		args = append(args, "--duration", span.String())
	} else {
		args = append(args, "--warmup", warmUp.String())
	}
	return append(args, w.Plan...)
}

// LoadArgs are those of the demand beside times and targets.
func (w *Workload) LoadArgs() []string {
	if w.Trace {
		return w.Load
	}
	return append([]string{"--users", strconv.Itoa(w.Users), "--ramp", "30s"}, w.Load...)
}

// seconds2 are answers of two seconds on average.
func seconds2(flags ...string) []string {
	return append(flags, "--latency", "2s", "--sigma", "0.35")
}

// Workloads are all but the recorded one.
func Workloads() []Workload {
	return []Workload{
		{ // the first users' own numbers, with a class at its rate
			Name: "constant", Users: 20, Requests: 60, Tokens: 180_000, Seats: 15,
			Rules: "classes: {chat: {rate: 30/m}}",
			Judge: seconds2("--seed", "11"),
			Plan:  seconds2("--requests-per-user", "2/m", "--tokens", "6000", "--class", "chat"),
			Load:  []string{"--others-rate", "2/m", "--tokens", "6000", "--tokens-sigma", "0", "--class", "chat", "--seed", "21"},
		},
		{ // streams of recorded sizes, which reserve what they may write
			Name: "chat", Users: 250, Requests: 400, Tokens: 450_000, Seats: 60,
			Judge: []string{"--seed", "12"},
			Plan:  []string{"--think", "30s", "--tokens", "1236", "--tokens-sigma", "0.99", "--max-tokens", "1000", "--as", "stream"},
			Load:  []string{"--think", "30s", "--tokens", "1236", "--tokens-sigma", "0.99", "--max-tokens", "1000", "--stream", "--seed", "22"},
		},
		{ // tasks of an endpoint, of which so many start a minute and so many run at a time
			Name: "analysis", Users: 40, Requests: 600, Tokens: 1_800_000, Seats: 15,
			Rules: "classes: {analysis: {rate: 40/m, max_wait: 30m}}\ntasks: {concurrency: 8}\nendpoints:\n" +
				"  - {path: /analyze_section, class: analysis, model: m, flow: session_id, prompt: \"{content}\", wait: 1s, max_tokens: 8192}",
			Judge: []string{"--latency", "10s", "--sigma", "0.3", "--seed", "13"},
			Plan:  []string{"--think", "40s", "--tokens", "4000", "--tokens-sigma", "0.5", "--latency", "10s", "--sigma", "0.3"},
			Load:  []string{"--think", "40s", "--tokens", "4000", "--tokens-sigma", "0.5", "--mix", "/analyze_section", "--seed", "23"},
		},
		{ // two classes that share requests and tokens by weight, one of them with a rate
			Name: "mix", Users: 150, Requests: 240, Tokens: 1_440_000, Seats: 30,
			Rules: "classes: {analysis: {weight: 3, rate: 160/m}, chat: {weight: 6}}",
			Judge: seconds2("--seed", "14"),
			Plan:  seconds2("--requests-per-user", "2/m", "--tokens", "6000", "--tokens-sigma", "0.3", "--class", "analysis:2,chat:1"),
			Load: []string{
				"--others-rate", "2/m", "--tokens", "6000", "--tokens-sigma", "0.3", "--seed", "24",
				"--mix", "/v1/chat/completions:weight=2,class=analysis", "--mix", "/v1/chat/completions:weight=1,class=chat",
			},
		},
	}
}

// Recorded is the beginning of a recorded trace, at its own speed.
func Recorded(path string) Workload {
	return Workload{
		Name: "conv", Users: 20, Trace: true, Requests: 340, Tokens: 360_000, Seats: 60,
		Judge: seconds2("--seed", "15"),
		Plan:  seconds2("--trace", path),
		Load:  []string{"--trace", path, "--seed", "25"},
	}
}
