package gateway

import (
	"encoding/json"
	"net/http"
	"time"
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

func (g *Gateway) listModels(w http.ResponseWriter, r *http.Request) {
	if !g.mayLook(w, r) {
		return
	}
	list := struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{Object: "list", Data: []model{}}
	for _, name := range g.deps.Catalog.Models(r.Context()) {
		list.Data = append(list.Data, g.model(name))
	}
	answerJSON(w, list)
}

// showModel answers for every name that has a route, listed or not.
func (g *Gateway) showModel(w http.ResponseWriter, r *http.Request) {
	if !g.mayLook(w, r) {
		return
	}
	name := r.PathValue("model")
	if _, ok := g.route(name); !ok || name == "" || len(name) > maxName {
		g.refuse(w, unknownModel(name), requestID())
		return
	}
	answerJSON(w, g.model(name))
}

// mayLook checks the key; it answers itself if that is wrong.
func (g *Gateway) mayLook(w http.ResponseWriter, r *http.Request) bool {
	if _, err := g.identify(r); err != nil {
		id := requestID()
		g.refuse(w, faultOf(err, id), id)
		return false
	}
	return true
}

func answerJSON(w http.ResponseWriter, v any) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(maxWrite))
	h := w.Header()
	h["Content-Type"] = []string{"application/json"}
	h[hRequestID] = []string{requestID()}
	_ = json.NewEncoder(w).Encode(v) // a client that has left cannot be told
}
