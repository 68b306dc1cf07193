package config

import (
	"net/netip"
	"time"
)

// Config is everything the gateway can be told. Load returns it checked. What
// each setting means stands in its doc tag, from which the schema and the guide
// are made; key is its name in the file, and enum the words it takes.
type Config struct {
	Listen         string            `key:"listen" doc:"HOST:PORT where clients ask; beyond loopback only with at least one key"`
	Admin          Admin             `key:"admin" doc:"the listener of operators"`
	TrustedProxies []string          `key:"trusted_proxies" doc:"addresses or networks (10.0.0.0/8) whose forwarding headers are believed"`
	StateDir       string            `key:"state_dir" doc:"folder that remembers the quota windows between runs, and holds keys.yaml; one gateway a folder"`
	Upstreams      []Upstream        `key:"upstreams" doc:"one endpoint, one credential and its quota each; the first is the default one"`
	Classes        map[string]*Class `key:"classes" doc:"kinds of work by name; chat, analysis, health and batch always exist"`
	Routes         []Route           `key:"routes" doc:"from the model names of clients to upstreams; the first that matches counts"`
	Endpoints      []Endpoint        `key:"endpoints" doc:"application routes: a prompt around the fields of a request"`
	Keys           []Key             `key:"keys" doc:"who may ask, beside those of keys.yaml in state_dir"`
	Tasks          Tasks             `key:"tasks" doc:"accepted work that is asked for later"`
	Limits         Limits            `key:"limits" doc:"bounds of the gateway itself"`
	Metrics        Metrics           `key:"metrics" doc:"what is told to other systems, beside /metrics"`

	// Simulated reports that no upstream was named anywhere, so that the
	// built-in simulator and its sample quota serve.
	Simulated bool `key:"-"`
	// Warnings are for people, one line each: variables without effect,
	// readings that could have been meant otherwise.
	Warnings []string `key:"-"`

	origins map[string]Origin
}

// Admin is the second listener. It exists only where the first one is not on
// loopback; else everything is on the first.
type Admin struct {
	Listen string `key:"listen" doc:"HOST:PORT of metrics, profiles and operators' routes where listen is not loopback"`
}

// Upstream is one endpoint with one credential and its quota.
type Upstream struct {
	Name     string   `key:"name" need:"true" doc:"unique; letters, digits, - and _"`
	Provider string   `key:"provider" enum:"openai sim" doc:"'openai' (the protocol, whoever speaks it) or 'sim' (a simulator inside the gateway that enforces the quota)"`
	BaseURL  string   `key:"base_url" doc:"with the version, without credentials; OpenAI's own where it is left out"`
	APIKey   Secret   `key:"api_key" doc:"sent as bearer; without one none is sent"`
	Model    string   `key:"model" doc:"sent instead of the model that the client names"`
	Quota    Quota    `key:"quota" doc:"what it allows; what is not named is no limit"`
	Breaker  Breaker  `key:"breaker" doc:"when it counts as down"`
	Timeout  Timeouts `key:"timeout" doc:"bounds of one attempt"`
}

// Quota is what an upstream allows. A zero rate or count is no limit.
type Quota struct {
	Requests           Rate          `key:"requests" doc:"requests"`
	Tokens             Rate          `key:"tokens" doc:"tokens, input and output together"`
	InputTokens        Rate          `key:"input_tokens" doc:"tokens of prompts"`
	OutputTokens       Rate          `key:"output_tokens" doc:"tokens of answers"`
	RequestsPerDay     int64         `key:"requests_per_day" doc:"in any 24 hours, beside the rate"`
	TokensPerDay       int64         `key:"tokens_per_day" doc:"the same for all tokens"`
	InputTokensPerDay  int64         `key:"input_tokens_per_day" doc:"the same for input"`
	OutputTokensPerDay int64         `key:"output_tokens_per_day" doc:"the same for output"`
	Seats              int64         `key:"seats" doc:"requests in flight at a time"`
	Window             string        `key:"window" enum:"paced sliding bucket fixed slice" doc:"how the rates are enforced"`
	Burst              time.Duration `key:"burst" doc:"for 'bucket': what it holds, as the time in which that comes back (– : all of the rate); for 'paced': the same, instead of learning it; 5/6 of it are used"`
	Slice              time.Duration `key:"slice" doc:"for 'slice': its length, at most 1m (– : 1 s)"`
	Meter              string        `key:"meter" doc:"how the provider counts tokens"`
	Enforce            bool          `key:"enforce" doc:"'false': all of it is only watched: metered and shown as if it held, but nobody waits for it or is refused"`
	Shadow             []string      `key:"shadow" doc:"the limits of it that are only watched, such as '[tokens, seats]'"`
}

// Breaker says when an upstream counts as down.
type Breaker struct {
	Failures int           `key:"failures" doc:"consecutive failures that open the breaker"`
	Ratio    float64       `key:"ratio" doc:"share of failures in 30 s that opens it, from 20 answers on"`
	Open     time.Duration `key:"open" doc:"pause before one request tries whether the upstream is back"`
}

// Timeouts bound one attempt at an upstream.
type Timeouts struct {
	Connect   time.Duration `key:"connect" doc:"to connect"`
	FirstByte time.Duration `key:"first_byte" doc:"from the request to the header of its answer"`
	Read      time.Duration `key:"read" doc:"silence within an answer"`
}

// Class is a kind of work.
type Class struct {
	Weight     float64       `key:"weight" doc:"share of a busy upstream, relative to other classes; 'chat' has 6 and 'analysis' 3"`
	Rate       Rate          `key:"rate" doc:"most starts in any such span, over all upstreams"`
	Spacing    string        `key:"spacing" enum:"any even" doc:"'even': one start every 1/rate instead"`
	Enforce    bool          `key:"enforce" doc:"'false': the rate is only watched: counted and shown as if it held, but nobody waits for it"`
	Soft       time.Duration `key:"soft" doc:"asks a request to finish that has run so long: what was written until then is its answer"`
	Hard       time.Duration `key:"hard" doc:"ends a request that has run so long since its first dispatch"`
	MaxWait    time.Duration `key:"max_wait" doc:"longest wait in the queue (– : 'limits.hold', and a day for tasks)"`
	Retries    int           `key:"retries,zero" doc:"how often a task that failed is started again; '0' is never"`
	RetryAfter time.Duration `key:"retry_after" doc:"pause before that"`
}

// Route maps a model name that clients use to upstreams in order of preference.
type Route struct {
	Model      string        `key:"model" need:"true" doc:"a client's model name, 'gpt-*' for all that begin so, or '*'"`
	Upstreams  []string      `key:"upstreams" need:"true" doc:"in order of preference"`
	Class      string        `key:"class" doc:"class of its requests, unless their key has one (– : 'chat')"`
	OnFull     string        `key:"on_full" enum:"wait spill" doc:"'wait', or 'spill' to the next upstream"`
	SpillAfter time.Duration `key:"spill_after,zero" doc:"for 'spill': the wait from which on the next upstream is used; '0s' is at once"`
	Hold       time.Duration `key:"hold" doc:"longest wait of a request that is no stream (– : 'limits.hold'), within its class's 'max_wait'"`
	Coalesce   bool          `key:"coalesce" doc:"identical requests under way share one call"`
	Cache      time.Duration `key:"cache,off" doc:"how long an answer serves identical requests; 'false' or '0' is not at all"`
	Share      string        `key:"share" enum:"user tenant" doc:"who shares those calls and answers: each user for himself, or all users of a tenant"`
}

// Endpoint is an application's route: it makes a request to a model of the
// fields of a JSON object, and gives the answer a form.
type Endpoint struct {
	Path        string        `key:"path" need:"true" doc:"what clients POST to"`
	Class       string        `key:"class" doc:"class of its requests (– : 'chat')"`
	Model       string        `key:"model" doc:"as a client would name it; a route leads to its upstreams (– : the first upstream's)"`
	ModelField  string        `key:"model_field" doc:"field of the request that may name another"`
	Flow        string        `key:"flow" doc:"field that tells users apart"`
	Required    []string      `key:"required" doc:"fields without which a request is refused"`
	System      string        `key:"system" doc:"system prompt; {field} stands for a field of the request"`
	Prompt      string        `key:"prompt" need:"true" doc:"prompt of the user; {field} stands for a field of the request"`
	Answer      string        `key:"answer" enum:"text json feedback" doc:"form of the answer: 'text', 'json', or 'feedback', a JSON list of findings"`
	History     int           `key:"history,zero" doc:"earlier turns of the same user that go with it"`
	Echo        []string      `key:"echo" doc:"fields that come back with the answer; 'a=b' gives field b the name a"`
	Wait        time.Duration `key:"wait,zero" doc:"answered at once when it is ready within this, else with a task's id"`
	MaxTokens   int           `key:"max_tokens" doc:"most tokens of the answer"`
	Temperature *float64      `key:"temperature,zero" doc:"0 to 2; what is left out is not sent"`
	Structured  bool          `key:"structured" doc:"ask for JSON through the protocol too, for models that know response_format"`
}

// Key is one caller's right to ask. Keys of one tenant share its weight and
// limits, and Load gives each of them the same.
type Key struct {
	Name     string   `key:"name" need:"true" doc:"unique; letters, digits, - and _"`
	SHA256   Hash     `key:"sha256" need:"true" doc:"SHA-256 of the key, 64 hexadecimal digits; the key itself is kept nowhere"`
	Tenant   string   `key:"tenant" doc:"who shares fairly with other tenants (– : the name)"`
	Role     string   `key:"role" enum:"client viewer operator" doc:"'client' asks models alone (– : that); 'viewer' may look at the console, too; 'operator' may act there"`
	Class    string   `key:"class" doc:"class of its requests (– : the route's, or 'chat')"`
	Classes  []string `key:"classes" doc:"classes it may name (– : all)"`
	Models   []string `key:"models" doc:"models it may name, 'gpt-*' for all that begin so (– : all)"`
	Weight   float64  `key:"weight" doc:"share of the tenant within a class (– : 1)"`
	Requests Rate     `key:"requests" doc:"requests of the tenant"`
	Tokens   Rate     `key:"tokens" doc:"tokens of the tenant, input and output together"`
	Seats    int      `key:"seats" doc:"requests of the tenant in flight at a time"`
}

// Tasks bound the work that clients ask for later.
type Tasks struct {
	Concurrency int           `key:"concurrency" doc:"tasks that run at a time"`
	Keep        time.Duration `key:"keep" doc:"how long a result is kept"`
	Max         int           `key:"max" doc:"tasks kept or waiting"`
}

// Metrics are figures for other systems.
type Metrics struct {
	EMF EMF `key:"emf" doc:"lines for CloudWatch, in its embedded metric format"`
}

// EMF are lines in CloudWatch's embedded metric format.
type EMF struct {
	File     string        `key:"file" doc:"appended to; '-' is the standard output (– : none is written)"`
	Interval time.Duration `key:"interval" doc:"between two lines of one thing, 1s to 1h"`
}

// Limits bound the gateway itself.
type Limits struct {
	MaxBody          Bytes         `key:"max_body" doc:"of a request"`
	Bodies           Bytes         `key:"bodies" doc:"of all requests that are sent, wait or run, together; where clients of several tenants have keys, one may take half of it"`
	Queue            int           `key:"queue" doc:"requests waiting; where clients of several tenants have keys, one may take half of it"`
	QueuePerUser     int           `key:"queue_per_user" doc:"of them, of one user in one class; tasks are apart"`
	Hold             time.Duration `key:"hold" doc:"longest wait"`
	Drain            time.Duration `key:"drain" doc:"to finish what was accepted after SIGTERM"`
	Connections      int           `key:"connections" doc:"open connections of clients"`
	ConnectionsPerIP int           `key:"connections_per_ip,zero" doc:"of them, from one address; '0' is no such limit"`
	Cache            Bytes         `key:"cache" doc:"memory of all cached answers"`
}

// The provider names.
const (
	ProviderOpenAI = "openai"
	ProviderSim    = "sim"
)

// OpenAIBaseURL is where an openai upstream without base_url is.
const OpenAIBaseURL = "https://api.openai.com/v1"

// AllLoopback reports that listen is reachable from this machine only, so that
// one listener serves everything and admin.listen stays closed.
func (c *Config) AllLoopback() bool { return onLoopback(c.Listen) }

// Proxies are the trusted proxies; a single address is a network of one.
func (c *Config) Proxies() []netip.Prefix {
	var all []netip.Prefix
	for _, text := range c.TrustedProxies {
		if p, err := parseNetwork(text); err == nil { // Load has refused every other
			all = append(all, p)
		}
	}
	return all
}

// Restart lists the settings in which next differs and which a running gateway
// cannot take over: it would have to start anew.
func (c *Config) Restart(next *Config) []string {
	var differ []string
	for _, s := range []struct {
		path      string
		was, will string
	}{
		{"listen", c.Listen, next.Listen},
		{"admin.listen", c.Admin.Listen, next.Admin.Listen},
		{"state_dir", c.StateDir, next.StateDir},
		{"metrics.emf.file", c.Metrics.EMF.File, next.Metrics.EMF.File},
		{"metrics.emf.interval", c.Metrics.EMF.Interval.String(), next.Metrics.EMF.Interval.String()},
	} {
		if s.was != s.will {
			differ = append(differ, s.path)
		}
	}
	return differ
}
