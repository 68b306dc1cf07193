package load

import (
	"maps"
	"time"

	"github.com/millrace/millrace/internal/load/footprint"
	"github.com/millrace/millrace/internal/load/gauge"
)

// Report is what a run measured.
type Report struct {
	Mode        string      `json:"mode"` // closed or open
	Seed        uint64      `json:"seed"`
	Begun       time.Time   `json:"begun"`
	Speed       float64     `json:"speed"`       // how many times as fast as the machine's the time of the run passed: all times and rates are in the run's
	Together    bool        `json:"together"`    // the targets were asked at the same time
	Interrupted bool        `json:"interrupted"` // the run was ended from outside
	Parameters  []Parameter `json:"parameters,omitempty"`
	Targets     []Result    `json:"targets"`
}

// Parameter is one thing the run was told, for whoever reads the report. It is
// filled in by who knows how it was told, and holds no secret.
type Parameter struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default bool   `json:"default"` // nobody chose it
}

func newReport(o *Options) *Report {
	r := &Report{Mode: "closed", Seed: o.Seed, Begun: time.Now(), Speed: o.Speed, Together: o.Together, Targets: []Result{}}
	if o.open() {
		r.Mode = "open"
	}
	return r
}

// Result is what was measured at one target. Counts are of requests whose
// intended start lay after the warm-up, unless they say otherwise. Started is
// the sum of Answered, Errors, Canceled, Disconnected, Stalled, Unfinished and
// WarmUp.
type Result struct {
	Target  string  `json:"target"`
	URL     string  `json:"url"`
	Seconds float64 `json:"seconds"` // from the end of the warm-up to the end of the load

	Started       int64             `json:"started"`
	WarmUp        int64             `json:"warm_up"` // meant to start during the warm-up, however they ended
	Answered      int64             `json:"answered"`
	Errors        int64             `json:"errors"`         // of the target
	ErrorsBehaved int64             `json:"errors_behaved"` // those that met a request not drawn to misbehave
	Canceled      int64             `json:"canceled"`       // by us, as drawn; likewise the next two
	Disconnected  int64             `json:"disconnected"`
	Stalled       int64             `json:"stalled"`
	Unfinished    int64             `json:"unfinished"`            // still running when the run was over
	Unsent        int64             `json:"unsent"`                // arrivals left out because too many requests were in flight
	Tasks         int64             `json:"tasks"`                 // answers that came as the result of a task
	ByError       map[string]int64  `json:"by_error"`              // errors by status or kind
	ByStatus      map[string]int64  `json:"by_status"`             // all that ended with a status or a kind of error
	FirstError    string            `json:"first_error,omitempty"` // its status or kind
	Samples       map[string]string `json:"samples,omitempty"`     // what the first of each kind said

	Latency   Summary            `json:"latency"`    // of answers, from the intended start to the last byte
	FirstByte Summary            `json:"first_byte"` // of answers, to the first byte that is no comment
	Wait      Summary            `json:"wait"`       // in the queue, as told by the gateway
	Others    *Summary           `json:"others,omitempty"`
	Greedy    *Summary           `json:"greedy,omitempty"`
	Classes   map[string]Summary `json:"classes,omitempty"` // latency by the class the gateway told
	Waits     map[string]Summary `json:"waits,omitempty"`   // likewise the wait
	Paths     map[string]Summary `json:"paths,omitempty"`   // latency by the path asked, where there was a mix
	Curve     []gauge.Quantile   `json:"curve,omitempty"`   // latency at many percentages

	AnswersPerSecond  float64 `json:"answers_per_second"`
	TokensPerSecond   float64 `json:"tokens_per_second"`
	PromptTokens      int64   `json:"prompt_tokens"`
	CompletionTokens  int64   `json:"completion_tokens"`
	Estimated         int64   `json:"estimated"`           // answers without usage
	AttemptsPerAnswer float64 `json:"attempts_per_answer"` // 0 when the gateway told none

	Streams   Streams      `json:"streams"`
	Fairness  Fairness     `json:"fairness"`
	Users     []UserResult `json:"users"`
	Judge     *JudgeReport `json:"judge,omitempty"`
	Generator Generator    `json:"generator"`
	Caveats   []string     `json:"caveats,omitempty"` // sentences: why figures are not what they look like

	WarmUpSeconds float64       `json:"warm_up_seconds"`
	Interval      float64       `json:"interval_seconds"` // of Series
	Series        []gauge.Point `json:"series,omitempty"` // over time, warm-up included
}

// Streams says how streams ended.
type Streams struct {
	Complete int64 `json:"complete"` // with the end marker
	Cut      int64 `json:"cut"`      // without
	Comments int64 `json:"comments"` // comment lines received
}

// UserResult is one user's part.
type UserResult struct {
	User    string `json:"user"`
	Asked   int64  `json:"asked"`
	Answers int64  `json:"answers"`
	Errors  int64  `json:"errors"`
	Cost    int64  `json:"cost"` // tokens served

	// To about a tenth, in milliseconds; 0 for none.
	P50     float64 `json:"p50_ms"` // latency
	P95     float64 `json:"p95_ms"`
	WaitP50 float64 `json:"wait_p50_ms"` // as told
	WaitP95 float64 `json:"wait_p95_ms"`
}

func (u *userBook) result() UserResult {
	r := u.UserResult
	r.P50, r.P95 = u.latency.Quantile(50), u.latency.Quantile(95)
	r.WaitP50, r.WaitP95 = u.wait.Quantile(50), u.wait.Quantile(95)
	return r
}

// Generator says what the load itself cost, so that its own limits are not
// taken for the target's.
type Generator struct {
	CPUSeconds float64 `json:"cpu_seconds"` // of this process, during the measured time
	CPUShare   float64 `json:"cpu_share"`   // of one core, by the machine's clock
	PeakBytes  int64   `json:"peak_bytes"`  // the most memory of this process so far; 0 if the system does not tell
	BehindMS   float64 `json:"behind_ms"`   // the largest delay between an intended start and the sending
}

func (g *Generator) cost(used time.Duration, seconds float64) {
	g.CPUSeconds, g.PeakBytes = used.Seconds(), footprint.Peak()
	if seconds > 0 {
		g.CPUShare = g.CPUSeconds / seconds
	}
}

// Summary is a distribution of durations, in milliseconds.
type Summary = gauge.Summary

// result sums up; elapsed is the measured time.
func (b *book) result(t Target, elapsed time.Duration) *Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.count
	r := &Result{
		Target: t.Name, URL: t.URL, Seconds: elapsed.Seconds(),
		Started: c.started, WarmUp: c.warmUp, Answered: c.answered, Errors: c.failed, ErrorsBehaved: c.failedBehaved,
		Canceled: c.canceled, Disconnected: c.disconnected, Stalled: c.stalled, Unfinished: c.unfinished, Unsent: c.unsent, Tasks: c.tasks,
		ByError: maps.Clone(b.errors), ByStatus: maps.Clone(b.statuses), Samples: maps.Clone(b.samples), FirstError: b.broke,
		Latency: b.latency.Summary(), FirstByte: b.first.Summary(), Wait: b.wait.Summary(), Curve: b.latency.Curve(),
		PromptTokens: c.prompt, CompletionTokens: c.completion, Estimated: c.estimated,
		Streams:   Streams{Complete: c.streams, Cut: c.cut, Comments: c.comments},
		Users:     make([]UserResult, len(b.users)),
		Generator: Generator{BehindMS: float64(b.behind.Microseconds()) / 1000},
		Interval:  b.series.Every().Seconds(), Series: b.series.Points(b.clock.now()),
	}
	for i := range b.users {
		r.Users[i] = b.users[i].result()
	}
	b.resultByKind(r)
	r.Fairness = fairness(r.Users, b.greedy)
	if r.Seconds > 0 {
		r.AnswersPerSecond = float64(c.answered) / r.Seconds
		r.TokensPerSecond = float64(c.cost) / r.Seconds
	}
	if c.told > 0 {
		r.AttemptsPerAnswer = float64(c.attempts) / float64(c.told)
	}
	return r
}

func (b *book) resultByKind(r *Result) {
	if b.greedy {
		others, greedy := b.others.Summary(), b.hog.Summary()
		r.Others, r.Greedy = &others, &greedy
	}
	if len(b.classes) > 0 {
		r.Classes, r.Waits = make(map[string]Summary, len(b.classes)), make(map[string]Summary, len(b.classes))
	}
	for class, s := range b.classes {
		if s.latency.Count() > 0 {
			r.Classes[class] = s.latency.Summary()
		}
		if s.wait.Count() > 0 {
			r.Waits[class] = s.wait.Summary()
		}
	}
	if len(b.paths) > 0 {
		r.Paths = make(map[string]Summary, len(b.paths))
	}
	for path, h := range b.paths {
		r.Paths[path] = h.Summary()
	}
}

// Fairness says how evenly the users were served. With a greedy user it leaves
// him out.
type Fairness struct {
	Users        int     `json:"users"`
	Jain         float64 `json:"jain"` // of the served cost
	LeastAnswers int64   `json:"least_answers"`
	MostAnswers  int64   `json:"most_answers"`
}

func fairness(users []UserResult, greedy bool) Fairness {
	if greedy {
		users = users[1:]
	}
	if len(users) == 0 {
		return Fairness{}
	}
	f := Fairness{Users: len(users), LeastAnswers: users[0].Answers}
	costs := make([]float64, len(users))
	for i, u := range users {
		costs[i] = float64(u.Cost)
		f.LeastAnswers = min(f.LeastAnswers, u.Answers)
		f.MostAnswers = max(f.MostAnswers, u.Answers)
	}
	f.Jain = Jain(costs)
	return f
}

// Jain is Jain's fairness index of what each got: 1 when all got the same, 1/n
// when one got everything, 0 when nobody got anything.
func Jain(shares []float64) float64 {
	var sum, squares float64
	for _, x := range shares {
		sum += x
		squares += x * x
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / (float64(len(shares)) * squares)
}
