package gateway

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/millrace/millrace/internal/field"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/peer"
)

// caller is who asks, as far as the key tells.
type caller struct {
	key    *Key              // nil where none are configured, and for a stranger
	bearer [sha256.Size]byte // hash of the token; zero without one
}

// identify checks the credential against the keys.
func (t *table) identify(h http.Header) (who caller, err error) {
	token, clear := credential(h)
	if token != "" {
		who.bearer = sha256.Sum256([]byte(token))
	}
	if len(t.keys) == 0 {
		return who, nil
	}
	// The map is keyed by hashes, so how long a look-up takes says nothing about
	// how much of a guessed token was right.
	if clear {
		who.key = t.keys[who.bearer]
	}
	if who.key == nil {
		return caller{}, &fault{
			status: http.StatusUnauthorized, typ: typeInvalid, code: "invalid_api_key", retry: retryNone,
			message: "Incorrect or missing API key. Send exactly one, as 'Authorization: Bearer KEY', x-api-key or api-key.",
		}
	}
	return who, nil
}

// credential is the one token of a request, wherever it stands; empty without
// one. It is not clear if two places say different things, or one says what is no
// token.
func credential(h http.Header) (token string, clear bool) {
	clear = true
	take := func(t string) {
		if t != "" {
			clear, token = clear && (token == "" || token == t), t
		}
	}
	for _, v := range h["Authorization"] {
		t, ok := bearer(v)
		clear = clear && ok
		take(t)
	}
	for _, name := range [...]string{"X-Api-Key", "Api-Key"} {
		for _, v := range h[name] {
			take(strings.TrimSpace(v))
		}
	}
	return token, clear
}

// bearer is the token of an Authorization header; an empty one is as good as none.
func bearer(v string) (token string, ok bool) {
	const scheme = "bearer"
	if v = strings.TrimSpace(v); v == "" {
		return "", true
	}
	if len(v) < len(scheme) || !strings.EqualFold(v[:len(scheme)], scheme) {
		return "", false
	}
	rest := v[len(scheme):]
	token = strings.TrimLeft(rest, " ")
	return token, rest == "" || rest != token
}

// tenant is in whose name the exchange asks.
func (x *exchange) tenant() string {
	switch {
	case x.who.key != nil:
		return x.who.key.Tenant
	case len(x.t.keys) == 0:
		return localTenant
	}
	return ""
}

// flow is the flow of a request for a route, on behalf of the user that its body
// names. It fails if the key may not have its class.
func (x *exchange) flow(route int, user string) (flow.Key, error) {
	own := x.t.options.Routes[route].Class
	if k := x.who.key; k != nil && k.Class != "" {
		own = k.Class
	}
	if own == "" {
		own = flow.Chat
	}
	class := own
	if v := x.r.Header["Millrace-Class"]; len(v) > 0 && x.who.key.mayHave(flow.Class(v[0])) {
		class = x.t.lower(own, flow.Class(v[0]))
	}
	if !x.who.key.mayHave(class) {
		return flow.Key{}, forbidden("class_not_allowed", "This key may not be used for requests of class "+field.Clean(string(class))+".")
	}
	return flow.Key{Class: class, Tenant: x.tenant(), User: x.user(user)}, nil
}

// lower is the wanted class, if it is known and weighs no more than the own one.
func (t *table) lower(own, wanted flow.Class) flow.Class {
	if _, known := t.weights[wanted]; !known || t.weight(wanted) > t.weight(own) {
		return own
	}
	return wanted
}

func (t *table) weight(c flow.Class) float64 {
	if w := t.weights[c]; w > 0 {
		return w
	}
	return 1
}

// user names whom the request is for; named is what its body says, a
// field.Name.
func (x *exchange) user(named string) string {
	if v := x.r.Header[hUser]; len(v) > 0 && v[0] != "" {
		return field.Name(v[0])
	}
	switch {
	case named != "":
		return named
	case x.who.bearer != [sha256.Size]byte{}:
		return hex.EncodeToString(x.who.bearer[:8])
	}
	return x.t.trust().Client(x.r.RemoteAddr, x.r.Header["X-Forwarded-For"])
}

func (t *table) trust() peer.Trust { return t.options.TrustedProxies }
