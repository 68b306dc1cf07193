package app

import (
	"crypto/sha256"
	"net/http"
	"strings"

	"github.com/millrace/millrace/internal/console"
	"github.com/millrace/millrace/internal/gateway"
)

var _ console.Keys = keyring{}

// keyring knows whom the keys in force stand for.
type keyring struct{ a *App }

// Any implements console.Keys.
func (k keyring) Any() bool { return len(k.a.table.Load().Keys) > 0 }

// Find implements console.Keys.
func (k keyring) Find(sum [sha256.Size]byte) (console.Principal, bool) {
	o := k.a.table.Load()
	for i := range o.Keys {
		if o.Keys[i].SHA256 != sum {
			continue
		}
		who := console.Principal{Name: o.Keys[i].Name}
		if o.Keys[i].Role == gateway.RoleOperator {
			who.Role = console.Operator
		}
		return who, o.Keys[i].Role >= gateway.RoleViewer
	}
	return console.Principal{}, false
}

// buildConsole builds what people see.
func (a *App) buildConsole() (err error) {
	a.console, err = console.New(console.Options{Version: Version()}, console.Deps{
		Snapshot: a.admission.Snapshot, Settings: a.settings, Requests: a.ring, Meter: a.meter, Shadow: a.shadow, Keys: keyring{a},
		Tasks: func() console.Tasks {
			s := a.runner.Stats()
			return console.Tasks{Waiting: s.Waiting, Running: s.Running, Scheduled: s.Scheduled}
		},
		Log: a.log,
	})
	return err
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

// desks are the console's routes as the gateway serves them.
func desks(c *console.Console) []gateway.Mount {
	var all []gateway.Mount
	for _, m := range c.Mounts() {
		all = append(all, gateway.Mount{
			Pattern: m.Pattern, Access: gateway.Desk, Dialect: gateway.Problem,
			Handler: func(w http.ResponseWriter, r *http.Request, who gateway.Caller) { m.Handler(w, r, console.Caller(who)) },
		})
	}
	return all
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
