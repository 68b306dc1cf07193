package peer

import (
	"net/netip"
	"strings"
	"testing"
)

func TestI1Client(t *testing.T) {
	trust := Trust{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48")}
	for name, tc := range map[string]struct {
		peer  string
		lines []string
		want  string
	}{
		"alone":                  {"203.0.113.5:4000", nil, "203.0.113.5"},
		"a stranger's word":      {"203.0.113.5:4000", []string{"1.1.1.1"}, "203.0.113.5"},
		"one hop":                {"10.0.0.1:4000", []string{"203.0.113.5"}, "203.0.113.5"},
		"a forged one before":    {"10.0.0.1:4000", []string{"1.1.1.1, 203.0.113.5"}, "203.0.113.5"},
		"two hops":               {"10.0.0.1:4000", []string{"1.1.1.1, 203.0.113.5, 10.0.0.2"}, "203.0.113.5"},
		"two lines":              {"10.0.0.1:4000", []string{"203.0.113.5", "10.0.0.2"}, "203.0.113.5"},
		"lines in between":       {"10.0.0.1:4000", []string{"1.1.1.1", "203.0.113.5", "10.0.0.2, 10.0.0.3"}, "203.0.113.5"},
		"all trusted":            {"10.0.0.1:4000", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"nothing said":           {"10.0.0.1:4000", nil, "10.0.0.1"},
		"nonsense":               {"10.0.0.1:4000", []string{"unknown"}, "10.0.0.1"},
		"nonsense behind a hop":  {"10.0.0.1:4000", []string{"1.1.1.1, _hidden, 10.0.0.2"}, "10.0.0.2"},
		"an empty part":          {"10.0.0.1:4000", []string{"1.1.1.1,"}, "10.0.0.1"},
		"with a port":            {"10.0.0.1:4000", []string{"203.0.113.5:99"}, "203.0.113.5"},
		"mapped":                 {"[::ffff:10.0.0.1]:4000", []string{"::ffff:203.0.113.5"}, "203.0.113.5"},
		"version 6":              {"[2001:db8:1:2:3:4:5:6]:4000", nil, "2001:db8:1:2::/64"},
		"its neighbor":           {"[2001:db8:1:2:ffff::1]:4000", nil, "2001:db8:1:2::/64"},
		"another network":        {"[2001:db8:1:3::1]:4000", nil, "2001:db8:1:3::/64"},
		"behind version 6":       {"[2001:db8:ffff::1]:4000", []string{"[2001:db8:7::1]:80"}, "2001:db8:7::/64"},
		"in brackets":            {"10.0.0.1:4000", []string{"[2001:db8:7::1]"}, "2001:db8:7::/64"},
		"a zone":                 {"[fe80::1%eth0]:4000", nil, "fe80::/64"},
		"an address of no kind":  {"memory:80", []string{"1.1.1.1"}, "memory"},
		"a zone does not escape": {"[2001:db8:ffff::1%x]:4000", []string{"203.0.113.5"}, "203.0.113.5"},
	} {
		if got := trust.Client(tc.peer, tc.lines); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestI2Names(t *testing.T) {
	for remote, want := range map[string]string{
		"": "", "@": "@", "a\r\nb": "a__b", "\x1b[31m": "_[31m", "é x": "__x", strings.Repeat("x", 300): strings.Repeat("x", maxName),
	} {
		if got := (Trust{}).Client(remote, nil); got != want {
			t.Errorf("%q: %q, want %q", remote, got, want)
		}
	}
}

func FuzzForwardedFor(f *testing.F) {
	for _, s := range []string{"1.2.3.4", "1.2.3.4, 10.0.0.1", "[::1]:80", "::ffff:10.0.0.1, x", ",,", "unknown", "fe80::1%a,b"} {
		f.Add("10.0.0.1:1", s, s)
	}
	f.Add("203.0.113.5:1", "1.1.1.1", "2.2.2.2")
	trust := Trust{netip.MustParsePrefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, peer, a, b string) {
		got := trust.Client(peer, []string{a, b})
		if len(got) > 3*maxName || strings.ContainsAny(got, "\r\n\x00\x1b ") {
			t.Fatalf("%q", got)
		}
		if at, ok := Parse(peer); ok && !trust.Has(at) && got != name(at) {
			t.Fatalf("%q says it is %q and is believed", peer, got)
		}
	})
}

// What a census knows is what a list of those inside knows.
func TestI3Census(t *testing.T) {
	var c Census
	bounds := Bounds{All: 50, Each: 2}
	var inside []netip.Prefix
	count := func(p netip.Prefix) (n int) {
		for _, q := range inside {
			if q == p {
				n++
			}
		}
		return n
	}
	for i := range 2000 {
		from := Household(netip.AddrFrom4([4]byte{10, 0, 0, byte(i * 7 % 60)}))
		if i%5 == 0 {
			from = netip.Prefix{}
		}
		may := len(inside) < bounds.All && (!from.IsValid() || count(from) < bounds.Each)
		if c.Enter(from, bounds) != may {
			t.Fatalf("step %d: %v let in: %v", i, from, !may)
		}
		if may {
			inside = append(inside, from)
		}
		if i%3 == 0 && len(inside) > 0 {
			c.Leave(inside[0])
			inside = inside[1:]
		}
	}
	for _, from := range inside {
		c.Leave(from)
	}
	if c.All() != 0 || c.Households() != 0 {
		t.Errorf("%d of %d households are left of nobody", c.All(), c.Households())
	}
}
