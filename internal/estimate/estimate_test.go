package estimate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

var chat = Key{Model: "m", Class: flow.Chat}

// lognormal draws the output lengths of a service with this median and spread.
func lognormal(r *rand.Rand, median, sigma float64) int64 {
	return max(int64(math.Round(median*math.Exp(sigma*r.NormFloat64()))), 1)
}

// covered learns n answers of draw and returns the share of them that had been
// within the prediction made just before.
func covered(e *Estimator, n int, draw func() int64) float64 {
	within := 0
	for range n {
		actual := draw()
		if actual <= e.Predict(chat, llm.Size{}).OutputP90 {
			within++
		}
		e.Learn(chat, llm.Size{}, llm.Usage{Input: 1, Output: actual}, time.Second)
	}
	return float64(within) / float64(n)
}

func TestI1OutputCoverage(t *testing.T) {
	for _, c := range []struct{ median, sigma float64 }{
		{151, 0.86}, // conversations
		{16, 0.85},  // code completion, short and discrete
		{350, 0.3},
		{40, 1.5},
		{3, 0.5},
	} {
		t.Run(fmt.Sprintf("median=%v,sigma=%v", c.median, c.sigma), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			draw := func() int64 { return lognormal(r, c.median, c.sigma) }
			e := New(Options{})
			covered(e, 100, draw)
			// Whole numbers cannot hit 90 % exactly when there are few of them.
			top := 0.93
			if c.median < 20 {
				top = 0.97
			}
			if got := covered(e, 20_000, draw); got < 0.87 || got > top {
				t.Errorf("%.1f %% within the 90th percentile", 100*got)
			}
		})
	}
}

func TestI1MedianIsTheMiddle(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	e := New(Options{})
	within, n := 0, 20_000
	for range n {
		actual := lognormal(r, 151, 0.86)
		if actual <= e.Predict(chat, llm.Size{}).Output {
			within++
		}
		e.Learn(chat, llm.Size{}, llm.Usage{Input: 1, Output: actual}, 0)
	}
	if got := float64(within) / float64(n); got < 0.47 || got > 0.53 {
		t.Errorf("%.1f %% within the median", 100*got)
	}
}

func TestI2AdaptsToStep(t *testing.T) {
	for _, c := range []struct{ before, after float64 }{{150, 600}, {600, 150}, {20, 2000}, {2000, 20}} {
		t.Run(fmt.Sprintf("%v to %v", c.before, c.after), func(t *testing.T) {
			const rounds = 40
			sum := 0.0
			for seed := range uint64(rounds) {
				r := rand.New(rand.NewPCG(seed, 9))
				e := New(Options{})
				covered(e, 500, func() int64 { return lognormal(r, c.before, 0.86) })
				after := func() int64 { return lognormal(r, c.after, 0.86) }
				covered(e, 200, after)
				sum += covered(e, 100, after)
			}
			if got := sum / rounds; got < 0.86 || got > 0.96 {
				t.Errorf("%.1f %% within the 90th percentile after 200 samples", 100*got)
			}
		})
	}
}

func TestConstantIsPredictedExactly(t *testing.T) {
	e := New(Options{})
	size := llm.Size{TextBytes: 4000, Messages: 2}
	for range 100 {
		e.Learn(chat, size, llm.Usage{Input: 900, Output: 256}, 700*time.Millisecond)
	}
	p := e.Predict(chat, size)
	if p.Output != 256 || p.OutputP90 != 256 {
		t.Errorf("output %d, %d; want 256, 256", p.Output, p.OutputP90)
	}
	if p.InputMean < 899 || p.InputMean > 901 || p.Input < 899 || p.Input > 902 {
		t.Errorf("input %d, mean %d; want 900", p.Input, p.InputMean)
	}
	if d := (p.DurationP90 - 700*time.Millisecond).Abs(); d > time.Millisecond {
		t.Errorf("duration %v, want 700ms", p.DurationP90)
	}
}

func TestNoOutputIsPredictedAsNone(t *testing.T) {
	e := New(Options{})
	for range 20 {
		e.Learn(chat, llm.Size{TextBytes: 400}, llm.Usage{Input: 100}, time.Second)
	}
	if p := e.Predict(chat, llm.Size{TextBytes: 400}); p.Output != 0 || p.OutputP90 != 0 {
		t.Errorf("output %d, %d; want none, as of embeddings", p.Output, p.OutputP90)
	}
}

func TestPriors(t *testing.T) {
	size := llm.Size{TextBytes: 3300, Messages: 2, Images: 1}
	got := New(Options{}).Predict(chat, size)
	want := Prediction{Input: 2008, InputMean: 1607, Output: 130, OutputP90: 600, Duration: 3 * time.Second, DurationP90: 15 * time.Second}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	size.MaxOutput = 100
	if got := New(Options{}).Predict(chat, size); got.Output != 100 || got.OutputP90 != 100 {
		t.Errorf("output %d, %d; want both cut to 100", got.Output, got.OutputP90)
	}
}

func TestFallsBackFromKeyToClassToAll(t *testing.T) {
	e := New(Options{})
	teach := func(k Key, output int64) {
		for range 20 {
			e.Learn(k, llm.Size{TextBytes: 1000}, llm.Usage{Input: 200, Output: output}, time.Second)
		}
	}
	teach(Key{Model: "a", Class: flow.Chat}, 100)
	teach(Key{Model: "b", Class: flow.Analysis}, 1000)
	for _, c := range []struct {
		name string
		key  Key
		want int64
	}{
		{"own", Key{Model: "a", Class: flow.Chat}, 100},
		{"class", Key{Model: "new", Class: flow.Chat}, 100},
		{"class without a model", Key{Class: flow.Analysis}, 1000},
		{"all", Key{Model: "new", Class: flow.Health}, 1000},
	} {
		if got := e.Predict(c.key, llm.Size{}).OutputP90; got != c.want {
			t.Errorf("%s: output %d, want %d", c.name, got, c.want)
		}
	}
	if got := e.Predict(Key{Model: "a", Class: flow.Chat, Kind: Dense}, llm.Size{TextBytes: 1300}).Input; got != 1000 {
		t.Errorf("another kind of text: input %d, want the prior of that kind", got)
	}
}

func TestZeroUsageTeachesNothing(t *testing.T) {
	e := New(Options{})
	before := e.Predict(chat, llm.Size{TextBytes: 100})
	for range 20 {
		e.Learn(chat, llm.Size{TextBytes: 100}, llm.Usage{}, time.Hour)
	}
	if after := e.Predict(chat, llm.Size{TextBytes: 100}); after != before || e.Keys() != 0 {
		t.Errorf("changed from %+v to %+v, %d keys", before, after, e.Keys())
	}
}

// numbers are the ones that break arithmetic.
var numbers = []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, 2, 1000, 1 << 40, 1<<40 + 1, 1 << 62, math.MaxInt64}

func TestI4AbsurdNumbersAreCut(t *testing.T) {
	number := rapid.SampledFrom(numbers)
	rapid.Check(t, func(t *rapid.T) {
		e := New(Options{Keys: 4})
		for range rapid.IntRange(0, 40).Draw(t, "samples") {
			key := Key{Model: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "model"), Kind: ContentKind(rapid.IntRange(0, 255).Draw(t, "kind"))}
			size := llm.Size{
				TextBytes: number.Draw(t, "bytes"), Messages: number.Draw(t, "messages"), Images: number.Draw(t, "images"),
				MaxOutput: number.Draw(t, "max"),
			}
			usage := llm.Usage{
				Input: number.Draw(t, "input"), CacheRead: number.Draw(t, "read"), CacheWrite: number.Draw(t, "write"),
				Output: number.Draw(t, "output"),
			}
			e.Learn(key, size, usage, time.Duration(number.Draw(t, "took")))
			p := e.Predict(key, size)
			sane(t, p)
			if size.MaxOutput > 0 && p.OutputP90 > size.MaxOutput {
				t.Fatalf("output %d above the client's bound %d", p.OutputP90, size.MaxOutput)
			}
		}
	})
}

func sane(t *rapid.T, p Prediction) {
	for name, n := range map[string]int64{"input": p.Input, "mean": p.InputMean, "output": p.Output, "output p90": p.OutputP90} {
		if n < 0 || n > maxTokens {
			t.Fatalf("%s is %d", name, n)
		}
	}
	if p.OutputP90 < p.Output || p.DurationP90 < p.Duration || p.Duration < 0 || p.DurationP90 > maxTook {
		t.Fatalf("out of order or range: %+v", p)
	}
}

// Cutting must not wrap around: what is huge is predicted as huge.
func TestI4HugeIsNotSmall(t *testing.T) {
	e := New(Options{})
	for _, size := range []llm.Size{{TextBytes: math.MaxInt64}, {Messages: math.MaxInt64}, {Images: math.MaxInt64}} {
		if got := e.Predict(chat, size).Input; got < 1<<30 {
			t.Errorf("%+v: input %d", size, got)
		}
	}
}

// One absurd report must not spoil what a thousand sane ones have taught.
func TestI4OutlierIsForgotten(t *testing.T) {
	e := New(Options{})
	size := llm.Size{TextBytes: 4000}
	teach := func(n int) {
		for range n {
			e.Learn(chat, size, llm.Usage{Input: 1000, Output: 100}, time.Second)
		}
	}
	teach(50)
	e.Learn(chat, size, llm.Usage{Input: math.MaxInt64, Output: math.MaxInt64}, math.MaxInt64)
	teach(20)
	p := e.Predict(chat, size)
	if p.Input > 1300 || p.OutputP90 != 100 || p.DurationP90 > 1100*time.Millisecond {
		t.Errorf("predicts %+v", p)
	}
}

func TestI5KeysAreBounded(t *testing.T) {
	e := New(Options{Keys: 3})
	learn := func(model string) {
		for range minSamples {
			e.Learn(Key{Model: model, Class: flow.Class("c" + model)}, llm.Size{}, llm.Usage{Output: 7}, time.Second)
		}
	}
	for _, m := range []string{"a", "b", "c"} {
		learn(m)
	}
	e.Predict(Key{Model: "a", Class: "ca"}, llm.Size{}) // used: b is now the oldest
	learn("d")
	for model, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true} {
		if got := e.keys.entries[Key{Model: model, Class: flow.Class("c" + model)}] != nil; got != want {
			t.Errorf("key %s kept: %v, want %v", model, got, want)
		}
	}
	for i := range 1000 {
		learn(fmt.Sprint("x", i))
	}
	if e.Keys() != 3 || len(e.classes) != maxClasses {
		t.Errorf("%d keys, %d classes; want 3, %d", e.Keys(), len(e.classes), maxClasses)
	}
}

// A key that was evicted and comes back starts anew.
func TestI5EvictedFiguresAreGone(t *testing.T) {
	tab := newTable(1)
	tab.put(Key{Model: "a"}).result.learn(5, time.Second)
	if n := tab.put(Key{Model: "b"}).result.output.samples; n != 0 {
		t.Errorf("the new key has %d samples of the evicted one", n)
	}
	if n := tab.put(Key{Model: "a"}).result.output.samples; n != 0 {
		t.Errorf("the returning key has %d samples", n)
	}
}

func TestI6NoAllocations(t *testing.T) {
	e := New(Options{})
	size := llm.Size{TextBytes: 4000, Messages: 3}
	e.Learn(chat, size, llm.Usage{Input: 1000, Output: 100}, time.Second)
	got := testing.AllocsPerRun(1000, func() {
		e.Learn(chat, size, llm.Usage{Input: 1000, Output: 100}, time.Second)
		_ = e.Predict(chat, size)
	})
	if got != 0 {
		t.Errorf("%v allocations, want 0", got)
	}
}

func TestHistogramKeepsItsSums(t *testing.T) {
	var h histogram
	r := rand.New(rand.NewPCG(5, 6))
	for range 20_000 { // renormalized several times on the way
		h.add(tokenScale, float64(lognormal(r, 100, 1)))
	}
	sum := 0.0
	for _, w := range h.weight {
		sum += w
	}
	if math.Abs(sum/h.total-1) > 1e-6 {
		t.Errorf("buckets hold %v, total says %v", sum, h.total)
	}
}

func TestValidate(t *testing.T) {
	if err := (Options{}).Validate(); err != nil {
		t.Errorf("zero options: %v", err)
	}
	bad := Options{Keys: -1, OutputP50: 10, OutputP90: 5, DurationP50: time.Minute, DurationP90: time.Second}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	if n := len(err.(interface{ Unwrap() []error }).Unwrap()); n != 3 {
		t.Errorf("%d faults, want 3:\n%v", n, err)
	}
}

func BenchmarkPredict(b *testing.B) {
	e := New(Options{})
	size := llm.Size{TextBytes: 4000, Messages: 3}
	for range 100 {
		e.Learn(chat, size, llm.Usage{Input: 1000, Output: 100}, time.Second)
	}
	b.ReportAllocs()
	for b.Loop() {
		e.Predict(chat, size)
	}
}

func BenchmarkLearn(b *testing.B) {
	e := New(Options{})
	size := llm.Size{TextBytes: 4000, Messages: 3}
	b.ReportAllocs()
	for b.Loop() {
		e.Learn(chat, size, llm.Usage{Input: 1000, Output: 100}, time.Second)
	}
}

func BenchmarkLife(b *testing.B) { // one of each, as a request has
	e := New(Options{})
	size := llm.Size{TextBytes: 4000, Messages: 3}
	b.ReportAllocs()
	for b.Loop() {
		e.Predict(chat, size)
		e.Learn(chat, size, llm.Usage{Input: 1000, Output: 100}, time.Second)
	}
}
