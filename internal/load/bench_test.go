package load

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A request of 6,000 tokens must cost little beside sending it.
func BenchmarkRequest(b *testing.B) {
	o := Options{Model: "m", Key: "sk"}
	c, err := newComposer(&o, Target{URL: "http://127.0.0.1/v1"}, lorem(6000))
	if err != nil {
		b.Fatal(err)
	}
	p := plan{user: 7, seq: 12, tokens: 6000, stream: true}
	b.ReportAllocs()
	for b.Loop() {
		c.request(b.Context(), p)
	}
}

// canned answers without a network.
type canned struct{}

// RoundTrip implements http.RoundTripper.
func (canned) RoundTrip(r *http.Request) (*http.Response, error) {
	_, err := io.Copy(io.Discard, r.Body)
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{" + usageJSON + "}"))}, err
}

// Everything but net/http: drawing, building, reading, counting.
func BenchmarkAsk(b *testing.B) {
	o := Options{Users: 1, Model: "m", Tokens: 6000, Targets: []Target{{Name: "t", URL: "http://127.0.0.1/v1"}}}.withDefaults()
	c, err := newComposer(&o, o.Targets[0], lorem(6000))
	if err != nil {
		b.Fatal(err)
	}
	now := newClock(1)
	r := &run{options: &o, transport: canned{}, composer: c, clock: now, book: newBook(&o, now, nil)}
	d := newDrawer(&o, 0, 0)
	b.ReportAllocs()
	for b.Loop() {
		r.ask(b.Context(), d.draw(), time.Now())
	}
}
