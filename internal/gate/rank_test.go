package gate

import (
	"errors"
	"testing"
	"time"

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

// TestI8TasksPutNobodyOff: however many users' tasks wait for others to end, who asks and
// waits is not told to stand behind all of them, and is not turned away for that.
func TestI8TasksPutNobodyOff(t *testing.T) {
	o := single(8, perMinute(60))
	o.Tasks = 4
	w := newWorld(t, o)
	const tasks = 2000
	for i := range tasks {
		w.arrive(Ask{Flow: user(flow.Batch, i), Task: true})
	}
	refused := 0
	for i := range 300 {
		for _, e := range w.gate.runs {
			if w.now.Sub(e.since) >= 4*time.Second {
				w.settle(e.id)
				break
			}
		}
		if i%2 == 0 {
			if _, got := w.arrive(Ask{Flow: user(flow.Batch, -1-i%10)}); len(got) > 0 && got[0].Kind == Refuse {
				refused++
			}
		}
		w.pass(time.Second)
	}
	if refused > 0 {
		t.Errorf("%d of 150 were refused", refused)
	}
}

// TestI7AcceptedTasksAreLetIn: a task that was accepted is refused neither for the length
// of the queue nor for that of its wait, and takes no place in it from those who ask.
func TestI7AcceptedTasksAreLetIn(t *testing.T) {
	o := single(1)
	o.Classes = []Class{{Name: flow.Chat, Rate: Rate{Max: 1, Per: time.Minute}}, {Name: flow.Analysis}}
	o.MaxQueue, o.MaxFlow, o.Hold = 5, 3, time.Minute
	w := newWorld(t, o)
	const tasks = 60
	for i := range tasks {
		if _, got := w.arrive(Ask{Flow: user(flow.Chat, 1), Task: true}); len(got) > 0 && got[0].Kind != Dispatch {
			t.Fatalf("task %d: %v", i, got[0].Refusal)
		}
	}
	if _, got := w.arrive(Ask{Flow: user(flow.Analysis, 2)}); len(got) > 0 && got[0].Kind != Dispatch {
		t.Errorf("who asks beside tasks: %v", got[0].Refusal)
	}
	done := 0
	for range 3 * tasks {
		for _, id := range ran(w.step(Event{})) {
			w.settle(id)
			done++
		}
		for id, e := range w.gate.entries {
			if e.state == running {
				w.settle(id)
				done++
			}
		}
		w.now = w.now.Add(time.Minute)
	}
	if done != tasks+1 || len(w.gate.own) > 0 {
		t.Errorf("%d of %d ran, and tasks of %d users are still counted", done, tasks+1, len(w.gate.own))
	}
}

// TestI7OwnTasksLeaveRoomToAsk: a user whose tasks wait may ask as much as anybody, and
// no more.
func TestI7OwnTasksLeaveRoomToAsk(t *testing.T) {
	o := single(1)
	o.Tasks, o.MaxFlow = 1, 3
	w := newWorld(t, o)
	ann := user(flow.Chat, 1)
	for range 20 {
		w.arrive(Ask{Flow: ann, Task: true})
	}
	for i := range o.MaxFlow + 1 {
		_, got := w.arrive(Ask{Flow: ann})
		full := len(got) > 0 && got[0].Refusal != nil && errors.Is(got[0].Refusal, flow.ErrFlowFull)
		if len(got) > 0 != full || full != (i >= o.MaxFlow) {
			t.Errorf("request %d beside 20 tasks: %v", i, got)
		}
	}
}
