package config

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/endpoint"
)

// The bounds of an endpoint.
const (
	maxPrompt       = 64 << 10
	maxTurns        = 200
	maxAnswerTokens = 10_000_000
	maxWait         = 110 * time.Second // less than any proxy in front waits
)

var (
	plainPath  = regexp.MustCompile(`^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$`)
	plainField = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
	plainEcho  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}(=[A-Za-z_][A-Za-z0-9_]{0,63})?$`)
	// braced is what could be meant as a placeholder, as opposed to JSON.
	braced = regexp.MustCompile(`\{([^{}\n"':,]+)\}`)
	// doubled stands for the braces themselves.
	doubled = regexp.MustCompile(`\{\{[A-Za-z_][A-Za-z0-9_]*\}\}`)
)

// anyModel is what endpoints ask for where nobody named a model: the simulator
// knows every name.
const anyModel = "default"

// models names the model of every endpoint that says none: the first upstream's.
func (l *loader) models() {
	c := l.config
	for i := range c.Endpoints {
		e := &c.Endpoints[i]
		if e.Model != "" {
			continue
		}
		switch first := c.Upstreams[0]; {
		case first.Model != "":
			e.Model = first.Model
			continue
		case first.Provider != ProviderSim && l.said("endpoints"):
			l.wrong(at("endpoints", i, "model"), "name one here or in the first upstream", "is missing, and the first upstream names none")
		case first.Provider != ProviderSim && i == 0:
			l.warn("the built-in endpoints ask for the model %q, for none is named; set MILLRACE_UPSTREAMS_MAIN_MODEL", anyModel)
		}
		e.Model = anyModel
	}
}

func (l *loader) checkEndpoints() {
	seen := map[string]bool{}
	for i := range l.config.Endpoints {
		path, e := at("endpoints", i, ""), &l.config.Endpoints[i]
		l.checkPath(path+".path", e.Path, seen)
		l.checkClassName(path+".class", e.Class)
		if strings.Contains(e.Model, "*") {
			l.wrong(path+".model", "name one model", "%q is a pattern", e.Model)
		}
		l.checkFields(path, e)
		l.checkPrompt(path+".system", e.System)
		l.checkPrompt(path+".prompt", e.Prompt)
		switch {
		case e.Prompt == "":
			l.wrong(path+".prompt", "write what the model is asked, with {field} for each field of the request", "is missing")
		case !braced.MatchString(doubled.ReplaceAllString(e.Prompt, "")):
			l.wrong(path+".prompt", "write {field} where the text of that field belongs", "holds no field of the request")
		}
		l.checkAnswer(path, e)
	}
}

// checkPath keeps endpoints off each other and off what the gateway serves.
func (l *loader) checkPath(path, text string, seen map[string]bool) {
	first, _, _ := strings.Cut(strings.TrimPrefix(text, "/"), "/")
	switch {
	case text == "":
		l.wrong(path, "write what clients POST to, such as /summarize", "is missing")
	case !plainPath.MatchString(text) || len(text) > 128:
		l.wrong(path, "write it as /summarize: letters, digits, -, _ and . between slashes", "%q is no plain path", text)
	case endpoint.Reserved(text):
		l.wrong(path, "choose another, such as /app/"+first, "%q is the gateway's own", "/"+first)
	case seen[text]:
		l.wrong(path, "choose another", "%q is taken", text)
	}
	seen[text] = true
}

func (l *loader) checkFields(path string, e *Endpoint) {
	field := func(key, name string) {
		if name != "" && !plainField.MatchString(name) {
			l.wrong(path+key, "write letters, digits and _", "%q is no plain field", name)
		}
	}
	field(".flow", e.Flow)
	field(".model_field", e.ModelField)
	for i, name := range e.Required {
		field(".required", name)
		if slices.Contains(e.Required[:i], name) {
			l.wrong(path+".required", "name it once", "%q is named twice", name)
		}
	}
	names := map[string]bool{}
	for _, echo := range e.Echo {
		name, _, _ := strings.Cut(echo, "=")
		switch {
		case !plainEcho.MatchString(echo):
			l.wrong(path+".echo", "write field, or name=field", "%q is no plain field", echo)
		case endpoint.Answers(name):
			l.wrong(path+".echo", "write other="+name, "answers have a %q of their own", name)
		case names[name]:
			l.wrong(path+".echo", "name it once", "%q is named twice", name)
		}
		names[name] = true
	}
}

// checkPrompt looks for placeholders that would stay as they are: other braces
// are text, so that a prompt can hold JSON.
func (l *loader) checkPrompt(path, prompt string) {
	if len(prompt) > maxPrompt {
		l.wrong(path, "shorten it", "has %d bytes; the most is %d", len(prompt), maxPrompt)
	}
	for _, m := range braced.FindAllStringSubmatch(prompt, -1) {
		if !plainField.MatchString(m[1]) {
			l.wrong(path, "write the field alone, such as {content}", "%q is no plain placeholder", m[0])
			return
		}
	}
}

func (l *loader) checkAnswer(path string, e *Endpoint) {
	if e.Structured && e.Answer == "text" {
		l.wrong(path+".structured", "set answer: json or feedback, or remove it", "contradicts answer: text")
	}
	if e.History > 0 && e.Flow == "" {
		l.wrong(path+".history", "add the flow, such as session_id", "needs a flow to tell conversations apart")
	}
	l.most(path+".history", e.History, maxTurns)
	l.most(path+".max_tokens", e.MaxTokens, maxAnswerTokens)
	if e.Temperature != nil && *e.Temperature > 2 {
		l.wrong(path+".temperature", "write 0 to 2", "%v is more than 2", *e.Temperature)
	}
	if e.Wait > maxWait {
		l.wrong(path+".wait", "shorten it", "%s is longer than %s", formatDuration(e.Wait), formatDuration(maxWait))
	}
}
