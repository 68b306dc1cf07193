package cli

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/millrace/millrace/internal/app"
	"github.com/millrace/millrace/internal/config"
)

// glance is how often the files are looked at. A file that changes is read once it
// has stayed the same for one more glance, so that half of it is never taken for
// the whole.
const glance = time.Second

// watch loads the configuration again on SIGHUP and when one of its files has
// changed, until ctx ends. What it returns waits for that; only then SIGHUP kills
// again, so call it after the drain.
func (f *serveFlags) watch(ctx context.Context, c *config.Config, a *app.App, log *slog.Logger) (stop func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	w := &watcher{source: f.source, app: a, log: log, config: c}
	w.seen = w.look()
	w.taken = w.seen
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.run(ctx, hangup)
	}()
	return func() {
		<-done
		signal.Stop(hangup)
	}
}

// watcher reloads one app. It belongs to one goroutine.
type watcher struct {
	source config.Source
	app    *app.App
	log    *slog.Logger
	config *config.Config // in force
	seen   string         // the files at the last glance
	taken  string         // the files when they were last read
}

func (w *watcher) run(ctx context.Context, hangup <-chan os.Signal) {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			w.seen = w.look()
			w.reload("SIGHUP")
		case <-tick.C:
			if now := w.look(); now != w.seen {
				w.seen = now
			} else if now != w.taken {
				w.reload("a file changed")
			}
		}
	}
}

// look is what tells versions of the files apart.
func (w *watcher) look() string {
	var b strings.Builder
	for _, path := range []string{w.source.Path(), w.config.KeysFile()} {
		if info, err := os.Stat(path); err == nil {
			b.WriteString(info.ModTime().Format(time.RFC3339Nano) + " " + info.Mode().String() + " ")
			b.WriteString(strconv.FormatInt(info.Size(), 10))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// reload puts the files' present state in force, if it is sound.
func (w *watcher) reload(why string) {
	w.taken = w.seen
	c, err := config.Load(w.source)
	if err == nil {
		err = w.app.Reload(c)
	}
	if err != nil {
		for _, fault := range faults(err) {
			w.log.Error("the configuration stays as it was", "because", why, "fault", fault.Error())
		}
		return
	}
	for _, warning := range c.Warnings {
		w.log.Warn(warning) //nolint:sloglint // each warning is one whole line
	}
	w.config = c
	w.log.Info("configuration loaded", "because", why)
}

// faults takes joined errors apart.
func faults(err error) []error {
	if joined, ok := errors.AsType[interface {
		error
		Unwrap() []error
	}](err); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
