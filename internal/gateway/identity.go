package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"strings"

	"github.com/millrace/millrace/internal/flow"
)

// caller is who asks, as far as the connection and the key tell.
type caller struct {
	key    *Key              // nil where none are configured
	bearer [sha256.Size]byte // hash of the bearer; zero without one
}

// identify checks the bearer against the keys.
func (g *Gateway) identify(r *http.Request) (caller, error) {
	var who caller
	token := bearer(r.Header)
	if token != "" {
		who.bearer = sha256.Sum256([]byte(token))
	}
	if len(g.keys) == 0 {
		return who, nil
	}
	// The map is keyed by hashes, so how long a look-up takes says nothing about
	// how much of a guessed token was right.
	if who.key = g.keys[who.bearer]; who.key == nil {
		return who, &fault{
			status: http.StatusUnauthorized, typ: typeInvalid, code: "invalid_api_key", retry: retryNone,
			message: "Incorrect or missing API key. Send it as 'Authorization: Bearer KEY'.",
		}
	}
	return who, nil
}

// bearer is the token of the Authorization header; empty without one.
func bearer(h http.Header) string {
	v := h["Authorization"]
	const scheme = "bearer "
	if len(v) != 1 || len(v[0]) <= len(scheme) || !strings.EqualFold(v[0][:len(scheme)], scheme) {
		return ""
	}
	return strings.TrimSpace(v[0][len(scheme):])
}

// key is the flow of a request.
func (g *Gateway) key(r *http.Request, who caller, f *fields, route int) flow.Key {
	k := flow.Key{Class: g.options.Routes[route].Class, Tenant: localTenant, User: g.user(r, who, f)}
	if who.key != nil {
		k.Tenant = who.key.Tenant
		if who.key.Class != "" {
			k.Class = who.key.Class
		}
	}
	if k.Class == "" {
		k.Class = flow.Chat
	}
	if v := r.Header["Millrace-Class"]; len(v) > 0 {
		k.Class = g.lower(k.Class, flow.Class(v[0]))
	}
	return k
}

// lower is the wanted class, if it is known and weighs no more than the own one.
func (g *Gateway) lower(own, wanted flow.Class) flow.Class {
	if _, known := g.weights[wanted]; !known || g.weight(wanted) > g.weight(own) {
		return own
	}
	return wanted
}

func (g *Gateway) weight(c flow.Class) float64 {
	if w := g.weights[c]; w > 0 {
		return w
	}
	return 1
}

// user names whom the request is for. Forwarding headers are not looked at: any
// client can write them.
func (g *Gateway) user(r *http.Request, who caller, f *fields) string {
	if v := r.Header[hUser]; len(v) > 0 && v[0] != "" {
		return clean(v[0])
	}
	switch {
	case f.user != "":
		return clean(f.user)
	case who.bearer != [sha256.Size]byte{}:
		return hex.EncodeToString(who.bearer[:8])
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return clean(r.RemoteAddr)
	}
	return host
}
