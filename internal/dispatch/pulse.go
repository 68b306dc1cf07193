package dispatch

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/millrace/millrace/internal/admission"
)

// silentBeats is how many beats pass without a note while a first attempt runs
// and the client has heard nothing yet: with the default rhythm, 25 s, so that an
// answer or a failure within that time keeps its own status and header.
const silentBeats = 2

// pulse tells a waiting client where it stands, until it is stopped. The nil
// pulse does nothing.
type pulse struct {
	run     *run
	token   chan struct{} // holds one: the right to call the Reply
	timer   *time.Timer
	gone    context.CancelCauseFunc
	running atomic.Bool // an attempt is under way

	// Guarded by the token.
	stopped bool
	skipped int
	spoken  bool
}

// startPulse sets the first beat. From here on the run's context also ends when
// a note cannot be written.
func (r *run) startPulse() *pulse {
	p := &pulse{run: r, token: make(chan struct{}, 1)}
	r.ctx, p.gone = context.WithCancelCause(r.ctx)
	p.timer = time.AfterFunc(r.d.options.Patience, p.beat)
	p.token <- struct{}{}
	return p
}

// beat writes one note and sets the next beat.
func (p *pulse) beat() {
	<-p.token
	defer func() { p.token <- struct{}{} }()
	defer func() {
		if v := recover(); v != nil {
			p.gone(p.run.panicked(v))
		}
	}()
	if p.stopped {
		return
	}
	if p.due() {
		if err := p.run.reply.Queued(p.status()); err != nil {
			p.gone(&writeError{err})
			return
		}
		p.spoken = true
	}
	p.timer.Reset(p.run.d.options.Rhythm)
}

// due reports whether this beat is to be heard.
func (p *pulse) due() bool {
	if p.spoken || !p.running.Load() || p.skipped >= silentBeats {
		return true
	}
	p.skipped++
	return false
}

func (p *pulse) status() admission.Status {
	if p.running.Load() {
		return admission.Status{}
	}
	return p.run.ticket.Status()
}

// stop ends the beats. When it returns none is under way.
func (p *pulse) stop() {
	if p == nil {
		return
	}
	<-p.token
	p.stopped = true
	p.timer.Stop()
	p.token <- struct{}{}
}

// release gives the pulse's context back.
func (p *pulse) release() {
	if p == nil {
		return
	}
	p.stop()
	p.gone(context.Canceled)
}
