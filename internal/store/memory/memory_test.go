package memory

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/millrace/millrace/internal/runner"
	"github.com/millrace/millrace/internal/runner/storetest"
	"github.com/millrace/millrace/internal/task"
	"github.com/millrace/millrace/internal/testkit"
)

func TestMain(m *testing.M) { testkit.LeakMain(m) }

func openTasks(t testing.TB, o TasksOptions) *Tasks {
	t.Helper()
	s, err := NewTasks(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func openHistory(t testing.TB, o HistoryOptions) *History {
	t.Helper()
	h, err := NewHistory(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestI1TasksPassesTheSuite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) runner.Store { return openTasks(t, TasksOptions{}) })
}

func TestI2TasksIsBounded(t *testing.T) {
	s, noon := openTasks(t, TasksOptions{Max: 3}), time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for i := range 3 {
		if err := s.Create(t.Context(), task.Task{ID: fmt.Sprint(i), Created: noon}); err != nil {
			t.Fatal(err)
		}
	}
	ended := task.Task{ID: "1", Created: noon}
	_ = ended.Revoke(noon)
	if err := s.Update(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), task.Task{ID: "3"}); !errors.Is(err, ErrFull) {
		t.Errorf("a fourth task of at most three: %v, want ErrFull", err)
	}
	if s.Len() != 3 || len(s.ended) != 1 {
		t.Errorf("%d tasks, %d of them ended; want 3 and 1", s.Len(), len(s.ended))
	}
	if n, err := s.Expire(t.Context(), noon.Add(1)); n != 1 || err != nil {
		t.Errorf("expired %d, %v", n, err)
	}
	if err := s.Create(t.Context(), task.Task{ID: "3"}); err != nil {
		t.Errorf("after one has left: %v", err)
	}
}

// TestI3HistoryKeepsTheLatest compares with a history that forgets nothing.
func TestI3HistoryKeepsTheLatest(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		o := HistoryOptions{
			Sessions: rapid.IntRange(1, 4).Draw(rt, "sessions"), Turns: rapid.IntRange(1, 5).Draw(rt, "turns"),
			Bytes: rapid.IntRange(8, 40).Draw(rt, "bytes"),
		}
		h, all, used := openHistory(t, o), map[string][]task.Turn{}, []string(nil)
		for i := range rapid.IntRange(1, 60).Draw(rt, "steps") {
			name := fmt.Sprint(rapid.IntRange(0, 5).Draw(rt, "session"))
			known := false
			for j, u := range used {
				if u == name {
					used, known = append(used[:j:j], used[j+1:]...), true
					break
				}
			}
			if add := rapid.IntRange(0, 3).Draw(rt, "turns said"); add > 0 {
				turns := make([]task.Turn, add)
				for j := range turns {
					turns[j] = task.Turn{Role: "u", Text: fmt.Sprint(i, ".", j, strings.Repeat("x", rapid.IntRange(0, 20).Draw(rt, "length")))}
				}
				h.Append("t", name, turns...)
				all[name], known = append(all[name], turns...), true
			}
			if got := h.Load("t", name); cmp.Diff(latest(all[name], o), got) != "" {
				rt.Fatalf("session %s, %+v:\n%s", name, o, cmp.Diff(latest(all[name], o), got))
			}
			if known {
				used = append([]string{name}, used...)
			}
			for len(used) > o.Sessions {
				delete(all, used[len(used)-1])
				used = used[:len(used)-1]
			}
			if len(h.sessions) != len(used) || h.used.Len() != len(used) {
				rt.Fatalf("%d sessions in the table, %d in the list; want %d", len(h.sessions), h.used.Len(), len(used))
			}
		}
	})
}

// latest is the longest run of latest turns within the bounds, found the slow way.
func latest(turns []task.Turn, o HistoryOptions) []task.Turn {
	for first := range turns {
		size := 0
		for _, t := range turns[first:] {
			size += len(t.Role) + len(t.Text)
		}
		if size <= o.Bytes && len(turns)-first <= o.Turns {
			return turns[first:]
		}
	}
	if turns == nil {
		return nil
	}
	return []task.Turn{}
}

func TestI4TenantsAreApart(t *testing.T) {
	h := openHistory(t, HistoryOptions{})
	names := [][2]string{
		{"a", "bc"},
		{"ab", "c"},
		{"abc", ""},
		{"", "abc"},
		{"a\x00b", "c"},
		{"a", "\x00bc"},
		{"a/b", "c"},
		{"a", "b/c"},
		{"b", "bc"},
		{"A", "bc"},
	}
	for i, n := range names {
		h.Append(n[0], n[1], task.Turn{Role: "user", Text: fmt.Sprint(i)})
	}
	for i, n := range names {
		want := []task.Turn{{Role: "user", Text: fmt.Sprint(i)}}
		if diff := cmp.Diff(want, h.Load(n[0], n[1])); diff != "" {
			t.Errorf("tenant %q, session %q:\n%s", n[0], n[1], diff)
		}
	}
}

func TestAppendStaysInOnePiece(t *testing.T) {
	h := openHistory(t, HistoryOptions{})
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for range 20 {
				h.Append("t", "s", task.Turn{Role: "user", Text: fmt.Sprint(w)}, task.Turn{Role: "assistant", Text: fmt.Sprint(w)})
				h.Load("t", "s")
			}
		})
	}
	all.Wait()
	turns := h.Load("t", "s")
	if len(turns) != 100 {
		t.Fatalf("%d turns, want the latest 100", len(turns))
	}
	for i := 0; i < len(turns); i += 2 {
		if turns[i].Role != "user" || turns[i+1].Role != "assistant" || turns[i].Text != turns[i+1].Text {
			t.Fatalf("turns %d and %d are of different calls: %v", i, i+1, turns[i:i+2])
		}
	}
}

func TestLoadIsTheCallers(t *testing.T) {
	h := openHistory(t, HistoryOptions{})
	h.Append("t", "s", task.Turn{Role: "user", Text: "hello"})
	h.Load("t", "s")[0].Text = "changed"
	if got := h.Load("t", "s")[0].Text; got != "hello" {
		t.Errorf("the text is %q", got)
	}
	h.Append("t", "empty")
	if len(h.sessions) != 1 {
		t.Error("a session without turns took room")
	}
}

func TestOptionsBelowZeroAreRefused(t *testing.T) {
	if _, err := NewTasks(TasksOptions{Max: -1}); err == nil {
		t.Error("tasks took a bound of -1")
	}
	_, err := NewHistory(HistoryOptions{Sessions: -1, Turns: -2, Bytes: -3})
	for _, name := range []string{"Sessions", "Turns", "Bytes"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v does not name %s", err, name)
		}
	}
}
