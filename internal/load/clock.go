package load

import (
	"context"
	"math"
	"time"
)

// clock tells the time of the run, which passes speed times as fast as that of
// the machine. Everything a run is told and reports is in it; only the clock
// knows how long the machine takes.
type clock struct {
	begun time.Time // when both showed the same
	speed float64
}

func newClock(speed float64) clock { return clock{time.Now(), speed} }

func (c clock) now() time.Time { return c.begun.Add(c.stretch(time.Since(c.begun))) }

// stretch is how much of the run's time passes in d of the machine's.
func (c clock) stretch(d time.Duration) time.Duration {
	if c.speed == 1 {
		return d
	}
	return time.Duration(math.Round(float64(d) * c.speed))
}

// real is how long d takes, rounded up: nothing happens too early.
func (c clock) real(d time.Duration) time.Duration {
	if c.speed == 1 {
		return d
	}
	return time.Duration(math.Ceil(float64(d) / c.speed))
}

// sleep waits for d and reports whether it did; false means that ctx ended first.
func (c clock) sleep(ctx context.Context, d time.Duration) bool { return sleep(ctx, c.real(d)) }

// sleepUntil waits for a time of the run, and reports likewise.
func (c clock) sleepUntil(ctx context.Context, t time.Time) bool { return c.sleep(ctx, t.Sub(c.now())) }

// after calls f when d has passed.
func (c clock) after(d time.Duration, f func()) *time.Timer { return time.AfterFunc(c.real(d), f) }

// sleep waits for d of the machine's time.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
