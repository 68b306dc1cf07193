package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Source is where Load looks.
type Source struct {
	File    string   // path of the YAML file; empty = $MILLRACE_CONFIG, or none
	Listen  string   // --listen; empty = not given
	Set     []string // PATH=VALUE of each --set
	Environ []string // NAME=value; nil = the process's own environment
	Keys    *string  // in place of what the keys file holds; nil = that
}

// Path is where the YAML file is; empty for none.
func (s Source) Path() string {
	if s.File != "" {
		return s.File
	}
	environ := s.Environ
	if environ == nil {
		environ = os.Environ()
	}
	return newLoader(environ).environment["MILLRACE_CONFIG"]
}

// Load reads every layer and checks the whole. Its error joins all the faults
// found, each a *Fault, or says why the file could not be read.
func Load(s Source) (*Config, error) { return open(s, nil) }

// LoadKeys is Load for whoever manages keys, perhaps without the gateway's
// environment: only what is wrong with keys and their file counts.
func LoadKeys(s Source) (*Config, error) {
	return open(s, func(path string) bool {
		section, _, _ := strings.Cut(path, ".")
		return section == "" || section == "state_dir" || section == "keys"
	})
}

func open(s Source, concerns func(path string) bool) (*Config, error) {
	if s.Environ == nil {
		s.Environ = os.Environ()
	}
	l := newLoader(s.Environ)
	l.concerns = concerns
	s.File = s.Path()
	source, err := read(s.File)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return l.load(s, source)
}

// Dumb reports whether the terminal says that it cannot move its cursor (TERM=dumb).
func Dumb() bool { return os.Getenv("TERM") == "dumb" }

func read(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	source, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if len(source) > maxFile {
		return "", fmt.Errorf("%s is larger than %s", path, Bytes(maxFile))
	}
	return string(source), nil
}

// loader gathers one Config and everything wrong with it.
type loader struct {
	config      *Config
	environment map[string]string
	secrets     *strings.Replacer // masks the environment's credentials in faults
	faults      []error
	concerns    func(path string) bool // whose faults count; nil = all
	caught      bool                   // the last route is the default one

	name    string // of the file that is being read
	lines   map[string][]string
	anchors map[string]ast.Node
}

func newLoader(environ []string) *loader {
	l := &loader{config: defaults(), environment: map[string]string{}, lines: map[string][]string{}}
	var masks []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		l.environment[name] = value
		if len(value) >= 6 && credential.MatchString(name) {
			masks = append(masks, value, masked)
		}
	}
	l.secrets = strings.NewReplacer(masks...)
	return l
}

// load applies the layers in order. What a layer gets wrong is reported before
// the next one speaks, which would only report the consequences.
func (l *loader) load(s Source, source string) (*Config, error) {
	for _, layer := range []func(){
		func() { l.file(s.File, source, "") },
		func() { l.keysFile(l.stateDir(s.Set), s.Keys) },
		func() {
			l.defaultUpstreams()
			l.defaultRoutes()
			l.environ()
			l.flags(s)
			l.ladder()
		},
		func() {
			l.targetsOfDefault()
			l.models()
			l.tenants()
			l.check()
		},
	} {
		if layer(); len(l.faults) > 0 {
			return nil, errors.Join(l.faults...)
		}
	}
	return l.config, nil
}

// defaultUpstreams fills in what serves where the file names no upstreams: one
// of them, those that BEDROCK_FALLBACK_MODELS puts behind it, and the endpoints.
func (l *loader) defaultUpstreams() {
	c := l.config
	if origin, listed := c.origins["upstreams"]; listed {
		if len(c.Upstreams) == 0 {
			l.fault(origin, "upstreams", fail("list at least one, or remove the key for the built-in simulator", "is empty"))
		}
		return
	}
	u := defaultUpstream()
	_, key := l.environment["OPENAI_API_KEY"]
	_, base := l.environment["OPENAI_BASE_URL"]
	if !key && !base {
		u.Provider, c.Simulated = ProviderSim, true
		u.Quota.Window = "sliding" // it is known here, so nothing has to be learned
		c.sampleClasses(l.said)
	}
	c.Upstreams = []Upstream{u}
	l.fallbackModels()
	if !l.said("endpoints") {
		c.Endpoints = defaultEndpoints()
		if !l.said("classes.analysis.max_wait") {
			c.Classes["analysis"].MaxWait = 30 * time.Minute
		}
	}
}

// said reports that a layer above the defaults has spoken about a path.
func (l *loader) said(path string) bool { return l.config.origins[path].Layer != LayerDefault }

// defaultRoutes lets any model name reach an upstream. The layers above the file may
// speak of that route too; where it leads to they know only when they have spoken.
func (l *loader) defaultRoutes() {
	c := l.config
	if slices.ContainsFunc(c.Routes, takesAll) {
		return
	}
	all := Route{Model: "*"}
	all.setDefaults("")
	c.Routes, l.caught = append(c.Routes, all), true
}

func takesAll(r Route) bool { return r.Model == "*" }

// targetsOfDefault lead the default route to all upstreams in order where no other
// route was written, else to the first.
func (l *loader) targetsOfDefault() {
	c, last := l.config, len(l.config.Routes)-1
	switch {
	case !l.caught, len(c.Routes[last].Upstreams) > 0:
		return
	case takesAll(c.Routes[last]) && slices.ContainsFunc(c.Routes[:last], takesAll): // a layer has made one
		c.Routes = c.Routes[:last]
		return
	}
	for _, u := range c.Upstreams {
		c.Routes[last].Upstreams = append(c.Routes[last].Upstreams, u.Name)
		if last > 0 {
			break
		}
	}
}

// flags applies the command line. Two flags for one setting must agree.
func (l *loader) flags(s Source) {
	if s.Listen != "" {
		l.setPath("listen", s.Listen, Origin{Layer: LayerFlag, Name: "--listen"})
	}
	targets := l.targets(func(path string) string { return path })
	origin := Origin{Layer: LayerFlag, Name: "--set"}
	for _, text := range s.Set {
		path, value, found := strings.Cut(text, "=")
		target, err := targets.find(strings.TrimSpace(path))
		switch {
		case !found:
			l.fault(origin, "", fail("write KEY=VALUE, such as limits.hold=60s", "has no ="))
		case err != nil:
			l.fault(origin, "", err)
		default:
			l.override(target, value, origin)
		}
	}
}

// override sets target from a layer that may have set it before under another
// name, which must have said the same.
func (l *loader) override(target leaf, text string, origin Origin) {
	before, was := l.config.Origin(target.path), target.text()
	l.set(target, text, origin)
	if before.Layer == origin.Layer && !broad(before.Name) && target.text() != was {
		l.fault(origin, target.path, fail("keep one of them", "says %s, but %s says %s", target.text(), before.Name, was))
	}
}

// settings are leaves by the names that people may use for them.
type settings map[string][]leaf

// targets finds every scalar under its path as spelled by spell, list entries by
// index and by name.
func (l *loader) targets(spell func(path string) string) settings {
	all := settings{}
	leaves(reflect.ValueOf(l.config).Elem(), "", rule{}, func(t leaf) {
		index, name := spell(t.path), spell(l.config.display(t.path))
		all[index] = append(all[index], t)
		if name != index {
			all[name] = append(all[name], t)
		}
	})
	return all
}

// find returns the one leaf that name means.
func (s settings) find(name string) (leaf, error) {
	switch found := s[name]; len(found) {
	case 0:
		return leaf{}, fail(s.suggest(name), "%s is not a known setting", name)
	case 1:
		return found[0], nil
	default:
		return leaf{}, fail("rename one of them", "%s means %s as well as %s", name, found[0].path, found[1].path)
	}
}

func (s settings) suggest(name string) string {
	best, distance := "", 3
	for _, known := range slices.Sorted(maps.Keys(s)) {
		if d := Edits(name, known); d < distance {
			best, distance = known, d
		}
	}
	if best == "" {
		return "millrace config print shows all of them"
	}
	return "did you mean " + best + "?"
}

// setPath sets the scalar at path, which exists; a * stands for every index.
func (l *loader) setPath(path, text string, origin Origin) {
	leaves(reflect.ValueOf(l.config).Elem(), "", rule{}, func(target leaf) {
		if target.path == path || matches(path, target.path) {
			l.set(target, text, origin)
		}
	})
}

// matches reports that path is pattern with an index in place of its *.
func matches(pattern, path string) bool {
	head, tail, found := strings.Cut(pattern, "*")
	rest, begins := strings.CutPrefix(path, head)
	index, ends := strings.CutSuffix(rest, tail)
	return found && begins && ends && isIndex(index)
}

// set parses text into target and remembers where it came from.
func (l *loader) set(target leaf, text string, origin Origin) {
	if err := target.set(text); err != nil {
		l.fault(origin, target.path, err)
		return
	}
	l.config.origins[target.path] = origin
}

// fault records what is wrong. A cause that is a *problem brings its mend.
func (l *loader) fault(origin Origin, path string, cause error) {
	if l.concerns != nil && !l.concerns(path) {
		return
	}
	f := &Fault{Origin: origin, Key: l.config.display(path), What: cause.Error()}
	if p, ok := errors.AsType[*problem](cause); ok {
		f.What, f.Mend = p.what, p.mend
	}
	f.What = redact(l.secrets.Replace(f.What))
	if origin.Layer == LayerFile {
		f.Excerpt = l.secrets.Replace(excerpt(l.lines[origin.Name], origin.Line, origin.Column))
	}
	l.faults = append(l.faults, f)
}

var showable = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./-]*$`)

// display is a path for people: upstreams.main.quota for upstreams.0.quota.
func (c *Config) display(path string) string {
	list, rest, _ := strings.Cut(path, ".")
	index, rest, _ := strings.Cut(rest, ".")
	i, err := strconv.Atoi(index)
	if err != nil || i < 0 {
		return path
	}
	name := ""
	switch {
	case list == "upstreams" && i < len(c.Upstreams):
		name = c.Upstreams[i].Name
	case list == "endpoints" && i < len(c.Endpoints):
		name = strings.Trim(c.Endpoints[i].Path, "/")
	case list == "keys" && i < len(c.Keys):
		name = c.Keys[i].Name
	}
	if !showable.MatchString(name) {
		return path
	}
	return strings.TrimSuffix(list+"."+name+"."+rest, ".")
}

// Setting is one scalar of a Config as people see it.
type Setting struct {
	Key    string // upstreams.main.quota.requests
	Value  string // as in a file; *** for a credential
	Origin Origin
}

// Settings lists every scalar with its origin, in the order of the file's
// shape.
func (c *Config) Settings() []Setting {
	var all []Setting
	leaves(reflect.ValueOf(c).Elem(), "", rule{}, func(l leaf) {
		all = append(all, Setting{c.display(l.path), l.text(), c.Origin(l.path)})
	})
	return all
}

// Origin returns where the value at path came from. Lists are indexed:
// upstreams.0.quota.requests.
func (c *Config) Origin(path string) Origin {
	for {
		if o, ok := c.origins[path]; ok {
			return o
		}
		cut := strings.LastIndexByte(path, '.')
		if cut < 0 || !isIndex(path[cut+1:]) {
			return Origin{}
		}
		path = path[:cut]
	}
}

func isIndex(s string) bool { _, err := strconv.Atoi(s); return err == nil }
