package console

import (
	"net/http"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/explain"
	"github.com/millrace/millrace/internal/llm"
)

// Bounds of the list of requests.
const (
	defaultListed = 100
	maxListed     = 500
)

// settingView is Setting on the wire.
type settingView struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

func (c *Console) serveSettings(v *visit) {
	all := c.deps.Settings()
	list := make([]settingView, len(all))
	for i, s := range all {
		list[i] = settingView(s)
	}
	v.json(map[string]any{"settings": list})
}

// requestView is the story of one request. Times are in milliseconds.
type requestView struct {
	ID        string    `json:"id"`
	Class     string    `json:"class"`
	Tenant    string    `json:"tenant"`
	User      string    `json:"user"`
	Model     string    `json:"model"`
	Route     string    `json:"route"`
	Operation string    `json:"operation"`
	Stream    bool      `json:"stream"`
	Outcome   string    `json:"outcome"`
	Kind      string    `json:"kind"`
	Cause     string    `json:"cause"`
	Reason    string    `json:"reason"`
	Status    int       `json:"status"`
	Upstream  string    `json:"upstream"`
	Attempts  int       `json:"attempts"`
	Arrived   time.Time `json:"arrived"`
	Queued    float64   `json:"queued_ms"`
	FirstByte float64   `json:"first_byte_ms"`
	Total     float64   `json:"total_ms"`
	Quoted    bool      `json:"quoted"`
	EtaP50    float64   `json:"eta_p50_ms"`
	EtaP90    float64   `json:"eta_p90_ms"`
	Estimated tokens    `json:"estimated"`
	Used      tokens    `json:"used"`
	Counted   bool      `json:"counted"`
	Bytes     int64     `json:"bytes_out"`

	Tries []attemptView   `json:"tries,omitempty"`
	By    []explain.Share `json:"by,omitempty"` // Queued by what it was for, the longest first

	// In words, of one request alone; see package explain.
	Summary string           `json:"summary,omitempty"`
	Why     []string         `json:"why,omitempty"`
	Help    []string         `json:"help,omitempty"`
	Moments []explain.Moment `json:"moments,omitempty"`
}

// tokens are those of a prompt and of its answer.
type tokens struct {
	Input  int64 `json:"input"`
	Output int64 `json:"output"`
}

// attemptView is one try of a request.
type attemptView struct {
	Number    int     `json:"number"`
	Queued    float64 `json:"queued_ms"` // for this try alone
	Reason    string  `json:"reason"`    // what that was for, mostly
	Upstream  string  `json:"upstream"`
	Model     string  `json:"model"`
	Kind      string  `json:"kind"`
	Status    int     `json:"status"`
	Start     float64 `json:"start_ms"` // after the arrival
	FirstByte float64 `json:"first_byte_ms"`
	Total     float64 `json:"total_ms"`
	Estimated tokens  `json:"estimated"`
	Used      tokens  `json:"used"`
	Counted   bool    `json:"counted"`
}

func estimated(s llm.Size) tokens { return tokens{s.Input, s.Output} }

func used(u llm.Usage) tokens { return tokens{u.Prompt(), u.Output} }

// ms is a time in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func viewOf(r *event.Record) requestView {
	return requestView{
		ID: r.ID, Class: string(r.Key.Class), Tenant: r.Key.Tenant, User: r.Key.User, Model: r.Model, Route: r.Route,
		Operation: r.Operation.String(), Stream: r.Stream, Outcome: r.Outcome.String(), Kind: r.Kind.String(), Cause: r.Cause,
		Reason: string(r.Reason), Status: r.Status, Upstream: r.Upstream, Attempts: r.Attempts, Arrived: r.Arrived,
		Queued: ms(r.Queued), FirstByte: ms(r.FirstByte), Total: ms(r.Total),
		Quoted: r.Quoted, EtaP50: ms(r.EtaP50), EtaP90: ms(r.EtaP90),
		Estimated: estimated(r.Estimated), Used: used(r.Used), Counted: r.Counted, Bytes: r.BytesOut,
	}
}

func (c *Console) serveRequests(v *visit) {
	n := defaultListed
	if s := v.r.URL.Query().Get("limit"); s != "" {
		asked, err := strconv.Atoi(s)
		if err != nil || asked < 1 || asked > maxListed {
			v.problem(http.StatusBadRequest, "limit must be 1 to "+strconv.Itoa(maxListed)+".")
			return
		}
		n = asked
	}
	recent := c.deps.Requests.Recent(n)
	list := make([]requestView, len(recent))
	for i := range recent {
		list[i] = viewOf(&recent[i])
	}
	v.json(map[string]any{"requests": list})
}

// serveRequest answers with one request and its attempts.
func (c *Console) serveRequest(v *visit) {
	id := v.r.PathValue("id")
	r, ok := c.deps.Requests.Get(id)
	if !ok {
		v.problem(http.StatusNotFound, "This request is not among the latest that are kept, or has not ended.")
		return
	}
	view, tries := viewOf(&r), c.deps.Requests.Attempts(id)
	story := explain.Ended(&r, tries)
	view.By = story.Wait.By
	view.Summary, view.Why, view.Help, view.Moments = story.Summary, story.Why, story.Help, story.Timeline
	for i, a := range tries {
		view.Tries = append(view.Tries, attemptView{
			Number: a.Number, Queued: ms(a.Queued), Reason: story.Attempts[i].Chief(), Upstream: a.Upstream, Model: a.Model, Kind: a.Kind.String(), Status: a.Status,
			Start: ms(a.Started.Sub(r.Arrived)), FirstByte: ms(a.FirstByte), Total: ms(a.Total),
			Estimated: estimated(a.Estimated), Used: used(a.Used), Counted: a.Counted,
		})
	}
	v.json(view)
}
