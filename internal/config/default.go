package config

import (
	_ "embed"
	"strings"
	"time"
)

// keyed is a section that knows its own defaults; name is its key in the file
// where it has one.
type keyed interface{ setDefaults(name string) }

func (u *Upstream) setDefaults(string) {
	u.Provider = ProviderOpenAI
	u.Quota.Window, u.Quota.Enforce = "paced", true
	u.Breaker = Breaker{Failures: 10, Ratio: 0.5, Open: time.Minute}
	u.Timeout = Timeouts{Connect: 30 * time.Second, FirstByte: 300 * time.Second, Read: 300 * time.Second}
}

func (c *Class) setDefaults(name string) {
	c.Weight, c.Spacing, c.Enforce = 1, "any", true
	c.Retries, c.RetryAfter = 3, time.Minute
	switch name {
	case "chat":
		c.Weight = 6
	case "analysis":
		c.Weight = 3
	}
}

func (r *Route) setDefaults(string) {
	r.OnFull, r.SpillAfter, r.Share = "wait", 5*time.Second, "user"
}

func (e *Endpoint) setDefaults(string) {
	e.Answer, e.Wait = "text", 8*time.Second
}

// defaults is the Config before any layer has spoken, without upstreams.
func defaults() *Config {
	c := &Config{
		Listen:   "127.0.0.1:8080",
		StateDir: "./millrace-data",
		Classes:  map[string]*Class{},
		Limits: Limits{
			MaxBody: 32 << 20, Bodies: 512 << 20, Queue: 10_000, QueuePerUser: 1_000,
			Hold: 240 * time.Second, Drain: 30 * time.Second,
			Connections: 10_000, ConnectionsPerIP: 1_000, Cache: 64 << 20,
		},
		Admin:   Admin{Listen: "127.0.0.1:8081"},
		Tasks:   Tasks{Concurrency: 8, Keep: time.Hour, Max: 100_000},
		Metrics: Metrics{EMF: EMF{Interval: time.Minute}},
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

// Prompts of the built-in endpoints, as the guide shows them.
var (
	//go:embed prompt/analysis.txt
	analysisPrompt string
	//go:embed prompt/chat.txt
	chatPrompt string
)

// defaultEndpoints are what serves an application where no file says otherwise:
// the analysis of a document's sections, and a chat about them.
func defaultEndpoints() []Endpoint {
	return []Endpoint{
		{
			Path: "/analyze_section", Class: "analysis", Flow: "session_id", Required: []string{"session_id", "section_name"},
			Prompt: strings.TrimSpace(analysisPrompt), Answer: "feedback", Structured: true, Echo: []string{"section=section_name", "section_name", "section_content=content"},
			Wait: 8 * time.Second, MaxTokens: 8192, Temperature: new(0.7),
		},
		{
			Path: "/chat", Class: "chat", ModelField: "ai_model", Flow: "session_id", Required: []string{"session_id", "message"},
			System: strings.TrimSpace(chatPrompt), Prompt: "{message}", Answer: "text", History: 20,
			Wait: 8 * time.Second, MaxTokens: 8192, Temperature: new(0.7),
		},
	}
}
