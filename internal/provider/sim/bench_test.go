package sim

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func longBody(size int) []byte {
	text := strings.Repeat("The river turns the wheel and the wheel turns the stone. ", size/57+1)[:size]
	return []byte(`{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"` +
		text + `"}],"max_tokens":100}`)
}

func BenchmarkParse24KB(b *testing.B) {
	body := longBody(24 << 10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(opChat, body, ""); err != nil {
			b.Fatal(err)
		}
	}
}

// sink is a response writer that keeps nothing.
type sink struct{ header http.Header }

func (s *sink) Header() http.Header         { return s.header }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(int)             {}
func (s *sink) Flush()                      {}

func benchmarkServe(b *testing.B, body []byte) {
	p, err := New(Options{
		Latency: Latency{Instant: true}, Output: 100,
		Limits: Limits{Requests: maxLimit, Tokens: maxLimit, Seats: 100},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		req := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", bytes.NewReader(body))
		p.ServeHTTP(&sink{header: http.Header{}}, req)
	}
	if s := p.Stats(); s.Answered != s.Requests {
		b.Fatalf("%d of %d answered", s.Answered, s.Requests)
	}
}

func BenchmarkServeSmall(b *testing.B) { benchmarkServe(b, longBody(100)) }

func BenchmarkServe24KB(b *testing.B) { benchmarkServe(b, longBody(24<<10)) }

// BenchmarkNetwork has its 64 clients in the same process.
func BenchmarkNetwork(b *testing.B) {
	p := instant(b, Options{Output: 20, Limits: Limits{Requests: maxLimit, Tokens: maxLimit, Seats: 1000}})
	url, clients := serve(b, p)
	body := string(longBody(400))
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := send(b.Context(), clients["HTTP/1.1"], url, body)
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				b.Error(err)
			}
			_ = resp.Body.Close()
		}
	})
}

func BenchmarkStream100Tokens(b *testing.B) {
	benchmarkServe(b, bytes.Replace(longBody(100), []byte(`"model"`), []byte(`"stream":true,"model"`), 1))
}
