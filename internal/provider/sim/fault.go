package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The kinds of fault.
const (
	FaultStatus     = "status"             // answers Status (and Code) instead
	FaultHang       = "hang"               // never answers
	FaultHangHeader = "hang_after_headers" // sends the header, then nothing
	FaultCut        = "cut"                // closes the connection after AfterChunks
	FaultErrorFrame = "error_frame"        // an error inside the stream after AfterChunks
	FaultLatency    = "latency"            // every time is multiplied by Factor
	FaultQuota      = "quota"              // every limit is multiplied by Factor
)

// Fault is one rule of the fault script. A rule applies from From to To and,
// within that, to the requests picked by Probability, Every and Count
// together; a rule with none of these applies to all. Latency and quota rules
// are conditions, not events: only From, To and Factor count.
type Fault struct {
	Kind        string   `json:"kind"`
	Status      int      `json:"status,omitempty"` // 400 to 599; for status
	Code        string   `json:"code,omitempty"`   // such as slow_down; "": the usual one of Status
	Probability float64  `json:"probability,omitempty"`
	Every       int64    `json:"every,omitempty"` // each nth request since the rule was set
	Count       int64    `json:"count,omitempty"` // at most so often; 0: no bound
	From        Duration `json:"from,omitempty"`  // since the script was set
	To          Duration `json:"to,omitempty"`    // 0: for good
	AfterChunks int64    `json:"after_chunks,omitempty"`
	Factor      float64  `json:"factor,omitempty"`
	Model       string   `json:"model,omitempty"` // only requests for this model; "": all
}

// Duration is a time.Duration that reads and writes as text such as "1m30s".
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

func (f Fault) validate() error {
	kinds := []string{
		FaultStatus, FaultHang, FaultHangHeader, FaultCut, FaultErrorFrame, FaultLatency, FaultQuota,
	}
	switch {
	case !slices.Contains(kinds, f.Kind):
		return fmt.Errorf("kind %q is not known: use one of %s", f.Kind, strings.Join(kinds, ", "))
	case f.Kind == FaultStatus && (f.Status < 400 || f.Status > 599):
		return fmt.Errorf("status %d: use 400 to 599", f.Status)
	case f.condition() && !(f.Factor > 0 && f.Factor <= 1000):
		return fmt.Errorf("factor %v: use more than 0 and at most 1000", f.Factor)
	case f.Probability < 0 || f.Probability > 1:
		return fmt.Errorf("probability %v: use 0 to 1", f.Probability)
	case f.From < 0 || f.To < 0 || f.Every < 0 || f.Count < 0 || f.AfterChunks < 0:
		return errors.New("from, to, every, count and after_chunks must not be negative")
	}
	return nil
}

func (f Fault) condition() bool { return f.Kind == FaultLatency || f.Kind == FaultQuota }

// early reports whether the provider refuses before it counts tokens.
func (f Fault) early() bool {
	return f.Kind == FaultStatus && f.Status < 500
}

// name is how the fault is called in statistics.
func (f Fault) name() string {
	switch {
	case f.Kind != FaultStatus:
		return f.Kind
	case f.Code != "":
		return f.Code
	}
	return strconv.Itoa(f.Status)
}

// ParseFault reads a rule: JSON, or a name that NamedFault knows with an
// optional probability, such as "500:0.03" or "hang:1%".
func ParseFault(text string) (Fault, error) {
	var f Fault
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		if err := json.Unmarshal([]byte(text), &f); err != nil {
			return Fault{}, fmt.Errorf("sim: fault %s: %w", text, err)
		}
		return f, f.validate()
	}
	name, share, found := strings.Cut(text, ":")
	f, ok := NamedFault(name)
	if !ok {
		return Fault{}, fmt.Errorf("sim: fault %q is not known: use a status, slow_down, insufficient_quota, "+
			"context, hang, hang-headers, cut or error-frame", name)
	}
	if !found {
		return f, nil
	}
	number, percent := strings.CutSuffix(share, "%")
	p, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return Fault{}, fmt.Errorf("sim: fault %q: the probability is no number: %w", text, err)
	}
	if percent {
		p /= 100
	}
	if p == 0 {
		return Fault{}, fmt.Errorf("sim: fault %q would never fire: leave it out", text)
	}
	f.Probability = p
	return f, f.validate()
}

// ParseScript reads {"rules":[...]} or a bare list of rules. Rules are checked
// where they are used.
func ParseScript(body []byte) ([]Fault, error) {
	script := struct {
		Rules []Fault `json:"rules"`
	}{}
	var err error
	if s := (scanner{b: body}); s.peek() == '[' {
		err = json.Unmarshal(body, &script.Rules)
	} else {
		err = json.Unmarshal(body, &script)
	}
	return script.Rules, err
}

// NamedFault is the fault a client may ask for by the header Sim-Fault or by
// the model name "sim-" + name.
func NamedFault(name string) (Fault, bool) {
	switch name {
	case "hang":
		return Fault{Kind: FaultHang}, true
	case "hang-headers":
		return Fault{Kind: FaultHangHeader}, true
	case "cut":
		return Fault{Kind: FaultCut, AfterChunks: 2}, true
	case "error-frame":
		return Fault{Kind: FaultErrorFrame, AfterChunks: 2}, true
	case codeSlowDown, codeNoMoney:
		return Fault{Kind: FaultStatus, Status: http.StatusTooManyRequests, Code: name}, true
	case "context":
		return Fault{Kind: FaultStatus, Status: http.StatusBadRequest, Code: codeContext}, true
	}
	status, err := strconv.Atoi(name)
	if err != nil || status < 400 || status > 599 {
		return Fault{}, false
	}
	return Fault{Kind: FaultStatus, Status: status}, true
}

// script is the fault rules in force.
type script struct {
	mu    sync.Mutex
	clock clock
	since time.Duration // by the clock
	rules []scripted
}

type scripted struct {
	Fault
	seen, fired int64
}

func newScript(faults []Fault, c clock) *script {
	s := &script{clock: c}
	s.set(faults)
	return s
}

func (s *script) set(faults []Fault) {
	rules := make([]scripted, len(faults))
	for i, f := range faults {
		rules[i].Fault = f
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since, s.rules = s.clock.now(), rules
}

// pick is the fault for one request: what the client asked for, else the
// first rule that applies, else none.
func (s *script) pick(h http.Header, model string, rng *rand.Rand) (Fault, bool) {
	if asked := h.Get("Sim-Fault"); asked != "" {
		return NamedFault(asked)
	}
	if name, ok := strings.CutPrefix(model, "sim-"); ok {
		if f, ok := NamedFault(name); ok {
			return f, true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rules) == 0 {
		return Fault{}, false
	}
	elapsed := s.clock.now() - s.since
	for i := range s.rules {
		if s.rules[i].fires(elapsed, model, rng) {
			return s.rules[i].Fault, true
		}
	}
	return Fault{}, false
}

func (r *scripted) fires(elapsed time.Duration, model string, rng *rand.Rand) bool {
	if r.condition() || !r.during(elapsed) || r.Model != "" && r.Model != model {
		return false
	}
	r.seen++
	switch {
	case r.Count > 0 && r.fired >= r.Count,
		r.Every > 0 && r.seen%r.Every != 0,
		r.Probability > 0 && rng.Float64() >= r.Probability:
		return false
	}
	r.fired++
	return true
}

func (f Fault) during(elapsed time.Duration) bool {
	return elapsed >= time.Duration(f.From) && (f.To == 0 || elapsed < time.Duration(f.To))
}

// factor is the product of the conditions of one kind that hold now.
func (s *script) factor(kind string) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	product := 1.0
	for _, r := range s.rules {
		if r.Kind == kind && r.during(s.clock.now()-s.since) {
			product *= r.Factor
		}
	}
	return product
}
