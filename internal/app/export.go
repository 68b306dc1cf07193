package app

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/millrace/millrace/internal/breaker"
	"github.com/millrace/millrace/internal/console"
	"github.com/millrace/millrace/internal/event"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
	"github.com/millrace/millrace/internal/sink/emf"
	"github.com/millrace/millrace/internal/sink/prom"
	"github.com/millrace/millrace/internal/sink/ring"
)

// buildSinks builds who is told of every request and attempt.
func (a *App) buildSinks(p *plan) (err error) {
	if a.metrics, err = prom.New(promOptions(p, a.admission)); err != nil {
		return err
	}
	if err := a.openEMF(p); err != nil {
		return err
	}
	a.tally = newTally()
	a.ring, a.meter = ring.New(ring.Options{}), console.NewMeter()
	if a.shadow, err = console.NewShadow(time.Now(), a.options, p.shadowed()); err != nil {
		return err
	}
	all := []event.Sink{a.metrics, a.tally, a.ring, a.meter, a.shadow, &logSink{a.log}, a.network.sink}
	if a.emf != nil {
		all = append(all, a.emf)
	}
	a.sink = event.NewFanout(all...)
	return nil
}

// openEMF begins what CloudWatch is told, where that is wanted.
func (a *App) openEMF(p *plan) error {
	c := &p.config.Metrics.EMF
	var out io.Writer = os.Stdout
	switch c.File {
	case "":
		return nil
	case "-":
	default:
		file, err := emf.Open(c.File)
		if err != nil {
			return fmt.Errorf("metrics.emf.file: %w", err)
		}
		a.undo.push(file.Close)
		out = file
	}
	sink, err := emf.New(emf.Options{
		Interval: c.Interval, Classes: p.classes(), Upstreams: p.slots.upstreams,
		Snapshot: func() emf.State { return emfState(a.admission.Snapshot()) },
	}, emf.Deps{Out: out, Log: a.log})
	a.emf = sink
	return err
}

// name tells the sinks that count by name which names there are now.
func (a *App) name(classes, upstreams []string) error {
	err := a.metrics.Name(classes, upstreams)
	if err == nil && a.emf != nil {
		err = a.emf.Name(classes, upstreams)
	}
	return err
}

// export writes until ctx ends what is written at intervals.
func (a *App) export(ctx context.Context) {
	if a.emf != nil {
		a.emf.Run(ctx)
	}
}

func emfState(s gate.Snapshot) emf.State {
	state := emf.State{Waiting: make(map[string]int, len(s.Classes))}
	for class, n := range s.Classes {
		state.Waiting[string(class)] = n
	}
	for i := range s.Upstreams {
		if u := &s.Upstreams[i]; !u.Retired {
			state.Upstreams = append(state.Upstreams, emf.Upstream{
				Name: u.Name, Seats: int64(u.Seats), SeatsUsed: int64(u.InUse), Open: u.Breaker.State != breaker.Closed, Windows: emfWindows(u.Windows),
			})
		}
	}
	return state
}

func emfWindows(windows []quota.State) []emf.Window {
	all := make([]emf.Window, len(windows))
	for i := range windows {
		w := &windows[i]
		all[i] = emf.Window{
			Limit: w.Dim.String(), Span: span(w.Span), Configured: w.Configured, Learned: w.Learned, Used: w.Used, Reserved: w.Reserved,
		}
	}
	return all
}
