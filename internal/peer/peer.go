package peer

import (
	"net/netip"
	"slices"
	"strings"
)

// Trust is whose word about others is taken: the networks of the operator's own
// proxies. The nil Trust takes nobody's.
type Trust []netip.Prefix

// Has reports whether an address is one of theirs.
func (t Trust) Has(a netip.Addr) bool {
	return slices.ContainsFunc(t, func(p netip.Prefix) bool { return p.Contains(a) })
}

// maxName bounds what stands for a peer that has no address.
const maxName = 64

// Client names where a request comes from, by the address of its connection and
// the lines of X-Forwarded-For. Read from the right, the first address that is
// not a trusted proxy's is the client's; where a trusted proxy vouches for
// nothing that can be read, it is the proxy's own.
func (t Trust) Client(remote string, forwarded []string) string {
	at, ok := Parse(remote)
	if !ok {
		host, _, _ := strings.Cut(remote, ":")
		return plain(host)
	}
	if !t.Has(at) {
		return name(at)
	}
	for _, line := range slices.Backward(forwarded) {
		for rest, more := line, true; more; {
			var hop string
			if cut := strings.LastIndexByte(rest, ','); cut >= 0 {
				rest, hop = rest[:cut], rest[cut+1:]
			} else {
				hop, more = rest, false
			}
			next, ok := Parse(strings.TrimSpace(hop))
			if !ok {
				return name(at)
			}
			if at = next; !t.Has(at) {
				return name(at)
			}
		}
	}
	return name(at)
}

// Parse reads an address, with a port or without. One of IPv4 in the clothes of
// IPv6 is one of IPv4; zones are dropped.
func Parse(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		s = s[1 : len(s)-1]
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap().WithZone(""), err == nil
}

// Household is the network that one customer has: of IPv4 the address, of IPv6
// the /64.
func Household(a netip.Addr) netip.Prefix {
	bits := 64
	if a.Is4() {
		bits = 32
	}
	p, _ := a.Prefix(bits) // of a valid address there is one
	return p
}

func name(a netip.Addr) string {
	if a.Is4() {
		return a.String()
	}
	return Household(a).String()
}

// plain is a name without what could break a log's line.
func plain(s string) string {
	return strings.Map(func(c rune) rune {
		if c <= ' ' || c >= 0x7f {
			return '_'
		}
		return c
	}, s[:min(len(s), maxName)])
}
