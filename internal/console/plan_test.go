package console_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace/millrace/internal/capacity"
	"github.com/millrace/millrace/internal/console"
)

// askPlan asks for a plan; the function waits for its answer.
func (s *site) askPlan(ctx context.Context, query string, header ...string) func() *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "http://localhost:8080"+planPath+"?"+query, nil).WithContext(ctx)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w, done := httptest.NewRecorder(), make(chan struct{})
	go func() {
		defer close(done)
		s.mux.ServeHTTP(w, r)
	}()
	return func() *httptest.ResponseRecorder { <-done; return w }
}

// slow is a planner that takes its time, and keeps who is at it.
type slow struct {
	mu       sync.Mutex
	at, most int
	took     time.Duration
}

// change counts one in or out and returns how many are at it.
func (p *slow) change(by int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at += by
	p.most = max(p.most, p.at)
	return p.at
}

func (p *slow) plan(ctx context.Context, q url.Values) ([]byte, error) {
	p.change(1)
	defer p.change(-1)
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(p.took):
		return []byte(`[{"users":` + q.Get("users") + `}]`), nil
	}
}

// TestI7Plans: one of a session, the newest; one at a time; none without an asker, or for
// ever.
func TestI7Plans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, true, console.Options{})
		p := &slow{took: 5 * time.Second}
		s.plan = p.plan
		op, view := []string{"Authorization", "Bearer op"}, []string{"Authorization", "Bearer view"}
		old := s.askPlan(t.Context(), "users=1", op...)
		synctest.Wait()
		next := s.askPlan(t.Context(), "users=2", op...)
		synctest.Wait()
		if w := old(); w.Code != http.StatusConflict || p.change(0) != 1 {
			t.Errorf("the older plan: %d, %d run", w.Code, p.change(0))
		}
		other := s.askPlan(t.Context(), "users=3", view...)
		third := s.askPlan(t.Context(), "users=4", "Cookie", s.login(t, "view"))
		synctest.Wait()
		if w := next(); w.Code != http.StatusOK || w.Body.String() != `[{"users":2}]` {
			t.Errorf("the newer plan: %d %s", w.Code, w.Body)
		}
		if a, b := other(), third(); a.Code != http.StatusOK || b.Code != http.StatusOK || p.most > 1 {
			t.Errorf("other sessions: %d, %d; %d at a time", a.Code, b.Code, p.most)
		}
		<-time.After(time.Minute)

		gone, leave := context.WithCancel(t.Context())
		left := s.askPlan(gone, "users=5", op...)
		synctest.Wait()
		leave()
		synctest.Wait()
		if p.change(0) != 0 {
			t.Error("a plan goes on without its asker")
		}
		left()
		p.took = time.Hour
		begun := time.Now()
		if w := s.askPlan(t.Context(), "users=6", op...)(); w.Code != http.StatusServiceUnavailable || time.Since(begun) != 30*time.Second || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "fewer users") {
			t.Errorf("a long plan: %d after %v: %s", w.Code, time.Since(begun), w.Body)
		}
		p.took = time.Second
		if w := s.askPlan(t.Context(), "users=7", op...)(); w.Code != http.StatusOK {
			t.Errorf("after all that: %d", w.Code)
		}
	})
}

// TestI7PlansTakeHalfACore: however many ask, and ask again, nobody plays for as long as
// somebody did; the turns are in order, and whose does not come in a minute is told.
func TestI7PlansTakeHalfACore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, false, console.Options{})
		p := &slow{took: 4 * time.Second}
		s.plan = p.plan
		begun := time.Now()
		var all []func() *httptest.ResponseRecorder
		for page := range 10 {
			all = append(all, s.askPlan(t.Context(), "users=1", "Millrace-Page", strconv.Itoa(page)))
			synctest.Wait()
		}
		for page, answer := range all {
			w := answer()
			at, want := time.Since(begun), time.Duration(8*page+4)*time.Second
			switch {
			case want < time.Minute+4*time.Second && (w.Code != http.StatusOK || at != want):
				t.Errorf("page %d: %d after %v, want %v", page, w.Code, at, want)
			case want > time.Minute+4*time.Second && (w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "Others")):
				t.Errorf("page %d: %d %s after %v", page, w.Code, w.Body, at)
			}
		}
		<-time.After(time.Minute)
		p.took = time.Hour
		asked := time.Now()
		for range 20 { // a hand on a slider
			old := s.askPlan(t.Context(), "users=2", "Millrace-Page", "a")
			<-time.After(200 * time.Millisecond)
			defer old()
		}
		synctest.Wait()
		p.took = time.Second
		if w := s.askPlan(t.Context(), "users=3", "Millrace-Page", "a")(); w.Code != http.StatusOK || time.Since(asked) > 6*time.Second {
			t.Errorf("the newest: %d after %v", w.Code, time.Since(asked))
		}
	})
}

// TestI7PlansOfPages: where nobody logs in each page has its own plan, and a newer
// question of it ends the older one.
func TestI7PlansOfPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, false, console.Options{})
		p := &slow{took: 5 * time.Second}
		s.plan = p.plan
		one := s.askPlan(t.Context(), "users=1", "Millrace-Page", "a")
		synctest.Wait()
		two := s.askPlan(t.Context(), "users=2", "Millrace-Page", "b")
		synctest.Wait()
		newer := s.askPlan(t.Context(), "users=3", "Millrace-Page", "a")
		if a, b, c := one(), two(), newer(); a.Code != http.StatusConflict || b.Code != http.StatusOK || c.Code != http.StatusOK {
			t.Errorf("the page's older plan %d, the other page's %d, the newer %d", a.Code, b.Code, c.Code)
		}
		s = newSite(t, true, console.Options{})
		s.plan = p.plan
		one = s.askPlan(t.Context(), "users=1", "Authorization", "Bearer op", "Millrace-Page", "a")
		synctest.Wait()
		if b, a := s.askPlan(t.Context(), "users=2", "Authorization", "Bearer op", "Millrace-Page", "b")(), one(); a.Code != http.StatusConflict || b.Code != http.StatusOK {
			t.Errorf("who has a key has more than one plan by naming pages: %d, %d", a.Code, b.Code)
		}
	})
}

func TestPlanFaults(t *testing.T) {
	for _, tc := range []struct {
		err    error
		status int
		says   string
	}{
		{fmt.Errorf("%w: users: 0", capacity.ErrOptions), 400, "users: 0"},
		{errors.New("secret of the inside"), 500, "log"},
	} {
		s := newSite(t, false, console.Options{})
		s.plan = func(context.Context, url.Values) ([]byte, error) { return nil, tc.err }
		if w := s.ask("GET", planPath, ""); w.Code != tc.status || !strings.Contains(w.Body.String(), tc.says) || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%d %s, want %d", w.Code, w.Body, tc.status)
		}
	}
}
