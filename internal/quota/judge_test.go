package quota

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The tests run in 2030, so that nothing depends on the real clock, and not at
// a whole minute.
var start = time.Date(2030, 5, 17, 9, 30, 12, 345678901, time.UTC)

// judge is a provider's window, kept exactly and in the plainest way. count
// returns false, and charges nothing, where n at time t is over the limit.
type judge interface {
	count(t time.Time, n int64) bool
	holds(t time.Time) int64 // what remains
	spend(t time.Time, n int64)
}

// slidingJudge allows most in every half-open span.
type slidingJudge struct {
	span    time.Duration
	most    int64
	entries []entry
	sum     int64
}

type entry struct {
	at time.Time
	n  int64
}

func (j *slidingJudge) holds(t time.Time) int64 {
	for len(j.entries) > 0 && t.Sub(j.entries[0].at) >= j.span {
		j.sum -= j.entries[0].n
		j.entries = j.entries[1:]
	}
	return j.most - j.sum
}

func (j *slidingJudge) spend(t time.Time, n int64) {
	j.entries = append(j.entries, entry{t, n})
	j.sum += n
}

func (j *slidingJudge) count(t time.Time, n int64) bool { return countIf(j, t, n) }

// bucketJudge is a token bucket, in units of 1/span.
type bucketJudge struct {
	size, rate, span int64
	level            int64
	at               time.Time
}

func newBucketJudge(size, rate int64, span time.Duration) *bucketJudge {
	return &bucketJudge{size: size, rate: rate, span: int64(span), level: size * int64(span), at: start.Add(-time.Hour)}
}

func (j *bucketJudge) holds(t time.Time) int64 {
	full := j.size * j.span
	if dt := int64(t.Sub(j.at)); dt > (full-j.level)/j.rate {
		j.level = full
	} else {
		j.level += dt * j.rate
	}
	j.at = t
	if j.level < 0 {
		return (j.level - j.span + 1) / j.span
	}
	return j.level / j.span
}

func (j *bucketJudge) spend(_ time.Time, n int64)      { j.level -= n * j.span }
func (j *bucketJudge) count(t time.Time, n int64) bool { return countIf(j, t, n) }

// full is when the bucket is full again.
func (j *bucketJudge) reset() time.Duration {
	return time.Duration((j.size*j.span - j.level) / j.rate)
}

// pacedJudge is a sliding minute and a bucket; a request must fit both.
type pacedJudge struct {
	minute *slidingJudge
	bucket *bucketJudge
}

func newPacedJudge(most, burst int64) *pacedJudge {
	return &pacedJudge{&slidingJudge{span: time.Minute, most: most}, newBucketJudge(burst, most, time.Minute)}
}

func (j *pacedJudge) holds(t time.Time) int64 { return min(j.minute.holds(t), j.bucket.holds(t)) }

func (j *pacedJudge) spend(t time.Time, n int64) {
	j.minute.spend(t, n)
	j.bucket.spend(t, n)
}

func (j *pacedJudge) count(t time.Time, n int64) bool { return countIf(j, t, n) }

// reset is when nothing counts any more.
func (j *pacedJudge) reset(t time.Time) time.Duration {
	if j.minute.holds(t); len(j.minute.entries) == 0 {
		return 0
	}
	last := j.minute.entries[len(j.minute.entries)-1]
	return last.at.Add(time.Minute).Sub(t)
}

// fixedJudge allows most in every window that begins at a multiple of span
// after offset.
type fixedJudge struct {
	span, offset time.Duration
	most         int64
	window, sum  int64
}

func (j *fixedJudge) holds(t time.Time) int64 {
	if w := (t.UnixNano() - int64(j.offset)) / int64(j.span); w != j.window {
		j.window, j.sum = w, 0
	}
	return j.most - j.sum
}

func (j *fixedJudge) spend(_ time.Time, n int64)      { j.sum += n }
func (j *fixedJudge) count(t time.Time, n int64) bool { return countIf(j, t, n) }

func countIf(j judge, t time.Time, n int64) bool {
	if j.holds(t) < n {
		return false
	}
	j.spend(t, n)
	return true
}

// sent is what a driver sent: reserved at one time, counted at another.
type sent struct {
	at, counted time.Time
	n           int64
}

// greedy sends requests of n as fast as q allows for five minutes from start,
// each counted by the provider after a random delay of at most late.
func greedy(t *testing.T, q *Quota, n int64, late time.Duration, seed uint64) []sent {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 1))
	var all []sent
	q.Saturate(start, true)
	now, end := start, start.Add(5*time.Minute)
	for now.Before(end) {
		if r, ok := q.Reserve(now, tokens(n)); ok {
			all = append(all, sent{now, now.Add(time.Duration(rnd.Int64N(int64(late) + 1))), n})
			q.Settle(now, r, tokens(n))
			continue
		}
		next, why := q.Next(now, tokens(n))
		if !next.After(now) {
			t.Fatalf("at %v: Reserve fails but Next says %v (%s)", now.Sub(start), next, why)
		}
		now = next
	}
	slices.SortStableFunc(all, func(a, b sent) int { return a.counted.Compare(b.counted) })
	return all
}

// verdict lets j judge what was sent and returns how many were over the limit,
// and the share of limit per minute used in [from, to) after start.
func verdict(j judge, all []sent, limit int64, from, to time.Duration) (over int, used float64) {
	sum := int64(0)
	for _, s := range all {
		if !j.count(s.counted, s.n) {
			over++
		} else if at := s.counted.Sub(start); at >= from && at < to {
			sum += s.n
		}
	}
	return over, float64(sum) / float64(limit) / (to - from).Minutes()
}

func mustNew(t testing.TB, now time.Time, o Options) *Quota {
	t.Helper()
	q, err := New(now, o)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// TestI1NeverOverAtTheJudge: for each kind, against every judge that kind
// promises to satisfy, with any delay up to skew.
func TestI1NeverOverAtTheJudge(t *testing.T) {
	const limit = 1_800_000
	cases := []struct {
		name  string
		limit Limit
		late  time.Duration
		judge func() judge
	}{
		{"paced/sliding", Limit{Max: limit}, time.Second, func() judge { return &slidingJudge{span: time.Minute, most: limit} }},
		{"paced/fixed", Limit{Max: limit}, time.Second, func() judge { return &fixedJudge{span: time.Minute, most: limit} }},
		{"paced/bucket 60 s", Limit{Max: limit}, time.Second, func() judge { return newBucketJudge(limit, limit, time.Minute) }},
		{"paced/bucket 6 s", Limit{Max: limit}, time.Second, func() judge { return newBucketJudge(limit/10, limit, time.Minute) }},
		{"paced 6 s/bucket 6 s", Limit{Max: limit, Burst: limit / 10}, time.Second, func() judge { return newBucketJudge(limit/10, limit, time.Minute) }},
		{"sliding/sliding", Limit{Max: limit, Kind: Sliding}, time.Second, func() judge { return &slidingJudge{span: time.Minute, most: limit} }},
		{"sliding/fixed", Limit{Max: limit, Kind: Sliding}, time.Second, func() judge { return &fixedJudge{span: time.Minute, offset: 7 * time.Second, most: limit} }},
		{"bucket 60 s", Limit{Max: limit, Kind: Bucket}, time.Second, func() judge { return newBucketJudge(limit, limit, time.Minute) }},
		{"bucket 6 s", Limit{Max: limit, Kind: Bucket, Burst: limit / 10}, time.Second, func() judge { return newBucketJudge(limit/10, limit, time.Minute) }},
		{"bucket 1 s", Limit{Max: limit, Kind: Bucket, Burst: limit / 60}, time.Second / 6, func() judge { return newBucketJudge(limit/60, limit, time.Minute) }},
		{"fixed", Limit{Max: limit, Kind: Fixed}, time.Second, func() judge { return &fixedJudge{span: time.Minute, most: limit} }},
		{"slice 10 s", Limit{Max: limit * 10, Kind: Slice, Slice: 10 * time.Second}, 10 * time.Second / 60, func() judge {
			return &fixedJudge{span: 10 * time.Second, offset: 3333 * time.Millisecond, most: limit * 10 / 6}
		}},
		{"slice 1 s", Limit{Max: limit * 60, Kind: Slice}, 20 * time.Millisecond, func() judge {
			return &fixedJudge{span: time.Second, offset: 333 * time.Millisecond, most: limit}
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(3) {
				c.limit.Dim = Total
				q := mustNew(t, start, Options{Limits: []Limit{c.limit}})
				all := greedy(t, q, 6000, c.late, seed)
				over, used := verdict(c.judge(), all, c.limit.Max, 61*time.Second, 5*time.Minute)
				if c.limit.Kind == Fixed { // whole windows, where each is spent at once
					_, used = verdict(c.judge(), all, c.limit.Max, 60*time.Second, 5*time.Minute)
				}
				t.Logf("used %.4f", used)
				if over > 0 {
					t.Errorf("%d of %d requests over the limit", over, len(all))
				}
				if used < 0.97 {
					t.Errorf("used %.4f of the limit, want >= 0.97", used)
				}
			}
		})
	}
}
