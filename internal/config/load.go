package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Source is where Load looks.
type Source struct {
	File    string   // path of the YAML file; empty = $MILLRACE_CONFIG, or none
	Listen  string   // --listen; empty = not given
	Environ []string // NAME=value; nil = the process's own environment
}

// Load reads every layer and checks the whole. Its error joins all the faults
// found, each a *Fault, or says why the file could not be read.
func Load(s Source) (*Config, error) {
	if s.Environ == nil {
		s.Environ = os.Environ()
	}
	l := newLoader(s.Environ)
	if s.File == "" {
		s.File = l.environment["MILLRACE_CONFIG"]
	}
	source, err := read(s.File)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	return l.load(s, source)
}

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

	name    string // of the file
	lines   []string
	anchors map[string]ast.Node
}

func newLoader(environ []string) *loader {
	l := &loader{config: defaults(), environment: map[string]string{}, anchors: map[string]ast.Node{}}
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
		func() { l.file(s.File, source) },
		func() {
			l.defaultUpstream()
			l.environ()
			l.flag("listen", "--listen", s.Listen)
		},
		func() {
			l.defaultRoutes()
			l.check()
		},
	} {
		if layer(); len(l.faults) > 0 {
			return nil, errors.Join(l.faults...)
		}
	}
	return l.config, nil
}

// defaultUpstream fills in the upstream that serves where the file names none.
func (l *loader) defaultUpstream() {
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
		c.sampleClasses(l.said)
	}
	c.Upstreams = []Upstream{u}
}

// said reports that a layer above the defaults has spoken about a path.
func (l *loader) said(path string) bool { return l.config.origins[path].Layer != LayerDefault }

// defaultRoutes lets any model name reach an upstream: all in order where no
// route was written, else the first.
func (l *loader) defaultRoutes() {
	c := l.config
	all := Route{Model: "*"}
	all.setDefaults("")
	for _, r := range c.Routes {
		if r.Model == "*" {
			return
		}
	}
	for _, u := range c.Upstreams {
		all.Upstreams = append(all.Upstreams, u.Name)
		if len(c.Routes) > 0 {
			break
		}
	}
	c.Routes = append(c.Routes, all)
}

func (l *loader) flag(path, name, text string) {
	if text != "" {
		l.setPath(path, text, Origin{Layer: LayerFlag, Name: name})
	}
}

// setPath sets the scalar at path, which exists.
func (l *loader) setPath(path, text string, origin Origin) {
	leaves(reflect.ValueOf(l.config).Elem(), "", false, func(target leaf) {
		if target.path == path {
			l.set(target, text, origin)
		}
	})
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
	f := &Fault{Origin: origin, Key: l.config.display(path), What: cause.Error()}
	if p, ok := errors.AsType[*problem](cause); ok {
		f.What, f.Mend = p.what, p.mend
	}
	f.What = redact(l.secrets.Replace(f.What))
	if origin.Layer == LayerFile {
		f.Excerpt = l.secrets.Replace(excerpt(l.lines, origin.Line, origin.Column))
	}
	l.faults = append(l.faults, f)
}

// display is a path for people: upstreams.main.quota for upstreams.0.quota.
func (c *Config) display(path string) string {
	rest, found := strings.CutPrefix(path, "upstreams.")
	if !found {
		return path
	}
	index, rest, _ := strings.Cut(rest, ".")
	i, err := strconv.Atoi(index)
	if err != nil || i >= len(c.Upstreams) || c.Upstreams[i].Name == "" {
		return path
	}
	return strings.TrimSuffix("upstreams."+c.Upstreams[i].Name+"."+rest, ".")
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
	leaves(reflect.ValueOf(c).Elem(), "", false, func(l leaf) {
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
