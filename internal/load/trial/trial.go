package trial

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/load/gauge"
	"github.com/millrace/millrace/internal/load/view"
)

// Why nothing can be done.
var (
	ErrRunning  = errors.New("a run is under way: stop it first")
	ErrNoReport = errors.New("no run has ended yet: there is no report")
	ErrClosed   = errors.New("this gateway is going down")
)

// How often a run is looked at, and how long requests may take.
const (
	every   = time.Second
	grace   = time.Minute
	timeout = 5 * time.Minute
)

// Options say whom runs ask, and how much.
type Options struct {
	Name  string // of the target, in the report; empty means gateway
	URL   string // its base URL, such as http://127.0.0.1:8080/v1; required
	Judge string // base URL of the simulator behind it; empty for none
	Model string // empty means gpt-4o-mini
	Key   string // bearer token; empty sends none

	MaxUsers    int           // of a run; 0 means 200
	MaxDuration time.Duration // of a run and of its warm-up; 0 means 10 min

	Transport http.RoundTripper // nil means one of the run's own
}

// The phases of a run.
const (
	Idle      = "idle" // none has begun
	Running   = "running"
	Finishing = "finishing" // no new requests; the last answers are awaited
	Ended     = "ended"
	Failed    = "failed" // nothing could be measured
)

// maxPoints bounds the points of a state; the oldest go first.
const maxPoints = 300

// State is how the run is getting on. Counts are since its beginning, warm-up
// included, while it runs; what was measured once it has ended is in the report.
type State struct {
	Phase      string           `json:"phase"`
	Error      string           `json:"error,omitempty"`
	Parameters *Parameters      `json:"parameters,omitempty"`
	Elapsed    float64          `json:"elapsed_seconds"`
	Of         float64          `json:"of_seconds"`
	WarmUp     bool             `json:"warm_up"` // it is not over
	Sent       int64            `json:"sent"`
	Answered   int64            `json:"answered"`
	Errors     int64            `json:"errors"`
	Waiting    int64            `json:"waiting"` // for their answers
	P50        float64          `json:"p50_ms"`  // latency of the measured answers so far
	P95        float64          `json:"p95_ms"`
	WaitP95    float64          `json:"wait_p95_ms"` // told by the gateway, so far
	Rate       float64          `json:"answers_per_second"`
	Statuses   map[string]int64 `json:"statuses"`
	Points     []gauge.Point    `json:"points"` // one a second, the latest last
	Report     bool             `json:"report"` // there is one
	Caveats    []string         `json:"caveats"`
}

// Trial runs one load at a time. Use New.
type Trial struct {
	options Options

	mu     sync.Mutex
	state  State
	report *load.Report
	stop   context.CancelFunc // nil when nothing runs
	closed bool
	runs   sync.WaitGroup
}

// New makes a Trial at which nothing runs. It must be closed.
func New(o Options) (*Trial, error) {
	o.Name, o.Model = cmp.Or(o.Name, "gateway"), cmp.Or(o.Model, "gpt-4o-mini")
	o.MaxUsers, o.MaxDuration = cmp.Or(o.MaxUsers, 200), cmp.Or(o.MaxDuration, 10*time.Minute)
	if err := load.Check((Parameters{}).withDefaults(&o).options(&o)); err != nil {
		return nil, err
	}
	return &Trial{options: o, state: State{Phase: Idle, Statuses: map[string]int64{}, Points: []gauge.Point{}, Caveats: []string{}}}, nil
}

// StartJSON starts a run of parameters as JSON; nothing means all defaults.
func (t *Trial) StartJSON(raw []byte) error {
	p, err := read(raw)
	if err != nil {
		return err
	}
	return t.Start(p)
}

// Start starts a run and returns at once. The error tells all that is wrong with p,
// or is ErrRunning or ErrClosed.
func (t *Trial) Start(p Parameters) error {
	p = p.withDefaults(&t.options)
	if err := p.validate(&t.options); err != nil {
		return err
	}
	o := p.options(&t.options)
	if err := load.Check(o); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return ErrClosed
	case t.stop != nil:
		return ErrRunning
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.stop, t.report = cancel, nil
	t.state = State{
		Phase: Running, Parameters: &p, Of: p.WarmUpSeconds + p.Seconds,
		Statuses: map[string]int64{}, Points: []gauge.Point{}, Caveats: []string{},
	}
	o.Progress = t.see
	t.runs.Go(func() { t.run(ctx, o, p) })
	return nil
}

func (t *Trial) run(ctx context.Context, o load.Options, p Parameters) {
	report, err := load.Run(ctx, o)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stop()
	t.stop = nil
	if err != nil {
		t.state.Error = err.Error()
	}
	if report == nil || len(report.Targets) == 0 {
		t.state.Phase = Failed
		return
	}
	report.Parameters = p.told()
	t.report = report
	t.state.ended(&report.Targets[0])
}

// see takes a snapshot of the run.
func (t *Trial) see(s load.Snapshot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	x := &t.state
	x.Elapsed, x.WarmUp, x.Waiting, x.Sent = s.Elapsed.Seconds(), s.WarmUp, int64(s.InFlight), s.Started
	x.Answered, x.Errors, x.Rate, x.Statuses = s.AllAnswered, s.AllErrors, s.Rate, s.Statuses
	x.P50, x.P95, x.WaitP95 = s.Latency.P50, s.Latency.P95, s.Waits.P95
	if x.Elapsed > x.Of {
		x.Phase = Finishing
	}
	x.Points = append(x.Points[max(0, len(x.Points)-maxPoints+1):len(x.Points):len(x.Points)], s.Last)
}

// ended replaces what was seen last by what was measured.
func (s *State) ended(r *load.Result) {
	s.Phase, s.Report, s.Waiting, s.WarmUp = Ended, true, 0, false
	s.Sent, s.Answered, s.Errors, s.Rate = r.Started, r.Answered, r.Errors, r.AnswersPerSecond
	s.P50, s.P95, s.WaitP95 = r.Latency.P50, r.Latency.P95, r.Wait.P95
	s.Statuses = r.ByStatus
	if r.Caveats != nil {
		s.Caveats = r.Caveats
	}
	s.Points = r.Series[max(0, len(r.Series)-maxPoints):]
}

// State is the run's, or that of the last one; it can be marshaled as JSON.
func (t *Trial) State() any { return t.Look() }

// Look is State, typed.
func (t *Trial) Look() State {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state // nothing in it is changed later, only replaced
}

// Busy reports whether a run is under way.
func (t *Trial) Busy() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stop != nil
}

// Stop ends the run, if there is one, and returns at once. Its report is that of
// what was measured until then.
func (t *Trial) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stop != nil {
		t.stop()
		t.state.Phase = Finishing
	}
}

// WriteHTML writes the report of the run that has ended as one page; ErrNoReport if
// there is none. Any other error is the writer's.
func (t *Trial) WriteHTML(w io.Writer) error {
	t.mu.Lock()
	report := t.report
	t.mu.Unlock()
	if report == nil {
		return ErrNoReport
	}
	return view.WriteHTML(w, report)
}

// Wait returns when no run is under way.
func (t *Trial) Wait() { t.runs.Wait() }

// Close stops the run and waits until nothing of it is left. No other can be
// started.
func (t *Trial) Close() {
	t.mu.Lock()
	t.closed = true
	if t.stop != nil {
		t.stop()
	}
	t.mu.Unlock()
	t.runs.Wait()
}
