package llm

import (
	"io"
	"net/http"
)

// Operation is what a call asks of a model.
type Operation uint8

// The operations. OpChat is the zero value.
const (
	OpChat       Operation = iota // chat completions
	OpCompletion                  // legacy text completions
	OpEmbedding                   // embeddings
)

var operationNames = [...]string{"chat", "completion", "embedding"}

// String returns the operation as it appears in metrics and logs.
func (o Operation) String() string {
	if int(o) < len(operationNames) {
		return operationNames[o]
	}
	return "unknown"
}

// Call is one attempt at one upstream, ready to be sent. The provider rewrites
// nothing in Body but the model name and what it needs to learn the usage.
type Call struct {
	Operation Operation
	Model     string      // the upstream's name for the model; empty keeps the client's
	Stream    bool        // the client asked for a stream
	WantUsage bool        // the client itself asked for usage in the stream
	Header    http.Header // allow-listed client headers to pass on
	Body      []byte      // the client's request body, whole; never modified
}

// Answer is an upstream's response whose status and header have arrived. The
// caller must close Body.
type Answer struct {
	Status int
	Header http.Header // the provider's header, unfiltered; nil for none
	Stream bool        // Body is a sequence of server-sent events
	Body   Body
}

// Body yields an answer piece by piece and meters it while it passes. It is
// used by one goroutine at a time.
type Body interface {
	// Next returns the next bytes to forward to the client: for a stream, whole
	// events. They are valid until the following call. At the regular end the
	// error is io.EOF. Any other error means that the answer broke off; it is an
	// *Error.
	Next() ([]byte, error)
	// Usage is what the provider has reported so far; zero when nothing yet.
	Usage() Usage
	// Counted is the number of bytes of generated text that have passed, from
	// which output is estimated when no usage was reported.
	Counted() int64
	io.Closer
}
