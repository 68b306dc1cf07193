package endpoint

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
)

// object writes a JSON object member by member, in the order of the calls.
type object struct{ b bytes.Buffer }

// add writes a member. v is a value of ours: it always marshals.
func (o *object) add(name string, v any) *object {
	text, err := marshal(v)
	if err != nil {
		text = []byte("null")
	}
	return o.raw(name, text)
}

// raw writes a member whose value is JSON already.
func (o *object) raw(name string, value []byte) *object {
	if o.b.Len() == 0 {
		o.b.WriteByte('{')
	} else {
		o.b.WriteByte(',')
	}
	o.b.Write(quote(name))
	o.b.WriteByte(':')
	o.b.Write(value)
	return o
}

// bytes ends the object.
func (o *object) bytes() []byte {
	if o.b.Len() == 0 {
		o.b.WriteByte('{')
	}
	return append(o.b.Bytes(), '}')
}

// echo adds the members of a request that its endpoint sends back.
func (o *object) echo(p *plan, r *request) *object {
	for _, echo := range p.Echo {
		name, member := splitEcho(echo)
		if raw, ok := r.raw[member]; ok {
			o.raw(name, raw)
		}
	}
	return o
}

// marshal leaves <, > and & as they are: an answer is never HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func quote(s string) []byte {
	b, err := marshal(s)
	if err != nil { // strings always marshal
		return []byte(`""`)
	}
	return b
}

// write answers with a JSON body.
func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that has left cannot be told
}

// refuse answers with a fault of the request.
func refuse(w http.ResponseWriter, f *fault) {
	write(w, f.status, new(object).add("success", false).add("error", f.message).bytes())
}
