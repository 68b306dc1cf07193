package respcache

// overhead is what an entry costs beside its bytes: its nodes, its key and its
// share of the map, rounded up.
const overhead = 512

// kept are the headers of an answer that mean the same to everybody who gets it.
// Content-Encoding is among them since the body is kept as it was sent.
var kept = [...]string{
	"Content-Type", "Content-Length", "Content-Encoding", "Content-Language", "Openai-Model", "Openai-Version",
}

// Entry is a whole answer. It is never changed once it was put.
type Entry struct {
	Status int
	Header map[string][]string // of what NewEntry lets through
	Stream bool                // Body is a sequence of server-sent events
	Body   []byte
}

// NewEntry returns an entry with those headers that may be kept. Body is taken
// over, header is not.
func NewEntry(status int, header map[string][]string, stream bool, body []byte) *Entry {
	return &Entry{Status: status, Header: Shared(header), Stream: stream, Body: body}
}

// Shared is a copy of those headers, named canonically, that mean the same to
// everybody who gets the answer.
func Shared(header map[string][]string) map[string][]string {
	h := make(map[string][]string, len(kept))
	for _, name := range kept {
		if v := header[name]; len(v) > 0 {
			h[name] = append([]string(nil), v...)
		}
	}
	return h
}

// Cost is what the entry counts for, in bytes.
func (e *Entry) Cost() int64 {
	cost := int64(overhead + len(e.Body))
	for name, values := range e.Header {
		cost += int64(len(name))
		for _, v := range values {
			cost += int64(len(v))
		}
	}
	return cost
}
