package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Of the cases hostile.
const (
	hostileBefore  = 10 * time.Second // how long the polite user is alone
	hostileLeast   = 10 * time.Second // and how long he has company, at least
	hostileConns   = 1000             // slow connections at a time
	hostileGrowth  = 64 << 20         // bytes that the gateway may grow by
	hostileSlower  = 2                // times, the polite user's p99
	hostilePolite  = 20 * time.Millisecond
	hostileAddress = "127.0.0.2" // of the polite user
)

// assault is what one hostile case does to a gateway until it is through.
type assault struct {
	name  string
	takes time.Duration
	// limits are the gateway's own; empty = its defaults.
	limits string
	run    func(context.Context, *siege) error
	check  func(*verdict, *siege)
}

func hostileCases() []scenario {
	var all []scenario
	for _, a := range []assault{
		{"slow-header", 20 * time.Second, "", slowHeaders, checkSlow},
		{"slow-body", 20 * time.Second, "", slowBodies, checkSlow},
		// Four bodies at a time, and what they outgrew, fit into hostileGrowth.
		{"big-body", 20 * time.Second, "limits: {max_body: 8MiB}\n", bigBodies, checkBig},
		{"forged-address", 50 * time.Second, "", forgedAddresses, checkForged},
		{"header-bomb", 15 * time.Second, "", headerBombs, checkBombs},
		{"malformed", 30 * time.Second, "", malformedRequests, checkMalformed},
	} {
		all = append(all, scenario{
			name: "hostile/" + a.name, heavy: true, takes: hostileBefore + a.takes,
			own: func(ctx context.Context, s *site, v *verdict) error { return hostileCourse(ctx, s, v, &a) },
		})
	}
	return all
}

// siege is a gateway under attack, and what is seen of it.
type siege struct {
	front    *server
	target   string // host:port
	statuses [600]atomic.Int64
	silent   atomic.Int64 // connections that ended without an answer
	refused  atomic.Int64 // that were never let in
	opened   atomic.Int64
	longest  atomic.Int64 // life of a hostile connection, ns
	files    atomic.Int64 // most open files of the gateway
	peak     atomic.Int64 // most memory of the gateway
	flows    atomic.Int64 // most flows in its books
}

func (g *siege) status(code int) {
	if code > 0 && code < len(g.statuses) {
		g.statuses[code].Add(1)
	} else {
		g.silent.Add(1)
	}
}

func (g *siege) count(from, to int) (n int64) {
	for i := from; i < to; i++ {
		n += g.statuses[i].Load()
	}
	return n
}

// seen are the statuses that the attackers got.
func (g *siege) seen() string {
	var parts []string
	for i := range g.statuses {
		if n := g.statuses[i].Load(); n > 0 {
			parts = append(parts, fmt.Sprintf("%d of %d", n, i))
		}
	}
	if n := g.silent.Load(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d without an answer", n))
	}
	return strings.Join(parts, ", ")
}

func (g *siege) lived(d time.Duration) { raise(&g.longest, int64(d)) }

func raise(most *atomic.Int64, n int64) {
	for old := most.Load(); n > old; old = most.Load() {
		if most.CompareAndSwap(old, n) {
			return
		}
	}
}

func hostileCourse(ctx context.Context, s *site, v *verdict, a *assault) error {
	judge, err := s.start(ctx, "judge", "sim", "--listen", "127.0.0.1:0", "--latency", "50ms", "--seed", "7")
	if err != nil {
		return err
	}
	front, err := s.gateway(ctx, a.limits+"upstreams: [{name: main, base_url: "+judge.base+"/v1, quota: {seats: 200}}]\n")
	if err != nil {
		return err
	}
	g := &siege{front: front, target: strings.TrimPrefix(front.base, "http://")}
	p, err := newNeighbor(front.base)
	if err != nil {
		return err
	}
	before, err := p.during(ctx, func() error { return pause(ctx, hostileBefore) })
	if err != nil {
		return err
	}
	calm, err := front.memory()
	if err != nil {
		return err
	}
	watching, stop := context.WithCancel(ctx)
	watched := make(chan error, 1)
	go func() { watched <- g.watch(watching) }()
	began := time.Now()
	under, err := p.during(ctx, func() error {
		if err := a.run(ctx, g); err != nil {
			return err
		}
		return pause(ctx, hostileLeast-time.Since(began))
	})
	took := time.Since(began)
	stop()
	if err := <-watched; err != nil {
		return err
	}
	if err != nil {
		return err
	}
	after, err := settled(ctx, front)
	if err != nil {
		return err
	}
	g.verdict(v, before, under, [3]int64{calm, g.peak.Load(), after})
	a.check(v, g)
	v.show("attackers got %s in %v", g.seen(), took.Round(time.Second))
	metrics, err := front.rest(ctx, "")
	if err != nil {
		return err
	}
	v.equal("outstanding", metrics.sum("millrace_attempts_outstanding"), 0)
	return v.unpanicked(front)
}

// settled is the gateway's memory when the attackers have been gone for a while.
func settled(ctx context.Context, front *server) (int64, error) {
	if err := pause(ctx, 5*time.Second); err != nil {
		return 0, err
	}
	return front.memory()
}

// verdict judges what all cases have in common. Refusals of net/http itself, of a
// protocol or a transfer coding it does not know, are 505 and 501 as HTTP asks.
func (g *siege) verdict(v *verdict, before, under politeness, memory [3]int64) {
	protocol := g.statuses[http.StatusNotImplemented].Load() + g.statuses[http.StatusHTTPVersionNotSupported].Load()
	v.atMost("5xx", float64(g.count(500, 600)-protocol), 0)
	if protocol > 0 {
		v.show("501 and 505 of net/http %d", protocol)
	}
	v.atMost("errors of the polite user", float64(before.errors+under.errors), 0)
	if text := before.first + under.first; text != "" {
		v.show("[%.200s]", text)
	}
	v.atMost("his p99 under attack over before", float64(under.p99)/float64(before.p99), hostileSlower)
	v.show("p99 %v of %d before, %v of %d under attack", before.p99, before.count, under.p99, under.count)
	v.atMost("MB the gateway grew by", float64((memory[2]-memory[0])>>20), hostileGrowth>>20)
	v.show("memory %d MB before, %d at most, %d after", memory[0]>>20, memory[1]>>20, memory[2]>>20)
	v.show("%d files open at most", g.files.Load())
}

// watch notes what the gateway uses until ctx ends.
func (g *siege) watch(ctx context.Context) error {
	for round := 0; ; round++ {
		memory, err := g.front.memory()
		if err != nil {
			return err
		}
		raise(&g.peak, memory)
		if round%5 == 0 {
			files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.front.cmd.Process.Pid))
			if err != nil {
				return err
			}
			raise(&g.files, int64(len(files)))
			if all, err := g.front.read(ctx, ""); err == nil {
				raise(&g.flows, int64(all["millrace_flows_active"]))
			}
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return nil //nolint:nilerr // the assault is over, and so is the watch
		}
	}
}

// memory is what the server's process has resident, in bytes.
func (s *server) memory() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", s.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("memory of %s: %w", s.name, err)
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("memory of %s: %q", s.name, text)
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// neighbor is the polite user: he asks at an even pace whatever the others do, by turns on a connection of
// his that stands and on a new one.
type neighbor struct {
	url     string
	clients [2]*http.Client
}

// politeness is what he got in a span of time.
type politeness struct {
	count, errors int
	p99           time.Duration
	first         string // error
}

func newNeighbor(base string) (*neighbor, error) {
	from, err := net.ResolveTCPAddr("tcp", hostileAddress+":0")
	if err != nil {
		return nil, err
	}
	p := &neighbor{url: base + "/v1/chat/completions"}
	for i := range p.clients {
		p.clients[i] = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
			DialContext: (&net.Dialer{LocalAddr: from}).DialContext, MaxIdleConnsPerHost: 100, DisableKeepAlives: i == 1,
		}}
	}
	return p, nil
}

// during lets him ask until f returns.
func (p *neighbor) during(ctx context.Context, f func() error) (politeness, error) {
	over := make(chan error, 1)
	go func() { over <- f() }()
	var (
		mu     sync.Mutex
		result politeness
		times  []time.Duration
		group  sync.WaitGroup
	)
	tick := time.NewTicker(hostilePolite)
	defer tick.Stop()
	for turn := 0; ; turn++ {
		select {
		case err := <-over:
			group.Wait()
			slices.Sort(times)
			if result.count = len(times); result.count > 0 {
				result.p99 = times[result.count*99/100].Round(100 * time.Microsecond)
			}
			return result, err
		case <-tick.C:
		}
		group.Go(func() {
			began := time.Now()
			err := p.ask(ctx, turn)
			mu.Lock()
			defer mu.Unlock()
			if times = append(times, time.Since(began)); err != nil {
				if result.errors++; result.errors == 1 {
					result.first = err.Error()
				}
			}
		})
	}
}

func (p *neighbor) ask(ctx context.Context, turn int) error {
	body := fmt.Sprintf(`{"model":"any","messages":[{"role":"user","content":"ECHO:polite-%d"}]}`, turn)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Millrace-User", "polite")
	response, err := p.clients[turn%2].Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || !bytes.Contains(text, fmt.Appendf(nil, "polite-%d", turn))) {
		err = fmt.Errorf("%s: %.100s", response.Status, text)
	}
	return err
}
