package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestAcceptedTasksSucceed: more tasks than its class starts within limits.hold, and more
// than one user may have waiting: all were accepted, and all end with their answer.
func TestAcceptedTasksSucceed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, "CHAT_TASK_RATE_LIMIT=40/m", "MILLRACE_LIMITS_QUEUE_PER_USER=100")
		const tasks = 300 // 7.5 minutes
		failed := make([]error, tasks)
		var all sync.WaitGroup
		for i := range tasks {
			all.Go(func() { failed[i] = b.later(i) })
		}
		all.Wait()
		if err := errors.Join(failed...); err != nil {
			n := strings.Count(err.Error(), "\n") + 1
			t.Errorf("%d of %d failed: %v", n, tasks, strings.SplitN(err.Error(), "\n", 2)[0])
		}
	})
}

// later makes a task of a chat request and waits for its end.
func (b *bubble) later(i int) error {
	body := fmt.Sprintf(`{"model":"m","max_tokens":50,"messages":[{"role":"user","content":"question %d"}]}`, i)
	request, err := http.NewRequest(http.MethodPost, "http://"+b.Addr()+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Prefer", "respond-async")
	response, err := (&http.Client{Transport: b.transport}).Do(request)
	if err != nil {
		return err
	}
	raw, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil || response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("status %d: %s: %w", response.StatusCode, raw, err)
	}
	var task struct{ ID, State, Error string }
	if err := json.Unmarshal(raw, &task); err != nil {
		return err
	}
	for range 1000 {
		<-time.After(5 * time.Second)
		_, answer, err := b.call(http.MethodGet, "/api/v1/tasks/"+task.ID, nil)
		switch {
		case err != nil:
			return err
		case answer["state"] == "SUCCESS":
			return nil
		case answer["state"] == "FAILURE":
			return fmt.Errorf("the task failed: %v", answer["error"])
		}
	}
	return errors.New("the task never ended")
}
