package console

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

// tick is how often a frame is built while somebody looks.
const tick = time.Second

// serveState answers the latest frame.
func (c *Console) serveState(v *visit) {
	v.w.Header().Set("Content-Type", "application/json")
	_, _ = v.w.Write(c.latest(time.Now()).bytes)
}

// enter counts a stream of somebody in, if there is room for it. Where there are no
// keys all are of one.
func (c *Console) enter(name string) bool {
	locked := c.locked()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams >= c.options.Streams || locked && c.streamsOf[name] >= maxOwn {
		return false
	}
	c.streams++
	c.streamsOf[name]++
	return true
}

func (c *Console) leave(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams--
	if c.streamsOf[name]--; c.streamsOf[name] == 0 {
		delete(c.streamsOf, name)
	}
}

// serveStream sends a frame a second for as long as the visitor may look.
func (c *Console) serveStream(v *visit) {
	if !c.enter(v.who.Name) {
		v.w.Header().Set("Retry-After", "30")
		v.problem(http.StatusServiceUnavailable, "Too many pages are open.")
		return
	}
	defer c.leave(v.who.Name)
	h := v.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no")
	control := http.NewResponseController(v.w)
	beat := time.NewTicker(tick)
	defer beat.Stop()
	var last int64
	for {
		f := c.latest(time.Now())
		if f.seq != last {
			if write(v.w, f) != nil || control.Flush() != nil {
				return
			}
			last = f.seq
		}
		select {
		case <-v.r.Context().Done():
			return
		case <-c.closed:
			return
		case <-beat.C:
		}
		if _, ok := c.identify(v.r); !ok {
			return
		}
	}
}

// write sends a frame as one event. JSON has no line ends of its own.
func write(w http.ResponseWriter, f frame) error {
	_, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", f.seq, bytes.TrimSpace(f.bytes))
	return err
}
