package console

import (
	"bytes"
	"io"
	"net/http"
)

const maxParameters = 8 << 10 // bytes of what a run is started with

// Loader runs one load test at a time, against a simulated provider. Its methods may
// be called from any goroutine.
type Loader interface {
	StartJSON(parameters []byte) error
	Busy() bool                  // one runs, so that none can be started
	State() any                  // how it stands, for encoding/json
	Stop()                       // ends it early; the report is of what was measured
	WriteHTML(w io.Writer) error // the report of the last that has ended
}

// serveLoad answers how a run stands.
func (c *Console) serveLoad(v *visit) {
	if v.offered(c.deps.Load != nil) {
		v.json(c.deps.Load.State())
	}
}

// startLoad begins a run.
func (c *Console) startLoad(v *visit) {
	const what = "start load"
	if c.deps.Load == nil {
		c.missing(v, what)
		return
	}
	parameters, err := io.ReadAll(http.MaxBytesReader(v.w, v.r.Body, maxParameters))
	if err != nil {
		c.audit(v, what, "done", false, "why", "too many parameters")
		v.problem(http.StatusBadRequest, "Send the parameters as JSON, at most 8 KiB.")
		return
	}
	if err := c.deps.Load.StartJSON(parameters); err != nil {
		c.audit(v, what, "done", false, "why", err.Error())
		status := http.StatusBadRequest
		if c.deps.Load.Busy() {
			status = http.StatusConflict
		}
		v.problem(status, err.Error())
		return
	}
	c.audit(v, what, "parameters", string(parameters), "done", true)
	v.w.WriteHeader(http.StatusNoContent)
}

// stopLoad ends it.
func (c *Console) stopLoad(v *visit) {
	if c.deps.Load == nil {
		c.missing(v, "stop load")
		return
	}
	c.deps.Load.Stop()
	c.audit(v, "stop load", "done", true)
	v.w.WriteHeader(http.StatusNoContent)
}

// serveReport answers with the last run's report: a page of its own that styles
// itself, and so stands in a sandbox that runs nothing and belongs to nobody.
func (c *Console) serveReport(v *visit) {
	if !v.offered(c.deps.Load != nil) {
		return
	}
	var page bytes.Buffer
	if err := c.deps.Load.WriteHTML(&page); err != nil {
		v.problem(http.StatusNotFound, "There is no report: "+err.Error()+".")
		return
	}
	h := v.w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox")
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = v.w.Write(page.Bytes())
}
