package gateway

import (
	"net/http"
	"net/http/pprof" // reached through the guard alone: http.DefaultServeMux is not served
)

func (x *exchange) healthy() { x.plainText(http.StatusOK, "ok\n") }

func (x *exchange) ready() {
	switch {
	case x.g.draining.Load():
		x.plainText(http.StatusServiceUnavailable, "draining\n")
	case !x.g.deps.Limits.Ready():
		x.plainText(http.StatusServiceUnavailable, "no upstream answers\n")
	default:
		x.plainText(http.StatusOK, "ready\n")
	}
}

func (x *exchange) plainText(status int, text string) {
	x.out.Header()["Content-Type"] = []string{"text/plain; charset=utf-8"}
	x.out.WriteHeader(status)
	_, _ = x.out.Write([]byte(text))
}

func (x *exchange) metrics() { x.g.deps.Metrics.ServeHTTP(&x.out, x.r) }

// profile answers what go tool pprof asks for.
func (x *exchange) profile() {
	switch x.r.PathValue("profile") {
	case "cmdline":
		x.turnAway(unknownURL(x.r)) // a command line may hold what its user thought private
	case "profile":
		pprof.Profile(&x.out, x.r)
	case "symbol":
		pprof.Symbol(&x.out, x.r)
	case "trace":
		pprof.Trace(&x.out, x.r)
	default:
		pprof.Index(&x.out, x.r)
	}
}
