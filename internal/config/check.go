package config

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/quota"
)

// The bounds of lists and of times.
const (
	longest      = 24 * time.Hour
	maxUpstreams = 64
	maxClasses   = 64
	maxRoutes    = 1024
	maxEndpoints = 256
	maxKeys      = 4096
	maxProxies   = 256
	maxStarts    = 1_000_000 // of a class's rate: each start of its span is remembered
)

var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// check looks for what no single value shows: words outside their list, names
// that resolve to nothing, values that contradict each other.
func (l *loader) check() {
	c := l.config
	l.checkListen()
	l.count("upstreams", len(c.Upstreams), maxUpstreams)
	l.count("classes", len(c.Classes), maxClasses)
	l.count("routes", len(c.Routes), maxRoutes)
	l.count("endpoints", len(c.Endpoints), maxEndpoints)
	l.count("keys", len(c.Keys), maxKeys)
	l.count("trusted_proxies", len(c.TrustedProxies), maxProxies)
	if len(l.faults) > 0 || len(c.Upstreams) == 0 {
		return
	}
	seen := map[string]bool{}
	for i := range c.Upstreams {
		l.checkName(at("upstreams", i, "name"), c.Upstreams[i].Name, seen)
		l.checkUpstream(at("upstreams", i, ""), &c.Upstreams[i])
	}
	seen = map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(c.Classes)) {
		l.checkName("classes."+name, name, seen)
		l.checkClass("classes."+name, c.Classes[name])
	}
	seen = map[string]bool{}
	for i := range c.Routes {
		l.checkRoute(at("routes", i, ""), &c.Routes[i], seen)
	}
	l.checkEndpoints()
	l.checkKeys()
	l.checkProxies()
	l.checkTasks()
	l.checkMetrics()
	l.checkLimits()
}

func at(list string, i int, key string) string {
	return strings.TrimSuffix(list+"."+strconv.Itoa(i)+"."+key, ".")
}

// wrong records a fault at the place where the value at path was given, or
// where its section stands.
func (l *loader) wrong(path, mend, format string, args ...any) {
	l.wrongly(path, fail(mend, format, args...))
}

func (l *loader) wrongly(path string, err error) {
	origin := l.config.Origin(path)
	for up := path; origin.Layer == LayerDefault && strings.Contains(up, "."); {
		up = up[:strings.LastIndexByte(up, '.')]
		origin = l.config.Origin(up)
	}
	l.fault(origin, path, err)
}

func (l *loader) count(path string, n, most int) {
	if n > most {
		l.wrong(path, "remove some", "has %d entries; the most is %d", n, most)
	}
}

func (l *loader) checkListen() {
	data := l.checkAddress("listen", l.config.Listen)
	admin := l.checkAddress("admin.listen", l.config.Admin.Listen)
	if admin == data && data != "0" && data != "" && !l.config.AllLoopback() {
		l.wrong("admin.listen", "choose another", "%q has the port of listen", l.config.Admin.Listen)
	}
}

// checkAddress returns the port of an address. Beyond loopback it needs keys, for
// without them anyone there could spend the quota.
func (l *loader) checkAddress(path, address string) (port string) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		l.wrong(path, "write HOST:PORT, such as 127.0.0.1:8080", "%q is not an address", address)
		return ""
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		l.wrong(path, "write a port from 0 to 65535; 0 picks a free one", "%q is not a port", port)
	}
	if !onLoopback(address) && len(l.config.Keys) == 0 {
		l.wrong(path, "run millrace keys create --name NAME first, or listen on 127.0.0.1 or [::1]",
			"%q is reachable from other machines, and without keys anyone there could spend the quota", address)
	}
	return port
}

func onLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func (l *loader) checkProxies() {
	for _, text := range l.config.TrustedProxies {
		if _, err := parseNetwork(text); err != nil {
			l.wrongly("trusted_proxies", err)
		}
	}
}

// parseNetwork reads a network, or an address as a network of one. All
// addresses are none to trust.
func parseNetwork(text string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(text); err == nil && ip.Zone() == "" {
		return netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), nil
	}
	switch p, err := netip.ParsePrefix(text); {
	case err != nil:
		return netip.Prefix{}, fail("write an address or a network, such as 10.0.0.0/8", "%q is no network", text)
	case p.Bits() == 0:
		return netip.Prefix{}, fail("name the proxy's own network", "%q trusts everybody", text)
	case p.Addr().Is4In6(): // addresses are compared as what they are, of IPv4
		return netip.Prefix{}, fail("write it as IPv4, such as 10.0.0.0/8", "%q is IPv4 in the clothes of IPv6", text)
	case p != p.Masked():
		return netip.Prefix{}, fail("write "+p.Masked().String(), "%q is an address within a network", text)
	default:
		return p, nil
	}
}

func (l *loader) checkMetrics() {
	const path, most = "metrics.emf.interval", time.Hour
	switch d := l.config.Metrics.EMF.Interval; {
	case d < time.Second:
		l.wrong(path, "write at least 1s", "%s is too short", formatDuration(d))
	case d > most:
		l.wrong(path, "shorten it", "%s is longer than %s", formatDuration(d), formatDuration(most))
	}
}

func (l *loader) checkTasks() {
	t := l.config.Tasks
	l.most("tasks.concurrency", t.Concurrency, 100_000)
	l.most("tasks.max", t.Max, 10_000_000)
	l.atMost("tasks.keep", t.Keep)
}

// most refuses a count that can only be a slip.
func (l *loader) most(path string, n, most int) {
	if n > most {
		l.wrong(path, "lower it", "%d is more than %d", n, most)
	}
}

// checkName keeps names plain and apart, in a file and as part of a variable.
func (l *loader) checkName(path, name string, seen map[string]bool) {
	switch folded := variableOf(name); {
	case name == "":
		l.wrong(path, "give it a name: {name: main, ...}", "has no name")
	case !plainName.MatchString(name):
		l.wrong(path, "use up to 64 letters, digits, - and _", "%q is not a plain name", name)
	case seen[folded]:
		l.wrong(path, "choose another", "%q is taken", name)
	default:
		seen[folded] = true
	}
}

func (l *loader) checkUpstream(path string, u *Upstream) {
	if u.Breaker.Ratio > 1 {
		l.wrong(path+".breaker.ratio", "write a share such as 0.5", "%v is more than all", u.Breaker.Ratio)
	}
	l.atMost(path+".timeout.connect", u.Timeout.Connect)
	l.atMost(path+".timeout.first_byte", u.Timeout.FirstByte)
	l.atMost(path+".timeout.read", u.Timeout.Read)
	l.atMost(path+".breaker.open", u.Breaker.Open)
	l.checkQuota(path+".quota", &u.Quota)
	l.checkAccount(path, u)
}

func (l *loader) atMost(path string, d time.Duration) {
	if d > longest {
		l.wrong(path, "shorten it", "%s is longer than %s", formatDuration(d), formatDuration(longest))
	}
}

func (l *loader) checkAccount(path string, u *Upstream) {
	if u.Provider == ProviderSim {
		if u.BaseURL != "" {
			l.wrong(path+".base_url", "remove it, or use provider: openai for a simulator of its own", "contradicts provider sim, which runs inside the gateway")
		}
		if !u.APIKey.IsZero() {
			l.wrong(path+".api_key", "remove it", "contradicts provider sim, which takes none")
		}
		return
	}
	if u.BaseURL == "" {
		u.BaseURL = OpenAIBaseURL
	}
	l.checkURL(path+".base_url", u.BaseURL)
	if u.BaseURL == OpenAIBaseURL && u.APIKey.IsZero() {
		l.wrong(path+".api_key", "write api_key: ${OPENAI_API_KEY}, or set base_url to an endpoint that needs none", "is missing, and %s takes no request without", OpenAIBaseURL)
	}
}

// dated is the one query that an address may have: no secret, and Azure needs it.
var dated = regexp.MustCompile(`^(api-version=[\w.-]+)?$`)

func (l *loader) checkURL(path, text string) {
	const mend = "write it as https://host/v1"
	switch u, err := url.Parse(text); {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		l.wrong(path, mend, "is not an http or https address")
	case u.User != nil:
		l.wrong(path, "move the credential to api_key", "holds a credential, which would end in logs")
	case !dated.MatchString(u.RawQuery) || u.Fragment != "":
		l.wrong(path, mend, "holds a fragment, or a query that is not api-version alone: what is secret would end in logs")
	}
}

func (l *loader) checkQuota(path string, q *Quota) {
	if q.Burst > 0 && q.Window != "bucket" && q.Window != "paced" {
		l.wrong(path+".burst", "remove it, or set window: bucket", "contradicts window: %s, which has no burst", q.Window)
	}
	if q.Slice > 0 && (q.Window != "slice" || q.Slice > time.Minute) {
		l.wrong(path+".slice", "remove it, or set window: slice and at most 1m", "contradicts window: %s of a minute", q.Window)
	}
	if q.Window == "slice" {
		l.checkSlice(path, q)
	}
	l.atMost(path+".burst", q.Burst)
	if names := quota.MeterNames(); q.Meter != "" && !slices.Contains(names, q.Meter) {
		l.wrong(path+".meter", "write one of: "+strings.Join(names, ", "), "%q is unknown", q.Meter)
	}
	l.most(path+".seats", int(q.Seats), 1_000_000)
	limits := q.limits()
	for i, name := range q.Shadow {
		switch set, known := limits[name]; {
		case !known:
			l.wrong(path+".shadow", suggest(name, slices.Sorted(maps.Keys(limits))), "%q is no limit", name)
		case !set:
			l.wrong(path+".shadow", "add the limit, or remove its name here", "%s is not set", name)
		case slices.Contains(q.Shadow[:i], name):
			l.wrong(path+".shadow", "name it once", "%q is named twice", name)
		}
	}
	if !slices.Contains(slices.Collect(maps.Values(limits)), true) {
		l.warn("%s names no limit, so nothing is paced there; write quota: {requests: 60/m, tokens: 180000/m, seats: 15}", l.config.display(path))
	}
}

// limits tells which of its limits are set, by their keys.
func (q *Quota) limits() map[string]bool {
	return map[string]bool{
		"requests": q.Requests.Count > 0, "tokens": q.Tokens.Count > 0,
		"input_tokens": q.InputTokens.Count > 0, "output_tokens": q.OutputTokens.Count > 0,
		"requests_per_day": q.RequestsPerDay > 0, "tokens_per_day": q.TokensPerDay > 0,
		"input_tokens_per_day": q.InputTokensPerDay > 0, "output_tokens_per_day": q.OutputTokensPerDay > 0, "seats": q.Seats > 0,
	}
}

// Watched reports whether the limit with a key, such as tokens_per_day, is not
// enforced.
func (q *Quota) Watched(key string) bool { return !q.Enforce || slices.Contains(q.Shadow, key) }

// checkSlice wants slices in which at least one request or token fits.
func (l *loader) checkSlice(path string, q *Quota) {
	slice := cmp.Or(q.Slice, time.Second)
	if slice < 10*time.Millisecond {
		l.wrong(path+".slice", "write at least 10ms", "%s is too short", formatDuration(slice))
		return
	}
	for _, r := range []struct {
		key  string
		rate Rate
	}{{"requests", q.Requests}, {"tokens", q.Tokens}, {"input_tokens", q.InputTokens}, {"output_tokens", q.OutputTokens}} {
		if n := r.rate.Count; n > 0 && float64(n)*float64(min(slice, r.rate.Per))/float64(r.rate.Per) < 1 {
			l.wrong(path+"."+r.key, "make the slice longer, or choose another window", "%s is less than 1 in a slice of %s", r.rate, formatDuration(slice))
		}
	}
}

func (l *loader) checkClass(path string, c *Class) {
	if c.Soft > 0 && c.Hard > 0 && c.Soft > c.Hard {
		l.wrong(path+".soft", "make hard the longer one", "%s is longer than hard, which is %s", formatDuration(c.Soft), formatDuration(c.Hard))
	}
	if c.Spacing == "even" && c.Rate.Count == 0 {
		l.wrong(path+".spacing", "add a rate such as 20/m", "needs a rate to space")
	}
	l.most(path+".rate", int(c.Rate.Count), maxStarts)
	l.most(path+".retries", c.Retries, 100)
	l.atMost(path+".retry_after", c.RetryAfter)
}

func (l *loader) checkRoute(path string, r *Route, seen map[string]bool) {
	wider := "" // of the patterns before it
	for m := range seen {
		if stem, open := strings.CutSuffix(m, "*"); open && strings.HasPrefix(r.Model, stem) {
			wider = max(wider, m)
		}
	}
	switch {
	case r.Model == "":
		l.wrong(path+".model", "write the name that clients use, or \"*\"", "is missing")
	case seen[r.Model]:
		l.wrong(path+".model", "keep one route for it", "%q has a route already", r.Model)
	case wider != "" && strings.HasSuffix(r.Model, "*"):
		l.wrong(path+".model", "move it before that route", "%q is never reached, for %q before it takes every such name", r.Model, wider)
	default:
		l.checkPattern(path+".model", r.Model)
	}
	seen[r.Model] = true
	l.checkTargets(path, r)
	l.checkClassName(path+".class", r.Class)
	l.atMost(path+".hold", r.Hold)
	l.atMost(path+".cache", r.Cache)
}

// checkPattern lets a model name end in a *, and hold none elsewhere.
func (l *loader) checkPattern(path, model string) {
	if strings.Contains(strings.TrimSuffix(model, "*"), "*") {
		l.wrong(path, "write one * at the end, as in gpt-*", "%q is no pattern", model)
	}
}

// checkClassName wants a class that exists; none is the default one.
func (l *loader) checkClassName(path, name string) {
	if _, known := l.config.Classes[name]; !known && name != "" {
		l.wrong(path, suggest(name, slices.Sorted(maps.Keys(l.config.Classes))), "%q is no class", name)
	}
}

func (l *loader) checkTargets(path string, r *Route) {
	names := make([]string, 0, len(l.config.Upstreams))
	for _, u := range l.config.Upstreams {
		names = append(names, u.Name)
	}
	for i, name := range r.Upstreams {
		if !slices.Contains(names, name) {
			l.wrong(path+".upstreams", suggest(name, names), "%q is no upstream", name)
		} else if slices.Contains(r.Upstreams[:i], name) {
			l.wrong(path+".upstreams", "name it once", "%q is named twice", name)
		}
	}
	switch {
	case len(r.Upstreams) == 0:
		l.wrong(path+".upstreams", "name at least one: ["+names[0]+"]", "is missing")
	case r.OnFull == "spill" && len(r.Upstreams) == 1:
		l.wrong(path+".on_full", "add an upstream to the route, or write wait", "has nowhere to spill to: the route has one upstream")
	}
}

func (l *loader) checkLimits() {
	c := l.config.Limits
	if c.QueuePerUser > c.Queue {
		l.wrong("limits.queue_per_user", "lower it or raise limits.queue", "%d is more than the whole queue, which is %d", c.QueuePerUser, c.Queue)
	}
	if c.ConnectionsPerIP > c.Connections {
		l.wrong("limits.connections_per_ip", "lower it or raise limits.connections", "%d is more than all connections, which are %d", c.ConnectionsPerIP, c.Connections)
	}
	l.most("limits.queue", c.Queue, 1_000_000)
	l.most("limits.connections", c.Connections, 1_000_000)
	l.size("limits.cache", c.Cache, 64<<30)
	l.size("limits.max_body", c.MaxBody, 1<<30)
	l.size("limits.bodies", c.Bodies, 1<<40)
	if c.Bodies < c.MaxBody {
		l.wrong("limits.bodies", "raise it or lower limits.max_body", "%s is less than one body may have, which is %s", c.Bodies, c.MaxBody)
	}
	l.atMost("limits.hold", c.Hold)
	l.atMost("limits.drain", c.Drain)
}

func (l *loader) size(path string, size, most Bytes) {
	if size > most {
		l.wrong(path, "lower it", "%s is more than %s", size, most)
	}
}
