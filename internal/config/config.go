package config

import (
	"time"
)

// Config is everything the gateway can be told. Load returns it checked.
type Config struct {
	Listen    string            `key:"listen"`    // host:port of the data plane; loopback until keys exist
	StateDir  string            `key:"state_dir"` // folder of the state file
	Upstreams []Upstream        `key:"upstreams"` // at least one; the first is the default upstream
	Classes   map[string]*Class `key:"classes"`   // by class name; chat, analysis, health and batch always exist
	Routes    []Route           `key:"routes"`    // the first that matches counts; one of "*" always exists
	Limits    Limits            `key:"limits"`    // bounds of the gateway itself

	// Simulated reports that no upstream was named anywhere, so that the
	// built-in simulator and its sample quota serve.
	Simulated bool `key:"-"`
	// Warnings are for people, one line each: variables without effect,
	// readings that could have been meant otherwise.
	Warnings []string `key:"-"`

	origins map[string]Origin
}

// Upstream is one endpoint with one credential and its quota.
type Upstream struct {
	Name     string   `key:"name"`     // unique; letters, digits, - and _
	Provider string   `key:"provider"` // openai (the default) or sim
	BaseURL  string   `key:"base_url"` // with the version, as in https://host/v1; default OpenAI's own; none for sim
	APIKey   Secret   `key:"api_key"`  // bearer; empty sends none
	Model    string   `key:"model"`    // the upstream's name of the model; empty keeps the client's
	Quota    Quota    `key:"quota"`
	Breaker  Breaker  `key:"breaker"`
	Timeout  Timeouts `key:"timeout"`
}

// Quota is what an upstream allows. A zero rate or count is no limit.
type Quota struct {
	Requests           Rate          `key:"requests"`
	Tokens             Rate          `key:"tokens"`        // input and output together
	InputTokens        Rate          `key:"input_tokens"`  // prompt tokens
	OutputTokens       Rate          `key:"output_tokens"` // generated tokens
	RequestsPerDay     int64         `key:"requests_per_day"`
	TokensPerDay       int64         `key:"tokens_per_day"`
	InputTokensPerDay  int64         `key:"input_tokens_per_day"`
	OutputTokensPerDay int64         `key:"output_tokens_per_day"`
	Seats              int64         `key:"seats"`  // requests in flight at a time
	Window             string        `key:"window"` // paced, sliding, bucket, fixed or slice
	Burst              time.Duration `key:"burst"`  // how much of a rate the provider's bucket holds, as time; 0 = the kind's own, or learned
	Slice              time.Duration `key:"slice"`  // length of a slice, for window: slice; 0 = 1 s
	Meter              string        `key:"meter"`  // how the provider counts; empty = as its kind does
}

// Breaker says when an upstream counts as down.
type Breaker struct {
	Failures int           `key:"failures"` // consecutive failures that open it
	Ratio    float64       `key:"ratio"`    // share of failures that opens it, 0-1
	Open     time.Duration `key:"open"`     // pause before a probe
}

// Timeouts bound one attempt at an upstream.
type Timeouts struct {
	Connect   time.Duration `key:"connect"`    // dial and TLS
	FirstByte time.Duration `key:"first_byte"` // request written to response header
	Read      time.Duration `key:"read"`       // silence within the body
}

// Class is a kind of work.
type Class struct {
	Weight  float64       `key:"weight"`   // share of a busy upstream, relative to the other classes
	Rate    Rate          `key:"rate"`     // starts allowed over all replicas; zero = no limit
	Spacing string        `key:"spacing"`  // any, or even: one start every 1/rate
	Soft    time.Duration `key:"soft"`     // from dispatch: ask the work to finish; 0 = never
	Hard    time.Duration `key:"hard"`     // from dispatch: end it; 0 = never
	MaxWait time.Duration `key:"max_wait"` // longest wait in the queue; 0 = limits.hold
}

// Route maps a model name that clients use to upstreams in order of preference.
type Route struct {
	Model      string        `key:"model"`            // exact name, gpt-* for names that begin so, or * for every other
	Upstreams  []string      `key:"upstreams"`        // names; the next is the fallback of the one before
	OnFull     string        `key:"on_full"`          // wait (the default) or spill to the next upstream
	SpillAfter time.Duration `key:"spill_after,zero"` // spill when the expected wait exceeds this
	Hold       time.Duration `key:"hold"`             // longest hold of a client; 0 = limits.hold
	Coalesce   bool          `key:"coalesce"`         // false is the only value yet
	Cache      bool          `key:"cache"`            // false is the only value yet
}

// Limits bound the gateway itself.
type Limits struct {
	MaxBody      Bytes         `key:"max_body"`       // request body
	Queue        int           `key:"queue"`          // requests waiting in all
	QueuePerUser int           `key:"queue_per_user"` // requests waiting for one user
	Hold         time.Duration `key:"hold"`           // longest wait of a client
	Drain        time.Duration `key:"drain"`          // time to finish what runs on SIGTERM
}

// The provider names.
const (
	ProviderOpenAI = "openai"
	ProviderSim    = "sim"
)

// OpenAIBaseURL is where an openai upstream without base_url is.
const OpenAIBaseURL = "https://api.openai.com/v1"

// keyed is a section that knows its own defaults; name is its key in the file
// where it has one.
type keyed interface{ setDefaults(name string) }

func (u *Upstream) setDefaults(string) {
	u.Provider = ProviderOpenAI
	u.Quota.Window = "paced"
	u.Breaker = Breaker{Failures: 10, Ratio: 0.5, Open: time.Minute}
	u.Timeout = Timeouts{Connect: 30 * time.Second, FirstByte: 300 * time.Second, Read: 300 * time.Second}
}

func (c *Class) setDefaults(name string) {
	c.Weight, c.Spacing = 1, "any"
	switch name {
	case "chat":
		c.Weight = 6
	case "analysis":
		c.Weight = 3
	}
}

func (r *Route) setDefaults(string) {
	r.OnFull, r.SpillAfter = "wait", 5*time.Second
}

// defaults is the Config before any layer has spoken, without upstreams.
func defaults() *Config {
	c := &Config{
		Listen:   "127.0.0.1:8080",
		StateDir: "./millrace-data",
		Classes:  map[string]*Class{},
		Limits: Limits{
			MaxBody: 32 << 20, Queue: 10_000, QueuePerUser: 1_000,
			Hold: 240 * time.Second, Drain: 30 * time.Second,
		},
		origins: map[string]Origin{},
	}
	for _, name := range []string{"chat", "analysis", "health", "batch"} {
		c.Classes[name] = new(Class)
		c.Classes[name].setDefaults(name)
	}
	return c
}

// defaultUpstream is the one that serves where none is named.
func defaultUpstream() Upstream {
	u := Upstream{Name: "main"}
	u.setDefaults("")
	u.Quota.Requests = Rate{60, time.Minute}
	u.Quota.Tokens = Rate{180_000, time.Minute}
	u.Quota.Seats = 15
	return u
}

// sampleClasses gives the classes the rates and limits that go with the
// built-in simulator, so that a first run shows what they do. What a layer has
// said stays.
func (c *Config) sampleClasses(said func(path string) bool) {
	sample := map[string]Class{
		"analysis": {Rate: Rate{20, time.Minute}, Soft: 300 * time.Second, Hard: 360 * time.Second},
		"chat":     {Rate: Rate{30, time.Minute}, Soft: 90 * time.Second, Hard: 120 * time.Second},
		"health":   {Rate: Rate{1, time.Minute}, Soft: 45 * time.Second, Hard: 60 * time.Second},
	}
	for name, s := range sample {
		class, path := c.Classes[name], "classes."+name
		if !said(path + ".rate") {
			class.Rate = s.Rate
		}
		if !said(path+".soft") && !said(path+".hard") {
			class.Soft, class.Hard = s.Soft, s.Hard
		}
	}
}
