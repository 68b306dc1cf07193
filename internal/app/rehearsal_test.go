package app

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/millrace/millrace/internal/config"
	"github.com/millrace/millrace/internal/load/trial"
	"github.com/millrace/millrace/internal/testkit"
)

// TestRehearsalTouchesNothing: a load from the console asks simulators of the quotas in
// force, not the providers; the gateway's own figures do not know of it, and nothing
// of it outlives the gateway.
func TestRehearsalTouchesNothing(t *testing.T) {
	testkit.LeakCheck(t)
	m := newModel(t)
	close(m.release)
	a := keyed(t, m, "127.0.0.1:0", "")
	r := a.rehearsal
	var none bytes.Buffer
	if err := r.WriteHTML(&none); !errors.Is(err, trial.ErrNoReport) || r.Busy() {
		t.Errorf("before the first run: %v, busy %t", err, r.Busy())
	}
	if err := r.StartJSON([]byte(`{"users":-1}`)); err == nil || r.Busy() {
		t.Errorf("what cannot be run: %v, busy %t", err, r.Busy())
	}
	if err := r.StartJSON([]byte(`{"users":20,"requests_per_minute":300,"seconds":1,"tokens":100}`)); err != nil {
		t.Fatal(err)
	}
	if err := r.StartJSON(nil); !errors.Is(err, trial.ErrRunning) {
		t.Errorf("a second one: %v", err)
	}
	<-r.ended
	state, ok := r.State().(trial.State)
	if !ok || state.Phase != trial.Ended || state.Answered == 0 || state.Errors != 0 || r.Busy() {
		t.Errorf("state: %+v", state)
	}
	var page bytes.Buffer
	if err := r.WriteHTML(&page); err != nil || !strings.HasPrefix(page.String(), "<!doctype html>") {
		t.Errorf("report: %v, %.100s", err, page.String())
	}
	if n := len(m.entered); n != 0 || len(a.ring.Recent(1)) != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if err := r.StartJSON([]byte(`{"users":20,"requests_per_minute":60,"seconds":300}`)); err != nil { // cut short by the end of the gateway
		t.Error(err)
	}
	if err := r.close(); err != nil {
		t.Error(err)
	}
	if err := r.StartJSON(nil); !errors.Is(err, errGoing) {
		t.Errorf("after the end: %v", err)
	}
}

func TestSimulatedReachesNobody(t *testing.T) {
	c := &config.Config{
		Listen: "0.0.0.0:8080", Keys: []config.Key{{Name: "app"}}, Metrics: config.Metrics{EMF: config.EMF{File: "-"}},
		Upstreams: []config.Upstream{{Name: "main", Provider: config.ProviderOpenAI, BaseURL: "https://api.openai.com/v1", Quota: config.Quota{Seats: 4}}},
	}
	s := simulated(c)
	u := &s.Upstreams[0]
	if u.Provider != config.ProviderSim || u.BaseURL != "" || !u.APIKey.IsZero() || u.Quota.Seats != 4 || !s.AllLoopback() || s.Keys != nil || s.Metrics.EMF.File != "" {
		t.Errorf("%+v", s)
	}
	if c.Upstreams[0].Provider != config.ProviderOpenAI || c.Listen != "0.0.0.0:8080" || len(c.Keys) != 1 {
		t.Error("the configuration in force was changed")
	}
}

// TestPlanForTheConfigurationInForce: the console's plan is of what runs here.
func TestPlanForTheConfigurationInForce(t *testing.T) {
	testkit.LeakCheck(t)
	m := newModel(t)
	close(m.release)
	a := keyed(t, m, "127.0.0.1:0", "")
	status, answer := tell(t, a.Addr(), letter{"GET /api/v1/plan?users=4&advice=no", slimKey, "", nil})
	var rows []struct {
		Users int
		Use   []struct{ Path string }
	}
	if err := json.Unmarshal([]byte(answer), &rows); status != http.StatusOK || err != nil || len(rows) != 1 || rows[0].Users != 4 {
		t.Fatalf("%d %v %.300s", status, err, answer)
	}
	if use := rows[0].Use; len(use) == 0 || use[0].Path != "upstreams.main.quota.seats" {
		t.Errorf("limits: %+v", use)
	}
	if status, answer := tell(t, a.Addr(), letter{"GET /api/v1/plan?users=none", slimKey, "", nil}); status != http.StatusBadRequest {
		t.Errorf("%d %.300s", status, answer)
	}
}
