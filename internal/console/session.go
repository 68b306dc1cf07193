package console

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	cookiePrefix = "millrace_session"
	maxLogin     = 4 << 10 // bytes of a login's body
	maxOwn       = 16      // sessions, and streams, of one key: nobody pushes others out
)

// session is one login. The key is known by its hash alone, which is asked for
// anew each time: a key that is revoked takes its sessions along.
type session struct {
	key     [sha256.Size]byte
	expires time.Time
}

// sessions are those that are logged in, by the hash of what their cookie holds.
type sessions struct {
	mu   sync.Mutex
	open map[[sha256.Size]byte]session
}

// add opens a session and returns what its cookie holds. Where the key has too many,
// or all have, one makes room: the key's own that would end first if it has any.
func (s *sessions) add(now time.Time, most int, made session) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.open, func(_ [sha256.Size]byte, old session) bool { return !now.Before(old.expires) })
	own := 0
	for _, old := range s.open {
		if old.key == made.key {
			own++
		}
	}
	if own >= maxOwn || len(s.open) >= most {
		s.makeRoom(func(old session) bool { return own == 0 || old.key == made.key })
	}
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails
	token := base64.RawURLEncoding.EncodeToString(secret[:])
	s.open[sha256.Sum256([]byte(token))] = made
	return token
}

// makeRoom ends the session that would end first, of those that may. The lock is held.
func (s *sessions) makeRoom(may func(session) bool) {
	var first [sha256.Size]byte
	found := false
	for id, old := range s.open {
		if may(old) && (!found || old.expires.Before(s.open[first].expires)) {
			first, found = id, true
		}
	}
	delete(s.open, first)
}

func (s *sessions) find(now time.Time, token string) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.open[sha256.Sum256([]byte(token))]
	return found, ok && now.Before(found.expires)
}

func (s *sessions) drop(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, sha256.Sum256([]byte(token)))
}

// cookieName is that of the session's cookie. Browsers send a cookie to all ports of a
// host, on which several gateways may run.
func cookieName(r *http.Request) string {
	if _, port, err := net.SplitHostPort(r.Host); err == nil && port != "" {
		return cookiePrefix + "_" + port
	}
	return cookiePrefix
}

// tokenOf is what the session's cookie holds; empty without one.
func tokenOf(r *http.Request) string {
	cookie, err := r.Cookie(cookieName(r))
	if err != nil {
		return ""
	}
	return cookie.Value
}

// identify says who asks: the session's key, or the one that was sent.
func (c *Console) identify(r *http.Request) (Principal, bool) {
	if !c.locked() {
		return Principal{Name: "local", Role: Operator}, true
	}
	if s, ok := c.sessions.find(time.Now(), tokenOf(r)); ok {
		return c.deps.Keys.Find(s.key)
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if token == "" || !strings.EqualFold(scheme, "bearer") {
		return Principal{}, false
	}
	return c.deps.Keys.Find(sha256.Sum256([]byte(strings.TrimSpace(token))))
}

// sessionView is what a page must know of who looks at it.
type sessionView struct {
	In      bool   `json:"in"`     // may look
	Locked  bool   `json:"locked"` // there are keys to log in with
	Name    string `json:"name,omitempty"`
	Role    string `json:"role,omitempty"`
	Version string `json:"version"`
	Acts    bool   `json:"acts"` // may do what is offered
	Offers  offers `json:"offers"`
}

// offers are what this gateway can do for an operator.
type offers struct {
	Trip  bool `json:"trip"`
	Reset bool `json:"reset"`
	Queue bool `json:"queue"` // pause, resume, move up, evict
	Plan  bool `json:"plan"`
	Load  bool `json:"load"`
}

func (c *Console) serveSession(v *visit) {
	who, in := c.identify(v.r)
	s := sessionView{In: in, Locked: c.locked()}
	if in {
		d := &c.deps
		s.Name, s.Role, s.Version, s.Acts = who.Name, who.Role.String(), c.options.Version, who.Role == Operator
		s.Offers = offers{Trip: d.Trip != nil, Reset: d.Reset != nil, Queue: d.Control != nil, Plan: d.Plan != nil, Load: d.Load != nil}
	}
	v.json(s)
}

// login exchanges a key for a session.
func (c *Console) login(v *visit) {
	var body struct {
		Key string `json:"key"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(v.w, v.r.Body, maxLogin)).Decode(&body); err != nil {
		v.problem(http.StatusBadRequest, "Send {\"key\": \"...\"}.")
		return
	}
	if !c.locked() {
		c.serveSession(v)
		return
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(body.Key)))
	who, ok := c.deps.Keys.Find(sum)
	if v.who = who; !ok {
		v.who = Principal{}
		c.audit(v, "login refused")
		v.problem(http.StatusUnauthorized, "This key is not known, or may only ask models: here its role must be viewer or operator.")
		return
	}
	now := time.Now()
	token := c.sessions.add(now, c.options.Sessions, session{key: sum, expires: now.Add(c.options.Session)})
	v.cookie(token, int(c.options.Session/time.Second))
	c.audit(v, "login")
	v.r.Header.Set("Cookie", cookieName(v.r)+"="+token)
	c.serveSession(v)
}

func (c *Console) logout(v *visit) {
	if token := tokenOf(v.r); token != "" {
		c.sessions.drop(token)
		c.audit(v, "logout")
	}
	v.cookie("", -1)
	v.w.WriteHeader(http.StatusNoContent)
}

// cookie sets the session's cookie. Where the connection is not encrypted it is
// one to this machine, or one that its operator has chosen to leave so.
func (v *visit) cookie(value string, seconds int) {
	http.SetCookie(v.w, &http.Cookie{ //nolint:gosec // Secure follows the connection: a plain one would never get the cookie back
		Name: cookieName(v.r), Value: value, Path: "/", MaxAge: seconds,
		HttpOnly: true, Secure: v.r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}
