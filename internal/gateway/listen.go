package gateway

import (
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/peer"
)

// warnEvery is how often at most it is logged that connections are turned away.
const warnEvery = 10 * time.Second

// door is a listener that bounds the connections there are at a time. One too
// many is closed as it comes, without a word: to write to strangers one cannot
// serve costs more than they did, and every client asks again after a reset.
type door struct {
	net.Listener
	g *Gateway

	mu     sync.Mutex
	inside peer.Census
	shut   int // closed as they came, since the last warning
	warned time.Time
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	for {
		c, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if from, ok := d.enter(c.RemoteAddr()); ok {
			return &guest{Conn: c, door: d, from: from}, nil
		}
		_ = c.Close() // the peer has lost nothing that it was promised
	}
}

// enter counts a connection in, if there is room for it.
func (d *door) enter(remote net.Addr) (from netip.Prefix, ok bool) {
	t := d.g.table.Load()
	if a, ok := peer.Parse(remote.String()); ok && !t.trust().Has(a) {
		from = peer.Household(a)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if ok = d.inside.Enter(from, peer.Bounds{All: t.options.Connections, Each: t.options.ConnectionsPerIP}); ok {
		return from, true
	}
	d.shut++
	if now := time.Now(); now.Sub(d.warned) >= warnEvery {
		d.g.deps.Log.Warn("connections are turned away: their bounds are reached", "turned_away", d.shut, "open", d.inside.All())
		d.warned, d.shut = now, 0
	}
	return from, false
}

func (d *door) leave(from netip.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inside.Leave(from)
}

// guest is a connection that was counted in.
type guest struct {
	net.Conn
	door *door
	from netip.Prefix
	once sync.Once
}

// Close implements net.Conn.
func (c *guest) Close() error {
	c.once.Do(func() { c.door.leave(c.from) })
	return c.Conn.Close()
}
