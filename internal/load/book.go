package load

import (
	"cmp"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/load/gauge"
)

// Classes, labels and samples beyond these bounds are put under one name or dropped:
// they come from the target.
const (
	maxClasses = 32
	maxLabels  = 64
	otherClass = "other"
)

// book counts what happened at one target.
type book struct {
	mu       sync.Mutex
	clock    clock
	from     time.Time // requests meant to start earlier are warm-up
	key      string    // never to appear in a sample
	until    int       // answers each user should have; 0 for no matter
	greedy   bool      // user 0 is told apart
	lacking  int       // users with fewer than until answers
	enough   func()    // ends the load: lacking is 0, or there is a fault
	fault    error     // of the machine
	gateway  bool      // an answer came through one
	inFlight int
	behind   time.Duration // the largest delay between an intended start and the sending
	count    counts
	errors   map[string]int64
	broke    string           // label of the first error
	statuses map[string]int64 // of all that ended with one, errors or not
	samples  map[string]string
	users    []userBook
	classes  map[string]*spread
	paths    map[string]*gauge.Histogram // latency by path; nil without a mix
	parts    []Part
	latency  *gauge.Histogram
	first    *gauge.Histogram
	wait     *gauge.Histogram
	others   *gauge.Histogram
	hog      *gauge.Histogram
	recent   *gauge.Histogram // since the last snapshot, warm-up included
	waiting  *gauge.Histogram // likewise, the waits told
	shown    counts           // at the last snapshot
	series   *gauge.Series
}

// userBook is what one user got.
type userBook struct {
	UserResult
	latency, wait gauge.Sketch
}

// spread is what one class got.
type spread struct{ latency, wait *gauge.Histogram }

// counts are the buckets of I1 and what was counted beside them.
type counts struct {
	started, warmUp, unsent                                       int64
	answered, failed, canceled, disconnected, stalled, unfinished int64
	failedBehaved                                                 int64 // errors of requests that were not drawn to misbehave
	recent, recentErrors                                          int64 // answered and failed, warm-up included
	streams, cut, comments, tasks                                 int64
	prompt, completion, cost, estimated                           int64
	told, attempts                                                int64 // answers that told their attempts; the attempts of all that told
}

func newBook(o *Options, c clock, enough func()) *book {
	b := &book{
		clock: c, from: c.begun.Add(o.WarmUp), key: o.Key, until: o.UntilAnswers, enough: enough, lacking: o.Users,
		greedy:   !o.open() && (o.GreedyLoops > 0 || o.GreedyFactor > 1),
		errors:   map[string]int64{},
		statuses: map[string]int64{},
		samples:  map[string]string{},
		users:    make([]userBook, o.Users),
		classes:  map[string]*spread{},
		paths:    map[string]*gauge.Histogram{},
		latency:  gauge.NewHistogram(), first: gauge.NewHistogram(), wait: gauge.NewHistogram(),
		others: gauge.NewHistogram(), hog: gauge.NewHistogram(), recent: gauge.NewHistogram(), waiting: gauge.NewHistogram(),
		series: gauge.NewSeries(c.begun, o.interval()),
	}
	if len(o.Mix) > 0 {
		b.parts = o.mix()
	}
	for i := range b.users {
		b.users[i].User = userName(i)
	}
	return b
}

// begin counts a request that is about to be sent.
func (b *book) begin(intended time.Time) {
	now := b.clock.now()
	behind := now.Sub(intended)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.series.Start(now)
	b.count.started++
	b.inFlight++
	b.behind = max(b.behind, behind)
}

// skip counts an arrival that is not sent because too many are in flight, and
// reports whether it must be.
func (b *book) skip(most int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inFlight < most {
		return false
	}
	b.count.unsent++
	return true
}

// end counts how a request ended.
func (b *book) end(o *outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight--
	took := o.end.Sub(o.intended)
	b.series.End(b.clock.now(), gauge.Ended{
		Answered: o.bucket == answered, Error: o.bucket == failed, Latency: took, Wait: o.wait, Tokens: o.cost,
	})
	switch o.bucket {
	case answered:
		b.count.recent++
		b.recent.Observe(took)
	case failed:
		b.count.recentErrors++
	case canceled, disconnected, stalled, unfinished, unsent:
	}
	if o.bucket == unsent { // the machine can no more: what follows would measure that
		b.count.started--
		b.count.unsent++
		if b.fault == nil {
			b.fault = filesError(b.inFlight)
			b.enough()
		}
		return
	}
	b.gateway = b.gateway || o.passed
	if o.wait >= 0 {
		b.waiting.Observe(o.wait)
	}
	if o.intended.Before(b.from) {
		b.count.warmUp++
		return
	}
	b.countBucket(o)
	b.count.comments += o.tally.Comments
	b.count.attempts += int64(max(o.attempts, 0))
	b.countWait(o)
}

// countWait counts what was told of the queue, however the request ended.
func (b *book) countWait(o *outcome) {
	if o.wait < 0 {
		return
	}
	b.wait.Observe(o.wait)
	b.users[o.user].wait.Observe(o.wait)
	if o.class != "" {
		b.class(o.class).wait.Observe(o.wait)
	}
}

func (b *book) countBucket(o *outcome) {
	b.users[o.user].Asked++
	switch o.bucket {
	case answered:
		b.count.answered++
		b.countAnswer(o)
	case failed:
		b.countError(o)
	case canceled:
		b.count.canceled++
	case disconnected:
		b.count.disconnected++
	case stalled:
		b.count.stalled++
	case unfinished:
		b.count.unfinished++
	case unsent: // counted by skip or before, and never here
	}
	if o.label != "" {
		increase(b.statuses, o.label)
	}
}

func (b *book) countAnswer(o *outcome) {
	c := &b.count
	took := o.end.Sub(o.intended)
	b.latency.Observe(took)
	b.first.Observe(o.first.Sub(o.intended))
	switch {
	case b.greedy && o.user == 0:
		b.hog.Observe(took)
	case b.greedy:
		b.others.Observe(took)
	}
	if o.class != "" {
		b.class(o.class).latency.Observe(took)
	}
	if b.parts != nil {
		path := b.parts[o.part].Path
		if b.paths[path] == nil {
			b.paths[path] = gauge.NewHistogram()
		}
		b.paths[path].Observe(took)
	}
	b.users[o.user].latency.Observe(took)
	if o.task {
		c.tasks++
	}
	if o.stream {
		c.streams++
	}
	if o.attempts > 0 {
		c.told++
	}
	c.prompt += o.tally.Prompt
	c.completion += o.tally.Completion
	c.cost += o.cost
	if !o.tally.HasUsage {
		c.estimated++
	}
	b.countUser(o)
}

func (b *book) class(name string) *spread {
	if b.classes[name] == nil && len(b.classes) >= maxClasses {
		name = otherClass
	}
	if b.classes[name] == nil {
		b.classes[name] = &spread{gauge.NewHistogram(), gauge.NewHistogram()}
	}
	return b.classes[name]
}

func (b *book) countUser(o *outcome) {
	u := &b.users[o.user]
	u.Answers++
	u.Cost += o.cost
	if b.until > 0 && u.Answers == int64(b.until) {
		if b.lacking--; b.lacking == 0 {
			b.enough()
		}
	}
}

func (b *book) countError(o *outcome) {
	b.count.failed++
	b.users[o.user].Errors++
	if o.mischief == behave {
		b.count.failedBehaved++
	}
	if o.label == labelCut {
		b.count.cut++
	}
	label := increase(b.errors, o.label)
	b.broke = cmp.Or(b.broke, label)
	if _, known := b.samples[label]; !known && o.tally.Sample != "" {
		b.samples[label] = b.redact(o.tally.Sample)
	}
}

// passed reports whether an answer came through a gateway.
func (b *book) passed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.gateway
}

// increase counts a label that the target may have invented, and returns the one
// it was counted under.
func increase(counts map[string]int64, label string) string {
	if _, known := counts[label]; !known && len(counts) >= maxLabels {
		label = labelOther
	}
	counts[label]++
	return label
}

// redact keeps the key out of a sample. A sample is a prefix of what the target
// said, so the key may be cut at its end.
func (b *book) redact(sample string) string {
	if b.key == "" {
		return sample
	}
	sample = strings.ReplaceAll(sample, b.key, "***")
	for n := len(b.key) - 1; n >= 4; n-- {
		if s, found := strings.CutSuffix(sample, b.key[:n]); found {
			return s + "***"
		}
	}
	return sample
}

// Snapshot is how a run is getting on.
type Snapshot struct {
	Target   string
	Elapsed  time.Duration // since the target is asked, warm-up included
	Of       time.Duration // how long it is to be asked, warm-up included
	WarmUp   bool          // the warm-up is not over
	InFlight int
	Answered int64            // since the warm-up
	Errors   map[string]int64 // by status or kind, since the warm-up
	P50, P95 time.Duration    // of the answers since the last snapshot
	Wait     time.Duration    // p95 of the waits told since the last snapshot
	Rate     float64          // answers per second since the last snapshot
	Failing  float64          // errors per second since the last snapshot

	Started                int64 // all from here on, warm-up included
	AllAnswered, AllErrors int64
	Statuses               map[string]int64 // since the warm-up, by status or kind of error
	Latency, Waits         Summary          // since the warm-up
	Last                   gauge.Point      // of the report's points, the last one that is over
}

func (b *book) snapshot(since time.Duration) Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Snapshot{InFlight: b.inFlight, Answered: b.count.answered, Errors: maps.Clone(b.errors), WarmUp: b.clock.now().Before(b.from)}
	s.P50, s.P95, s.Wait = b.recent.Quantile(50), b.recent.Quantile(95), b.waiting.Quantile(95)
	s.Rate = float64(b.count.recent-b.shown.recent) / since.Seconds()
	s.Failing = float64(b.count.recentErrors-b.shown.recentErrors) / since.Seconds()
	s.Started, s.AllAnswered, s.AllErrors = b.count.started, b.count.recent, b.count.recentErrors
	s.Statuses, s.Latency, s.Waits, s.Last = maps.Clone(b.statuses), b.latency.Summary(), b.wait.Summary(), b.series.Last(b.clock.now())
	b.shown = b.count
	b.recent.Reset()
	b.waiting.Reset()
	return s
}
