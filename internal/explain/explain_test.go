package explain

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/testkit"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

const s = time.Second

// fallen is a request that waited for tokens, was throttled and fell back.
func fallen() (*event.Record, []event.Attempt) {
	r := &event.Record{
		ID: "req_7", Key: flow.Key{Class: "chat", Tenant: "acme", User: "ann"}, Model: "gpt", Route: "*", Stream: true,
		Outcome: flow.OutcomeServed, First: flow.ReasonTurn, Reason: flow.ReasonSeats, Status: 200, Upstream: "spare", Attempts: 2,
		Arrived: noon, Queued: 9 * s, FirstByte: 12 * s, Total: 20 * s, Quoted: true, Position: 4, EtaP50: 6 * s, EtaP90: 8 * s, Hold: 60 * s,
		Estimated: llm.Size{Input: 1000, Output: 800, MaxOutput: 4000}, Used: llm.Usage{Input: 700, CacheRead: 200, Output: 100},
	}
	first := waits(flow.ReasonTokens, 6*s, flow.ReasonRequests, 2*s)
	r.Waits = first.Plus(waits(flow.ReasonSeats, s-20*time.Millisecond, flow.ReasonTurn, 20*time.Millisecond))
	return r, []event.Attempt{
		{
			Request: "req_7", Number: 1, Class: "chat", Upstream: "main", Model: "gpt", Stream: true, Kind: llm.KindThrottle, Status: 429,
			RetryAfter: 3 * s, Queued: 8 * s, Waits: first, Reason: flow.ReasonTokens, Started: noon.Add(8 * s), Total: s / 2,
		},
		{
			Request: "req_7", Number: 2, Class: "chat", Upstream: "spare", Model: "gpt", Stream: true, Status: 200, Queued: s, Waits: waits(flow.ReasonSeats, s), Reason: flow.ReasonSeats,
			Started: noon.Add(9*s + s/2), FirstByte: 2 * s, FirstPiece: 2*s + s/2, Total: 10*s + s/2, Estimated: r.Estimated, Used: r.Used,
		},
	}
}

// waits are times by what they were for.
func waits(why flow.Reason, d time.Duration, more ...any) flow.Waits {
	var w flow.Waits
	w.Add(why, d)
	for i := 0; i < len(more); i += 2 {
		w.Add(more[i].(flow.Reason), more[i+1].(time.Duration))
	}
	return w
}

// refused is a request that was turned away for the length of the wait.
func refused() *event.Record {
	return &event.Record{
		ID: "req_8", Key: flow.Key{Class: "analysis", Tenant: "acme", User: "bob"}, Model: "gpt", Route: "*", Outcome: flow.OutcomeRefused,
		Cause: "too_long", Detail: "place 31, about 1m35s", Reason: flow.ReasonTokens, Status: 503, Arrived: noon, Total: time.Millisecond,
		Hold: 30 * s, Expected: 95 * s, RetryAfter: 50 * s,
	}
}

func TestTextOfStories(t *testing.T) {
	live := &Live{
		ID: "req_9", Key: flow.Key{Class: "chat", Tenant: "acme", User: "ann"}, Model: "gpt", Arrived: noon, Position: 3,
		EtaP50: 4 * s, EtaP90: 9 * s, Reason: flow.ReasonTurn, Waits: waits(flow.ReasonSeats, 3*s, flow.ReasonRate, 2*s),
	}
	for name, story := range map[string]*Story{
		"fallen":  Ended(fallen()),
		"refused": Ended(refused(), nil),
		"waiting": Underway(noon.Add(5*s), live, nil),
	} {
		t.Run(name, func(t *testing.T) { testkit.Golden(t, name, []byte(story.Text())) })
	}
}

// A program far away prints what the gateway would.
func TestStorySurvivesJSON(t *testing.T) {
	want := Ended(fallen())
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Story
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, &got); diff != "" {
		t.Errorf("story (-want +got):\n%s", diff)
	}
	if got.Text() != want.Text() {
		t.Error("its text is another one")
	}
}

func TestI1EverythingHasWordsOfItsOwn(t *testing.T) {
	said := map[string]string{}
	own := func(what, words string) {
		t.Helper()
		if other, taken := said[words]; words == "" || taken {
			t.Errorf("%s has no words of its own: %q, as %s", what, words, other)
		}
		said[words] = what
	}
	for _, o := range flow.Outcomes() {
		own(o.String(), outcomeWords[o.String()])
	}
	for _, k := range llm.Kinds() {
		own(k.String(), kindWords[k.String()])
	}
	for _, r := range flow.Reasons() {
		own(string(r), wants[r])
	}
	for cause, words := range causeWords {
		own(cause, words)
	}
	if got := (teller{r: &event.Record{Cause: "new_cause", Detail: "7."}}).why(); len(got) == 0 || got[0] != "It was turned away: new_cause: 7." {
		t.Errorf("an unknown cause is told as %q", got)
	}
	if got := wantOf("fog"); got != "fog" {
		t.Errorf("an unknown reason is told as %q", got)
	}
}

// draw makes up a record and attempts that could belong together.
func draw(t *rapid.T) (*event.Record, []event.Attempt) {
	var causes []string
	for c := range causeWords {
		causes = append(causes, c)
	}
	slices.Sort(causes)
	span := func(name string) time.Duration {
		return time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, name))
	}
	r := &event.Record{
		ID: "req_1", Key: flow.Key{Class: "chat", Tenant: "t", User: rapid.String().Draw(t, "user")}, Model: rapid.String().Draw(t, "model"), Arrived: noon,
		Outcome: rapid.SampledFrom(flow.Outcomes()).Draw(t, "outcome"), Reason: rapid.SampledFrom(flow.Reasons()).Draw(t, "reason"),
		Cause: rapid.SampledFrom(append(causes, "")).Draw(t, "cause"), Total: span("total"), Queued: span("queued"), FirstByte: span("first"),
		Quoted: rapid.Bool().Draw(t, "quoted"), EtaP90: span("eta"), Attempts: rapid.IntRange(0, 3).Draw(t, "attempts"),
	}
	if rapid.Bool().Draw(t, "known") {
		part := rapid.Int64Range(0, int64(r.Queued)).Draw(t, "part")
		r.Waits.Add(r.Reason, time.Duration(part))
		r.Waits.Add(rapid.SampledFrom(flow.Reasons()).Draw(t, "other"), r.Queued-time.Duration(part))
	}
	var tries []event.Attempt
	start := noon
	for n := range rapid.IntRange(0, r.Attempts).Draw(t, "kept") {
		a := event.Attempt{
			Number: n + 1, Upstream: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "upstream"), Kind: rapid.SampledFrom(llm.Kinds()).Draw(t, "kind"),
			Queued: span("wait"), Total: span("ran"), FirstByte: span("byte"), Reason: rapid.SampledFrom(flow.Reasons()).Draw(t, "for"),
		}
		a.Started = start.Add(a.Queued)
		start = a.Started.Add(a.Total)
		tries = append(tries, a)
	}
	return r, tries
}

func TestI2TimelineIsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, tries := draw(t)
		line := Ended(r, tries).Timeline
		if first, last := line[0], line[len(line)-1]; first.What != Arrived || first.At != 0 || last.What != Closed || last.At != ms(r.Total) {
			t.Fatalf("from %+v to %+v", first, last)
		}
		for i := range line[1:] {
			if line[i].At > line[i+1].At {
				t.Fatalf("%+v comes before %+v", line[i], line[i+1])
			}
		}
	})
}

var figure = regexp.MustCompile(`\d[\d.]*( (µs|ms|s|min))?`)

// What the sentences quote is what the record says.
func TestI3SentencesQuoteTheRecord(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, tries := draw(t)
		r.Key.User, r.Model = "", ""
		known := map[string]bool{"9": true, "10": true, fmt.Sprint(r.Attempts): true, fmt.Sprint(r.Attempts - len(tries)): true, "0": true}
		for _, d := range []time.Duration{r.Total, r.Queued, r.EtaP50, r.EtaP90, r.Hold, r.Expected, r.RetryAfter} {
			known[span(d)] = true
		}
		for _, d := range r.Waits {
			known[span(d.Truncate(time.Microsecond))] = true
		}
		for _, a := range tries {
			known[fmt.Sprint(a.Number)] = true
		}
		story := Ended(r, tries)
		for _, text := range slices.Concat([]string{story.Summary}, story.Why, story.Help) {
			for _, f := range figure.FindAllString(text, -1) {
				if f = strings.TrimSuffix(f, "."); !known[f] {
					t.Fatalf("%q quotes %q", text, f)
				}
			}
		}
		sum := 0.0
		for i, share := range story.Wait.By {
			if sum += share.Time; i > 0 && share.Time > story.Wait.By[i-1].Time {
				t.Fatalf("the longest is not first: %v", story.Wait.By)
			}
		}
		if r.Waits.Total() > 0 && math.Abs(sum-story.Wait.Total) > 0.01 {
			t.Fatalf("%v ms of a wait of %v ms are told: %v", sum, story.Wait.Total, story.Wait.By)
		}
		if (story.Wait.Held != nil) != (r.Quoted && (r.Attempts > 0 || r.Outcome == flow.OutcomeHoldExpired)) || story.Wait.Held != nil && *story.Wait.Held != r.EtaHeld() {
			t.Fatalf("held %v of %+v", story.Wait.Held, r)
		}
	})
}

func TestI4TextIsInert(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, tries := draw(t)
		r.Model += "\x1b[2J\r\n\u202e\u009b"
		line := LineOf(r)
		line.ID = "\x1b]0;x\a"
		for _, text := range []string{Ended(r, tries).Text(), Table([]Line{line})} {
			for _, c := range strings.ReplaceAll(text, "\n", "") {
				if unicode.IsControl(c) || c == '\u202e' {
					t.Fatalf("%q holds %q", text, c)
				}
			}
		}
		if n := strings.Count(Table([]Line{line, line}), "\n"); n != 3 {
			t.Fatalf("two requests take %d lines", n)
		}
	})
}

// What would have helped fits what went wrong.
func TestHelp(t *testing.T) {
	chat := flow.Key{Class: "chat"}
	for name, c := range map[string]struct {
		record event.Record
		tries  []event.Attempt
		want   string
	}{
		"too long":    {*refused(), nil, `Prefer: respond-async.*\n.*tokens`},
		"too large":   {event.Record{Cause: "too_large"}, nil, `shorter prompt`},
		"queue full":  {event.Record{Cause: "queue_full"}, nil, `limits\.queue`},
		"user":        {event.Record{Cause: "flow_full"}, nil, `queue_per_user`},
		"no upstream": {event.Record{Cause: "no_upstream"}, nil, `routes\.upstreams`},
		"hard limit":  {event.Record{Cause: "hard_limit", Key: chat}, nil, `classes\.chat\.hard`},
		"long wait":   {event.Record{Queued: 5 * s, Reason: flow.ReasonTokens, Upstream: "main", Key: chat}, nil, `upstreams\.main\.quota\.tokens`},
		"class rate":  {event.Record{Queued: 5 * s, Reason: flow.ReasonRate, Key: chat}, nil, `classes\.chat\.rate`},
		"short wait":  {event.Record{Queued: s / 10, Reason: flow.ReasonTokens}, nil, `^$`},
		"throttled":   {event.Record{}, []event.Attempt{{Kind: llm.KindThrottle, Upstream: "main"}, {Kind: llm.KindThrottle, Upstream: "main"}}, `^A quota as .*main.*account\.$`},
		"wasteful": {
			event.Record{Queued: 5 * s, Attempts: 1, Reason: flow.ReasonTokens, Estimated: llm.Size{Output: 900}, Used: llm.Usage{Output: 10}},
			nil, `900 tokens of answer were reserved and 10 used`,
		},
		"no tokens were scarce": {
			event.Record{Queued: 5 * s, Attempts: 1, Reason: flow.ReasonRequests, Upstream: "main", Estimated: llm.Size{Output: 900}, Used: llm.Usage{Output: 10}},
			nil, `^More quota [^\n]*$`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(Ended(&c.record, c.tries).Help, "\n")
			if !regexp.MustCompile(c.want).MatchString(got) {
				t.Errorf("help is %q, want %s", got, c.want)
			}
		})
	}
}

// TestHeldInVain: whoever was held until the end is told what it all was for, and that the
// rest of the wait would have come on top.
func TestHeldInVain(t *testing.T) {
	r := &event.Record{
		Outcome: flow.OutcomeHoldExpired, Cause: "hold", Reason: flow.ReasonTurn, Queued: 8 * s, Total: 8 * s, Hold: 8 * s, Expected: 2 * s,
		Waits: waits(flow.ReasonRequests, 7*s, flow.ReasonTurn, s),
	}
	text := Ended(r, nil).Text()
	for _, want := range []string{"mostly for the upstream's requests per time", "waited up to 2.0 s more.", "waits longer (10 s, 9", "More quota"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
}

func TestLive(t *testing.T) {
	l := &Live{ID: "req_9", Key: flow.Key{Class: "chat"}, Arrived: noon, Running: true}
	_, tries := fallen()
	for _, c := range []struct {
		live *Live
		want string
	}{
		{l, Running},
		{&Live{ID: "req_9", Arrived: noon, Position: 1, Reason: flow.ReasonSeats}, Waiting},
		{&Live{ID: "req_9", Arrived: noon, Position: 1, Unknown: true, Reason: flow.ReasonBreaker}, Waiting},
		{&Live{ID: "req_9", Arrived: noon}, Waiting},
	} {
		got := Underway(noon.Add(s), c.live, tries[:1])
		if got.State != c.want || got.Outcome != "" || got.Summary == "" || len(got.Attempts) != 1 || len(got.Why) != 1 {
			t.Errorf("%+v", got)
		}
		if strings.Contains(got.Summary, "nobody knows") != c.live.Unknown {
			t.Errorf("%q", got.Summary)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-s: "0 s", 500 * time.Microsecond: "500 µs", 90 * s: "90 s", 119 * time.Minute: "119 min", 150 * time.Minute: "2.5 h",
		30*time.Hour + 52*time.Minute: "31 h",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is told as %q, want %q", d, got, want)
		}
	}
}

// TestGuideTellsEveryReason: what a program finds in the JSON stands in the guide.
func TestGuideTellsEveryReason(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide/explain.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range flow.Reasons() {
		if !regexp.MustCompile("(?m)^\\|[^|]*`" + string(r) + "`").Match(guide) {
			t.Errorf("docs/guide/explain.md does not tell what %q means", r)
		}
	}
}
