package app

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/millrace/millrace/internal/capacity/inquiry"
	"github.com/millrace/millrace/internal/console"
	"github.com/millrace/millrace/internal/gateway"
	"github.com/millrace/millrace/internal/inspect"
)

var _ console.Keys = keyring{}

// keyring knows whom the keys in force stand for.
type keyring struct{ a *App }

// Any implements console.Keys.
func (k keyring) Any() bool { return len(k.a.table.Load().Keys) > 0 }

// Find implements console.Keys.
func (k keyring) Find(sum [sha256.Size]byte) (console.Principal, bool) {
	key := k.first(func(key *gateway.Key) bool { return key.SHA256 == sum })
	if key == nil {
		return console.Principal{}, false
	}
	who := console.Principal{Name: key.Name}
	if key.Role == gateway.RoleOperator {
		who.Role = console.Operator
	}
	return who, key.Role >= gateway.RoleViewer
}

// sees reports whether whoever asks with the key of a name may look at the requests
// of all tenants.
func (k keyring) sees(c inspect.Caller) bool {
	key := k.first(func(key *gateway.Key) bool { return key.Name == c.Key })
	return key != nil && key.Role >= gateway.RoleViewer || !k.Any()
}

// first is the first key in force that fits; nil for none.
func (k keyring) first(fits func(*gateway.Key) bool) *gateway.Key {
	o := k.a.table.Load()
	for i := range o.Keys {
		if fits(&o.Keys[i]) {
			return &o.Keys[i]
		}
	}
	return nil
}

// buildConsole builds what people see.
func (a *App) buildConsole() (err error) {
	if a.rehearsal, err = newRehearsal(a); err != nil {
		return err
	}
	a.undo.push(a.rehearsal.close)
	if a.inspector, err = inspect.New(inspect.Deps{
		Requests: a.ring, Live: a.dispatcher.Live, Operator: keyring{a}.sees,
		Refuse: func(w http.ResponseWriter, r *http.Request, id string, err error) {
			a.gateway.Refuse(w, r, gateway.Problem, id, err)
		},
	}); err != nil {
		return err
	}
	a.console, err = console.New(console.Options{Version: Version()}, console.Deps{
		Snapshot: a.admission.Snapshot, Settings: a.settings, Requests: a.ring, Meter: a.meter, Shadow: a.shadow, Keys: keyring{a},
		Flows: a.admission, Trip: a.trip, Reset: a.untrip, Control: a.admission,
		Plan: a.foresee, Load: a.rehearsal,
		Tasks: func() console.Tasks {
			s := a.runner.Stats()
			return console.Tasks{Waiting: s.Waiting, Running: s.Running, Scheduled: s.Scheduled}
		},
		Log: a.log,
	})
	return err
}

// foresee is what more or fewer users would meet, with the configuration in force.
func (a *App) foresee(ctx context.Context, query url.Values) ([]byte, error) {
	c := a.current().config
	options, err := Gate(c)
	if err != nil {
		return nil, err
	}
	rows, err := inquiry.Answer(ctx, &inquiry.Base{
		Config: c, Gate: options, Speed: SimulatorSpeed, Route: func(model string) (int, bool) { return Route(c, model) },
	}, query)
	if err != nil {
		return nil, err
	}
	return json.Marshal(rows)
}

// settings are those in force.
func (a *App) settings() []console.Setting {
	all := a.current().config.Settings()
	list := make([]console.Setting, len(all))
	for i, s := range all {
		list[i] = console.Setting{Name: s.Key, Value: s.Value, Origin: s.Origin.String()}
	}
	return list
}

// mounts are the routes that others than the gateway answer.
func (a *App) mounts(p *plan, own []gateway.Mount) []gateway.Mount {
	for _, m := range a.console.Mounts() {
		own = append(own, gateway.Mount{
			Pattern: m.Pattern, Access: gateway.Desk, Dialect: gateway.Problem,
			Handler: func(w http.ResponseWriter, r *http.Request, who gateway.Caller) { m.Handler(w, r, who.ID) },
		})
	}
	for _, m := range a.inspector.Mounts() {
		access := gateway.Keyed
		if m.Operator {
			access = gateway.Viewer
		}
		if m.Operator && p.config.AllLoopback() {
			continue // the others have the same listener
		}
		own = append(own, gateway.Mount{
			Pattern: m.Pattern, Access: access, Dialect: gateway.Problem,
			Handler: func(w http.ResponseWriter, r *http.Request, who gateway.Caller) { m.Handler(w, r, inspect.Caller(who)) },
		})
	}
	return own
}

// shadowed are the names of the routes that clients can ask for, by index.
func (p *plan) shadowed() []string {
	names := make([]string, len(p.slots.routes))
	for i, name := range p.slots.routes {
		if !strings.HasPrefix(name, probeRoute) {
			names[i] = name
		}
	}
	return names
}
