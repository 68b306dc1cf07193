package gate

import (
	"errors"
	"fmt"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
	"github.com/millrace/millrace/internal/quota"
)

// Tenant is a tenant with a weight or limits of its own. A request that is beyond
// them waits, as it does for an upstream, and blocks nobody else.
type Tenant struct {
	Name     string
	Weight   float64 // share among the tenants of a class; 0 means 1
	Requests Rate    // Even has no effect
	Tokens   Rate    // input and output together
	Seats    int     // requests in flight; 0 means unlimited
}

func (t Tenant) validate() error {
	if t.Name == "" {
		return errors.New("tenants: one has no name")
	}
	if t.Weight < 0 || t.Seats < 0 || t.Requests.Max < 0 || t.Tokens.Max < 0 ||
		t.Requests.Max > 0 && t.Requests.Per <= 0 || t.Tokens.Max > 0 && t.Tokens.Per <= 0 {
		return fmt.Errorf("tenants.%s: weight and limits must not be negative, and rates need a span", t.Name)
	}
	if o, limited := t.quota(); limited {
		if err := o.Validate(); err != nil {
			return fmt.Errorf("tenants.%s: %w", t.Name, err)
		}
	}
	return nil
}

// quota is what the tenant may use; false if that is not limited. It is enforced
// by ourselves, so nothing of it has to be paced or learned.
func (t Tenant) quota() (quota.Options, bool) {
	meter, _ := quota.MeterFor(quota.DefaultMeter)
	o := quota.Options{Seats: t.Seats, Meter: meter}
	add := func(dim quota.Dim, r Rate) {
		if r.Max > 0 {
			o.Limits = append(o.Limits, quota.Limit{Dim: dim, Max: int64(r.Max), Span: r.Per, Kind: quota.Sliding, Shadow: r.Shadow})
		}
	}
	add(quota.Requests, t.Requests)
	add(quota.Total, t.Tokens)
	return o, t.Seats > 0 || len(o.Limits) > 0
}

// tenant is what a limited tenant uses. The nil tenant is not limited.
type tenant struct {
	quota   *quota.Quota
	meter   quota.Meter
	options Tenant
	line    line
	freed   time.Time             // when it was last put back into the order
	clocks  map[flow.Class]*clock // how long it had been taken out
}

// freedAt reports whether the tenant was put back into the order at that time.
func (t *tenant) freedAt(at time.Time) bool { return t != nil && t.freed.Equal(at) }

func (t *tenant) need(e *entry) quota.Amount { return t.meter.Charge(e.size) }

// next reports whether the tenant's quota keeps the entry from running, and until
// when; the zero time if only the end of another can tell.
func (t *tenant) next(now time.Time, e *entry) (at time.Time, held bool) {
	if t == nil {
		return now, false
	}
	at, _ = t.quota.Next(now, t.need(e))
	return at, at.IsZero() || at.After(now)
}

// measure refuses what is larger than all the tenant may use.
func (t *tenant) measure(e *entry) *Refusal {
	if t == nil {
		return nil
	}
	need := t.need(e)
	limit, over := t.quota.TooLarge(need)
	if !over {
		return nil
	}
	return &Refusal{Err: flow.ErrTooLarge, Detail: fmt.Sprintf("it needs %d %s, and the key allows %d", need[limit.Dim], limit.Dim, limit.Max)}
}

func (t *tenant) reserve(now time.Time, e *entry) {
	if t == nil {
		return
	}
	e.tenancy, _ = t.quota.Reserve(now, t.need(e)) // the search asked a moment ago
}

// settle charges the tenant what was used. What the provider turned away is free.
func (t *tenant) settle(now time.Time, e *entry, r Result) {
	if t == nil || e.tenancy.IsZero() {
		return
	}
	held := e.tenancy.Held()
	switch {
	case !r.Sent, r.Kind == llm.KindThrottle:
		t.quota.Cancel(now, e.tenancy)
	case !r.Usage.IsZero():
		t.quota.Settle(now, e.tenancy, t.meter.Actual(held, r.Usage, e.size))
	default:
		t.quota.Settle(now, e.tenancy, t.meter.Unconfirmed(held, countedTokens(r.Counted)))
	}
	e.tenancy = quota.Reservation{}
}

// expect is how many of the tenant stand before the entry while its own quota keeps
// it waiting, and how long it does, in seconds.
func (t *tenant) expect(now time.Time, e *entry) (before int, wait float64) {
	at, held := t.next(now, e)
	if !held {
		return 0, 0
	}
	before = t.line.before(e.number.tenant)
	if at.After(now) {
		wait = at.Sub(now).Seconds()
	}
	return before, wait + float64(before)*t.quota.Cost(t.need(e), e.took)
}

// tasksFull reports whether an entry is a task and no more of these may run now.
func (g *Gate) tasksFull(e *entry) bool {
	return e.ask.Task && g.options.Tasks > 0 && g.tasks >= g.options.Tasks
}
