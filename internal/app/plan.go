package app

import (
	"github.com/millrace/millrace/internal/admission"
	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/gate"
	"github.com/millrace/millrace/internal/quota"
)

// Gate is what admission would be given by a checked configuration, with quotas of
// which nothing is used, for whoever plans with it.
func Gate(c *config.Config) (gate.Options, error) {
	return newPlan(c, slots{}, admission.Options{}).admission(func(*config.Upstream) quota.Start { return quota.Fresh })
}

// Route is the route of a client's model name, as an index into the routes of Gate;
// false if no route leads anywhere.
func Route(c *config.Config, model string) (int, bool) {
	return newPlan(c, slots{}, admission.Options{}).find(model)
}

// SimulatorSpeed is how much faster than a model of today the built-in simulator
// answers.
const SimulatorSpeed = simSpeed
