package peer

import "net/netip"

// Census counts who is there. The zero value is ready; it is not safe for
// concurrent use.
type Census struct {
	all int
	by  map[netip.Prefix]int // none at zero
}

// Bounds are how many may be there at a time; 0 = no bound.
type Bounds struct {
	All  int // together
	Each int // of one household
}

// Enter counts somebody in, unless the house is full. Who has no household, the
// zero Prefix, counts only to the whole.
func (c *Census) Enter(from netip.Prefix, b Bounds) bool {
	if b.All > 0 && c.all >= b.All || b.Each > 0 && from.IsValid() && c.by[from] >= b.Each {
		return false
	}
	c.all++
	if from.IsValid() {
		if c.by == nil {
			c.by = make(map[netip.Prefix]int)
		}
		c.by[from]++
	}
	return true
}

// Leave counts somebody out who was counted in from there.
func (c *Census) Leave(from netip.Prefix) {
	c.all--
	if !from.IsValid() {
		return
	}
	if c.by[from]--; c.by[from] <= 0 {
		delete(c.by, from)
	}
}

// All is how many are there.
func (c *Census) All() int { return c.all }

// Households is how many households they are from.
func (c *Census) Households() int { return len(c.by) }
