package gateway

import (
	"encoding/json"
	"net/http"

	"github.com/millrace/millrace/internal/field"
)

// model is OpenAI's form of a model.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func (g *Gateway) model(name string) model {
	return model{ID: name, Object: "model", Created: g.started, OwnedBy: "millrace"}
}

func (x *exchange) listModels() {
	list := struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{Object: "list", Data: []model{}}
	for _, name := range x.t.catalog.Models(x.r.Context()) {
		if x.who.key.mayAsk(name) {
			list.Data = append(list.Data, x.g.model(name))
		}
	}
	x.answer(http.StatusOK, list)
}

// showModel answers for every name that has a route, listed or not.
func (x *exchange) showModel() {
	name := x.r.PathValue("model")
	if _, ok := x.t.find(x.who.key, name); !ok || name == "" || len(name) > field.MaxName {
		x.turnAway(unknownModel(name))
		return
	}
	x.answer(http.StatusOK, x.g.model(name))
}

// answer sends a value as JSON.
func (x *exchange) answer(status int, v any) {
	h := x.out.Header()
	h["Content-Type"] = []string{"application/json"}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	h[hRequestID] = []string{x.id}
	x.out.WriteHeader(status)
	e := json.NewEncoder(&x.out)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // a client that has left cannot be told
}
