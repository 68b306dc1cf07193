package console

import "net/http"

// reset closes the breaker of an upstream.
func (c *Console) reset(v *visit) { c.act(v, "reset breaker", c.deps.Reset) }

// trip opens it.
func (c *Console) trip(v *visit) { c.act(v, "trip breaker", c.deps.Trip) }

// act does one thing to one upstream, and says so in the log.
func (c *Console) act(v *visit, what string, do func(string) bool) {
	name := v.r.PathValue("name")
	switch {
	case do == nil:
		c.audit(v, what, "upstream", name, "done", false, "why", "not offered")
		v.problem(http.StatusNotFound, "This gateway does not offer that.")
	case !do(name):
		c.audit(v, what, "upstream", name, "done", false, "why", "no such upstream")
		v.problem(http.StatusNotFound, "There is no such upstream.")
	default:
		c.audit(v, what, "upstream", name, "done", true)
		c.refresh()
		v.w.WriteHeader(http.StatusNoContent)
	}
}
