package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"time"
)

// serveProxy runs what the gateway is compared with: a ReverseProxy and nothing
// else. Its transport keeps as many idle connections as there are, without which
// it would dial for most requests.
func serveProxy(ctx context.Context, o *options) error {
	l, err := listen(ctx, o.listen)
	if err != nil {
		return err
	}
	target := &url.URL{Scheme: "http", Host: o.target}
	s := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler: &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
			Transport: &http.Transport{MaxIdleConnsPerHost: 4096, DisableCompression: true},
		},
	}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
