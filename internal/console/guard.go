package console

import (
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// need is what a route asks of who comes.
type need uint8

const (
	open need = iota // nothing: it is how one gets in
	look             // a key, where there are any
	act              // an operator's
)

// visit is one request that was let in.
type visit struct {
	w   http.ResponseWriter
	r   *http.Request
	who Principal
	id  string // of the request

	answer any   // to an act that was done; nil: there is nothing to tell
	more   []any // of it for the log
}

// mount is a route of the API behind the guard; a path without a slash before it is
// the console's own.
func (c *Console) mount(method, path string, serve func(*visit), n need) Mount {
	if !strings.HasPrefix(path, "/") {
		path = api + path
	}
	return Mount{Pattern: method + " " + path, Handler: func(w http.ResponseWriter, r *http.Request, id string) {
		harden(w.Header())
		w.Header().Set("Cache-Control", "no-store")
		v := &visit{w: w, r: r, id: id}
		if c.admit(v, n) {
			serve(v)
		}
	}}
}

// harden says what a browser must not do with an answer.
func harden(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// admit reports whether the visit may go on; if not it has been answered.
func (c *Console) admit(v *visit, n need) bool {
	if !c.ownSite(v.r) {
		c.audit(v, "refused", "path", v.r.URL.Path, "why", "another site")
		v.problem(http.StatusForbidden, "This was asked by a page of another site.")
		return false
	}
	who, ok := c.identify(v.r)
	v.who = who
	switch {
	case n == open:
		return true
	case !ok:
		v.w.Header().Set("WWW-Authenticate", "Bearer")
		v.problem(http.StatusUnauthorized, "Log in with a key whose role is viewer or operator, or send one as 'Authorization: Bearer KEY'.")
		return false
	case n == act && who.Role != Operator:
		c.audit(v, "refused", "path", v.r.URL.Path, "why", "a viewer")
		v.problem(http.StatusForbidden, "This key may look, not act.")
		return false
	}
	return true
}

// ownSite reports whether no page of another site caused the request. What no
// browser sent has no such page.
func (c *Console) ownSite(r *http.Request) bool {
	if !c.locked() && !loopback(r.Host) {
		return false // a foreign name that points here
	}
	if c.cross.Check(r) != nil {
		return false
	}
	switch r.Header.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return true
	case "":
		origin := r.Header.Get("Origin")
		if origin == "" {
			return true
		}
		u, err := url.Parse(origin)
		return err == nil && u.Host == r.Host
	}
	return false
}

// locked reports whether keys are configured.
func (c *Console) locked() bool { return c.deps.Keys != nil && c.deps.Keys.Any() }

// loopback reports whether the name in a Host header can only mean this machine.
func loopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil && a.Unmap().IsLoopback()
}

// audit writes one line about what somebody did, or tried to.
func (c *Console) audit(v *visit, what string, args ...any) {
	who := v.who.Name
	if who == "" {
		who = "nobody"
	}
	args = append([]any{"action", what, "by", who, "role", v.who.Role.String(), "from", v.r.RemoteAddr, "request", v.id}, args...)
	c.deps.Log.Info("console", args...)
}

// problem answers with an error in words.
func (v *visit) problem(status int, detail string) {
	v.w.Header().Set("Content-Type", "application/problem+json")
	v.w.WriteHeader(status)
	v.encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}

// json answers with a value.
func (v *visit) json(value any) {
	v.w.Header().Set("Content-Type", "application/json")
	v.encode(value)
}

// encode writes a value. Who has left need not be told that he has.
func (v *visit) encode(value any) { _ = json.NewEncoder(v.w).Encode(value) }
