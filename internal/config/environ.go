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
	{"BEDROCK_CONNECT_TIMEOUT", "upstreams.0.timeout.connect", bareSeconds},
	{"CIRCUIT_BREAKER_FAILURE_THRESHOLD", "upstreams.0.breaker.failures", nil},
	{"CIRCUIT_BREAKER_TIMEOUT", "upstreams.0.breaker.open", secondsOrMillis},
	{"STATE_DIRECTORY", "state_dir", firstOfList},
}

// idle are known variables that nothing here obeys yet.
var idle = []string{
	"CELERY_CONCURRENCY",
	"BEDROCK_MODEL_ID", "BEDROCK_FALLBACK_MODELS", "BEDROCK_REGION", "BEDROCK_MAX_TOKENS", "BEDROCK_TEMPERATURE",
	"ANTHROPIC_API_KEY",
	"API_RATE_LIMIT_REQUESTS", "MEMORY_API_RATE_LIMIT_REQUESTS", "WS_MAX_CONNECTIONS_PER_IP", "WS_MESSAGE_RATE_LIMIT",
	"FRONTEND_POLL_INTERVAL", "FRONTEND_CACHE_TTL", "FRONTEND_MAX_CONCURRENT", "CIRCUIT_BREAKER_THRESHOLD",
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
	for _, name := range idle {
		if _, set := l.environment[name]; set {
			l.warn("%s is set but has no effect yet", name)
		}
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
	}
	return true
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

// own applies MILLRACE_<PATH> to every scalar, lists by name or index.
func (l *loader) own() {
	targets := map[string]leaf{}
	leaves(reflect.ValueOf(l.config).Elem(), "", false, func(t leaf) {
		targets[variableOf(t.path)] = t
		targets[variableOf(l.config.display(t.path))] = t
	})
	for _, name := range slices.Sorted(maps.Keys(l.environment)) {
		if !strings.HasPrefix(name, "MILLRACE_") || name == "MILLRACE_CONFIG" || injected.MatchString(name) {
			continue
		}
		target, known := targets[name]
		if !known {
			l.warn("%s is not a known setting and has no effect; %s", name, suggest(name, nearest(name, targets)))
			continue
		}
		l.ownVariable(name, target)
	}
}

// ownVariable sets one setting from its own variable, which must not disagree
// with a short name for the same.
func (l *loader) ownVariable(name string, target leaf) {
	before, was := l.config.Origin(target.path), target.text()
	origin := Origin{Layer: LayerEnvironment, Name: name}
	l.set(target, l.environment[name], origin)
	if before.Layer == LayerEnvironment && before.Name != name && target.text() != was {
		l.fault(origin, target.path, fail("keep one of them", "says %s, but %s says %s", target.text(), before.Name, was))
	}
}

// injected are variables that an orchestrator sets for a service of our name.
var injected = regexp.MustCompile(`^MILLRACE_(SERVICE_(HOST|PORT).*|PORT(_\d+_.*)?)$`)

var notWord = regexp.MustCompile(`[^A-Z0-9]`)

func variableOf(path string) string {
	return "MILLRACE_" + notWord.ReplaceAllString(strings.ToUpper(path), "_")
}

// nearest narrows the candidates for a suggestion to what begins alike.
func nearest(name string, targets map[string]leaf) []string {
	var alike []string
	for known := range targets {
		if edits(name, known) < 3 {
			alike = append(alike, known)
		}
	}
	slices.Sort(alike)
	if alike == nil {
		return []string{"see the keys of the configuration file"}
	}
	return alike
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
		l.set(leaf{"listen", reflect.ValueOf(&l.config.Listen).Elem(), false}, net.JoinHostPort(host, strconv.FormatUint(n, 10)), origin)
	}
}
