package crowd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Tenants is how many there are; each has a key.
const Tenants = 4

// Two loops a user, so that one user has identical requests under way.
const (
	users = 200
	loops = 2
	seed  = 20
)

// Key is the key of a tenant, counted from 0.
func Key(tenant int) string { return "sk-acceptance-crowd-of-tenant-" + strconv.Itoa(tenant) }

// Crowd is everybody who asks, and what they got.
type Crowd struct {
	base     string
	requests int64
	clients  [Tenants]*http.Client
	secrets  [users + Tenants]string // of the users, then of the tenants

	taken, fresh                        atomic.Int64 // requests begun; prompts that nobody had before
	answered, canceled, failed          atomic.Int64
	foreign, peeked                     atomic.Int64 // answers of others; tasks of others that were shown
	hits, joined, again, streams, tasks atomic.Int64

	pause atomic.Int64 // the longest in which nobody was answered, ns

	mu      sync.Mutex
	owners  map[string]int // whose an answer is, by its id
	samples []string       // of what went wrong
}

// New returns a crowd that will send so many requests to the gateway at base.
func New(base string, requests int64) *Crowd {
	c := &Crowd{base: base, requests: requests, owners: map[string]int{}}
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range c.secrets {
		c.secrets[i] = fmt.Sprintf("nce-%016x-", rng.Uint64())
	}
	for i := range c.clients {
		t := &http.Transport{MaxIdleConnsPerHost: users * loops, DialContext: (&net.Dialer{}).DialContext, DisableCompression: true}
		if i == Tenants-1 { // the last one's people speak HTTP/2
			t.Protocols = &http.Protocols{}
			t.Protocols.SetUnencryptedHTTP2(true)
		}
		c.clients[i] = &http.Client{Transport: t}
	}
	return c
}

// Run sends all requests, and tells every ten seconds how far it is.
func (c *Crowd) Run(ctx context.Context, tell func(format string, args ...any)) {
	var group sync.WaitGroup
	for i := range users * loops {
		group.Go(func() {
			l := &loop{Crowd: c, user: i / loops, tenant: i / loops % Tenants, rng: rand.New(rand.NewPCG(seed, uint64(i)+1))}
			for ctx.Err() == nil && c.taken.Add(1) <= c.requests {
				l.once(ctx)
			}
		})
	}
	over := make(chan struct{})
	go func() { group.Wait(); close(over) }()
	tick, began := time.NewTicker(time.Second), time.Now()
	defer tick.Stop()
	last, moved := int64(0), began
	for round := 1; ; round++ {
		select {
		case <-over:
			for _, client := range c.clients {
				client.CloseIdleConnections()
			}
			return
		case <-tick.C:
			n := c.ended()
			if now := time.Now(); n > last {
				last, moved = n, now
			} else {
				c.pause.Store(max(c.pause.Load(), int64(now.Sub(moved))))
			}
			if round%10 != 0 {
				continue
			}
			tell("%d of %d, %.0f/s, foreign %d, errors %d", n, c.requests, float64(n)/time.Since(began).Seconds(), c.foreign.Load(), c.failed.Load())
		}
	}
}

// Report counts what a crowd saw.
type Report struct {
	Ended, Canceled, Errors             int64
	Foreign                             int64         // answers that were somebody else's
	Peeked                              int64         // tasks that were shown to another tenant
	Hits, Joined, Again, Streams, Tasks int64         // by what the headers said, and of what kind
	Pause                               time.Duration // the longest in which nobody was answered, to a second
	Owners                              int           // ids of answers whose owner was checked
	Samples                             []string      // of errors
}

// Report is what the crowd has seen so far.
func (c *Crowd) Report() Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Report{
		Ended: c.ended(), Canceled: c.canceled.Load(), Errors: c.failed.Load(), Foreign: c.foreign.Load(), Peeked: c.peeked.Load(),
		Hits: c.hits.Load(), Joined: c.joined.Load(), Again: c.again.Load(), Streams: c.streams.Load(), Tasks: c.tasks.Load(),
		Pause: time.Duration(c.pause.Load()).Round(time.Second), Owners: len(c.owners), Samples: c.samples,
	}
}

func (c *Crowd) ended() int64 { return c.answered.Load() + c.canceled.Load() + c.failed.Load() }

// wrong keeps the first few of what went wrong.
func (c *Crowd) wrong(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.samples) < 5 {
		c.samples = append(c.samples, fmt.Sprintf(format, args...))
	}
}

// owns reports whether an answer is of the owner, and of nobody before him.
func (c *Crowd) owns(id string, owner int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	first, known := c.owners[id]
	if !known {
		c.owners[id] = owner
	}
	return !known || first == owner
}
