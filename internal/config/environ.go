package config

import (
	"fmt"
	"maps"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// credential matches the names of variables whose values are never shown.
var credential = regexp.MustCompile(`(?i)(KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL)$`)

// alias is a variable with a name of its own for a setting of the default
// upstream or of a class.
type alias struct {
	variable string
	path     string
	reading  func(*loader, string, string) (string, error) // variable and text to the file's form; nil = as it is
}

var aliases = []alias{
	{"OPENAI_API_KEY", "upstreams.0.api_key", nil},
	{"OPENAI_BASE_URL", "upstreams.0.base_url", nil},
	{"MAX_REQUESTS_PER_MINUTE", "upstreams.0.quota.requests", perMinute},
	{"MAX_TOKENS_PER_MINUTE", "upstreams.0.quota.tokens", perMinute},
	{"MAX_CONCURRENT_REQUESTS", "upstreams.0.quota.seats", nil},
	{"ANALYSIS_TASK_RATE_LIMIT", "classes.analysis.rate", nil},
	{"CHAT_TASK_RATE_LIMIT", "classes.chat.rate", nil},
	{"HEALTH_TASK_RATE_LIMIT", "classes.health.rate", nil},
	{"TASK_SOFT_TIME_LIMIT", "classes.analysis.soft", bareSeconds},
	{"TASK_HARD_TIME_LIMIT", "classes.analysis.hard", bareSeconds},
	{"BEDROCK_READ_TIMEOUT", "upstreams.0.timeout.read", bareSeconds},
	{"BEDROCK_READ_TIMEOUT", "upstreams.0.timeout.first_byte", bareSeconds}, // what is no stream is silent until its header
	{"BEDROCK_CONNECT_TIMEOUT", "upstreams.0.timeout.connect", bareSeconds},
	{"CIRCUIT_BREAKER_FAILURE_THRESHOLD", "upstreams.0.breaker.failures", nil},
	{"CIRCUIT_BREAKER_TIMEOUT", "upstreams.0.breaker.open", secondsOrMillis},
	{"STATE_DIRECTORY", "state_dir", firstOfList},
	{"CELERY_CONCURRENCY", "tasks.concurrency", nil},
	{"BEDROCK_MODEL_ID", "upstreams.0.model", nil},
	{"BEDROCK_MAX_TOKENS", "endpoints.*.max_tokens", nil},
	{"BEDROCK_TEMPERATURE", "endpoints.*.temperature", nil},
}

// broad reports a variable that speaks of many settings at once, so that the own
// variable of one of them may say otherwise.
func broad(variable string) bool {
	return variable == "BEDROCK_MAX_TOKENS" || variable == "BEDROCK_TEMPERATURE" || variable == "BEDROCK_READ_TIMEOUT"
}

// idle are known variables that nothing here obeys yet. Their values are checked
// all the same, as what each will be.
var idle = []struct {
	variable string
	kind     reflect.Type
}{
	{"BEDROCK_REGION", reflect.TypeFor[string]()},
	{"ANTHROPIC_API_KEY", reflect.TypeFor[Secret]()},
	{"API_RATE_LIMIT_REQUESTS", reflect.TypeFor[int64]()},
	{"MEMORY_API_RATE_LIMIT_REQUESTS", reflect.TypeFor[int64]()},
	{"WS_MAX_CONNECTIONS_PER_IP", reflect.TypeFor[int64]()},
	{"WS_MESSAGE_RATE_LIMIT", reflect.TypeFor[int64]()},
	{"FRONTEND_POLL_INTERVAL", reflect.TypeFor[int64]()},
	{"FRONTEND_CACHE_TTL", reflect.TypeFor[int64]()},
	{"FRONTEND_MAX_CONCURRENT", reflect.TypeFor[int64]()},
	{"CIRCUIT_BREAKER_THRESHOLD", reflect.TypeFor[int64]()},
}

func perMinute(_ *loader, _, text string) (string, error) {
	if strings.Contains(text, "/") {
		return text, nil
	}
	if _, err := parseCount(text); err != nil {
		return "", fail("write how many a minute, such as 60", "%q is not a whole number in range", text)
	}
	return text + "/m", nil
}

func bareSeconds(_ *loader, _, text string) (string, error) {
	d, err := parseDuration(text, true)
	return d.String(), err
}

// secondsOrMillis reads the one name that two applications gave different
// units: below 10000 a bare number is seconds, else milliseconds.
func secondsOrMillis(l *loader, variable, text string) (string, error) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return text, nil //nolint:nilerr // no number: it names its unit
	}
	unit := "s"
	if n >= 10_000 {
		unit = "ms"
	}
	d, err := parseDuration(text+unit, false)
	if err != nil {
		return "", err
	}
	l.warn("%s=%s has no unit and is read as %s; write %s%s to be exact", variable, text, formatDuration(d), text, unit)
	return d.String(), nil
}

// firstOfList takes the first of the folders that a service manager names.
func firstOfList(_ *loader, _, text string) (string, error) {
	first, _, _ := strings.Cut(text, ":")
	return first, nil
}

func (l *loader) warn(format string, args ...any) {
	l.config.Warnings = append(l.config.Warnings, redact(l.secrets.Replace(fmt.Sprintf(format, args...))))
}

// environ applies the environment: the short names first, then every setting's
// own, then PORT.
func (l *loader) environ() {
	for _, a := range aliases {
		if text, set := l.environment[a.variable]; set && l.obeys(a) {
			l.variable(a, text)
		}
	}
	l.own()
	l.port()
	if _, set := l.environment[fallbacks]; set {
		l.superseded(fallbacks)
	}
	l.idle()
}

func (l *loader) idle() {
	for _, v := range idle {
		text, set := l.environment[v.variable]
		if !set {
			continue
		}
		scratch := leaf{value: reflect.New(v.kind).Elem()}
		if err := scratch.set(text); err != nil {
			l.fault(Origin{Layer: LayerEnvironment, Name: v.variable}, "", err)
			continue
		}
		l.warn("%s is set but has no effect yet", v.variable)
	}
}

// obeys reports whether an alias counts: in front of a file that names its
// upstreams, OPENAI_* are only what the file makes of them; and the file's
// folder of state beats the service manager's.
func (l *loader) obeys(a alias) bool {
	switch a.variable {
	case "OPENAI_API_KEY", "OPENAI_BASE_URL":
		return !l.said("upstreams")
	case "STATE_DIRECTORY":
		return !l.said("state_dir")
	case "BEDROCK_MODEL_ID":
		return !l.superseded(a.variable)
	case "BEDROCK_MAX_TOKENS", "BEDROCK_TEMPERATURE":
		if len(l.config.Endpoints) == 0 {
			l.warn("%s is set but has no effect, because there are no endpoints", a.variable)
			return false
		}
	}
	return true
}

// superseded reports, and tells people, that a variable has no effect because
// the file names its upstreams itself.
func (l *loader) superseded(variable string) bool {
	if l.said("upstreams") {
		l.warn("%s is set but has no effect, because the file says which upstreams there are", variable)
	}
	return l.said("upstreams")
}

const fallbacks = "BEDROCK_FALLBACK_MODELS"

// fallbackModels adds a copy of the first upstream for each further model of
// BEDROCK_FALLBACK_MODELS. Only their names and models are known here; ladder
// fills in the rest.
func (l *loader) fallbackModels() {
	text, set := l.environment[fallbacks]
	if !set {
		return
	}
	origin := Origin{Layer: LayerEnvironment, Name: fallbacks}
	for entry := range strings.SplitSeq(text, ",") {
		model := strings.TrimSpace(entry)
		if model == "" {
			l.fault(origin, "", fail("write model names with a comma between two, or unset it", "is blank or has a blank entry"))
			return
		}
		name := strings.Trim(notPlain.ReplaceAllString(model, "-"), "-_")
		path := at("upstreams", len(l.config.Upstreams), "")
		l.config.Upstreams = append(l.config.Upstreams, Upstream{Name: name[:min(len(name), 64)], Model: model})
		l.config.origins[path+".name"], l.config.origins[path+".model"] = origin, origin
	}
}

var notPlain = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// ladder gives the upstreams of BEDROCK_FALLBACK_MODELS what the first one has
// come to, but for what a layer has said of them in particular.
func (l *loader) ladder() {
	if l.said("upstreams") {
		return
	}
	first := map[string]leaf{}
	leaves(reflect.ValueOf(l.config).Elem(), "", rule{}, func(t leaf) {
		key, of := strings.CutPrefix(t.path, "upstreams.0.")
		if of {
			first[key] = t
			return
		}
		if rest, of := strings.CutPrefix(t.path, "upstreams."); of && !l.said(t.path) {
			_, key, _ = strings.Cut(rest, ".")
			t.value.Set(first[key].value)
			l.config.origins[t.path] = l.config.origins[first[key].path]
		}
	})
}

func (l *loader) variable(a alias, text string) {
	origin := Origin{Layer: LayerEnvironment, Name: a.variable}
	text = strings.TrimSpace(text)
	if text != "" && a.reading != nil {
		var err error
		if text, err = a.reading(l, a.variable, text); err != nil {
			l.fault(origin, a.path, err)
			return
		}
	}
	if text == "" {
		l.fault(origin, a.path, fail("unset it or give it a value", "is set but blank"))
		return
	}
	l.setPath(a.path, text, origin)
}

// own applies MILLRACE_<PATH> to every scalar, lists by name or index. It must
// not disagree with a short name for the same.
func (l *loader) own() {
	targets := l.targets(variableOf)
	for _, name := range slices.Sorted(maps.Keys(l.environment)) {
		if !strings.HasPrefix(name, "MILLRACE_") || name == "MILLRACE_CONFIG" || injected.MatchString(name) {
			continue
		}
		if len(targets[name]) == 0 {
			l.warn("%s is not a known setting and has no effect; %s", name, targets.suggest(name))
			continue
		}
		origin := Origin{Layer: LayerEnvironment, Name: name}
		if target, err := targets.find(name); err != nil {
			l.fault(origin, "", err)
		} else {
			l.override(target, l.environment[name], origin)
		}
	}
}

// injected are variables that an orchestrator sets for a service of our name.
var injected = regexp.MustCompile(`^MILLRACE_(SERVICE_(HOST|PORT).*|PORT(_\d+_.*)?)$`)

var notWord = regexp.MustCompile(`[^A-Z0-9]`)

func variableOf(path string) string {
	return "MILLRACE_" + notWord.ReplaceAllString(strings.ToUpper(path), "_")
}

// port puts PORT in place of the port of the address, whatever gave that.
func (l *loader) port() {
	text, set := l.environment["PORT"]
	if !set {
		return
	}
	origin := Origin{Layer: LayerEnvironment, Name: "PORT"}
	if n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 16); err != nil {
		l.fault(origin, "listen", fail("write a number from 1 to 65535, or unset it", "%q is not a port", text))
	} else if host, _, err := net.SplitHostPort(l.config.Listen); err == nil {
		l.set(leaf{"listen", reflect.ValueOf(&l.config.Listen).Elem(), rule{}}, net.JoinHostPort(host, strconv.FormatUint(n, 10)), origin)
	}
}
