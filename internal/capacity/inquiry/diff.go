package inquiry

import (
	"strconv"
	"strings"

	"github.com/millrace/millrace/internal/capacity"
	"github.com/millrace/millrace/internal/config"
)

// variables are the settings that people may know by a variable's name.
var variables = map[string]string{
	"upstreams.0.quota.requests": "MAX_REQUESTS_PER_MINUTE",
	"upstreams.0.quota.tokens":   "MAX_TOKENS_PER_MINUTE",
	"upstreams.0.quota.seats":    "MAX_CONCURRENT_REQUESTS",
	"classes.analysis.rate":      "ANALYSIS_TASK_RATE_LIMIT",
	"classes.chat.rate":          "CHAT_TASK_RATE_LIMIT",
	"classes.health.rate":        "HEALTH_TASK_RATE_LIMIT",
	"tasks.concurrency":          "CELERY_CONCURRENCY",
}

// indexed is a path with the place of its upstream or key for the name.
func indexed(c *config.Config, path string) string {
	for i := range c.Upstreams {
		if rest, found := strings.CutPrefix(path, "upstreams."+c.Upstreams[i].Name+"."); found {
			return "upstreams." + strconv.Itoa(i) + "." + rest
		}
	}
	for i := range c.Keys {
		if rest, found := strings.CutPrefix(path, "keys."+c.Keys[i].Name+"."); found {
			return "keys." + strconv.Itoa(i) + "." + rest
		}
	}
	return path
}

// keyed is a path with the key in whose section a tenant's limit is written, or may
// be, for the tenant.
func keyed(c *config.Config, path string) string {
	rest, found := strings.CutPrefix(path, "tenants.")
	tenant, setting, _ := strings.Cut(rest, ".")
	if !found {
		return path
	}
	key := ""
	for i := range c.Keys {
		k := &c.Keys[i]
		at := c.Origin("keys." + strconv.Itoa(i) + "." + setting) // of all keys of the tenant the same
		if k.Tenant == tenant && (key == "" || !before(at, c.Origin("keys."+strconv.Itoa(i)+".name"))) {
			key = k.Name
		}
	}
	if key == "" {
		return path
	}
	return "keys." + key + "." + setting
}

// before reports whether a stands before b in their file.
func before(a, b config.Origin) bool {
	return a.Line < b.Line || a.Line == b.Line && a.Column < b.Column
}

// say writes a setting by its variable, unless the file has spoken about it.
func say(c *config.Config, path, value string) string {
	path = keyed(c, path)
	first := indexed(c, path)
	name, known := variables[first]
	if !known || c.Origin(first).Layer == config.LayerFile {
		return path + "=" + value
	}
	if strings.HasSuffix(name, "_PER_MINUTE") {
		count, perMinute := strings.CutSuffix(value, "/m")
		if !perMinute {
			return path + "=" + value
		}
		value = count
	}
	return name + "=" + value
}

// Diff writes changes as a difference of configuration files: lines that begin with
// a blank for where, - for what holds, and + for what is suggested. A value that the
// environment or a flag has set, which beats the file, says so.
func Diff(c *config.Config, changes []capacity.Change) string {
	var d diff
	for _, change := range changes {
		d.add(c, change)
	}
	return d.String()
}

// diff is what has been written of one.
type diff struct {
	strings.Builder
	at []string // the sections that are open
}

func (d *diff) add(c *config.Config, change capacity.Change) {
	change.Path = keyed(c, change.Path)
	keys := strings.Split(change.Path, ".")
	sections, key := keys[:len(keys)-1], keys[len(keys)-1]
	same := 0
	for same < min(len(sections), len(d.at)) && sections[same] == d.at[same] {
		same++
	}
	for depth := same; depth < len(sections); depth++ {
		if depth == 1 && (sections[0] == "upstreams" || sections[0] == "keys") { // a list, whose entries have names
			d.line(' ', 1, "- name: "+sections[1])
		} else {
			d.line(' ', depth, sections[depth]+":")
		}
	}
	d.at = sections
	depth := len(sections)
	origin := c.Origin(indexed(c, change.Path))
	note := ""
	if origin.Layer == config.LayerEnvironment || origin.Layer == config.LayerFlag {
		note = " # by " + origin.String()
	}
	d.line('-', depth, key+": "+change.From+note)
	d.line('+', depth, key+": "+change.To)
}

func (d *diff) line(sign byte, depth int, text string) {
	d.WriteByte(sign)
	d.WriteString(strings.Repeat("  ", depth))
	d.WriteString(text)
	d.WriteByte('\n')
}
