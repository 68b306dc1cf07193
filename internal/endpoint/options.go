package endpoint

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// Answer is the form of an endpoint's answers.
type Answer string

// The forms.
const (
	Text     Answer = "text"     // as the model wrote it
	JSON     Answer = "json"     // any JSON value
	Feedback Answer = "feedback" // a JSON list of findings, each with the same members
)

// Defaults and bounds of Options.
const (
	DefaultMaxAnswer = 1 << 20
	DefaultMaxPrompt = 8 << 20

	maxTurns  = 1000
	maxTokens = 1 << 30
)

// Options are the endpoints of one configuration.
type Options struct {
	Endpoints []Endpoint
	Weights   map[flow.Class]float64 // of the known classes, for Millrace-Class; one of 0 weighs 1
	MaxAnswer int64                  // bytes of text a model may write; 0 = 1 MiB
	MaxPrompt int64                  // bytes of prompt and history together; 0 = 8 MiB
}

// Endpoint is one route of an application.
type Endpoint struct {
	Path       string     // what clients POST to, such as /summarize
	Class      flow.Class // of its tasks; empty = chat
	Model      string     // as a client of /v1 would name it
	ModelField string     // member of the request that may name another model; empty = none
	Flow       string     // member that tells users, and conversations, apart; empty = whom the gateway takes the caller for
	Required   []string   // members that a request must have, and not blank
	System     string     // system prompt; {member} is replaced; empty = none
	Prompt     string     // the user's message; {member} is replaced, {{member}} stands for {member}
	Answer     Answer     // empty = Text
	History    int        // turns of the conversation that go along; 0 = none are kept
	Echo       []string   // members that come back with the answer; "a=b" gives member b the name a
	Wait       time.Duration
	// Wait is how long a client is held for the result; 0 = it gets the task's id at once.

	MaxTokens   int      // most tokens of an answer; 0 = the model's bound
	Temperature *float64 // 0 to 2; nil = the model's default
	Structured  bool     // ask for JSON by response_format too
}

// Validate returns everything that is wrong with o, joined.
func (o Options) Validate() error {
	var faults []error
	if o.MaxAnswer < 0 || o.MaxPrompt < 0 {
		faults = append(faults, errors.New("endpoints: max answer and max prompt must not be negative: use 0 for the defaults"))
	}
	seen := map[string]bool{}
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		where := fmt.Sprintf("endpoints[%d]", i)
		if seen[e.Path] {
			faults = append(faults, fmt.Errorf("%s.path: %q is there twice: give each endpoint its own", where, e.Path))
		}
		seen[e.Path] = true
		faults = append(faults, e.validate(where)...)
	}
	return errors.Join(faults...)
}

func (e *Endpoint) validate(where string) (faults []error) {
	wrong := func(key, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s.%s: %s", where, key, fmt.Sprintf(format, args...)))
	}
	if !plainPath(e.Path) || Reserved(e.Path) {
		wrong("path", "%q: write a path such as /summarize, with letters, digits, '-', '_', '.' and '/', not under /v1 or /api, and none of the task routes", e.Path)
	}
	switch e.Answer {
	case "", Text, JSON, Feedback:
	default:
		wrong("answer", "%q: write text, json or feedback", e.Answer)
	}
	if e.Model == "" {
		wrong("model", "is missing: name a model that has a route")
	}
	if len(parseTemplate(e.Prompt).members()) == 0 {
		wrong("prompt", "names no member of the request: write {member} where its text belongs")
	}
	if e.Structured && (e.Answer == "" || e.Answer == Text) {
		wrong("structured", "asks for JSON, but the answer is text: set answer to json or feedback")
	}
	if e.History < 0 || e.History > maxTurns {
		wrong("history", "%d: write 0 to %d turns", e.History, maxTurns)
	}
	if e.History > 0 && e.Flow == "" {
		wrong("history", "needs flow: name the member that tells conversations apart")
	}
	if e.Wait < 0 || e.Wait > longestWait {
		wrong("wait", "%v: write 0s to %v", e.Wait, longestWait)
	}
	if e.MaxTokens < 0 || e.MaxTokens > maxTokens {
		wrong("max_tokens", "%d: write a number of tokens, or leave it out", e.MaxTokens)
	}
	if t := e.Temperature; t != nil && !(*t >= 0 && *t <= 2) {
		wrong("temperature", "%v: write 0 to 2", *t)
	}
	for _, echo := range e.Echo {
		if name, _ := splitEcho(echo); name == "" || Answers(name) {
			wrong("echo", "%q: an answer has a member of this name already: write other=%s", echo, name)
		}
	}
	return faults
}

// splitEcho returns the name that a member of the request gets in the answer,
// and the member.
func splitEcho(echo string) (name, member string) {
	name, member, renamed := strings.Cut(echo, "=")
	if !renamed {
		return name, name
	}
	return name, member
}

// Answers reports whether answers have a member of this name themselves.
func Answers(member string) bool { return slices.Contains(ownMembers, member) }

var ownMembers = []string{
	"success", "error", "task_id", "status", "async", "state", "position", "eta_seconds", "reason", "message",
	"response", "result", "feedback_items", "feedback_count", "model_used", "duration", "tokens", "partial",
}

// plainPath reports whether a path can stand in a pattern as it is, and is
// already as clean as net/http would make it.
func plainPath(path string) bool {
	if len(path) < 2 || len(path) > 256 || path[0] != '/' {
		return false
	}
	for part := range strings.SplitSeq(path[1:], "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
		for _, c := range []byte(part) {
			if !(isWord(c) || c == '-' || c == '.') {
				return false
			}
		}
	}
	return true
}

// Reserved reports whether a path that begins with a slash belongs to the gateway.
func Reserved(path string) bool {
	switch first, _, _ := strings.Cut(path[1:], "/"); first {
	case "v1", "api", "ui", "metrics", "healthz", "readyz", "debug", "model", "models", "client-config.json",
		"task_status", "cancel_task", "queue_stats", "model_stats", "reset_model_cooldowns", "health":
		return true
	}
	return false
}
