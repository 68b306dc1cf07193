package gate

import (
	"testing"

	"github.com/millrace/millrace/internal/flow"
)

// TestI10OwnTasksHoldNobodyUp: a user's own request runs although his task, asked
// before, waits for the bound on tasks; among tasks the order stays, and the task
// runs as soon as one may.
func TestI10OwnTasksHoldNobodyUp(t *testing.T) {
	o := single(2)
	o.Tasks = 1
	w := newWorld(t, o)
	ann := user(flow.Chat, 1)
	first, got := w.arrive(Ask{Flow: ann, Task: true})
	w.want("the task that may run", got, first)
	second, got := w.arrive(Ask{Flow: ann, Task: true})
	w.want("the second task", got)
	third, got := w.arrive(Ask{Flow: ann, Task: true})
	w.want("the third task", got)
	if s, _ := w.gate.Status(w.now, second); s.Reason != flow.ReasonTasks {
		t.Errorf("the second task waits for %q", s.Reason)
	}
	own, got := w.arrive(Ask{Flow: ann})
	w.want("his own request", got, own)
	next, got := w.arrive(Ask{Flow: ann})
	w.want("his next, with both seats taken", got)
	w.want("his request has ended: the next goes before his tasks", w.settle(own), next)
	w.want("the first task has ended", w.settle(first), second)
	w.want("his last request has ended, no task may run", w.settle(next))
	w.want("the second task has ended", w.settle(second), third)
	w.settle(third)
	if s := w.gate.Snapshot(w.now); s.Waiting != 0 || s.Outstanding != 0 || s.Tasks != 0 {
		t.Errorf("left behind: %+v", s)
	}
}
