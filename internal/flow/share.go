package flow

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// ShareKey names an answer that may be handed to more than one request: a key of
// the cache, or of a call under way. The zero value means that nothing is shared.
type ShareKey [sha256.Size]byte

// IsZero reports whether the key says that nothing is shared.
func (k ShareKey) IsZero() bool { return k == ShareKey{} }

// Scope is who may share an answer, and what for. Two scopes that differ in any
// field never share.
type Scope struct {
	Tenant    string // always set where there are keys
	User      string // empty only where the route shares between users
	Route     string
	Operation string
	Use       string // what the key is for, such as "flight" or "cache"
}

// Sharer builds the keys of everything that is shared between requests: it is the
// one place that decides whether two requests are the same. Its methods may be
// called from any goroutine.
type Sharer struct {
	macs sync.Pool // of *mac, each keyed
}

// mac is a keyed hash with room for what goes in and comes out.
type mac struct {
	hash.Hash
	length [8]byte
	text   []byte
	sum    []byte
}

// NewSharer returns a Sharer whose keys nobody can foresee who does not know the
// secret, which must be random and should not outlive the process.
func NewSharer(secret [32]byte) *Sharer {
	s := &Sharer{}
	s.macs.New = func() any { return &mac{Hash: hmac.New(sha256.New, secret[:])} }
	return s
}

// Key is the HMAC-SHA256 of the scope and the parts. Each is preceded by its
// length, and the parts by their number, so that no two tuples read the same.
func (s *Sharer) Key(scope Scope, parts ...[]byte) ShareKey {
	m, _ := s.macs.Get().(*mac) // the pool holds nothing else
	defer s.macs.Put(m)
	m.Reset()
	for _, field := range [...]string{scope.Tenant, scope.User, scope.Route, scope.Operation, scope.Use} {
		m.text = append(m.text[:0], field...)
		m.part(m.text)
	}
	m.number(len(parts))
	for _, p := range parts {
		m.part(p)
	}
	m.sum = m.Sum(m.sum[:0])
	return ShareKey(m.sum)
}

func (m *mac) part(p []byte) {
	m.number(len(p))
	_, _ = m.Write(p) // a hash never fails
}

func (m *mac) number(n int) {
	binary.BigEndian.PutUint64(m.length[:], uint64(n))
	_, _ = m.Write(m.length[:])
}
