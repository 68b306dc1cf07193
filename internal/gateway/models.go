package gateway

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"time"
)

// modelList is what /v1/models answers with.
type modelList struct {
	created int64
	names   []string // in the order of the routes, each once
}

func newModelList(now time.Time, routes []Route) modelList {
	l := modelList{created: now.Unix(), names: []string{}}
	for _, r := range routes {
		names := r.Models
		if len(names) == 0 && !strings.HasSuffix(r.Model, "*") {
			names = []string{r.Model}
		}
		for _, n := range names {
			if !slices.Contains(l.names, n) {
				l.names = append(l.names, n)
			}
		}
	}
	return l
}

// model is OpenAI's form of a model.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func (l *modelList) model(name string) model {
	return model{ID: name, Object: "model", Created: l.created, OwnedBy: "millrace"}
}

func (g *Gateway) listModels(w http.ResponseWriter, r *http.Request) {
	if !g.mayLook(w, r) {
		return
	}
	list := struct {
		Object string  `json:"object"`
		Data   []model `json:"data"`
	}{Object: "list", Data: make([]model, 0, len(g.models.names))}
	for _, n := range g.models.names {
		list.Data = append(list.Data, g.models.model(n))
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
	answerJSON(w, g.models.model(name))
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
