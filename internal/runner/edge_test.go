package runner

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/millrace/millrace/internal/flow"
	"github.com/millrace/millrace/internal/task"
)

// hand submits an endless task of a tenant with so many bytes.
func (h *house) hand(of string, size int) (task.Task, error) {
	return h.Submit(h.t.Context(), task.Task{
		Kind: "endless", Flow: flow.Key{Class: flow.Chat, Tenant: of, User: "ann"}, Payload: bytes.Repeat([]byte("x"), size),
	})
}

// TestI8NoTenantTakesAll: the unfinished tasks of one tenant take no more than their
// part, in number and in bytes, and what has ended gives its place back.
func TestI8NoTenantTakesAll(t *testing.T) {
	for name, test := range map[string]struct {
		o    Options
		size int
	}{
		"in number": {Options{Max: 8, Part: 0.5}, 0},
		"in bytes":  {Options{Bytes: 80_000, Part: 0.5}, 9000},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, test.o, func(t *testing.T, h *house) {
				var ids []string
				for i := range 4 {
					k, err := h.hand(tenant, test.size)
					if err != nil {
						t.Fatalf("task %d of 4: %v", i, err)
					}
					ids = append(ids, k.ID)
				}
				if _, err := h.hand(tenant, test.size); !errors.Is(err, ErrTenant) || !errors.Is(err, flow.ErrFlowFull) {
					t.Errorf("one more than its part: %v", err)
				}
				if _, err := h.hand("other", test.size); err != nil {
					t.Errorf("another tenant: %v", err)
				}
				h.revoke(ids[0], true)
				if _, err := h.hand(tenant, test.size); err != nil {
					t.Errorf("in the place of one that has ended: %v", err)
				}
				if _, err := h.hand(tenant, test.size); !errors.Is(err, ErrTenant) {
					t.Errorf("its part is full again: %v", err)
				}
			})
		})
	}
}

// TestI8PartsAreGivenBack: nothing is remembered of a tenant whose tasks have ended, or
// were never taken.
func TestI8PartsAreGivenBack(t *testing.T) {
	bubble(t, Options{Max: 8, Part: 0.5}, func(t *testing.T, h *house) {
		h.works["nap"] = func(ctx context.Context, _ task.Task, _ func(Update)) (task.Result, error) {
			return task.Result{Status: 200}, await(ctx, time.Second)
		}
		h.finish(h.submit("nap").ID)
		h.store.setBroken(true)
		if _, err := h.hand("other", 10); err == nil {
			t.Error("a task that the store did not take is accepted")
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.tenants) != 0 {
			t.Errorf("%v is booked for nobody", h.tenants)
		}
	})
}

// TestI8OneTenantAloneTakesAll: without a part there is no bound but that of all.
func TestI8OneTenantAloneTakesAll(t *testing.T) {
	bubble(t, Options{Max: 4}, func(t *testing.T, h *house) {
		for i := range 4 {
			if _, err := h.hand(tenant, 0); err != nil {
				t.Errorf("task %d of 4: %v", i, err)
			}
		}
		if _, err := h.hand(tenant, 0); !errors.Is(err, ErrFull) {
			t.Errorf("beyond all: %v", err)
		}
	})
}
