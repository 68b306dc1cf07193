package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"

	"github.com/millrace/millrace/internal/provider/sim"
)

// Of the class analysis, as the gateway comes.
const (
	seedStarts = 20 // in any seedSpan
	seedSpan   = time.Minute
)

// seedPatience is how long a user waits for an answer to a POST.
const seedPatience = 10 * time.Second

func seedCases() []scenario {
	var all []scenario
	for _, users := range []int{10, 20, 200} {
		// All starts but the last minute's, and what those then take.
		takes := time.Duration(users/seedStarts)*seedSpan + 30*time.Second
		all = append(all, scenario{
			name: "seeds/" + strconv.Itoa(users), takes: takes, long: users > 100,
			own: func(ctx context.Context, s *site, v *verdict) error { return seedCourse(ctx, s, v, users, 2*takes) },
		})
	}
	return all
}

// seedUser is one user and what became of his request.
type seedUser struct {
	status int
	took   time.Duration
	items  int       // findings in the end
	task   string    // "" where the first answer was the result
	state  string    // of the task, at its end
	ended  time.Time // when the result was seen
	err    error
}

func seedCourse(ctx context.Context, s *site, v *verdict, users int, limit time.Duration) error {
	front, err := s.start(ctx, "gateway", "serve", "--listen", "127.0.0.1:0", "--set", "state_dir="+filepath.Join(s.dir, "state"))
	if err != nil {
		return err
	}
	judge, err := front.inside()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	all := make([]seedUser, users)
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() { all[i].err = all[i].analyze(ctx, front.base, i) })
	}
	over := make(chan struct{})
	go func() { group.Wait(); close(over) }()
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for waits := true; waits; {
		select {
		case <-over:
			waits = false
		case <-tick.C:
			books, err := judge.books(ctx)
			if err != nil {
				return err
			}
			s.say("%d of %d have started, %d in any %v at most", books.Requests, users, mostStarts(&books), seedSpan)
		}
	}
	metrics, err := front.rest(context.WithoutCancel(ctx), "")
	if err != nil {
		return err
	}
	books, err := judge.books(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	r := result{books: books, metrics: metrics}
	seedVerdict(v, all, began, &r)
	return v.unpanicked(front)
}

func seedVerdict(v *verdict, all []seedUser, began time.Time, r *result) {
	n, good, direct, done, least := float64(len(all)), 0, 0, 0, -1
	longest, last := time.Duration(0), time.Duration(0)
	for i := range all {
		u := &all[i]
		if u.err != nil {
			v.fault("user %d: %v", i, u.err)
			continue
		}
		good++
		longest, last = max(longest, u.took), max(last, u.ended.Sub(began))
		if u.task == "" {
			direct++
		}
		if u.task == "" || u.state == "SUCCESS" {
			done++
		}
		if least < 0 || u.items < least {
			least = u.items
		}
	}
	v.equal("200 within 10 s", float64(good), n)
	if len(all) <= 10 {
		v.equal("with the findings in them", float64(direct), n)
	} else {
		v.show("%d with the findings in them", direct)
	}
	v.equal("ended in SUCCESS", float64(done), n)
	v.atLeast("findings each", float64(least), 1)
	v.atMost("starts in any 60 s", float64(mostStarts(&r.books)), seedStarts)
	v.equal("starts", float64(r.books.Requests), n)
	v.atMost("429s", float64(r.throttled()), 0)
	v.equal("outstanding", r.metrics.sum("millrace_attempts_outstanding"), 0)
	v.show("slowest POST %v, all done after %v", longest.Round(10*time.Millisecond), last.Round(time.Second))
}

// mostStarts is the most requests that the judge counted within a minute.
func mostStarts(books *sim.Stats) int64 {
	for i := range books.Limits {
		if l := &books.Limits[i]; l.Name == "requests" && time.Duration(l.Span) == seedSpan {
			return l.Worst
		}
	}
	return math.MaxInt64
}

// inside is the simulator within a gateway that has no other provider; its log
// names it.
func (s *server) inside() (*server, error) {
	text, err := os.ReadFile(s.log.Name())
	if err != nil {
		return nil, err
	}
	at := regexp.MustCompile(`"stats":"([^"]*)/sim/stats"`).FindSubmatch(text)
	if at == nil {
		return nil, errors.New("the gateway's log names no simulator")
	}
	return &server{name: "judge", base: string(at[1])}, nil
}

// analyze asks as the first seed's load test does, and follows the task to its end.
func (u *seedUser) analyze(ctx context.Context, base string, i int) error {
	body := fmt.Sprintf(`{"session_id": "test-user-%d", "section_name": "Test Section", "content": "This is a test document for load testing."}`, i)
	began := time.Now()
	var answer seedAnswer
	err := u.fetch(ctx, http.MethodPost, base+"/analyze_section", body, &answer)
	u.took, u.ended = time.Since(began), time.Now()
	if err != nil || u.status != http.StatusOK {
		return fmt.Errorf("POST: status %d, %w", u.status, err)
	}
	u.items, u.task = len(answer.Items), answer.Task
	if len(answer.Items) > 0 {
		u.task = ""
	}
	for u.task != "" {
		var status seedAnswer
		if err := u.fetch(ctx, http.MethodGet, base+"/task_status/"+u.task, "", &status); err != nil {
			return fmt.Errorf("GET of %s: %w", u.task, err)
		}
		if u.state = status.State; status.Ready {
			u.items, u.ended = len(status.Result.Items), time.Now()
			break
		}
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("%s is %s: %w", u.task, u.state, err)
		}
	}
	return nil
}

// seedAnswer is what is read of the answers of both paths.
type seedAnswer struct {
	Items  []json.RawMessage `json:"feedback_items"`
	Task   string            `json:"task_id"`
	State  string            `json:"state"`
	Ready  bool              `json:"ready"`
	Result struct {
		Items []json.RawMessage `json:"feedback_items"`
	} `json:"result"`
}

func (u *seedUser) fetch(ctx context.Context, method, url, body string, into *seedAnswer) error {
	ctx, cancel := context.WithTimeout(ctx, seedPatience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	u.status = response.StatusCode
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%w: %.200s", err, text)
	}
	return nil
}
