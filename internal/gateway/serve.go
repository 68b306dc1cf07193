package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/millrace/millrace/internal/flow"
)

// Bounds of connections. There is no bound on a whole answer, for streams last;
// each write has its own.
const (
	headerTime  = 5 * time.Second
	idleTime    = 120 * time.Second
	headerBytes = 32 << 10
	// Of HTTP/2: Envoy's bounds for an edge.
	h2Streams    = 100
	h2Stream     = 64 << 10
	h2Connection = 1 << 20
	// lastWords is how long the requests that a shutdown ends have to tell their
	// clients and to settle.
	lastWords = 5 * time.Second
)

func (g *Gateway) newServer() *http.Server {
	s := &http.Server{
		Handler:           g,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerBytes,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: h2Streams, MaxReceiveBufferPerStream: h2Stream,
			MaxReceiveBufferPerConnection: h2Connection, WriteByteTimeout: maxWrite,
		},
		DisableGeneralOptionsHandler: true, // it would answer OPTIONS * with 200
		Protocols:                    &http.Protocols{},
		BaseContext:                  func(net.Listener) context.Context { return g.base },
		ErrorLog:                     slog.NewLogLogger(g.deps.Log.Handler(), slog.LevelDebug),
	}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetHTTP2(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	return s
}

// Serve answers on l until Shutdown, then returns nil.
func (g *Gateway) Serve(l net.Listener) error {
	if err := g.server.Serve(&door{Listener: l, g: g}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Drain refuses new requests from now on. Those that wait or run go on.
func (g *Gateway) Drain() {
	g.draining.Store(true)
	g.deps.Limits.Drain()
}

// Shutdown drains, and ends what is left when ctx ends: each request is told and
// settled. It returns when no request is left, with an error if some had to be
// cut off without a word.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.Drain()
	err := g.server.Shutdown(ctx)
	if err == nil {
		return nil
	}
	g.stop(flow.ErrDrained)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	if err := g.server.Shutdown(last); err != nil {
		return errors.Join(err, g.server.Close())
	}
	return nil
}
