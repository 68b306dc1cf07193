package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// What consoleCase measures with.
const (
	waiters     = 10_000
	atOnce      = 5 // pages
	rounds      = 6
	roundLength = 10 * time.Second
	clockTick   = 10 * time.Millisecond // of /proc/PID/stat, on every Linux that Go supports
)

// consoleCase: what an open page costs a gateway at which 10,000 users wait.
func consoleCase() scenario {
	return scenario{name: "console/cost", takes: 4 * time.Minute, heavy: true, long: true, own: func(ctx context.Context, s *site, v *verdict) error {
		provider, err := s.start(ctx, "judge", "sim", "--listen", "127.0.0.1:0", "--latency", "500ms")
		if err != nil {
			return err
		}
		front, err := s.gateway(ctx, "limits: {queue: 20000, hold: 2h, connections: 15000, connections_per_ip: 0, drain: 1s}\n"+
			"upstreams: [{name: main, base_url: "+provider.base+"/v1, quota: {requests: 300/m, window: bucket, burst: 1s}}]\n")
		if err != nil {
			return err
		}
		crowd := command(ctx, s.r.binary, []string{
			"load", "--target", front.base + "/v1", "--users", strconv.Itoa(waiters + 100), "--ramp", "20s", "--duration", "30m", "--timeout", "1h", "--grace", "1s", "--tokens", "50",
		})
		crowd.Env = []string{}
		if err := crowd.Start(); err != nil {
			return err
		}
		defer func() { _ = crowd.Process.Kill(); _ = crowd.Wait() }()
		if err := front.crowded(ctx, waiters); err != nil {
			return err
		}
		alone, watched, err := front.compared(ctx)
		if err != nil {
			return err
		}
		span := (rounds * roundLength).Seconds()
		v.show("%d wait; CPU of the gateway %.2f %% of a core alone, %.2f %% with %d pages open", waiters, 100*alone.Seconds()/span, 100*watched.Seconds()/span, atOnce)
		v.atMost("% of a core for each page", 100*(watched-alone).Seconds()/span/atOnce, 1)
		return front.stillCrowded(ctx, v)
	}}
}

// crowded waits until so many requests are in the queue.
func (s *server) crowded(ctx context.Context, n int) error {
	for limit := time.Now().Add(2 * time.Minute); ; {
		all, err := s.read(ctx, "")
		if err != nil {
			return err
		}
		if all.sum("millrace_queue_depth") >= float64(n) {
			return pause(ctx, 2*roundLength) // what begins is over
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%.0f of %d wait", all.sum("millrace_queue_depth"), n)
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (s *server) stillCrowded(ctx context.Context, v *verdict) error {
	all, err := s.read(ctx, "")
	v.atLeast("waiting at the end", all.sum("millrace_queue_depth"), 0.99*waiters)
	return err
}

// compared is the CPU time of rounds without and with pages, in turns.
func (s *server) compared(ctx context.Context) (alone, watched time.Duration, err error) {
	for range rounds {
		a, err := s.spent(ctx)
		if err != nil {
			return 0, 0, err
		}
		open, closePages := context.WithCancel(ctx)
		frames := make(chan int, atOnce)
		for range atOnce {
			go func() { frames <- s.page(open) }()
		}
		w, err := s.spent(ctx)
		closePages()
		for range atOnce {
			if n := <-frames; n < int(roundLength/time.Second)/2 {
				err = errors.Join(err, fmt.Errorf("a page got %d frames", n))
			}
		}
		if err != nil {
			return 0, 0, err
		}
		alone, watched = alone+a, watched+w
	}
	return alone, watched, nil
}

// page reads the console's stream as a page does, and counts its frames.
func (s *server) page(ctx context.Context) (frames int) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/api/v1/console/stream", http.NoBody)
	if err != nil {
		return 0
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "data:") {
			frames++
		}
	}
	return frames
}

// spent is the CPU time of a process within a round.
func (s *server) spent(ctx context.Context) (time.Duration, error) {
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, roundLength); err != nil {
		return 0, err
	}
	after, err := s.cpu()
	return after - before, err
}

// cpu is the CPU time of a process so far, as proc(5) tells it in stat.
func (s *server) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, errors.New("stat has another form than proc(5) says")
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * clockTick, err
}
