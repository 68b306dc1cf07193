package e2e

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/app"
	"github.com/millrace/millrace/internal/config"
)

const root = "../.."

// document is a page for people; lines are numbered from 1 in messages.
type document struct {
	path  string // from the root
	lines []string
}

// documents are README and its like, and all below docs.
func documents(t *testing.T) []document {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []document
	for _, path := range paths {
		all = append(all, document{strings.TrimPrefix(filepath.ToSlash(path), root+"/"), strings.Split(read(t, path), "\n")})
	}
	return all
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// section is what stands below a heading of a page of the guide.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(read(t, filepath.Join(root, "docs/guide", page)), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/guide/%s has no section %s", page, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// asRun is what a shown command and the one that a story runs may differ in: the
// binary's folder, addresses, and how long it takes.
var asRun = []struct{ shown, run *regexp.Regexp }{
	{regexp.MustCompile(`^(\./)?bin/`), regexp.MustCompile(`^(\[[^\]]*\] )*([!?] )?(exec |exits \d+ )`)},
	{regexp.MustCompile(`\s+#\s.*$`), regexp.MustCompile(` &\w*&?$`)},
}

var alike = []struct {
	find *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`127\.0\.0\.1:(\$\w+|\d+)`), "127.0.0.1:PORT"},
	{regexp.MustCompile(` --(listen 127\.0\.0\.1:PORT|target http://127\.0\.0\.1:PORT/v1)`), ""},
	{regexp.MustCompile(`(--(?:duration|warmup|pause)) \S+`), "$1 TIME"},
	{regexp.MustCompile(`\s+`), " "},
}

// ordinary brings a command into the form in which two are compared.
func ordinary(command string, story bool) string {
	for _, a := range asRun {
		if story {
			command = a.run.ReplaceAllString(command, "")
		} else {
			command = a.shown.ReplaceAllString(command, "")
		}
	}
	for _, a := range alike {
		command = a.find.ReplaceAllString(command, a.put)
	}
	return strings.TrimSpace(command)
}

// played are the commands that stories run, and the variables they set.
type played struct {
	commands  []string
	variables map[string]bool
}

var setting = regexp.MustCompile(`^env ([A-Z_]+)=`)

func stories(t *testing.T) played {
	t.Helper()
	p := played{variables: map[string]bool{}}
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no stories: ", err)
	}
	for _, file := range files {
		script, _, _ := strings.Cut(read(t, file), "\n-- ")
		for line := range strings.SplitSeq(script, "\n") {
			if m := setting.FindStringSubmatch(line); m != nil {
				p.variables[m[1]] = true
			}
			p.commands = append(p.commands, ordinary(line, true))
		}
	}
	return p
}

var (
	makeGoal = regexp.MustCompile(`^make(?: ([a-z-]+))?(?: [A-Z]+=\S+)*$`)
	goRun    = regexp.MustCompile(`^go run (\./\S+)`)
	assigned = regexp.MustCompile(`\b([A-Z][A-Z0-9_]+)=`)
	inline   = regexp.MustCompile("`((?:make|millrace|bin/millrace|go run) [^`]+)`")
)

// proven says what is missing for a shown command to be tested; "" if nothing is.
// Of one in running text only the beginning may be shown.
func (p played) proven(t *testing.T, command string, whole bool) string {
	t.Helper()
	command = ordinary(command, false)
	if m := makeGoal.FindStringSubmatch(command); m != nil {
		if m[1] != "" && !regexp.MustCompile(`(?m)^`+m[1]+`:`).MatchString(read(t, filepath.Join(root, "Makefile"))) {
			return "the Makefile has no such target"
		}
		return ""
	}
	if m := goRun.FindStringSubmatch(command); m != nil {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			return "there is no such program"
		}
		return ""
	}
	if strings.HasPrefix(command, "export ") {
		for _, m := range assigned.FindAllStringSubmatch(command, -1) {
			if !p.variables[m[1]] {
				return "no story sets " + m[1]
			}
		}
		return ""
	}
	fits := func(run string) bool { return run == command || !whole && strings.HasPrefix(run, command+" ") }
	if !slices.ContainsFunc(p.commands, fits) {
		return "no story of test/e2e/testdata runs it"
	}
	return ""
}

// TestDocsCommands: what a page tells people to type is what a test types.
func TestDocsCommands(t *testing.T) {
	p := stories(t)
	for _, d := range documents(t) {
		fence := ""
		for i, line := range d.lines {
			if mark, found := strings.CutPrefix(strings.TrimSpace(line), "```"); found {
				if fence == "" {
					fence = mark + " "
				} else {
					fence = ""
				}
				continue
			}
			if fence == "console " && strings.TrimSpace(line) != "" {
				if lack := p.proven(t, line, true); lack != "" {
					t.Errorf("%s:%d: %s: %s", d.path, i+1, line, lack)
				}
			}
			for _, m := range inline.FindAllStringSubmatch(line, -1) {
				if lack := p.proven(t, m[1], false); fence == "" && lack != "" {
					t.Errorf("%s:%d: %s: %s", d.path, i+1, m[1], lack)
				}
			}
		}
	}
}

// TestDocsCommandsAreMissed: the check above finds what nobody runs.
func TestDocsCommandsAreMissed(t *testing.T) {
	p := stories(t)
	for _, wrong := range []string{
		"make nothing", "bin/millrace serve --no-such-flag", "curl http://127.0.0.1:8080/v1/nowhere", "export NO_STORY_SETS_THIS=1",
		"millrace sim --requests 601 --tokens 1800000 --seats 15 --latency 1s", "go run ./test/nothing", "rm -rf millrace-data",
	} {
		if p.proven(t, wrong, true) == "" {
			t.Errorf("%q passes", wrong)
		}
	}
	if p.proven(t, "millrace serve --confi", false) == "" {
		t.Error("half a word passes")
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	noSlug  = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// TestDocsLinks: files and headings that pages point to exist.
func TestDocsLinks(t *testing.T) {
	for _, d := range documents(t) {
		for i, line := range d.lines {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				file, anchor, _ := strings.Cut(m[1], "#")
				path := filepath.Join(root, d.path)
				if file != "" {
					path = filepath.Join(filepath.Dir(path), file)
				}
				if _, err := os.Stat(path); err != nil {
					t.Errorf("%s:%d: %s does not exist", d.path, i+1, m[1])
				} else if anchor != "" && !slices.Contains(anchors(read(t, path)), anchor) {
					t.Errorf("%s:%d: %s: no such heading", d.path, i+1, m[1])
				}
			}
		}
	}
}

func anchors(text string) []string {
	var all []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return all
}

// cells returns the rows of a page's tables whose first cell is code, without the
// code marks of the other cells.
func cells(text string) [][]string {
	var rows [][]string
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "| `") {
			row := strings.Split(strings.Trim(line, "| "), " | ")
			for i := range row {
				row[i] = strings.TrimSpace(row[i])
			}
			rows = append(rows, row)
		}
	}
	return rows
}

// plain takes the marks off a cell that is one piece of code.
func plain(cell string) string { return strings.Trim(cell, "`") }

func load(t *testing.T, s config.Source) *config.Config {
	t.Helper()
	c, err := config.Load(s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func example(t *testing.T) *config.Config {
	t.Helper()
	return load(t, config.Source{
		File: filepath.Join(root, "examples/millrace.yaml"), Listen: "127.0.0.1:0",
		Environ: []string{"OPENAI_API_KEY=sk-story-1", "RESELLER_API_KEY=sk-story-2", "MILLRACE_STATE_DIR=" + t.TempDir()},
	})
}

var (
	listed = regexp.MustCompile(`^(upstreams|routes|endpoints|keys)\.[^.]+`)
	named  = regexp.MustCompile(`^classes\.[^.]+`)
)

// general is a key with its list's or map's entry left open, as the guide has it.
func general(key string) string {
	return named.ReplaceAllString(listed.ReplaceAllString(key, "$1[]"), "classes.NAME")
}

// TestDocsExample: the example loads, starts, warns of nothing and leaves no key out.
func TestDocsExample(t *testing.T) {
	c := example(t)
	if len(c.Warnings) > 0 {
		t.Error("warnings: ", c.Warnings)
	}
	said := map[string]bool{}
	for _, s := range c.Settings() {
		key := general(s.Key)
		said[key] = said[key] || s.Origin.Layer != config.LayerDefault
	}
	for key, told := range said {
		if !told {
			t.Errorf("examples/millrace.yaml does not show %s", key)
		}
	}
	a, err := app.New(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// TestDocsKeys: the table of keys has each key, no other, and the true defaults.
func TestDocsKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "least.yaml")
	if err := os.WriteFile(file, []byte("upstreams: [{name: x, api_key: sk-story-1}]\nendpoints: [{path: /x, prompt: '{x}', model: m}]\n"+
		"keys: [{name: x, sha256: 5a1224f6297d2c9cd387bde92c8005a058300264d42d1873ad5953986ec71974}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, s := range load(t, config.Source{File: file, Environ: []string{}}).Settings() {
		if strings.HasPrefix(s.Key, "classes.") && !strings.HasPrefix(s.Key, "classes.batch.") {
			continue // those that have weights of their own
		}
		value := s.Value
		if required(s.Key) || slices.Contains([]string{"", "none", "0", "0s"}, value) {
			value = "–"
		}
		want[general(s.Key)] = value
	}
	got := map[string]string{}
	for _, row := range cells(section(t, "configuration.md", "Keys")) {
		got[plain(row[0])] = plain(row[2])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("docs/guide/configuration.md, keys and defaults (-the program, +the page):\n", diff)
	}
}

// required are keys without a default.
func required(key string) bool {
	switch general(key) {
	case "upstreams[].name", "upstreams[].api_key", "routes[].model", "routes[].upstreams",
		"endpoints[].path", "endpoints[].prompt", "endpoints[].model", "keys[].name", "keys[].sha256", "keys[].tenant":
		return true
	}
	return false
}

var (
	variable  = regexp.MustCompile("`([A-Z]+(?:_[A-Z]+)*)`")
	inProgram = regexp.MustCompile(`"([A-Z]+(?:_[A-Z]+)*)"`)
)

// TestDocsVariables: each variable sets what the guide says; those that do nothing
// say so; none is left out.
func TestDocsVariables(t *testing.T) {
	text := section(t, "configuration.md", "Environment")
	told := map[string]bool{"MILLRACE_CONFIG": strings.Contains(text, "MILLRACE_CONFIG")}
	for _, row := range cells(text) {
		name := plain(row[0])
		told[name] = true
		environ := []string{name + "=" + plain(row[1])}
		if name != "OPENAI_BASE_URL" {
			environ = append(environ, "OPENAI_BASE_URL=http://127.0.0.1:1/v1")
		}
		key, _, _ := strings.Cut(strings.TrimPrefix(row[2], "`"), "`")
		set := func(s config.Setting) bool { return s.Key == key && s.Origin.Name == name }
		if c := load(t, config.Source{Environ: environ}); !slices.ContainsFunc(c.Settings(), set) {
			t.Errorf("%s does not set %s", name, key)
		}
	}
	_, rest, _ := strings.Cut(text, "do nothing yet;")
	for _, m := range variable.FindAllStringSubmatch(rest, -1) {
		told[m[1]] = true
		c := load(t, config.Source{Environ: []string{m[1] + "=1"}})
		if !slices.Contains(c.Warnings, m[1]+" is set but has no effect yet") {
			t.Errorf("%s is said to do nothing, but the program does not say so", m[1])
		}
	}
	for _, m := range inProgram.FindAllStringSubmatch(read(t, filepath.Join(root, "internal/config/environ.go")), -1) {
		if !told[m[1]] {
			t.Errorf("docs/guide/configuration.md does not know %s", m[1])
		}
	}
}

// simulated is a running gateway in front of the built-in simulator; ask gets a
// page, or with a body its answer.
func simulated(t *testing.T) (ask func(path, body string) (http.Header, string)) {
	t.Helper()
	a, err := app.New(load(t, config.Source{Listen: "127.0.0.1:0", Environ: []string{}}), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return func(path, body string) (http.Header, string) {
		t.Helper()
		method := http.MethodGet
		if body != "" {
			method = http.MethodPost
		}
		request, err := http.NewRequestWithContext(ctx, method, "http://"+a.Addr()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Origin", "http://example.com") // a browser's scripts are told which headers they may read
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.Header, string(text)
	}
}

var (
	family = regexp.MustCompile(`(?m)^# TYPE (millrace_\w+) (\w+)$`)
	series = regexp.MustCompile(`(?m)^(millrace_\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? \S+$`)
	label  = regexp.MustCompile(`(\w+)="`)
	metric = regexp.MustCompile(`millrace_[a-z0-9_]+`)
)

// TestDocsMetrics: the table is what /metrics shows, name, type and labels; no page
// names a metric that does not exist.
func TestDocsMetrics(t *testing.T) {
	_, page := simulated(t)("/metrics", "")
	want := map[string]string{}
	for _, m := range family.FindAllStringSubmatch(page, -1) {
		want[m[1]] = m[2] + ":"
	}
	for _, m := range series.FindAllStringSubmatch(page, -1) {
		kind, _, known := strings.Cut(want[m[1]], ":")
		if !known {
			continue
		}
		var labels []string
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			if l[1] != "le" {
				labels = append(labels, l[1])
			}
		}
		slices.Sort(labels)
		want[m[1]] = kind + ":" + strings.Join(labels, " ")
	}
	got := map[string]string{}
	for _, row := range cells(read(t, filepath.Join(root, "docs/guide/metrics.md"))) {
		labels := strings.FieldsFunc(row[2], func(r rune) bool { return r == ',' || r == ' ' || r == '`' || r == '–' })
		slices.Sort(labels)
		got[plain(row[0])] = row[1] + ":" + strings.Join(labels, " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("docs/guide/metrics.md (-the program, +the page):\n", diff)
	}
	for _, d := range documents(t) {
		for i, line := range d.lines {
			for _, name := range metric.FindAllString(line, -1) {
				if want[name] == "" {
					t.Errorf("%s:%d: there is no metric %s", d.path, i+1, name)
				}
			}
		}
	}
}

// TestDocsHeaders: the headers that the guide explains are those that answers have.
func TestDocsHeaders(t *testing.T) {
	header, _ := simulated(t)("/v1/chat/completions", `{"model":"any","max_tokens":1,"messages":[{"role":"user","content":"Hello"}]}`)
	page, exposed := section(t, "holding.md", "Headers of answers"), header.Get("Access-Control-Expose-Headers")
	for name := range strings.SplitSeq(exposed, ", ") {
		name = strings.Replace(name, "-Tokens", "-Requests", 1) // told once for both
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("docs/guide/holding.md does not explain %s", name)
		}
	}
	for _, name := range regexp.MustCompile("`(Millrace-[A-Za-z-]+)`").FindAllStringSubmatch(page, -1) {
		if name[1] != "Millrace-User" && !strings.Contains(exposed, name[1]) {
			t.Errorf("docs/guide/holding.md explains %s, which no answer has", name[1])
		}
	}
}
