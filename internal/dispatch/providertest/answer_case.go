package providertest

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/millrace/millrace/internal/llm"
)

// record makes the server play x and keep the request.
func (srv *server) record(x Exchange, body *[]byte, header *http.Header) {
	var play http.HandlerFunc = func(w http.ResponseWriter, r *http.Request) {
		*body, _ = io.ReadAll(r.Body)
		*header = r.Header
		plain(x.ContentType, x.Answer)(w, r)
	}
	srv.play.Store(&play)
}

func (s suite) requestPassesUnchanged(t *testing.T) {
	var got []byte
	var header http.Header
	srv := newServer(t, nil)
	p := s.adapter(t, srv, Setup{})
	for _, r := range s.Requests {
		x := s.Whole
		if r.Call.Stream {
			x = s.Stream
		}
		srv.record(x, &got, &header)
		before := bytes.Clone(r.Call.Body)
		if res := perform(t, p, r.Call); res.err != nil {
			t.Fatalf("%s: %v", r.Name, res.err)
		}
		if !bytes.Equal(got, r.Want) {
			t.Errorf("I1: %s: the provider received other bytes than it must (-want +got):\n%s", r.Name, cmp.Diff(string(r.Want), string(got)))
		}
		if !bytes.Equal(before, r.Call.Body) {
			t.Errorf("I1: %s: the adapter wrote into Call.Body, which is not its own", r.Name)
		}
	}
}

func (s suite) keyIsSent(t *testing.T) {
	var got []byte
	var header http.Header
	srv := newServer(t, nil)
	srv.record(s.Whole, &got, &header)
	call := s.Whole.Call
	call.Header = http.Header{
		"Authorization":   {"Bearer the-client's-own"},
		"X-Passed-On":     {"yes"},
		"Accept-Encoding": {"gzip"},
	}
	if res := perform(t, s.adapter(t, srv, Setup{}), call); res.err != nil {
		t.Fatal(res.err)
	}
	if !holds(header, canary) {
		t.Error("I1: the key was not sent to the provider")
	}
	if holds(header, "the-client's-own") {
		t.Error("I1: the client's own credential reached the provider")
	}
	if header.Get("X-Passed-On") != "yes" {
		t.Error("I1: a header of Call.Header did not reach the provider")
	}
	if header.Get("Accept-Encoding") == "gzip" {
		t.Error("I1: a compressed answer was asked for; it could not be metered as it passes")
	}
}

func holds(h http.Header, text string) bool {
	for _, values := range h {
		for _, v := range values {
			if bytes.Contains([]byte(v), []byte(text)) {
				return true
			}
		}
	}
	return false
}

// matches checks an answer that ended well.
func matches(t *testing.T, x Exchange, r result) {
	t.Helper()
	if r.err != nil {
		t.Fatalf("I2: the answer was whole, but the call failed: %v", r.err)
	}
	if diff := cmp.Diff(string(x.forwarded()), string(r.forwarded)); diff != "" {
		t.Errorf("I2: the client gets other bytes than it must (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(x.Usage, r.usage); diff != "" {
		t.Errorf("I2: the usage is misread (-want +got):\n%s", diff)
	}
	if r.counted != x.Counted {
		t.Errorf("I2: %d bytes of generated text were counted, want %d", r.counted, x.Counted)
	}
}

func (s suite) wholeAnswer(t *testing.T) {
	srv := newServer(t, plain(s.Whole.ContentType, s.Whole.Answer))
	p := s.adapter(t, srv, Setup{})
	r := perform(t, p, s.Whole.Call)
	matches(t, s.Whole, r)
	if len(r.pieces) != 1 || r.answer.Stream || r.answer.Status != http.StatusOK {
		t.Errorf("I2: a whole answer came in %d pieces, Stream %v, Status %d; want 1, false, 200", len(r.pieces), r.answer.Stream, r.answer.Status)
	}
	play := chunked(s.Whole.ContentType, s.Whole.Answer, 7)
	srv.play.Store(&play)
	matches(t, s.Whole, perform(t, p, s.Whole.Call))
}

func (s suite) stream(t *testing.T) {
	for _, step := range []int{len(s.Stream.Answer), 1000, 97} {
		srv := newServer(t, chunked(s.Stream.ContentType, s.Stream.Answer, step))
		r := perform(t, s.adapter(t, srv, Setup{}), s.Stream.Call)
		matches(t, s.Stream, r)
		if !r.answer.Stream {
			t.Error("I2: Answer.Stream is false for a stream")
		}
		s.onlyWholeEvents(t, r)
	}
}

func (s suite) streamByteByByte(t *testing.T) {
	srv := newServer(t, chunked(s.Stream.ContentType, s.Stream.Answer, 1))
	r := perform(t, s.adapter(t, srv, Setup{}), s.Stream.Call)
	matches(t, s.Stream, r)
	s.onlyWholeEvents(t, r)
}

// onlyWholeEvents checks each piece on its own: the gateway writes comments
// between pieces, which would tear an event apart.
func (s suite) onlyWholeEvents(t *testing.T, r result) {
	t.Helper()
	for _, piece := range r.pieces {
		if s.Complete(piece) != len(piece) {
			t.Fatalf("I3: a piece holds part of an event; what is written after it would tear the event apart:\n%q", piece)
		}
	}
}

func (s suite) usageMissing(t *testing.T) {
	for name, x := range map[string]Exchange{"whole": s.Whole, "stream": s.Stream} {
		srv := newServer(t, plain(x.ContentType, x.WithoutUsage))
		r := perform(t, s.adapter(t, srv, Setup{}), x.Call)
		if r.err != nil {
			t.Fatalf("I2: %s: no usage is not an error: %v", name, r.err)
		}
		if !r.usage.IsZero() {
			t.Errorf("I2: %s: usage %+v was made up; the provider reported none", name, r.usage)
		}
		if r.counted != x.Counted {
			t.Errorf("I2: %s: without usage %d bytes of text were counted, want %d: the settlement rests on them", name, r.counted, x.Counted)
		}
	}
}

func (s suite) usageLate(t *testing.T) {
	first := s.Complete(s.Stream.Answer[:len(s.Stream.Answer)/2])
	release := make(chan struct{})
	srv := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		chunked(s.Stream.ContentType, s.Stream.Answer[:first], first)(w, r)
		<-release
		_, _ = w.Write(s.Stream.Answer[first:])
	})
	call := s.Stream.Call
	a, err := s.adapter(t, srv, Setup{}).Do(t.Context(), &call)
	if err != nil {
		close(release)
		t.Fatal(err)
	}
	piece, err := a.Body.Next()
	early := bytes.Clone(piece)
	close(release)
	if err != nil || len(early) == 0 {
		t.Fatalf("I3: the first events did not come through before the rest was sent: %q, %v", early, err)
	}
	r := finish(a)
	r.forwarded = append(early, r.forwarded...)
	matches(t, s.Stream, r)
}

// wholeAnswerToStream: some servers answer a request for a stream in one piece.
func (s suite) wholeAnswerToStream(t *testing.T) {
	x := s.Whole
	srv := newServer(t, plain(x.ContentType, x.Answer))
	r := perform(t, s.adapter(t, srv, Setup{}), s.Stream.Call)
	matches(t, x, r)
	if r.answer.Stream {
		t.Errorf("I2: an answer of type %s was taken for a stream because a stream was asked for", x.ContentType)
	}
}

func (s suite) eventsLeaveAsTheyCome(t *testing.T) {
	step := make(chan []byte)
	srv := newServer(t, func(w http.ResponseWriter, r *http.Request) {
		for b := range step {
			chunked(s.Stream.ContentType, b, len(b))(w, r)
		}
	})
	defer close(step)
	call := s.Stream.Call
	go func() { step <- s.Stream.Answer[:1] }()
	a, err := s.adapter(t, srv, Setup{ReadTimeout: patience}).Do(t.Context(), &call)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	s.oneByOne(t, a.Body, step)
}

// oneByOne sends the first events one at a time, each with the first byte of
// the next, and wants each back before it sends another.
func (s suite) oneByOne(t *testing.T, b llm.Body, step chan<- []byte) {
	from := 1
	for n := 2; n < len(s.Stream.Answer)/2; n++ {
		if s.Complete(s.Stream.Answer[:n]) != n {
			continue
		}
		step <- s.Stream.Answer[from : n+1]
		from = n + 1
		piece, err := b.Next()
		if err != nil {
			t.Fatalf("I3: an event that has come whole is held back: %v", err)
		}
		if s.Complete(piece) != len(piece) {
			t.Fatalf("I3: half an event left with the one before it: %q", piece)
		}
	}
}
