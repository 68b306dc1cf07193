package respcache

import (
	"errors"
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// Defaults of Options.
const (
	DefaultEntry   = 1 << 20
	DefaultEntries = 100_000
)

// Options bound a Cache. The zero value keeps nothing.
type Options struct {
	Bytes   int64 // of all entries together; 0 keeps nothing
	Entry   int64 // of one entry, its header included; 0 = 1 MiB
	Entries int   // how many; 0 = 100,000
}

// Validate returns everything that is wrong with o, joined.
func (o Options) Validate() error {
	if o.Bytes < 0 || o.Entry < 0 || o.Entries < 0 {
		return errors.New("respcache: sizes must not be negative: use 0 for no cache or the defaults")
	}
	return nil
}

func (o Options) withDefaults() Options {
	if o.Entry == 0 {
		o.Entry = DefaultEntry
	}
	if o.Entries == 0 {
		o.Entries = DefaultEntries
	}
	o.Entry = min(o.Entry, o.Bytes)
	return o
}

// Cache keeps answers. It is not safe for concurrent use.
type Cache struct {
	options Options
	entries map[flow.ShareKey]*node
	recent  node // of a ring: next was used last, prev longest ago
	bytes   int64
}

// node is an entry in its place.
type node struct {
	key        flow.ShareKey
	entry      *Entry
	cost       int64
	until      time.Time
	prev, next *node
}

// New returns an empty cache. Options that Validate objects to count as zero.
func New(o Options) *Cache {
	c := &Cache{entries: make(map[flow.ShareKey]*node)}
	c.recent.prev, c.recent.next = &c.recent, &c.recent
	c.Resize(o)
	return c
}

// Resize changes the bounds. What no longer fits leaves.
func (c *Cache) Resize(o Options) {
	if o.Validate() != nil {
		o = Options{}
	}
	c.options = o.withDefaults()
	for n := c.recent.prev; n != &c.recent; {
		older := n
		n = n.prev
		if older.cost > c.options.Entry {
			c.remove(older)
		}
	}
	c.makeRoom(0, 0)
}

// Get returns what is kept under the key; false if there is nothing.
func (c *Cache) Get(now time.Time, key flow.ShareKey) (*Entry, bool) {
	n := c.entries[key]
	if n == nil {
		return nil, false
	}
	if !now.Before(n.until) {
		c.remove(n)
		return nil, false
	}
	c.unlink(n)
	c.link(n)
	return n.entry, true
}

// Put keeps the entry, which must not be changed any more, for a time under a key,
// in place of what was there. It reports whether it did.
func (c *Cache) Put(now time.Time, key flow.ShareKey, e *Entry, keep time.Duration) bool {
	if n := c.entries[key]; n != nil {
		c.remove(n)
	}
	cost := e.Cost()
	if keep <= 0 || cost > c.options.Entry || key.IsZero() {
		return false
	}
	c.makeRoom(cost, 1)
	n := &node{key: key, entry: e, cost: cost, until: now.Add(keep)}
	c.entries[key] = n
	c.bytes += cost
	c.link(n)
	return true
}

// Most is what one entry may cost; 0 if nothing is kept.
func (c *Cache) Most() int64 { return c.options.Entry }

// Len is how many entries there are, those included whose time is up and that
// nobody has asked for since.
func (c *Cache) Len() int { return len(c.entries) }

// Bytes is what all entries cost.
func (c *Cache) Bytes() int64 { return c.bytes }

// makeRoom lets the oldest leave until bytes and entries more would fit.
func (c *Cache) makeRoom(bytes int64, entries int) {
	for len(c.entries) > 0 && (c.bytes+bytes > c.options.Bytes || len(c.entries)+entries > c.options.Entries) {
		c.remove(c.recent.prev)
	}
}

func (c *Cache) remove(n *node) {
	delete(c.entries, n.key)
	c.bytes -= n.cost
	c.unlink(n)
}

func (c *Cache) link(n *node) {
	n.prev, n.next = &c.recent, c.recent.next
	n.prev.next, n.next.prev = n, n
}

func (c *Cache) unlink(n *node) {
	n.prev.next, n.next.prev = n.next, n.prev
}
