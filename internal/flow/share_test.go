package flow_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/flow"
)

var secret = [32]byte{1, 2, 3}

// tuple is what a key is made of.
type tuple struct {
	scope flow.Scope
	parts [][]byte
}

func (a tuple) equal(b tuple) bool {
	if a.scope != b.scope || len(a.parts) != len(b.parts) {
		return false
	}
	for i := range a.parts {
		if !bytes.Equal(a.parts[i], b.parts[i]) {
			return false
		}
	}
	return true
}

// drawTuple draws from few letters and many boundaries, so that tuples which read
// the same when their fields are joined come up all the time.
func drawTuple(t *rapid.T) tuple {
	word := rapid.StringMatching(`[ab\x00]{0,3}`)
	return tuple{
		flow.Scope{
			Tenant: word.Draw(t, "tenant"), User: word.Draw(t, "user"), Route: word.Draw(t, "route"),
			Operation: word.Draw(t, "operation"), Use: word.Draw(t, "use"),
		},
		rapid.SliceOfN(rapid.SliceOfN(rapid.SampledFrom([]byte("ab\x00\x01")), 0, 3), 0, 4).Draw(t, "parts"),
	}
}

func TestShareKeysAreDistinctWhereTuplesAre(t *testing.T) {
	s := flow.NewSharer(secret)
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawTuple(t), drawTuple(t)
		same := s.Key(a.scope, a.parts...) == s.Key(b.scope, b.parts...)
		if same != a.equal(b) {
			t.Fatalf("%q and %q: same key %v", a, b, same)
		}
	})
}

// Each field of the scope and each part counts by itself.
func TestShareKeyOfEachField(t *testing.T) {
	s := flow.NewSharer(secret)
	seen := map[flow.ShareKey]int{}
	for i, a := range []tuple{
		{},
		{scope: flow.Scope{Tenant: "x"}},
		{scope: flow.Scope{User: "x"}},
		{scope: flow.Scope{Route: "x"}},
		{scope: flow.Scope{Operation: "x"}},
		{scope: flow.Scope{Use: "x"}},
		{parts: [][]byte{{}}},
		{parts: [][]byte{[]byte("x")}},
		{parts: [][]byte{{}, []byte("x")}},
		{parts: [][]byte{[]byte("x"), {}}},
	} {
		k := s.Key(a.scope, a.parts...)
		if old, ok := seen[k]; ok {
			t.Errorf("%d has the key of %d", i, old)
		}
		seen[k] = i
	}
}

// Every way of cutting one text into fields and parts has a key of its own.
func TestShareKeysOfAllCuts(t *testing.T) {
	s := flow.NewSharer(secret)
	seen := map[flow.ShareKey]string{}
	const text = "aaaaaaa"
	note := func(scope flow.Scope, parts ...[]byte) {
		k, what := s.Key(scope, parts...), fmt.Sprintf("%+v %q", scope, parts)
		if old, ok := seen[k]; ok && old != what {
			t.Fatalf("%s has the key of %s", what, old)
		}
		seen[k] = what
	}
	for i := 0; i <= len(text); i++ {
		for j := i; j <= len(text); j++ {
			a, b, c := text[:i], text[i:j], text[j:]
			note(flow.Scope{Tenant: a, User: b, Route: c})
			note(flow.Scope{User: a, Route: b, Operation: c})
			note(flow.Scope{Route: a, Operation: b, Use: c})
			note(flow.Scope{Use: a}, []byte(b), []byte(c))
			note(flow.Scope{}, []byte(a), []byte(b), []byte(c))
			note(flow.Scope{}, []byte(a), []byte(b+c), nil)
		}
	}
	if len(seen) < 150 {
		t.Errorf("only %d keys", len(seen))
	}
}

// A million tuples that differ in a single byte or boundary.
func TestShareKeysDoNotCollide(t *testing.T) {
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	s, seen := flow.NewSharer(secret), make(map[flow.ShareKey]struct{}, n)
	var body [16]byte
	for i := range n {
		binary.BigEndian.PutUint64(body[:], uint64(i/4))
		scope, cut := flow.Scope{Tenant: "t", User: "u"}, i%2*8
		if i%4 >= 2 {
			scope = flow.Scope{Tenant: "tu"}
		}
		seen[s.Key(scope, body[:cut+1], body[cut+1:])] = struct{}{}
	}
	if len(seen) != n {
		t.Errorf("%d keys of %d tuples", len(seen), n)
	}
}

func TestShareKeyIsAKeyedHash(t *testing.T) {
	a, b := flow.NewSharer(secret), flow.NewSharer([32]byte{9})
	k := a.Key(flow.Scope{Tenant: "t"}, []byte("body"))
	if k == b.Key(flow.Scope{Tenant: "t"}, []byte("body")) {
		t.Error("two secrets give the same key")
	}
	h := hmac.New(sha256.New, secret[:])
	for _, field := range []string{"t", "", "", "", ""} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(field)))
		h.Write([]byte(field))
	}
	_ = binary.Write(h, binary.BigEndian, [2]uint64{1, 4})
	h.Write([]byte("body"))
	if !bytes.Equal(h.Sum(nil), k[:]) {
		t.Error("the key is not the HMAC-SHA256 of its length-prefixed parts")
	}
	if k.IsZero() || !(flow.ShareKey{}).IsZero() {
		t.Error("IsZero")
	}
}

func TestSharerIsSafeForConcurrentUse(t *testing.T) {
	s := flow.NewSharer(secret)
	want := s.Key(flow.Scope{Tenant: "t"}, []byte("body"))
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			for range 200 {
				s.Key(flow.Scope{Tenant: fmt.Sprint(rand.Int())})
				if s.Key(flow.Scope{Tenant: "t"}, []byte("body")) != want {
					t.Error("the key of a tuple changed")
				}
			}
		})
	}
	workers.Wait()
}

func BenchmarkSharerKey(b *testing.B) {
	s, scope, body := flow.NewSharer(secret), flow.Scope{Tenant: "t", User: "u", Route: "r", Use: "flight"}, make([]byte, 1000)
	b.ReportAllocs()
	for b.Loop() {
		s.Key(scope, body)
	}
}
