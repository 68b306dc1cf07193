package load

import (
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Classes and samples beyond these bounds are put under one name or dropped:
// they come from the target.
const (
	maxClasses = 32
	maxLabels  = 64
	otherClass = "other"
)

// book counts what happened at one target.
type book struct {
	mu       sync.Mutex
	from     time.Time // requests meant to start earlier are warm-up
	key      string    // never to appear in a sample
	until    int       // answers each user should have; 0 for no matter
	greedy   bool      // user 0 is told apart
	lacking  int       // users with fewer than until answers
	onEnough func()    // called once when lacking becomes 0
	inFlight int
	behind   time.Duration // the largest delay between an intended start and the sending
	count    counts
	errors   map[string]int64
	samples  map[string]string
	users    []UserResult
	classes  map[string]*hdrhistogram.Histogram
	latency  *hdrhistogram.Histogram
	first    *hdrhistogram.Histogram
	wait     *hdrhistogram.Histogram
	others   *hdrhistogram.Histogram
	hog      *hdrhistogram.Histogram
	recent   *hdrhistogram.Histogram // since the last snapshot, warm-up included
	shown    counts                  // at the last snapshot
}

// counts are the buckets of I1 and what was counted beside them.
type counts struct {
	started, warmUp, unsent                                       int64
	answered, failed, canceled, disconnected, stalled, unfinished int64
	failedBehaved                                                 int64 // errors of requests that were not drawn to misbehave
	recent                                                        int64 // answered, warm-up included
	streams, cut, comments                                        int64
	prompt, completion, cost, estimated                           int64
	told, attempts                                                int64 // answers that told their attempts; the attempts of all that told
}

func newBook(o *Options, from time.Time, onEnough func()) *book {
	b := &book{
		from: from, key: o.Key, until: o.UntilAnswers, onEnough: onEnough, lacking: o.Users,
		greedy:  o.Trace == nil && (o.GreedyLoops > 0 || o.GreedyFactor > 1),
		errors:  map[string]int64{},
		samples: map[string]string{},
		users:   make([]UserResult, o.Users),
		classes: map[string]*hdrhistogram.Histogram{},
		latency: histogram(), first: histogram(), wait: histogram(), others: histogram(), hog: histogram(), recent: histogram(),
	}
	for i := range b.users {
		b.users[i].User = userName(i)
	}
	return b
}

// histogram holds durations in microseconds up to two hours.
func histogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(2*time.Hour/time.Microsecond), 3)
}

func observe(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(d.Microseconds(), 0), h.HighestTrackableValue())) // within its range: it cannot fail
}

// begin counts a request that is about to be sent.
func (b *book) begin(intended time.Time) {
	behind := time.Since(intended)
	b.mu.Lock()
	defer b.mu.Unlock()
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
	if o.bucket == answered {
		b.count.recent++
		observe(b.recent, o.end.Sub(o.intended))
	}
	if o.intended.Before(b.from) {
		b.count.warmUp++
		return
	}
	b.countBucket(o)
	b.count.comments += o.tally.comments
	b.count.attempts += int64(max(o.attempts, 0))
	if o.wait >= 0 {
		observe(b.wait, o.wait)
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
	}
}

func (b *book) countAnswer(o *outcome) {
	c := &b.count
	took := o.end.Sub(o.intended)
	observe(b.latency, took)
	observe(b.first, o.first.Sub(o.intended))
	switch {
	case b.greedy && o.user == 0:
		observe(b.hog, took)
	case b.greedy:
		observe(b.others, took)
	}
	if o.class != "" {
		observe(b.classHistogram(o.class), took)
	}
	if o.stream {
		c.streams++
	}
	if o.attempts > 0 {
		c.told++
	}
	c.prompt += o.tally.prompt
	c.completion += o.tally.completion
	c.cost += o.cost
	if !o.tally.hasUsage {
		c.estimated++
	}
	b.countUser(o)
}

func (b *book) classHistogram(class string) *hdrhistogram.Histogram {
	if b.classes[class] == nil && len(b.classes) >= maxClasses {
		class = otherClass
	}
	if b.classes[class] == nil {
		b.classes[class] = histogram()
	}
	return b.classes[class]
}

func (b *book) countUser(o *outcome) {
	u := &b.users[o.user]
	u.Answers++
	u.Cost += o.cost
	if b.until > 0 && u.Answers == int64(b.until) {
		if b.lacking--; b.lacking == 0 {
			b.onEnough()
		}
	}
}

func (b *book) countError(o *outcome) {
	b.count.failed++
	b.users[o.user].Errors++
	if o.drawn == behave {
		b.count.failedBehaved++
	}
	if o.label == labelCut {
		b.count.cut++
	}
	label := o.label
	if _, known := b.errors[label]; !known && len(b.errors) >= maxLabels {
		label = labelOther
	}
	b.errors[label]++
	if _, known := b.samples[label]; !known && o.tally.sample != "" {
		b.samples[label] = b.redact(o.tally.sample)
	}
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
	WarmUp   bool          // the warm-up is not over
	InFlight int
	Answered int64            // since the warm-up
	Errors   map[string]int64 // by status or kind, since the warm-up
	P50, P95 time.Duration    // of the answers since the last snapshot
	Rate     float64          // answers per second since the last snapshot
}

func (b *book) snapshot(since time.Duration) Snapshot {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := Snapshot{InFlight: b.inFlight, Answered: b.count.answered, Errors: maps.Clone(b.errors), WarmUp: time.Now().Before(b.from)}
	s.P50 = time.Duration(b.recent.ValueAtQuantile(50)) * time.Microsecond
	s.P95 = time.Duration(b.recent.ValueAtQuantile(95)) * time.Microsecond
	s.Rate = float64(b.count.recent-b.shown.recent) / since.Seconds()
	b.shown = b.count
	b.recent.Reset()
	return s
}
