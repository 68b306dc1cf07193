package gate

import (
	"math"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

// Calibration of the expected wait. Waits are compared as log((actual+floor) /
// (expected+floor)), so that errors far below the floor count for nothing.
const (
	etaFloor = 0.25 // seconds
	etaStep  = 0.05 // how far one observation moves a quantile, before weighting
	etaBound = 1.5  // quantiles stay within a factor of e^1.5 of the fluid model
)

// calibration tracks the p50 and p90 of log(actual/expected) of one class.
type calibration struct{ p50, p90 float64 }

func newCalibration() calibration { return calibration{p90: 0.25} }

// learn moves both quantiles by the gradient of the pinball loss.
func (c *calibration) learn(expected, actual float64) {
	x := math.Log((actual + etaFloor) / (expected + etaFloor))
	c.p50 = track(c.p50, x, 0.5)
	c.p90 = max(track(c.p90, x, 0.9), c.p50)
}

func track(q, x, p float64) float64 {
	if x > q {
		q += etaStep * p
	} else {
		q -= etaStep * (1 - p)
	}
	return min(max(q, -etaBound), etaBound)
}

// quote turns the expected wait in seconds into p50 and p90.
func (c *calibration) quote(expected float64) (p50, p90 time.Duration) {
	at := func(q float64) time.Duration {
		return seconds(max((expected+etaFloor)*math.Exp(q)-etaFloor, 0))
	}
	return at(c.p50), at(c.p90)
}

func seconds(s float64) time.Duration {
	const most = float64(1000 * time.Hour)
	return time.Duration(min(s*float64(time.Second), most))
}

// expect is the wait in seconds that the fluid model foresees for a waiting
// entry, its position, and what it waits for. A wait that nobody can foresee is infinite.
func (g *Gate) expect(now time.Time, e *entry) (position int, wait float64, why flow.Reason) {
	position, work := e.pool.queue.Ahead(&e.item)
	wait, why = max(work-e.item.Cost, 0), e.reason
	if e.class.paused && g.classes[e.class.name] == e.class { // one that is gone goes on
		return position, math.Inf(1), flow.ReasonPaused
	}
	if u := g.primary(now, e); u >= 0 {
		at, limit := g.upstreams[u].quota.Next(now, g.need(u, e))
		if position <= 1 && limit != flow.ReasonNone {
			why = limit // nobody is ahead of it
		}
		if at.After(now) {
			wait += at.Sub(now).Seconds()
		} else if at.IsZero() && position == 1 {
			wait += e.item.Cost
		}
	} else if at := g.probe(now, e); at.After(now) {
		wait, why = max(wait, at.Sub(now).Seconds()), flow.ReasonBreaker
	} else {
		return position, math.Inf(1), flow.ReasonBreaker // it is held open by hand, or tried out
	}
	if more := e.class.expect(now, e, position); more > wait {
		wait, why = more, flow.ReasonRate
	}
	if before, more := e.tenant.expect(now, e); more > wait {
		position, wait, why = max(position, before+1), more, flow.ReasonTenant
	}
	if before, more := g.behindTasks(e); more > wait {
		position, wait, why = max(position, before+1), more, flow.ReasonTasks
	}
	return position, wait, why
}

// expect is for how long the class's rate keeps an entry waiting at least, in seconds, be
// it for those before it, of whom only its own class counts.
func (c *class) expect(now time.Time, e *entry, position int) float64 {
	if c.starts == nil || c.rate.Shadow {
		return 0
	}
	mine, _ := e.pool.queue.Waiting(e.ask.Flow)
	return c.starts.after(now, max(min(position, mine)-1, 0))
}

// behindTasks is how many tasks stand before a task that none can run beside now, and
// how long that takes, in seconds.
func (g *Gate) behindTasks(e *entry) (before int, wait float64) {
	if most := g.options.Tasks; e.ask.Task && most > 0 && g.tasks >= most {
		before = g.taskLine.before(e.number.task)
		wait = float64(before+1) * e.took.Seconds() / float64(most)
	}
	return before, wait
}

// probe is when a breaker may next let the entry through; the zero time means that no
// time is known: nobody knows how long a probe takes that is under way.
func (g *Gate) probe(now time.Time, e *entry) time.Time {
	at := time.Time{}
	for _, u := range g.routes[e.ask.Route].Upstreams {
		if b := g.upstreams[u].breaker; (e.failed|e.tooLarge)&(1<<u) == 0 && b.State(now) == breaker.Open {
			at = earlier(at, b.NextProbe(now))
		}
	}
	return at
}

// enoughTimes is how many answers must have been timed before service times count.
// Until then the wait for a seat is unknown, and nobody is refused for a guess.
const enoughTimes = 8

// predict fills the entry's sizes and its expected service time from what was
// learned so far.
func (g *Gate) predict(e *entry) {
	p := g.estimate.Predict(e.key(), e.ask.Size)
	e.size = e.ask.Size
	e.size.Input, e.size.Output = p.Input, p.OutputP90*max(e.ask.Size.Choices, 1)
	if g.timed >= enoughTimes {
		e.took = p.Duration
	}
}

// countedTokens estimates output tokens from the bytes that passed.
func countedTokens(bytes int64) int64 { return (bytes + 3) / 4 }

// counted is the usage of an attempt whose provider reported none.
func counted(size llm.Size, bytes int64) llm.Usage {
	return llm.Usage{Input: size.Input, Output: countedTokens(bytes)}
}
