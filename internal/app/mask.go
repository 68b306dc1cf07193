package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/millrace/millrace/internal/config"
)

// mask is a slog.Handler that keeps the credentials of the configuration out of the
// log, wherever they come from: an upstream that echoes what it was sent, or a panic
// that tells what it held.
type mask struct {
	slog.Handler
	known *atomic.Pointer[strings.Replacer] // nil inside: nothing to mask
	pairs []string                          // of known; only learn touches it
}

// maxKnown bounds the credentials that are remembered, and the masks beside them.
const maxKnown = 2 * 1024

func newMask(h slog.Handler) *mask {
	return &mask{Handler: h, known: new(atomic.Pointer[strings.Replacer])}
}

// learn masks the credentials of a configuration, beside those of earlier ones: of
// these a request may still be under way.
func (m *mask) learn(c *config.Config) {
	for i := range c.Upstreams {
		if key := c.Upstreams[i].APIKey; !key.IsZero() && !slices.Contains(m.pairs, key.Reveal()) {
			m.pairs = append(m.pairs, key.Reveal(), key.String())
		}
	}
	m.pairs = m.pairs[max(0, len(m.pairs)-maxKnown):]
	m.known.Store(strings.NewReplacer(m.pairs...))
}

// Handle implements slog.Handler.
func (m *mask) Handle(ctx context.Context, r slog.Record) error {
	known := m.known.Load()
	if known == nil {
		return m.Handler.Handle(ctx, r)
	}
	clean := slog.NewRecord(r.Time, r.Level, known.Replace(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(masked(known, a))
		return true
	})
	return m.Handler.Handle(ctx, clean)
}

// WithAttrs implements slog.Handler.
func (m *mask) WithAttrs(attrs []slog.Attr) slog.Handler {
	clean := attrs
	if known := m.known.Load(); known != nil {
		clean = make([]slog.Attr, len(attrs))
		for i, a := range attrs {
			clean[i] = masked(known, a)
		}
	}
	return &mask{Handler: m.Handler.WithAttrs(clean), known: m.known}
}

// WithGroup implements slog.Handler.
func (m *mask) WithGroup(name string) slog.Handler {
	return &mask{Handler: m.Handler.WithGroup(name), known: m.known}
}

func masked(known *strings.Replacer, a slog.Attr) slog.Attr {
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(known.Replace(v.String()))
	case slog.KindGroup:
		var clean []slog.Attr
		for _, inner := range v.Group() {
			clean = append(clean, masked(known, inner))
		}
		a.Value = slog.GroupValue(clean...)
	case slog.KindAny:
		a.Value = slog.StringValue(known.Replace(fmt.Sprint(v.Any())))
	default:
		a.Value = v
	}
	return a
}
