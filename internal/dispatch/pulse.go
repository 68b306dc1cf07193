package dispatch

import (
	"context"
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
	run    *run
	token  chan struct{} // holds one: the right to call the Reply
	timer  *time.Timer
	rhythm time.Duration
	gone   context.CancelCauseFunc

	// Guarded by the token.
	stopped bool
	skipped int
	spoken  bool
}

// eagerRhythm is the most between two notes to a listener.
const eagerRhythm = 2 * time.Second

// listener is a Reply that wants to be told where it stands at once, and when its
// attempt begins, whether it streams or not.
type listener interface{ listens() bool }

// listen starts the pulse where there is somebody to tell. From then on the run's
// context also ends when a note cannot be written.
func (r *run) listen() {
	if r.pulse != nil || !r.eager && !r.req.Call.Stream {
		return
	}
	t := r.d.table.Load()
	p := &pulse{run: r, token: make(chan struct{}, 1), rhythm: t.Rhythm}
	first := t.Patience
	if r.eager {
		p.rhythm = min(p.rhythm, eagerRhythm)
		first = p.rhythm // the beat before that is at its entry
	}
	r.ctx, p.gone = context.WithCancelCause(r.ctx)
	r.pulse = p
	p.timer = time.AfterFunc(first, p.beat)
	p.token <- struct{}{}
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
	if s := p.run.status(); p.due(&s) {
		if err := p.run.reply.Queued(s); err != nil {
			p.gone(&writeError{err})
			return
		}
		p.spoken = true
	}
	p.timer.Reset(p.rhythm)
}

// due reports whether this beat is to be heard. A listener takes the zero Status for
// the beginning of its attempt, so it hears nothing in between.
func (p *pulse) due(s *admission.Status) bool {
	running := p.run.isRunning()
	if p.run.eager {
		return running || s.Position > 0
	}
	if p.spoken || !running || p.skipped >= silentBeats {
		return true
	}
	p.skipped++
	return false
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
