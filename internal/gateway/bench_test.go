package gateway

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/llm"
)

// drop is a ResponseWriter that forgets what it is given.
type drop struct{ header http.Header }

func (d *drop) Header() http.Header              { return d.header }
func (d *drop) WriteHeader(int)                  {}
func (d *drop) Write(p []byte) (int, error)      { return len(p), nil }
func (d *drop) FlushError() error                { return nil }
func (d *drop) SetWriteDeadline(time.Time) error { return nil }
func (d *drop) SetReadDeadline(time.Time) error  { return nil }

// piecesOf is a body whose pieces cost nothing.
type piecesOf struct {
	piece []byte
	left  int
}

func (p *piecesOf) Next() ([]byte, error) {
	if p.left--; p.left < 0 {
		return nil, io.EOF
	}
	return p.piece, nil
}
func (p *piecesOf) Usage() llm.Usage { return llm.Usage{Input: 10, Output: 10} }
func (p *piecesOf) Counted() int64   { return 0 }
func (p *piecesOf) Close() error     { return nil }

func inMemory(pieces int) provider {
	header := http.Header{"Content-Type": {"application/json"}, "X-Request-Id": {"up"}, "X-Ratelimit-Remaining-Requests": {"10"}, "X-Ratelimit-Limit-Requests": {"6000000"}}
	piece := []byte("data: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n")
	return func(_ context.Context, c *llm.Call) (*llm.Answer, error) {
		return &llm.Answer{Status: 200, Header: header, Stream: c.Stream, Body: &piecesOf{piece, pieces}}, nil
	}
}

// The whole way of a request through gateway, dispatch and admission, without
// the network on either side.
func BenchmarkServeHTTP(b *testing.B) {
	long := strings.Replace(chatBody, "hi", strings.Repeat("some words and then some more words in a line of usual length\\n", 380), 1)
	for _, bench := range []struct {
		name, body string
		pieces     int
	}{
		{"json/small", chatBody, 1}, {"json/24KB", long, 1}, {"stream/1", streamBody, 1}, {"stream/100", streamBody, 100},
	} {
		b.Run(bench.name, func(b *testing.B) {
			w := build(b, 1000, inMemory(bench.pieces))
			serveOnce := server(b, w, bench.body)
			b.ReportAllocs()
			for b.Loop() {
				serveOnce()
			}
		})
	}
}

// server returns a function that sends one request to the world's handler.
func server(t testing.TB, w *world, body string) func() {
	t.Helper()
	reader := strings.NewReader(body)
	req, err := http.NewRequestWithContext(t.Context(), "POST", "/v1/chat/completions", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.RemoteAddr, req.Host, req.ContentLength = "127.0.0.1:4000", "127.0.0.1:8080", int64(len(body))
	req.Header.Set("Authorization", "Bearer sk-some-key-of-usual-length-0123456789")
	return func() {
		reader.Reset(body)
		req.Body = io.NopCloser(reader)
		w.gateway.ServeHTTP(&drop{header: make(http.Header, 24)}, req)
		w.records.records, w.records.attempts = w.records.records[:0], w.records.attempts[:0]
	}
}

// A piece of a stream passes the gateway without an allocation.
func TestPiecesPassWithoutAllocation(t *testing.T) {
	measure := func(pieces int) float64 {
		return testing.AllocsPerRun(20, server(t, build(t, 10, inMemory(pieces)), streamBody))
	}
	if few, many := measure(1), measure(1001); many-few > 5 {
		t.Errorf("%v allocations for 1 piece, %v for 1001", few, many)
	}
}
