package quota

import "github.com/millrace/millrace/internal/llm"

// CountedAt says when a provider counts what a call costs.
type CountedAt uint8

// The moments. The request itself always counts at the start.
const (
	AtStart    CountedAt = iota // everything when the call is admitted, corrected later
	AtEnd                       // all tokens when the call has ended
	AsProduced                  // input at the start, output while it is produced
)

// Formula says how tokens are computed from what is known of a call.
type Formula uint8

// The formulas to reserve by.
const (
	ReservePredicted Formula = iota // estimated input + predicted output
	ReserveLarger                   // the larger of max_tokens and a quarter of the text's bytes
	ReserveSum                      // a quarter of the text's bytes + max_tokens
	ReserveBound                    // estimated input + max_tokens, or the model's bound when not set
	ReserveInput                    // estimated input; output is free
)

// Settlement says what of a reservation is corrected once the usage is known.
type Settlement uint8

// The settlements.
const (
	SettleUsage Settlement = iota // everything follows the reported usage
	SettleNever                   // what was charged at admission stays charged
)

// Meter is how one provider charges a call: data, not code. The zero value is
// a provider that charges the estimated use at the start and corrects it.
type Meter struct {
	Name      string
	Reserve   Formula
	Settle    Settlement
	CountedAt CountedAt

	// InputBound charges max_tokens to Input at the start too.
	InputBound bool
	// ModelOutput is the model's bound on output, charged by ReserveBound when
	// the client sets none. Zero: the predicted output.
	ModelOutput int64
	// OutputWeight is how many quota tokens one token of output costs. Zero: 1.
	OutputWeight int64
	// CacheReadCounts and CacheWriteCounts say whether prompt tokens read from
	// and written to the provider's cache count as input.
	CacheReadCounts, CacheWriteCounts bool
	// ChargesThrottled says that a call refused with 429 counts as one request. Any
	// other failed call keeps its whole charge, for nobody has confirmed another.
	ChargesThrottled bool
}

// DefaultMeter is the meter of an OpenAI-compatible endpoint of which nothing
// else is known.
const DefaultMeter = "usage"

var meters = [...]Meter{
	{
		Name: "openai", Reserve: ReserveLarger, Settle: SettleNever,
		CacheReadCounts: true, CacheWriteCounts: true, ChargesThrottled: true,
	},
	{
		Name: "azure", Reserve: ReserveSum, Settle: SettleNever,
		CacheReadCounts: true, CacheWriteCounts: true, ChargesThrottled: true,
	},
	{
		Name: "usage", CountedAt: AsProduced,
		CacheReadCounts: true, CacheWriteCounts: true, ChargesThrottled: true,
	},
	{Name: "vllm", CountedAt: AsProduced, CacheReadCounts: true, CacheWriteCounts: true},
	{Name: "anthropic", CountedAt: AsProduced, CacheWriteCounts: true, ChargesThrottled: true},
	{
		Name: "bedrock", Reserve: ReserveBound, ModelOutput: 65536, CacheWriteCounts: true,
		ChargesThrottled: true,
	},
	{
		Name: "mantle", Reserve: ReservePredicted, InputBound: true, ModelOutput: 65536, CountedAt: AsProduced,
		CacheWriteCounts: true, ChargesThrottled: true,
	},
	{
		Name: "gemini", Reserve: ReserveInput, CacheReadCounts: true, CacheWriteCounts: true,
		ChargesThrottled: true,
	},
}

// MeterFor returns the meter of that name and whether there is one.
func MeterFor(name string) (Meter, bool) {
	for _, m := range meters {
		if m.Name == name {
			return m, true
		}
	}
	return Meter{}, false
}

// MeterNames lists the names MeterFor knows, for messages about configuration.
func MeterNames() []string {
	names := make([]string, len(meters))
	for i, m := range meters {
		names[i] = m.Name
	}
	return names
}

// Charge is what to reserve for a call of size s before it is sent.
func (m Meter) Charge(s llm.Size) Amount {
	in, predicted := clamp(s.Input), m.predicted(s)
	text := (clamp(s.TextBytes) + 3) / 4
	a := Amount{Requests: 1, Input: in, Output: predicted}
	switch m.Reserve {
	case ReserveLarger:
		a[Total] = max(clamp(s.MaxOutput), text)
	case ReserveSum:
		a[Total] = text + m.bound(s)
	case ReserveBound:
		// A weighted prediction above the provider's own hold is kept free too,
		// so that settlement seldom ends in debt.
		a[Total] = max(in+m.bound(s), in+predicted)
	case ReserveInput:
		a[Total] = in
	case ReservePredicted:
		a[Total] = in + predicted
	}
	if m.InputBound {
		a[Input] += m.bound(s)
	}
	return a.clamped()
}

// Actual is what the provider charged a call for which reserved was
// held and which ended with usage u. Without usage the reservation stands.
func (m Meter) Actual(reserved Amount, u llm.Usage, _ llm.Size) Amount {
	if m.Settle == SettleNever || u.IsZero() {
		return reserved.clamped()
	}
	in := clamp(u.Input)
	if m.CacheReadCounts {
		in += clamp(u.CacheRead)
	}
	if m.CacheWriteCounts {
		in += clamp(u.CacheWrite)
	}
	out := m.weighted(u.Output)
	a := Amount{Requests: 1, Input: in, Output: out, Total: in + out}
	if m.Reserve == ReserveInput {
		a[Total] = in
	}
	return a.clamped()
}

// Unconfirmed is what to charge a call that ended without the provider's usage
// after countedOutput tokens of output were seen: never less than reserved.
func (m Meter) Unconfirmed(reserved Amount, countedOutput int64) Amount {
	a := reserved.clamped()
	if m.Settle == SettleNever {
		return a
	}
	if extra := m.weighted(countedOutput) - a[Output]; extra > 0 {
		a[Output] += extra
		if m.Reserve == ReservePredicted {
			a[Total] += extra
		} else if m.Reserve == ReserveBound {
			a[Total] = max(a[Total], a[Input]+a[Output])
		}
	}
	return a.clamped()
}

// Refused is what a call costs that was answered with 429.
func (m Meter) Refused() Amount {
	if m.ChargesThrottled {
		return Amount{Requests: 1}
	}
	return Amount{}
}

func (m Meter) weighted(output int64) int64 {
	return mulDiv(clamp(output), max(m.OutputWeight, 1), 1)
}

// predicted is the predicted output, not above what the client allows.
func (m Meter) predicted(s llm.Size) int64 {
	out := clamp(s.Output)
	if s.MaxOutput > 0 {
		out = min(out, clamp(s.MaxOutput))
	}
	return m.weighted(out)
}

// bound is the most output the provider expects.
func (m Meter) bound(s llm.Size) int64 {
	switch {
	case s.MaxOutput > 0:
		return clamp(s.MaxOutput)
	case m.ModelOutput > 0:
		return m.ModelOutput
	}
	return clamp(s.Output)
}

func clamp(n int64) int64 { return min(max(n, 0), most) }
