package quota

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// world is a small gateway in virtual time: a FIFO queue over one Quota, in
// front of judges that count requests and tokens when a call arrives and tell
// in a header what remains.
type world struct {
	q        *Quota
	requests judge
	tokens   judge
	headers  bool
	delay    time.Duration // of the network, at most
	rnd      *rand.Rand

	now    time.Time
	events eventHeap
	seq    int
	queue  []func() // what to do when the request at the place is answered
	timer  time.Time

	sent, throttled int
	throttledAt     []time.Duration
	served          int64
}

type timed struct {
	at  time.Time
	seq int
	do  func()
}

type eventHeap []timed

func (h eventHeap) Len() int { return len(h) }
func (h eventHeap) Less(i, j int) bool {
	if h[i].at.Equal(h[j].at) {
		return h[i].seq < h[j].seq
	}
	return h[i].at.Before(h[j].at)
}
func (h eventHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *eventHeap) Push(x any)   { *h = append(*h, x.(timed)) }
func (h *eventHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (w *world) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.events, timed{w.now.Add(d), w.seq, do})
}

func (w *world) run(until time.Time) {
	for len(w.events) > 0 && !w.events[0].at.After(until) {
		e := heap.Pop(&w.events).(timed)
		w.now = e.at
		e.do()
		w.dispatch()
	}
}

const requestTokens = 6000

func (w *world) dispatch() {
	need := Amount{Requests: 1, Total: requestTokens}
	for len(w.queue) > 0 {
		r, ok := w.q.Reserve(w.now, need)
		if !ok {
			break
		}
		done := w.queue[0]
		w.queue = w.queue[1:]
		w.sent++
		w.after(time.Duration(w.rnd.Int64N(int64(w.delay))), func() { w.arrive(r, need, done) })
	}
	w.q.Saturate(w.now, len(w.queue) > 0)
	if len(w.queue) == 0 {
		return
	}
	at, _ := w.q.Next(w.now, need)
	if !at.IsZero() && (!w.timer.After(w.now) || at.Before(w.timer)) {
		w.timer = at
		w.after(at.Sub(w.now), func() {})
	}
}

func (w *world) arrive(r Reservation, need Amount, done func()) {
	ok := w.requests.holds(w.now) >= 1 && w.tokens.holds(w.now) >= requestTokens
	if ok {
		w.requests.spend(w.now, 1)
		w.tokens.spend(w.now, requestTokens)
	}
	var hints []Hint
	if w.headers {
		hints = w.header()
	}
	back := time.Duration(w.rnd.Int64N(int64(w.delay)))
	if !ok {
		w.throttled++
		w.throttledAt = append(w.throttledAt, w.now.Sub(start))
		w.after(back, func() {
			w.q.Throttled(w.now, r, 0, false)
			w.q.Observe(w.now, r, hints)
			w.q.Settle(w.now, r, Amount{Requests: 1})
			w.queue = append([]func(){done}, w.queue...)
		})
		return
	}
	w.served += requestTokens
	w.after(back, func() {
		w.q.Answered(w.now, r)
		w.q.Observe(w.now, r, hints)
		w.after(time.Duration(700+w.rnd.IntN(600))*time.Millisecond, func() {
			w.q.Settle(w.now, r, need)
			done()
		})
	})
}

func (w *world) header() []Hint {
	var hints []Hint
	tell := func(dim Dim, limit int64, j judge) {
		h := Hint{Dim: dim, Limit: limit, Remaining: j.holds(w.now)}
		switch j := j.(type) {
		case *bucketJudge:
			h.Reset = j.reset()
		case *pacedJudge:
			h.Reset = j.reset(w.now)
		default:
			return
		}
		hints = append(hints, h)
	}
	tell(Requests, 600, w.requests)
	tell(Total, 1_800_000, w.tokens)
	return hints
}

// user asks, thinks and asks again for ever.
func (w *world) user(think time.Duration) {
	var ask func()
	ask = func() {
		w.queue = append(w.queue, func() {
			w.after(time.Duration(w.rnd.Int64N(2*int64(think))), ask)
		})
	}
	w.after(time.Duration(w.rnd.Int64N(int64(think))), ask)
}

// herd asks n times at once, every so often.
func (w *world) herd(n int, every time.Duration) {
	w.after(every, func() {
		for range n {
			w.queue = append(w.queue, func() {})
		}
		w.herd(n, every)
	})
}

func newWorld(t *testing.T, seconds int64, headers bool, delay time.Duration, seed uint64) *world {
	return &world{
		q: mustNew(t, start, Options{Seats: 15, Limits: []Limit{
			{Dim: Requests, Max: 600}, {Dim: Total, Max: 1_800_000},
		}}),
		requests: newBucketJudge(10*seconds, 600, time.Minute),
		tokens:   newBucketJudge(30_000*seconds, 1_800_000, time.Minute),
		headers:  headers, delay: delay,
		rnd: rand.New(rand.NewPCG(seed, seed)), now: start,
	}
}

// TestLearnedBurst runs ten minutes of each load against buckets of 60, 6 and
// 1 s while the gateway is told only the minute.
func TestLearnedBurst(t *testing.T) {
	loads := map[string]func(*world){
		"10 users": func(w *world) {
			for range 10 {
				w.user(3 * time.Second)
			}
		},
		"40 users": func(w *world) {
			for range 40 {
				w.user(3 * time.Second)
			}
		},
		"200 users": func(w *world) {
			for range 200 {
				w.user(3 * time.Second)
			}
		},
		"herds": func(w *world) { w.herd(60, 40*time.Second) },
	}
	for name, load := range loads {
		for _, seconds := range []int64{60, 6, 1} {
			for _, headers := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/bucket of %d s/headers %v", name, seconds, headers), func(t *testing.T) {
					for seed := range uint64(2) {
						w := newWorld(t, seconds, headers, time.Duration(10+70*seed)*time.Millisecond, seed)
						load(w)
						w.run(start.Add(10 * time.Minute))
						judgeLearning(t, w, headers)
						used := float64(w.served) / 18_000_000
						t.Logf("seed %d: %d sent, used %.4f, throttled at %v", seed, w.sent, used, w.throttledAt)
						if name == "200 users" && headers && used < 0.97 {
							t.Errorf("used %.4f of the limit, want >= 0.97", used)
						}
					}
				})
			}
		}
	}
}

func judgeLearning(t *testing.T, w *world, headers bool) {
	t.Helper()
	var second, minute int
	for _, at := range w.throttledAt {
		if at < time.Second {
			second++
		}
		if at < time.Minute {
			minute++
		}
	}
	if headers && w.throttled > second {
		t.Errorf("%d throttled after the first second, want 0", w.throttled-second)
	}
	if minute > 15+5 {
		t.Errorf("%d throttled in the first minute, want <= seats + 5", minute)
	}
	if w.throttled*100 > w.sent {
		t.Errorf("%d of %d throttled, want <= 1 %%", w.throttled, w.sent)
	}
}

// newPacedWorld is a world whose judges enforce a sliding minute beside a bucket of one
// second; burst says whether the gateway is told of the bucket.
func newPacedWorld(t *testing.T, told, headers bool, seed uint64) *world {
	requests, tokens := Limit{Dim: Requests, Max: 600}, Limit{Dim: Total, Max: 1_800_000}
	if told {
		requests.Burst, tokens.Burst = 10, 30_000
	}
	return &world{
		q:        mustNew(t, start, Options{Seats: 15, Limits: []Limit{requests, tokens}}),
		requests: newPacedJudge(600, 10), tokens: newPacedJudge(1_800_000, 30_000),
		headers: headers, delay: 50 * time.Millisecond,
		rnd: rand.New(rand.NewPCG(seed, seed)), now: start,
	}
}

// TestPacedJudge: a sliding minute beside a bucket of a second, of which the gateway is
// told by configuration or in headers whose reset is that of the minute. Once it is
// known nothing is refused, whether the gateway is saturated or idle between bursts.
func TestPacedJudge(t *testing.T) {
	loads := map[string]func(*world){
		"200 users": func(w *world) {
			for range 200 {
				w.user(3 * time.Second)
			}
		},
		"bursts of 40": func(w *world) { w.herd(40, 30*time.Second) },
		"1 user":       func(w *world) { w.user(3 * time.Second) },
	}
	for name, load := range loads {
		for _, told := range []bool{true, false} {
			for _, headers := range []bool{true, false} {
				if !told && !headers {
					continue
				}
				t.Run(fmt.Sprintf("%s/told %v/headers %v", name, told, headers), func(t *testing.T) {
					for seed := range uint64(5) {
						w := newPacedWorld(t, told, headers, seed)
						load(w)
						w.run(start.Add(11 * time.Minute))
						w.judgePaced(t, told, name == "200 users")
					}
				})
			}
		}
	}
}

func (w *world) judgePaced(t *testing.T, told, saturated bool) {
	t.Helper()
	used := float64(w.served) / 19_800_000
	t.Logf("%d sent, used %.4f, throttled at %v", w.sent, used, w.throttledAt)
	for _, at := range w.throttledAt {
		if told || at > time.Second {
			t.Errorf("throttled at %v", at)
		}
	}
	if saturated && used < 0.97 {
		t.Errorf("used %.4f of the limit, want >= 0.97", used)
	}
}
