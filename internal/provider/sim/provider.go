package sim

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxBody bounds what a client may send.
const maxBody = 10 << 20

// Provider is a simulated provider. It is an http.Handler without goroutines
// of its own, safe for concurrent use; it needs no closing.
type Provider struct {
	options Options
	profile profile
	books   *books
	script  *script
	corpus  *corpus
	mux     *http.ServeMux
	created int64
	seq     atomic.Uint64 // requests that were read, for their randomness
	ids     atomic.Uint64 // requests of any kind, for their names
	buffers sync.Pool     // of *[]byte
}

// New makes a provider whose windows are all untouched. The error joins every
// fault found in o.
func New(o Options) (*Provider, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o, prof, m := o.withDefaults()
	if err := checkSlices(o, prof); err != nil {
		return nil, err
	}
	b := newBooks(o, prof, m)
	p := &Provider{
		options: o, profile: prof, books: b, script: newScript(o.Faults, b.clock),
		corpus: newCorpus(o.Seed), created: time.Now().Unix(),
		buffers: sync.Pool{New: func() any { return new([]byte) }},
	}
	p.mux = p.routes()
	return p, nil
}

func (p *Provider) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for path, op := range map[string]operation{
		"chat/completions": opChat, "completions": opCompletion, "embeddings": opEmbedding,
	} {
		handler := p.handle(op)
		mux.HandleFunc("POST /v1/"+path, handler)
		mux.HandleFunc("POST /openai/v1/"+path, handler)
		mux.HandleFunc("POST /openai/deployments/{deployment}/"+path, handler)
	}
	mux.HandleFunc("GET /v1/models", p.guard(p.listModels))
	mux.HandleFunc("GET /v1/models/{id}", p.guard(p.showModel))
	mux.HandleFunc("GET /sim/stats", p.showStats)
	mux.HandleFunc("POST /sim/reset", p.handleReset)
	mux.HandleFunc("POST /sim/fault", p.handleFaults)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, map[string]string{"status": "ok"})
	})
	return mux
}

// ServeHTTP implements http.Handler.
func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

// Stats returns what was booked since the provider was made or reset.
func (p *Provider) Stats() Stats { return p.books.stats() }

// Reset zeroes the books. The windows keep what they hold unless fresh.
func (p *Provider) Reset(fresh bool) { p.books.reset(fresh) }

// SetFaults replaces the fault script; its clock starts now.
func (p *Provider) SetFaults(faults []Fault) error {
	if err := errors.Join((Options{Faults: faults}).faultErrors()...); err != nil {
		return err
	}
	p.script.set(faults)
	return nil
}

func (p *Provider) handle(op operation) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		x := &exchange{p: p, w: w, req: req, start: time.Now()}
		defer x.close()
		x.serve(op)
	}
}

// guard asks for the credential of the model routes.
func (p *Provider) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		if !p.authorized(req.Header) {
			p.writeError(w, refuseFault(Fault{Status: http.StatusUnauthorized}, ""))
			return
		}
		next(w, req)
	}
}

// random is the source of one request: the seed and how many came before.
func (p *Provider) random() *rand.Rand {
	return rand.New(rand.NewPCG(p.options.Seed, p.seq.Add(1)))
}

// authorized accepts any credential unless keys are configured.
func (p *Provider) authorized(h http.Header) bool {
	if len(p.options.Keys) == 0 {
		return true
	}
	key, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	if !ok {
		key = h.Get("Api-Key")
	}
	return slices.Contains(p.options.Keys, key)
}

// read takes the whole body into buf.
func read(w http.ResponseWriter, req *http.Request, buf []byte) ([]byte, error) {
	body := http.MaxBytesReader(w, req.Body, maxBody)
	if n := req.ContentLength; n > 0 && n <= maxBody && int64(cap(buf)) <= n {
		buf = make([]byte, 0, n+1)
	}
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, max(512, len(buf)))
		}
		n, err := body.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

type modelInfo struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

func (p *Provider) model(id string) modelInfo {
	return modelInfo{ID: id, Object: "model", Created: p.created, OwnedBy: "sim"}
}

func (p *Provider) listModels(w http.ResponseWriter, _ *http.Request) {
	list := []modelInfo{}
	for _, id := range p.options.Models {
		list = append(list, p.model(id))
	}
	writeJSON(w, map[string]any{"object": "list", "data": list})
}

func (p *Provider) showModel(w http.ResponseWriter, req *http.Request) {
	id := req.PathValue("id")
	if !slices.Contains(p.options.Models, id) {
		p.writeError(w, refuseFault(Fault{Status: http.StatusNotFound}, id))
		return
	}
	writeJSON(w, p.model(id))
}

func (p *Provider) showStats(w http.ResponseWriter, _ *http.Request) { writeJSON(w, p.Stats()) }

func (p *Provider) handleReset(w http.ResponseWriter, req *http.Request) {
	fresh, _ := strconv.ParseBool(req.FormValue("fresh")) // unset is false
	p.Reset(fresh)
	writeJSON(w, p.Stats())
}

// handleFaults takes {"rules":[...]} or a bare list; an empty one clears.
func (p *Provider) handleFaults(w http.ResponseWriter, req *http.Request) {
	body, err := read(w, req, nil)
	if err == nil {
		var faults []Fault
		if faults, err = ParseScript(body); err == nil {
			err = p.SetFaults(faults)
		}
	}
	if err != nil {
		p.writeError(w, refuseBody(err))
		return
	}
	writeJSON(w, map[string]string{"status": "ok"})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(mustJSON(v), '\n')) // a client that left misses only its answer
}
