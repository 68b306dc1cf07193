package app

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
	"github.com/millrace/millrace/internal/sink/prom"
)

func promOptions(p *plan, control *admission.Controller) prom.Options {
	o := prom.Options{Classes: p.classes(), Upstreams: p.slots.upstreams, Runtime: true}
	o.Snapshot = func() []prom.Gauge { return gauges(control.Snapshot()) }
	return o
}

// gauges are what one snapshot of admission shows.
func gauges(s gate.Snapshot) []prom.Gauge {
	all := []prom.Gauge{
		{Name: "attempts_outstanding", Help: "Attempts granted and not settled.", Value: float64(s.Outstanding)},
		{Name: "flows_active", Help: "Users with something waiting or running.", Value: float64(s.Flows)},
	}
	for _, class := range slices.Sorted(maps.Keys(s.Classes)) {
		all = append(all, prom.Gauge{
			Name: "queue_depth", Help: "Requests waiting.", Value: float64(s.Classes[class]),
			Labels: []prom.Label{{Name: "class", Value: string(class)}},
		})
	}
	for i := range s.ByClass {
		all = append(all, classGauges(&s.ByClass[i])...)
	}
	all = append(all, prom.Gauge{Name: "tasks_running", Help: "Tasks dispatched and not ended.", Value: float64(s.Tasks)})
	for i := range s.Upstreams {
		if !s.Upstreams[i].Retired {
			all = append(all, upstreamGauges(&s.Upstreams[i])...)
		}
	}
	return all
}

func classGauges(c *gate.ClassState) []prom.Gauge {
	name := []prom.Label{{Name: "class", Value: string(c.Name)}}
	paused := 0.0
	if c.Paused {
		paused = 1
	}
	return []prom.Gauge{
		{Name: "class_paused", Help: "Whether an operator has paused a class.", Value: paused, Labels: name},
		{Name: "class_exceeded_total", Help: "Starts that a class rate on trial would have delayed.", Value: float64(c.Exceeded), Labels: name, Counter: true},
	}
}

func upstreamGauges(u *gate.UpstreamState) []prom.Gauge {
	name := prom.Label{Name: "upstream", Value: u.Name}
	all := []prom.Gauge{
		{Name: "seats_used", Help: "Requests in flight at an upstream.", Value: float64(u.InUse), Labels: []prom.Label{name}},
		{Name: "seats_limit", Help: "Requests an upstream may have in flight; 0 is no limit.", Value: float64(u.Seats), Labels: []prom.Label{name}},
		{Name: "seats_exceeded_total", Help: "Requests that a limit of seats on trial would have delayed.", Value: float64(u.SeatsExceeded), Labels: []prom.Label{name}, Counter: true},
		{Name: "breaker_trips_total", Help: "Times an upstream's breaker has opened.", Value: float64(u.Breaker.Trips), Labels: []prom.Label{name}, Counter: true},
	}
	open := 0.0
	if u.Breaker.State != breaker.Closed {
		open = 1
	}
	all = append(all, prom.Gauge{Name: "breaker_open", Help: "Whether an upstream's breaker is not closed.", Value: open, Labels: []prom.Label{name}})
	for i := range u.Windows {
		all = append(all, windowGauges(&u.Windows[i], name)...)
	}
	return all
}

func windowGauges(w *quota.State, upstream prom.Label) []prom.Gauge {
	labels := []prom.Label{upstream, {Name: "limit", Value: w.Dim.String()}, {Name: "span", Value: span(w.Span)}}
	gauge := func(name, help string, n int64) prom.Gauge {
		return prom.Gauge{Name: name, Help: help, Value: float64(n), Labels: labels}
	}
	return []prom.Gauge{
		gauge("quota_limit", "Units an upstream allows per span, as configured.", w.Configured),
		gauge("quota_learned", "The same, lowered by what the upstream said or refused.", w.Learned),
		gauge("quota_used", "Units counted in the span that ends now.", w.Used),
		gauge("quota_reserved", "Units held by requests in flight.", w.Reserved),
		{Name: "quota_exceeded_total", Help: "Requests that a limit on trial would have delayed.", Value: float64(w.Exceeded), Labels: labels, Counter: true},
	}
}

// span is a length of time without zero parts: 1m, not 1m0s.
func span(d time.Duration) string {
	text := d.String()
	text, _ = strings.CutSuffix(text, "m0s")
	if len(text) < len(d.String()) {
		text += "m"
	}
	if short, found := strings.CutSuffix(text, "h0m"); found {
		text = short + "h"
	}
	return text
}

// logSink tells the log of requests that went wrong; the others only at level
// debug, for metrics count them.
type logSink struct{ log *slog.Logger }

// Record implements event.Sink.
func (s *logSink) Record(r *event.Record) {
	level := slog.LevelDebug
	switch r.Outcome {
	case flow.OutcomeFailed, flow.OutcomeHoldExpired, flow.OutcomeEvicted, flow.OutcomeDeadline:
		level = slog.LevelWarn
	default:
	}
	if ctx := context.Background(); s.log.Enabled(ctx, level) {
		s.log.LogAttrs(ctx, level, "request", requestAttrs(r)...)
	}
}

func requestAttrs(r *event.Record) []slog.Attr {
	return []slog.Attr{
		slog.String("id", r.ID), slog.String("outcome", r.Outcome.String()), slog.String("kind", r.Kind.String()),
		slog.Int("status", r.Status), slog.String("class", string(r.Key.Class)), slog.String("model", r.Model),
		slog.String("upstream", r.Upstream), slog.Int("attempts", r.Attempts), slog.Duration("queued", r.Queued),
		slog.Duration("total", r.Total), slog.String("reason", string(r.Reason)), slog.String("cause", r.Cause),
	}
}

// Attempt implements event.Sink.
func (s *logSink) Attempt(*event.Attempt) {}
