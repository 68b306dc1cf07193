package gateway

import (
	"net/http"

	"github.com/millrace/millrace/internal/flow"
)

// Access says who may use a pattern.
type Access uint8

// The kinds of access. The zero value is none of them: who registers a pattern
// has to say for whom.
const (
	accessUnsaid Access = iota
	Open                // everybody
	Keyed               // whoever holds a key; everybody where none are configured
	Operator            // whoever holds an operator's key; everybody where none are configured. By Admin only, unless everything is on loopback
	Viewer              // where Operator is, for whoever holds a viewer's key or an operator's; everybody where none are configured
	Desk                // where Operator is, and its handler asks for the key itself: a browser sends none with a page
)

// least are the roles that keys must have, by access; that of a client is the zero value.
var least = [...]Role{Operator: RoleOperator, Viewer: RoleViewer, Desk: RoleClient}

// Dialect is a form of errors.
type Dialect uint8

// The dialects. OpenAI is the zero value.
const (
	OpenAI  Dialect = iota // {"error":{"message":...}}
	Problem                // application/problem+json (RFC 9457)
	App                    // {"success":false,"error":...}
)

// Mount is a pattern that somebody else answers. Who may come, the bounds of
// header and connection, the time that each write has, panics and the id of the
// request are the gateway's.
type Mount struct {
	Pattern string // of http.ServeMux, with a method: "POST /chat"
	Access  Access // must be said
	Dialect Dialect
	Handler func(w http.ResponseWriter, r *http.Request, c Caller)
}

// Caller is who asks, as far as connection, header and key tell.
type Caller struct {
	Tenant  string       // of the key; "local" where none are configured; empty for a stranger at an Open pattern
	Key     string       // its name; empty where none are configured
	Class   flow.Class   // of the key; empty leaves it to the endpoint
	User    string       // Millrace-User, else a hash of the token, else the address
	Classes []flow.Class // allowed; empty: all
	Models  []string     // allowed names or patterns; empty: all
	ID      string       // of the request
}

// caller is the exchange's, for those outside.
func (x *exchange) caller() Caller {
	x.out.Header()[hRequestID] = []string{x.id}
	c := Caller{Tenant: x.tenant(), User: x.user(""), ID: x.id}
	if k := x.who.key; k != nil {
		c.Key, c.Class, c.Classes, c.Models = k.Name, k.Class, k.Classes, k.Models
	}
	return c
}

// Refuse answers with err in a dialect. It is the one way in which an error
// becomes HTTP: the errors of flow, admission, dispatch, llm and task are told in
// words, all others are internal errors whose text stays here. What is wrong with
// the request itself is best an *llm.Error of KindInvalid, with the Status and
// Message that the client is told.
func (g *Gateway) Refuse(w http.ResponseWriter, r *http.Request, d Dialect, id string, err error) {
	x := &exchange{g: g, r: r, id: id, dialect: d, out: newPacer(w, r)}
	x.refuse(faultOf(err, id))
}

// Body reads a request's body whole, within its bounds of size and time. The room that
// it takes is given back at the end of the exchange, or as Body returns where w is not
// the exchange's own writer. Its error is for Refuse.
func (g *Gateway) Body(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	out, ok := w.(*pacer)
	if !ok {
		own := newPacer(w, r)
		defer g.release(&own)
		out = &own
	}
	return g.body(out, r, g.table.Load().options.MaxBody)
}
