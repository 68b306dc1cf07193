package gateway

import (
	"errors"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/dispatch"
	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/llm"
)

const (
	// presized is how much is set aside for a body on the word of its
	// Content-Length alone; more follows as it comes.
	presized = 256 << 10
	// uploadTime is how long a body may take to come.
	uploadTime = 60 * time.Second
)

// errBrokenOff says that the client left, or lost its line, while it sent.
var errBrokenOff = invalid("", "The body of your request broke off.")

// infer answers the operations that need a model.
func (g *Gateway) infer(w http.ResponseWriter, r *http.Request, op llm.Operation) {
	arrived, id := time.Now(), requestID()
	req, re, err := g.prepare(w, r, op)
	if err != nil {
		g.turnAway(w, untold{id: id, op: op, arrived: arrived}, err)
		return
	}
	req.ID, req.Arrived = id, arrived
	re.id = id
	outcome := g.deps.Dispatcher.Do(r.Context(), req, re)
	if outcome == flow.OutcomeServed {
		g.buffers.put(req.Call.Body)
	}
	if re.truncated {
		panic(http.ErrAbortHandler) //nolint:forbidigo // net/http cuts the connection: a body cut short must not look whole
	}
}

// prepare turns an HTTP request into one for dispatch.
func (g *Gateway) prepare(w http.ResponseWriter, r *http.Request, op llm.Operation) (*dispatch.Request, *reply, error) {
	if g.draining.Load() {
		return nil, nil, flow.ErrDraining
	}
	who, err := g.identify(r)
	if err != nil {
		return nil, nil, err
	}
	control := http.NewResponseController(w)
	body, err := g.body(w, r, control)
	if err != nil {
		return nil, nil, err
	}
	f, err := readFields(body, op)
	if err != nil {
		return nil, nil, err
	}
	route, ok := g.route(f.model)
	if !ok {
		return nil, nil, unknownModel(f.model)
	}
	key := g.key(r, who, &f, route)
	stream := f.stream && op != llm.OpEmbedding
	req := &dispatch.Request{
		Ask: admission.Ask{
			Route: route, Flow: key, Model: clean(f.model), Kind: f.kind, Size: f.size,
			Hold: g.hold(r, route, stream), Place: g.place(op, body),
		},
		Call: llm.Call{Operation: op, Stream: stream, WantUsage: f.wantUsage, Header: forwarded(r.Header), Body: body},
	}
	return req, &reply{g: g, w: w, control: control, route: route, class: key.Class, stream: stream}, nil
}

// body reads the whole body, within its bounds.
func (g *Gateway) body(w http.ResponseWriter, r *http.Request, control *http.ResponseController) ([]byte, error) {
	if e := r.Header["Content-Encoding"]; len(e) > 0 && !strings.EqualFold(e[0], "identity") {
		f := invalid("", "Unsupported Content-Encoding: send the body as it is.")
		f.status = http.StatusUnsupportedMediaType
		return nil, f
	}
	if r.ContentLength > g.options.MaxBody {
		return nil, g.tooLarge()
	}
	_ = control.SetReadDeadline(time.Now().Add(uploadTime)) // a connection without deadlines is a test's
	buf := g.buffers.get(int(min(max(r.ContentLength, 512), presized)) + 1)
	body, err := fill(buf, http.MaxBytesReader(w, r.Body, g.options.MaxBody))
	_ = control.SetReadDeadline(time.Time{})
	var over *http.MaxBytesError
	switch {
	case err == nil:
		return body, nil
	case errors.As(err, &over):
		return nil, g.tooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		f := invalid("", "The body of your request did not arrive in time.")
		f.status, f.close = http.StatusRequestTimeout, true
		return nil, f
	}
	return nil, errBrokenOff
}

// fill reads from until its end.
func fill(buf []byte, from io.Reader) ([]byte, error) {
	for {
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

// buffers keeps bodies for the next requests. The zero value is ready.
type buffers struct{ pool sync.Pool }

// get returns an empty buffer with room for at least size bytes.
func (b *buffers) get(size int) []byte {
	if p, ok := b.pool.Get().(*[]byte); ok && cap(*p) >= size {
		return (*p)[:0]
	}
	return make([]byte, 0, size)
}

// put takes back a body that nobody reads any more. That is known of one whose
// answer has come whole and been closed; of others the last reader may be an
// upload that is still being torn down, and they go to the collector.
func (b *buffers) put(body []byte) {
	if cap(body) <= presized+1 {
		b.pool.Put(&body)
	}
}

func (g *Gateway) tooLarge() *fault {
	f := invalid("", "The body of your request is larger than "+strconv.FormatInt(g.options.MaxBody, 10)+" bytes.")
	f.status, f.code, f.retry, f.close = http.StatusRequestEntityTooLarge, "request_too_large", retryNone, true
	return f
}

// route finds the route of a model name: its own first, else the first pattern.
func (g *Gateway) route(model string) (int, bool) {
	if i, ok := g.exact[model]; ok {
		return i, true
	}
	for _, i := range g.globs {
		if strings.HasPrefix(model, strings.TrimSuffix(g.options.Routes[i].Model, "*")) {
			return i, true
		}
	}
	return 0, false
}

// hold is the latest moment at which the request may still be dispatched; zero
// leaves it to its class. A client's own timeout leaves a part of itself for the
// answer.
func (g *Gateway) hold(r *http.Request, route int, stream bool) time.Time {
	hold := g.options.StreamHold
	if !stream {
		hold = g.options.Hold
		if own := g.options.Routes[route].Hold; own > 0 {
			hold = own
		}
	}
	if timeout := clientTimeout(r.Header); timeout > 0 {
		own := timeout - min(timeout/4, 10*time.Second)
		if hold == 0 || own < hold {
			hold = own
		}
	}
	if hold == 0 {
		return time.Time{}
	}
	return time.Now().Add(hold)
}

// clientTimeout is how long the client says it waits, as the SDKs of OpenAI and
// Anthropic do, in seconds; 0 if it does not.
func clientTimeout(h http.Header) time.Duration {
	v := h["X-Stainless-Timeout"]
	if len(v) == 0 {
		return 0
	}
	seconds, err := strconv.ParseFloat(v[0], 64)
	if err != nil || !(seconds > 0) || seconds > 86400 {
		return 0
	}
	return time.Duration(seconds * float64(time.Second))
}

// place names the place that a request may come back to: the same body. The flow
// is part of the place's name anyway; who guesses a hash finds his own.
func (g *Gateway) place(op llm.Operation, body []byte) string {
	var room [20]byte
	b := append(room[:0], byte('0'+op))
	return string(strconv.AppendUint(b, maphash.Bytes(g.seed, body), 36))
}

// forwarded are the client's headers that mean something to a provider and name
// nobody.
func forwarded(h http.Header) http.Header {
	v := h["Openai-Beta"]
	if len(v) == 0 {
		return nil
	}
	return http.Header{"Openai-Beta": v}
}

func unknownModel(model string) *fault {
	f := invalid("model", "The model '"+clean(model)+"' does not exist or you do not have access to it.")
	f.status, f.code = http.StatusNotFound, "model_not_found"
	return f
}

// requestID is unique enough to find a request again; it is no secret.
func requestID() string {
	const digits = "0123456789abcdefghijklmnopqrstuv"
	b := [24]byte{'r', 'e', 'q', '_'}
	for i, x := 4, rand.Uint64(); i < 16; i, x = i+1, x>>5 {
		b[i] = digits[x&31]
	}
	for i, x := 16, rand.Uint64(); i < len(b); i, x = i+1, x>>5 {
		b[i] = digits[x&31]
	}
	return string(b[:])
}
