package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/millrace/millrace/internal/endpoint"
	"github.com/millrace/millrace/internal/gateway"
	"github.com/millrace/millrace/internal/runner"
	"github.com/millrace/millrace/internal/store/memory"
	"github.com/millrace/millrace/internal/task"
)

var _ runner.Store = (*memory.Tasks)(nil)

// buildTasks builds what keeps and runs tasks, and the endpoints that make them.
func (a *App) buildTasks() (err error) {
	store, err := memory.NewTasks(memory.TasksOptions{})
	if err != nil {
		return err
	}
	if a.history, err = memory.NewHistory(memory.HistoryOptions{}); err != nil {
		return err
	}
	if a.runner, err = runner.New(a.plan.runner(), runner.Deps{Store: store, Work: a.work, Log: a.log}); err != nil {
		return err
	}
	a.undo.push(a.runner.Close)
	return nil
}

// work runs one try of a task: that of an endpoint, or a request to /v1 whose
// client did not wait.
func (a *App) work(ctx context.Context, t task.Task, tell func(runner.Update)) (task.Result, error) {
	if strings.HasPrefix(t.Kind, "openai/") {
		return a.gateway.Work(ctx, t, tell)
	}
	set := a.endpoints.Load()
	if !set.Has(t.Kind) {
		return task.Result{}, &task.Failure{Message: fmt.Sprintf("The endpoint %s is no longer configured.", t.Kind)}
	}
	return set.Work(ctx, t, func(u endpoint.Update) { tell(runner.Update(u)) })
}

// newEndpoints are the endpoints of a plan.
func (a *App) newEndpoints(p *plan) (*endpoint.Set, error) {
	return endpoint.New(p.endpoints(), endpoint.Deps{
		Tasks: a.runner, Dispatcher: a.dispatcher, Route: p.find, History: a.history,
		Body: func(w http.ResponseWriter, r *http.Request) ([]byte, error) { return a.gateway.Body(w, r) },
		Refuse: func(w http.ResponseWriter, r *http.Request, id string, err error) {
			a.gateway.Refuse(w, r, gateway.App, id, err)
		},
		Overview: a.overview, Reset: a.untripAll, Version: Version(), Log: a.log,
	})
}

// mounts are the endpoints as the gateway serves them.
func mounts(set *endpoint.Set) []gateway.Mount {
	var all []gateway.Mount
	for _, m := range set.Mounts() {
		access := gateway.Keyed
		switch {
		case m.Operator:
			access = gateway.Operator
		case m.Open:
			access = gateway.Open
		}
		all = append(all, gateway.Mount{
			Pattern: m.Pattern, Access: access, Dialect: gateway.App,
			Handler: func(w http.ResponseWriter, r *http.Request, c gateway.Caller) { m.Handler(w, r, endpoint.Caller(c)) },
		})
	}
	return all
}

func (a *App) buildGateway() error {
	set, err := a.newEndpoints(a.plan)
	if err != nil {
		return err
	}
	a.endpoints.Store(set)
	o := a.plan.gateway(a.mounts(a.plan, mounts(set)))
	a.table.Store(&o)
	a.gateway, err = gateway.New(o, gateway.Deps{
		Dispatcher: a.dispatcher, Limits: a.admission, Catalog: newCatalog(a.plan, listers(a.providers)), Tasks: a.runner,
		Sink: a.sink, Metrics: a.metrics.Handler(), Log: a.log,
	})
	return err
}

func listers(all []*provider) []lister {
	list := make([]lister, len(all))
	for i, p := range all {
		list[i] = p
	}
	return list
}
