package inquiry

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/capacity"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
)

// Base is a configuration as package app understands it.
type Base struct {
	Config *config.Config
	Gate   gate.Options                   // what admission would be given
	Route  func(model string) (int, bool) // the route of a client's model name, as an index into Gate.Routes
	Speed  float64                        // how much faster than a model of today the built-in simulator answers
}

// Question is what people say about their users. The zero value of a field leaves it to
// the configuration, or to the default that its comment names.
type Question struct {
	Prefix string // before a name in a fault, such as -- for flags

	Users    string        // numbers with commas, a row each; empty means 5,10,15,20,30,200
	Rate     string        // how often a user asks, such as 2/m; empty means that
	Think    time.Duration // instead of Rate: mean time between an answer and the next request
	Arrivals string        // closed (or empty), poisson or bursts
	CV       float64       // of the gaps of bursts; 0 means 13

	Workload  string  // sizes: constant (or empty), chat, analysis, code
	Tokens    float64 // mean of a prompt, where constant; 0 means 6,000
	Sigma     float64 // its spread: standard deviation of the logarithm
	Output    float64 // tokens of an answer; 0 means random, median 151
	MaxTokens int     // max_tokens of the requests; negative sends none; 0 means the endpoint's, else none

	Class string // a class, or a mix such as analysis:2,chat:1; empty means the first endpoint's, else the route's, else chat
	As    string // json, stream or task; empty means task where Class was left to an endpoint, else json
	Model string // that clients name; empty means the first route's

	Trace      []capacity.Arrival // instead of rates and sizes
	TraceUsers int                // users the trace is of

	Latency  capacity.Latency // of the upstreams
	Duration time.Duration    // measured; 0 means an hour, or the whole trace
	WarmUp   time.Duration    // before it; 0 means 5 minutes, or none before a trace
	MaxP95   time.Duration    // the longest p95 wait that is called good; 0 means 5 s
	NoAdvice bool             // do not look for what lifts a row
	Seed     uint64           // of everything random
}

// Options are what capacity is asked. The error names everything that is wrong.
func (q *Question) Options(b *Base) (capacity.Options, error) {
	o := capacity.Options{
		Gate: b.Gate, Duration: q.Duration, WarmUp: q.WarmUp, MaxP95: q.MaxP95, NoAdvice: q.NoAdvice, Seed: q.Seed,
		Work: capacity.Work{Think: q.Think, CV: q.CV, Trace: q.Trace, TraceUsers: q.TraceUsers},
	}
	var faults []error
	for _, step := range []func(*capacity.Options, *Base) error{q.users, q.rate, q.sizes, q.mix, q.route} {
		faults = append(faults, step(&o, b))
	}
	o.Say = func(path, value string) string { return say(b.Config, path, value) }
	o.Diff = func(changes []capacity.Change) string { return Diff(b.Config, changes) }
	return o, errors.Join(faults...)
}

// fault is about one word of the question.
func (q *Question) fault(name, format string, args ...any) error {
	return fmt.Errorf("%s%s%w", q.Prefix, name, fmt.Errorf(format, args...))
}

const (
	defaultUsers = "5,10,15,20,30,200"
	defaultRate  = "2/m"
	defaultInput = 6000
	defaultCV    = 13
)

func (q *Question) users(o *capacity.Options, _ *Base) error {
	for word := range strings.SplitSeq(cmp.Or(q.Users, defaultUsers), ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil {
			return q.fault("users", ": %.40q is no number: write some with commas, such as 5,10,20", word)
		}
		o.Users = append(o.Users, n)
	}
	return nil
}

func (q *Question) rate(o *capacity.Options, _ *Base) (err error) {
	w := &o.Work
	switch q.Arrivals {
	case "", "closed":
	case "poisson":
		w.Open, w.CV = true, 1
	case "bursts":
		if w.Open = true; w.CV == 0 {
			w.CV = defaultCV
		}
	default:
		return q.fault("arrivals", " %.40q: use closed, poisson or bursts", q.Arrivals)
	}
	if w.Think > 0 && !w.Open {
		return nil
	}
	if w.Rate, err = perSecond(cmp.Or(q.Rate, defaultRate)); err != nil {
		return q.fault("requests-per-user", ": %w", err)
	}
	return nil
}

// perSecond reads a rate such as 2/m.
func perSecond(text string) (float64, error) {
	count, unit, _ := strings.Cut(text, "/")
	spans := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}
	n, err := strconv.ParseFloat(strings.TrimSpace(count), 64)
	if span := spans[strings.TrimSpace(unit)]; err == nil && span > 0 && n > 0 {
		return n / span.Seconds(), nil
	}
	return 0, fmt.Errorf("%.40q is no rate: write a number per s, m or h, such as 20/m", text)
}

// fits are sizes fitted to records of real use: conversations and code completions of
// the Azure traces of 2023, and long documents with findings.
var fits = map[string][2]capacity.Size{
	"chat":     {{Mean: 1236, Sigma: 0.99, Most: 14050}, {Mean: 219, Sigma: 0.86, Most: 1000}},
	"code":     {{Mean: 2765, Sigma: 1.36, Most: 7437}, {Mean: 23, Sigma: 0.85, Most: 1899}},
	"analysis": {{Mean: 12035, Sigma: 1.05, Most: 126195}, {Mean: 382, Sigma: 0.42, Most: 2000}},
}

func (q *Question) sizes(o *capacity.Options, _ *Base) error {
	w := &o.Work
	w.Input = capacity.Size{Mean: cmp.Or(q.Tokens, defaultInput), Sigma: q.Sigma}
	if fit, known := fits[q.Workload]; known {
		w.Input, w.Output = fit[0], fit[1]
	} else if q.Workload != "" && q.Workload != "constant" {
		return q.fault("workload", " %.40q: use constant, chat, analysis or code", q.Workload)
	}
	if q.Output > 0 {
		w.Output = capacity.Size{Mean: q.Output}
	}
	return nil
}

// manners are the words of As.
var manners = map[string]capacity.Manner{"json": capacity.JSON, "stream": capacity.Stream, "task": capacity.Task}

func (q *Question) mix(o *capacity.Options, b *Base) error {
	w, c := &o.Work, b.Config
	mix, as := q.Class, "json"
	w.MaxOutput = max(q.MaxTokens, 0)
	if mix == "" && len(c.Endpoints) > 0 {
		mix, as = c.Endpoints[0].Class, "task"
		if q.MaxTokens == 0 {
			w.MaxOutput = c.Endpoints[0].MaxTokens
		}
	}
	var known bool
	if w.Manner, known = manners[cmp.Or(q.As, as)]; !known {
		return q.fault("as", " %.40q: use json, stream or task", q.As)
	}
	for entry := range strings.SplitSeq(cmp.Or(mix, q.usual(b), string(flow.Chat)), ",") {
		name, part, parted := strings.Cut(strings.TrimSpace(entry), ":")
		share := capacity.Share{Class: flow.Class(name), Part: 1}
		if n, err := strconv.ParseFloat(part, 64); parted && (err != nil || n <= 0) {
			return q.fault("class", ": %.40q has no part above 0: write it as analysis:2,chat:1", entry)
		} else if parted {
			share.Part = n
		}
		w.Mix = append(w.Mix, share)
	}
	w.Tenants = tenants(c.Keys)
	return nil
}

// tenants are those of the keys that users hold: the clients', or all where none is.
func tenants(keys []config.Key) (clients []string) {
	var all []string
	for i := range keys {
		all = append(all, keys[i].Tenant)
		if keys[i].Role == "" || keys[i].Role == "client" {
			clients = append(clients, keys[i].Tenant)
		}
	}
	if clients == nil {
		return all
	}
	return clients
}

// usual is the class of the route, which counts where nothing else names one.
func (q *Question) usual(b *Base) string {
	if i, found := b.Route(q.model(b.Config)); found && len(b.Config.Endpoints) == 0 {
		return b.Config.Routes[i].Class // routes stand in Gate as in the file
	}
	return ""
}

// model is the name that clients say.
func (q *Question) model(c *config.Config) string { return cmp.Or(q.Model, c.Routes[0].Model) }

func (q *Question) route(o *capacity.Options, b *Base) error {
	c := b.Config
	model := q.model(c)
	var found bool
	if o.Route, found = b.Route(model); !found {
		return q.fault("model", " %.80q: no route leads anywhere", model)
	}
	o.Hold = cmp.Or(c.Routes[o.Route].Hold, c.Limits.Hold) // routes stand in Gate as in the file, what nobody can name after them
	for i := range c.Upstreams {
		l := q.Latency
		if c.Upstreams[i].Provider == config.ProviderSim && l.Total == 0 {
			l.Speed = b.Speed
		}
		o.Latency = append(o.Latency, l)
	}
	return nil
}
