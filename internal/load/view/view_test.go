package view

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/load"
	"github.com/millrace/millrace/internal/load/gauge"
	"github.com/millrace/millrace/internal/testkit"
)

func times(base float64) load.Summary {
	return load.Summary{Count: 10, Mean: base, P50: base, P90: base * 2, P95: base * 3, P99: base * 4, Max: base * 5}
}

// sample has something in every row and every section.
func sample() *load.Report {
	others, greedy := times(800), times(9000)
	judged := load.JudgeReport{AtEnd: load.JudgeBooks{
		Accepted: 10, Throttled: 7, ThrottledBy: map[string]int64{"tokens": 7}, Aborted: 2, MostInFlight: 3,
		Limits: []load.JudgeLimit{
			{Name: "tokens", Configured: 100, Span: "1m0s", Admitted: 50, WorstSpan: 60, WorstRatio: 0.6, Utilization: 0.5},
			{Name: "requests", Configured: 10, WorstSpan: 1, WorstRatio: 0.1, Utilization: 0.1},
		},
	}}
	judged.Final = judged.AtEnd
	judged.Series = []load.JudgePoint{{At: 0}, {At: 20, Admitted: map[string]int64{"tokens": 30}}, {At: 40, Admitted: map[string]int64{"tokens": 10}}}
	straight := load.Result{
		Target: "straight", URL: "http://a/v1", Seconds: 60, Started: 110, Answered: 50, Errors: 40, ErrorsBehaved: 30, Canceled: 5,
		Disconnected: 4, Stalled: 3, Unfinished: 2, WarmUp: 6, ByError: map[string]int64{"429": 39, "timeout": 1},
		ByStatus: map[string]int64{"200": 50, "429": 39, "timeout": 1},
		Samples:  map[string]string{"429": "{\n  \"error\": \"slow down\"}"}, Latency: times(1000), FirstByte: times(0.5),
		AnswersPerSecond: 50. / 60, TokensPerSecond: 1000, Streams: load.Streams{Complete: 20, Cut: 1, Comments: 9},
		Fairness: load.Fairness{Users: 40, Jain: 0.8, LeastAnswers: 0, MostAnswers: 3}, Judge: &judged,
		Generator: load.Generator{CPUShare: 0.05, BehindMS: 3},
		Users:     []load.UserResult{{User: "user-000", Asked: 9, Answers: 5, Errors: 4, Cost: 500, P50: 10, P95: 30}, {User: "user-001"}},
		Curve:     []gauge.Quantile{{Percent: 0, MS: 1}, {Percent: 50, MS: 1000}, {Percent: 90, MS: 2000}, {Percent: 100, MS: 5000}},
		Interval:  20, WarmUpSeconds: 10,
		Series: []gauge.Point{{Started: 5, Answered: 4, P50: 3, P95: 9}, {At: 20, Errors: 3}, {At: 40, Started: 1, Answered: 1, InFlight: 2, P50: 5, P95: 5}},
	}
	gateway := load.Result{
		Target: "gateway", URL: "http://b/v1", Seconds: 60, Started: 101, Answered: 100, Unfinished: 1, Latency: times(500), FirstByte: times(20), Wait: times(120),
		Others: &others, Greedy: &greedy, Classes: map[string]load.Summary{"chat": times(400)}, AnswersPerSecond: 100. / 60, TokensPerSecond: 2000,
		AttemptsPerAnswer: 1.01, Fairness: load.Fairness{Users: 40, Jain: 0.991234, LeastAnswers: 2, MostAnswers: 3}, Judge: &judged,
		Interval: 20, Series: []gauge.Point{{Started: 5, Answered: 5, P50: 3, P95: 9, Wait: 2}},
	}
	return &load.Report{
		Mode: "closed", Interrupted: true, Begun: time.Unix(1_700_000_000, 0), Speed: 1, Targets: []load.Result{straight, gateway},
		Parameters: []load.Parameter{{Name: "--users", Value: "40"}, {Name: "--think", Value: "3s", Default: true}},
	}
}

func TestText(t *testing.T) {
	var text strings.Builder
	if err := WriteText(&text, sample()); err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, "text", []byte(text.String()))
}

func htmlOf(t *testing.T, r *load.Report) string {
	t.Helper()
	var out strings.Builder
	if err := WriteHTML(&out, r); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestPage(t *testing.T) {
	whole := htmlOf(t, sample())
	from, to := strings.Index(whole, "<style>"), strings.Index(whole, "</style>")
	if from < 0 || to < from {
		t.Fatal("no style")
	}
	testkit.Golden(t, "page", []byte(whole[:from+len("<style>")]+whole[to:]))
}

var (
	tagForm  = regexp.MustCompile(`<(/?)([a-z0-9]+)((?:\s+[a-zA-Z-]+(?:="[^"<>]*")?)*)\s*(/?)>`)
	nameForm = regexp.MustCompile(`([a-zA-Z-]+)="([^"]*)"`)
)

// tag is one tag of a page.
type tag struct {
	name      string
	closes    bool
	traits    map[string]string
	following string // the text up to the next one
}

// tags cuts a page into tags; everything that is none must be text without marks.
func tags(t *testing.T, page string) []tag {
	t.Helper()
	page = strings.TrimPrefix(page, "<!doctype html>\n")
	if from, to := strings.Index(page, "<style>"), strings.Index(page, "</style>"); from >= 0 {
		page = page[:from+len("<style>")] + page[to:]
	}
	var all []tag
	at := 0
	for _, m := range tagForm.FindAllStringSubmatchIndex(page, -1) {
		between := page[at:m[0]]
		if strings.ContainsAny(between, "<>") {
			t.Fatalf("marks in text: %.100q", between)
		}
		if len(all) > 0 {
			all[len(all)-1].following = between
		}
		x := tag{name: page[m[4]:m[5]], closes: m[2] != m[3], traits: map[string]string{}}
		for _, trait := range nameForm.FindAllStringSubmatch(page[m[6]:m[7]], -1) {
			x.traits[trait[1]] = trait[2]
		}
		all = append(all, x)
		if m[8] != m[9] {
			all = append(all, tag{name: x.name, closes: true})
		}
		at = m[1]
	}
	return all
}

func TestI3StructureOfThePage(t *testing.T) {
	void := map[string]bool{"meta": true, "link": true}
	var open []string
	ids, links := map[string]bool{}, map[string]bool{}
	tables, captions, drawings := 0, 0, 0
	for _, x := range tags(t, htmlOf(t, sample())) {
		switch {
		case x.closes:
			if len(open) == 0 || open[len(open)-1] != x.name {
				t.Fatalf("</%s> closes %v", x.name, open)
			}
			open = open[:len(open)-1]
			continue
		case !void[x.name]:
			open = append(open, x.name)
		}
		if id := x.traits["id"]; id != "" {
			if ids[id] {
				t.Errorf("id %s twice", id)
			}
			ids[id] = true
		}
		links[strings.TrimPrefix(x.traits["href"], "#")] = true
		switch x.name {
		case "table":
			tables++
		case "caption":
			captions++
		case "th":
			if x.traits["scope"] == "" || strings.TrimSpace(x.following) == "" {
				t.Errorf("a header without scope or text: %+v", x)
			}
		case "svg":
			if drawings++; x.traits["aria-hidden"] == "" && (x.traits["role"] != "img" || len(x.traits["aria-label"]) < 20) {
				t.Errorf("a drawing without a name: %+v", x)
			}
		case "section":
			links[x.traits["aria-labelledby"]] = true
		case "html":
			if x.traits["lang"] != "en" {
				t.Error("no language")
			}
		}
		if x.traits["role"] == "region" && (x.traits["tabindex"] != "0" || x.traits["aria-label"] == "") {
			t.Errorf("what scrolls cannot be reached: %+v", x)
		}
	}
	if len(open) != 0 || tables == 0 || tables != captions || drawings < 10 {
		t.Errorf("%v left open, %d tables, %d captions, %d drawings", open, tables, captions, drawings)
	}
	delete(links, "")
	delete(links, "data:,")
	for link := range links {
		if !ids[link] {
			t.Errorf("nothing is called %q", link)
		}
	}
}

const evil = `</script><script>alert(1)</script><img src=x onerror="alert(1)">` + "\x1b[2J"

func evilReport() *load.Report {
	r := sample()
	for i := range r.Targets {
		x := &r.Targets[i]
		x.Target, x.URL = evil, evil
		x.ByError, x.ByStatus = map[string]int64{evil: 1}, map[string]int64{evil: 1}
		x.Samples = map[string]string{evil: evil}
		x.Classes = map[string]load.Summary{evil: times(1)}
		x.Waits, x.Paths = x.Classes, x.Classes
		x.Users = []load.UserResult{{User: evil, Cost: 1, P95: 1, WaitP95: 1}}
		x.Judge.AtEnd.Limits[0].Name = evil
	}
	r.Parameters = []load.Parameter{{Name: evil, Value: evil}}
	return r
}

func TestI1NothingForeignIsMarkup(t *testing.T) {
	for _, x := range tags(t, htmlOf(t, evilReport())) {
		if x.name == "script" || x.name == "img" || x.traits["onerror"] != "" {
			t.Fatalf("a tag of somebody else: %+v", x)
		}
	}
	var text strings.Builder
	if err := WriteText(&text, evilReport()); err != nil || strings.Contains(text.String(), "\x1b") {
		t.Errorf("the text steers the terminal: %v", err)
	}
	var screen strings.Builder
	NewLive(&screen).Show(load.Snapshot{Target: "t\x1b[2J", Errors: map[string]int64{"\x1b[2J": 1}})
	if strings.Contains(screen.String(), "\x1b[2J") {
		t.Error("the live table can be steered")
	}
}

func TestI2NoReferences(t *testing.T) {
	page := htmlOf(t, evilReport())
	for _, word := range []string{"url(", "@import"} {
		if strings.Contains(page[:strings.Index(page, "</style>")], word) {
			t.Errorf("%s in the style", word)
		}
	}
	for _, x := range tags(t, page) {
		if href := x.traits["href"]; href != "" && href[0] != '#' && href != "data:," {
			t.Errorf("refers to %s", href)
		}
		switch x.name {
		case "script", "iframe", "object", "embed", "form", "img", "image", "use":
			t.Errorf("a tag that asks for something: %s", x.name)
		}
		if x.traits["src"] != "" || strings.Contains(x.traits["style"], "url") {
			t.Errorf("refers to something: %+v", x)
		}
	}
}

func TestPageOfLittle(t *testing.T) {
	for name, r := range map[string]*load.Report{
		"no target":    {Mode: "open"},
		"no answer":    {Mode: "open", Speed: 20, Targets: []load.Result{{Target: "t", Interval: 1}}},
		"many targets": {Targets: make([]load.Result, maxTargets+3)},
	} {
		page := htmlOf(t, r)
		tags(t, page)
		if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") || strings.Contains(page, "%!") {
			t.Errorf("%s: a number that is none", name)
		}
		if told := strings.Contains(page, "20 times as fast"); told != (r.Speed == 20) {
			t.Errorf("%s: compression told: %v", name, told)
		}
	}
	if strings.Contains(htmlOf(t, sample()), "%!") {
		t.Error("a verb without its value")
	}
}

func TestNiceTicks(t *testing.T) {
	for v, want := range map[float64]float64{1: 1, 1.1: 2, 2.3: 2.5, 3: 5, 7: 10, 0.03: 0.05, 1234: 2000} {
		if got := nice(v); math.Abs(got-want) > 1e-9*want {
			t.Errorf("nice(%v) = %v, want %v", v, got, want)
		}
	}
	for end, want := range map[float64]int{28: 6, 60: 7, 3600: 7, 1: 2, 86400 * 30: 31} {
		if got := timeTicks(end); len(got) != want || got[len(got)-1] != end {
			t.Errorf("timeTicks(%v) = %v", end, got)
		}
	}
}

func record(i int) load.Record {
	begun := time.Unix(1_700_000_000, 0)
	return load.Record{
		Target: "gate,way", User: fmt.Sprint("user-", i), Loop: 1, Session: 2, Turn: 3, Path: "/chat", Class: "=1+1", Stream: true, Task: true,
		Speed: 1.5, At: time.Duration(i) * 1500 * time.Microsecond, Intended: begun.Add(time.Duration(i) * time.Millisecond), Late: 250 * time.Microsecond, FirstByte: -1,
		Latency: 2 * time.Second, Wait: time.Duration(i) * time.Millisecond, Attempts: 2, Outcome: "error", Status: "cut", Prompt: 5, Completion: 6, Cost: 11,
	}
}

func TestI4CSVRoundTrip(t *testing.T) {
	var out bytes.Buffer
	c := NewCSV(&out)
	for i := range 1000 {
		c.Add(record(i))
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 1001 || !cmp.Equal(rows[0], columns) {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	for i, row := range rows[1:] {
		cell := map[string]string{}
		for k, name := range columns {
			cell[name] = row[k]
		}
		want := record(i)
		intended, err := time.Parse(time.RFC3339Nano, cell["intended_at"])
		if err != nil || !intended.Equal(want.Intended) {
			t.Fatalf("row %d: intended at %s", i, cell["intended_at"])
		}
		offset, _ := strconv.ParseFloat(cell["intended_s"], 64)
		if math.Abs(offset-0.0015*float64(i)) > 1e-9 {
			t.Fatalf("row %d: offset %v", i, offset)
		}
		if cell["speed"] != "1.5" {
			t.Fatalf("row %d: speed %s", i, cell["speed"])
		}
		got := fmt.Sprint(cell["target"], cell["user"], cell["class"], cell["late_ms"], cell["first_byte_ms"], cell["latency_ms"], cell["wait_ms"], cell["outcome"], cell["status"], cell["cost"])
		if w := fmt.Sprint("gate,way", want.User, "'=1+1", "0.250", "", "2000.000", fmt.Sprintf("%d.000", i), "error", "cut", 11); got != w {
			t.Fatalf("row %d: %s, want %s", i, got, w)
		}
	}
}

var errFull = errors.New("disk full")

// full is a disk without room.
type full struct{}

// Write implements io.Writer.
func (full) Write([]byte) (int, error) { return 0, errFull }

func TestWritersFail(t *testing.T) {
	c := NewCSV(full{})
	for i := range 10_000 {
		c.Add(record(i))
	}
	for name, err := range map[string]error{"CSV": c.Close(), "page": WriteHTML(full{}, sample()), "text": WriteText(full{}, sample())} {
		if !errors.Is(err, errFull) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// terminal keeps the lines that a program has drawn, as a terminal would.
type terminal struct {
	lines  []string
	at     int
	column int
}

var escapeForm = regexp.MustCompile(`\x1b\[\??(\d*)([A-Za-z])`)

// Write implements io.Writer.
func (x *terminal) Write(p []byte) (int, error) {
	s := string(p)
	for s != "" {
		if m := escapeForm.FindStringSubmatchIndex(s); m != nil && m[0] == 0 {
			n, _ := strconv.Atoi(s[m[2]:m[3]])
			switch s[m[4]:m[5]] {
			case "A":
				x.at -= n
			case "J":
				x.lines = x.lines[:x.at]
				if x.column > 0 {
					x.lines = append(x.lines, "the rest of a line")
				}
			}
			s = s[m[1]:]
			continue
		}
		end := strings.IndexAny(s[1:], "\x1b\n") + 1
		if s[0] == '\n' {
			x.at++
			x.column = 0
			s = s[1:]
			continue
		}
		if end <= 0 {
			end = len(s)
		}
		for len(x.lines) <= x.at {
			x.lines = append(x.lines, "")
		}
		x.lines[x.at] = strings.TrimPrefix(s[:end], "\r")
		x.column = len(x.lines[x.at])
		s = s[end:]
	}
	return len(p), nil
}

func TestI5LiveTable(t *testing.T) {
	screen := &terminal{lines: []string{"$ millrace load"}, at: 1}
	live := NewLive(screen, "absent", "gateway", "straight")
	for i := range 30 {
		live.Show(load.Snapshot{Target: "straight", Elapsed: 90 * time.Second, Of: time.Minute})
		live.Show(load.Snapshot{
			Target: "gateway", Elapsed: time.Duration(i) * time.Second, Of: time.Minute, WarmUp: i < 5, InFlight: i, Answered: int64(10 * i),
			Errors: map[string]int64{"429": int64(i)}, P50: time.Second, P95: time.Duration(i) * 100 * time.Millisecond, Rate: float64(i % 8), Failing: 1,
		})
	}
	if len(screen.lines) != 11 || !strings.HasPrefix(screen.lines[1], "gateway  0:29 of 1:00 █████████░░░") || !strings.Contains(screen.lines[6], "waiting for the last answers") {
		t.Fatalf("the screen:\n%s", strings.Join(screen.lines, "\n"))
	}
	if want := "  answers a second       5.0  ▇█▁▂▃▄▅▆▇█▁▂▃▄▅▆▇█▁▂▃▄▅▆  answered 290"; screen.lines[2] != want {
		t.Errorf("line %q\nwant %q", screen.lines[2], want)
	}
	for _, line := range screen.lines {
		if n := len([]rune(line)); n > 79 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	_, _ = screen.Write([]byte("^C"))
	live.Close()
	live.Close()
	if len(screen.lines) != 1 || screen.at != 1 {
		t.Errorf("left on the screen: %v", screen.lines[1:])
	}
}

func TestLine(t *testing.T) {
	for want, s := range map[string]load.Snapshot{
		"t    1s warm-up  in flight 0  answered 0  errors 0  p50 1.00s  p95 1.00s  2.0/s": {
			Target: "t", Elapsed: 1999 * time.Millisecond, WarmUp: true, P50: time.Second, P95: time.Second, Rate: 2,
		},
		"t    0s  in flight 0  answered 0  errors 5 (cut 3, 429 2)  p50 12ms  p95 0.90ms  0.0/s": {
			Target: "t", Errors: map[string]int64{"429": 2, "cut": 3}, P50: 12 * time.Millisecond, P95: 900 * time.Microsecond,
		},
	} {
		if got := Line(s); got != want {
			t.Errorf("line %q, want %q", got, want)
		}
	}
}

// TestNothingAnsweredHasNoFigures: of what nobody was answered no latency is told, and no fairness.
func TestNothingAnsweredHasNoFigures(t *testing.T) {
	r := &load.Report{Targets: []load.Result{{Target: "t", URL: "http://a", Errors: 5, Fairness: load.Fairness{Users: 3}}}}
	var page, text bytes.Buffer
	if err := errors.Join(WriteHTML(&page, r), WriteText(&text, r)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"latency p50", "latency p95", "fairness (Jain)"} {
		if !strings.Contains(page.String(), "<dt>"+name+"</dt><dd>-</dd>") {
			t.Errorf("the page has a %s of nothing", name)
		}
	}
	if strings.Contains(page.String()+text.String(), "0.0000") || !strings.Contains(text.String(), "- of 3 users") {
		t.Errorf("the text has figures of nothing:\n%s", text.String())
	}
}
