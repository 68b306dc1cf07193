package quota

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/llm"
)

// TestMeters charges one call by each provider's rule: 2,001 bytes of text, 500
// tokens in, 300 predicted, at most 1,000 out; it used 400 in, of which 100
// were read from the cache and 50 written to it, and 250 out.
func TestMeters(t *testing.T) {
	size := llm.Size{TextBytes: 2001, Input: 500, Output: 300, MaxOutput: 1000}
	usage := llm.Usage{Input: 250, CacheRead: 100, CacheWrite: 50, Output: 250}
	for _, c := range []struct {
		name        string
		unbounded   int64 // Total, or Input for mantle, reserved when the client sets no max_tokens
		charge      Amount
		actual      Amount
		unconfirmed Amount // after 800 tokens of output were seen
		refused     Amount
	}{
		{"openai", 501, Amount{1, 500, 300, 1000}, Amount{1, 500, 300, 1000}, Amount{1, 500, 300, 1000}, Amount{Requests: 1}},
		{"azure", 801, Amount{1, 500, 300, 1501}, Amount{1, 500, 300, 1501}, Amount{1, 500, 300, 1501}, Amount{Requests: 1}},
		{"usage", 800, Amount{1, 500, 300, 800}, Amount{1, 400, 250, 650}, Amount{1, 500, 800, 1300}, Amount{Requests: 1}},
		{"vllm", 800, Amount{1, 500, 300, 800}, Amount{1, 400, 250, 650}, Amount{1, 500, 800, 1300}, Amount{}},
		{"anthropic", 800, Amount{1, 500, 300, 800}, Amount{1, 300, 250, 550}, Amount{1, 500, 800, 1300}, Amount{Requests: 1}},
		{"bedrock", 66_036, Amount{1, 500, 300, 1500}, Amount{1, 300, 250, 550}, Amount{1, 500, 800, 1500}, Amount{Requests: 1}},
		{"mantle", 800, Amount{1, 1500, 300, 800}, Amount{1, 300, 250, 550}, Amount{1, 1500, 800, 1300}, Amount{Requests: 1}},
		{"gemini", 500, Amount{1, 500, 300, 500}, Amount{1, 400, 250, 400}, Amount{1, 500, 800, 500}, Amount{Requests: 1}},
	} {
		m, ok := MeterFor(c.name)
		if !ok || m.Name != c.name || !slices.Contains(MeterNames(), c.name) {
			t.Errorf("%s: no meter", c.name)
			continue
		}
		reserved := m.Charge(size)
		check := func(what string, got, want Amount) {
			if got != want {
				t.Errorf("%s: %s %v, want %v", c.name, what, got, want)
			}
		}
		check("charge", reserved, c.charge)
		check("actual", m.Actual(reserved, usage, size), c.actual)
		check("without usage", m.Actual(reserved, llm.Usage{}, size), c.charge)
		check("unconfirmed", m.Unconfirmed(reserved, 800), c.unconfirmed)
		check("unconfirmed, little seen", m.Unconfirmed(reserved, 3), c.charge)
		check("refused", m.Refused(), c.refused)
		open := size
		open.MaxOutput = 0
		if got := m.Charge(open)[Total]; got != c.unbounded {
			t.Errorf("%s: %d reserved without max_tokens, want %d", c.name, got, c.unbounded)
		}
	}
	if len(MeterNames()) != 8 {
		t.Errorf("meters %v, want 8: the table above misses one", MeterNames())
	}
}

// TestBurndown: 500 in and 300 out of a model whose output weighs 15.
func TestBurndown(t *testing.T) {
	m, _ := MeterFor("bedrock")
	m.OutputWeight = 15
	size := llm.Size{Input: 500, Output: 300, MaxOutput: 64_000}
	reserved := m.Charge(size)
	if want := (Amount{1, 500, 4500, 64_500}); reserved != want {
		t.Errorf("charge %v, want %v", reserved, want)
	}
	if got, want := m.Actual(reserved, llm.Usage{Input: 500, Output: 300}, size), (Amount{1, 500, 4500, 5000}); got != want {
		t.Errorf("actual %v, want %v", got, want)
	}
	size.MaxOutput = 300 // the provider holds 800; settlement will be 5,000
	if got := m.Charge(size)[Total]; got != 5000 {
		t.Errorf("charge %d, want the predicted 5000", got)
	}
}

func TestPredictedOutputIsClamped(t *testing.T) {
	m, _ := MeterFor(DefaultMeter)
	if got := m.Charge(llm.Size{Input: 100, Output: 5000, MaxOutput: 16}); got != (Amount{1, 100, 16, 116}) {
		t.Errorf("charge %v", got)
	}
}

func TestMeterUnknown(t *testing.T) {
	if m, ok := MeterFor("nobody"); ok || m != (Meter{}) {
		t.Errorf("MeterFor(nobody) = %v, %v", m, ok)
	}
}

// FuzzMeter: no size or usage makes a charge negative or absurd.
func FuzzMeter(f *testing.F) {
	f.Add(int64(500), int64(300), int64(1000), int64(250))
	f.Add(int64(math.MinInt64), int64(math.MaxInt64), int64(-1), int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, in, out, bound, used int64) {
		size := llm.Size{TextBytes: used, Input: in, Output: out, MaxOutput: bound}
		for _, name := range MeterNames() {
			m, _ := MeterFor(name)
			m.OutputWeight = bound
			reserved := m.Charge(size)
			for _, a := range []Amount{
				reserved, m.Actual(reserved, llm.Usage{Input: in, CacheRead: used, CacheWrite: out, Output: used}, size),
				m.Unconfirmed(reserved, used), m.Unconfirmed(Amount{out, in, used, bound}, used),
			} {
				if diff := cmp.Diff(a.clamped(), a); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
			}
			if got := m.Unconfirmed(reserved, used); got[Output] < reserved[Output] || got[Total] < reserved[Total] {
				t.Errorf("%s: unconfirmed %v is less than the reserved %v", name, got, reserved)
			}
		}
	})
}
