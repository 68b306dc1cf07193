package estimate

// table keeps figures by key, at most so many; the least recently used go
// first. Entries form a ring through root: root.next is the latest used.
type table struct {
	limit   int
	entries map[Key]*entry
	root    *entry
}

type entry struct {
	key        Key
	figures    figures
	prev, next *entry
}

func newTable(limit int) table {
	root := &entry{}
	root.prev, root.next = root, root
	return table{limit: limit, entries: make(map[Key]*entry), root: root}
}

func (t *table) len() int { return len(t.entries) }

// get returns the figures of key, or nil.
func (t *table) get(key Key) *figures {
	e := t.entries[key]
	if e == nil {
		return nil
	}
	t.unlink(e)
	t.pushFront(e)
	return &e.figures
}

// put returns the figures of key, empty ones if it is new.
func (t *table) put(key Key) *figures {
	if f := t.get(key); f != nil {
		return f
	}
	e := t.fresh()
	e.key = key
	t.entries[key] = e
	t.pushFront(e)
	return &e.figures
}

// fresh returns an entry without figures, taken from the least recently used
// key when the table is full.
func (t *table) fresh() *entry {
	if len(t.entries) < t.limit {
		return &entry{}
	}
	oldest := t.root.prev
	t.unlink(oldest)
	delete(t.entries, oldest.key)
	*oldest = entry{}
	return oldest
}

func (t *table) unlink(e *entry) { e.prev.next, e.next.prev = e.next, e.prev }

func (t *table) pushFront(e *entry) {
	e.prev, e.next = t.root, t.root.next
	e.prev.next, e.next.prev = e, e
}
