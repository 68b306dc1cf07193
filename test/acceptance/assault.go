package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/millrace/millrace/test/acceptance/malform"
)

const (
	slowFor  = 20 * time.Second // how long slow connections are held up
	slowByte = time.Second      // between their bytes
	dialTime = 5 * time.Second
)

func (g *siege) dial(ctx context.Context) (net.Conn, error) {
	g.opened.Add(1)
	return (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", g.target)
}

func slowHeaders(ctx context.Context, g *siege) error {
	return g.trickle(ctx, malform.Head+"X-Slow: ")
}

// slowBodies: the gateway is told of 16 MB and gets a few bytes.
func slowBodies(ctx context.Context, g *siege) error {
	return g.trickle(ctx, malform.Head+"Content-Length: 16777216\r\n\r\n{")
}

// trickle keeps up so many connections that begin alike and go on by one byte at a
// time; each that ends is followed by another.
func (g *siege) trickle(ctx context.Context, beginning string) error {
	ctx, cancel := context.WithTimeout(ctx, slowFor)
	defer cancel()
	var group sync.WaitGroup
	for range hostileConns {
		group.Go(func() {
			for ctx.Err() == nil {
				g.drip(ctx, beginning)
			}
		})
	}
	group.Wait()
	return nil
}

func (g *siege) drip(ctx context.Context, beginning string) {
	c, err := g.dial(ctx)
	if err != nil {
		_ = pause(ctx, slowByte) // it does not matter why he waits
		return
	}
	defer func() { _ = c.Close() }()
	began, ended := time.Now(), make(chan int, 1)
	go func() { ended <- statusFrom(c) }()
	if _, err := io.WriteString(c, beginning); err != nil {
		g.refused.Add(1)
		_ = pause(ctx, slowByte)
		return
	}
	tick := time.NewTicker(slowByte)
	defer tick.Stop()
	for {
		select {
		case code := <-ended:
			g.status(code)
			g.lived(time.Since(began))
			_ = pause(ctx, slowByte/4)
			return
		case <-ctx.Done():
			g.lived(time.Since(began))
			return
		case <-tick.C:
			_, _ = io.WriteString(c, "x") // that it ended is told by the reader
		}
	}
}

// statusFrom is the status of the next answer; 0 if none comes.
func statusFrom(c net.Conn) int {
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)) // the status is all that counts
	_ = response.Body.Close()
	return response.StatusCode
}

func checkSlow(v *verdict, g *siege) {
	v.atLeast("slow connections opened", float64(g.opened.Load()), hostileConns)
	v.atMost("s the longest lived", time.Duration(g.longest.Load()).Round(time.Second/10).Seconds(), 12)
	// All of one generation end in one moment: for some tenths of a second their sockets
	// are open beside those of the next.
	v.atMost("files open", float64(g.files.Load()), 2*hostileConns+200)
}

const bigBody = 100 << 20

// bigPace is between the megabytes of a connection: all together send what a line of
// 1 Gbit/s carries.
const bigPace = 32 * time.Millisecond

// bigBodies sends 100 MB at a time from four connections, half of it told by
// Content-Length and half in chunks.
func bigBodies(ctx context.Context, g *siege) error {
	errs := make([]error, 4)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() {
			for turn := 0; turn < 6 && errs[i] == nil; turn++ {
				errs[i] = g.big(ctx, (i+turn)%2 == 0)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (g *siege) big(ctx context.Context, chunked bool) error {
	c, err := g.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	code := make(chan int, 1)
	go func() { code <- statusFrom(c) }()
	piece := strings.Repeat("a", 1<<20)
	if chunked {
		_, err = io.WriteString(c, malform.Head+"Transfer-Encoding: chunked\r\n\r\n2\r\n{\"\r\n")
		piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
	} else {
		_, err = fmt.Fprintf(c, "%sContent-Length: %d\r\n\r\n{\"", malform.Head, bigBody)
	}
	tick := time.NewTicker(bigPace)
	defer tick.Stop()
	for sent := 0; err == nil && sent < bigBody; sent += 1 << 20 {
		<-tick.C
		_, err = io.WriteString(c, piece)
	}
	if err != nil && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
		return err
	}
	g.status(<-code)
	return nil
}

func checkBig(v *verdict, g *siege) {
	v.equal("bodies", float64(g.opened.Load()), 24)
	v.equal("let in", float64(g.count(200, 300)), 0)
	v.atLeast("told 413", float64(g.statuses[http.StatusRequestEntityTooLarge].Load()), 1)
}

const forgedRequests = 100_000

// forgedAddresses: one peer that says it speaks for a hundred thousand.
func forgedAddresses(ctx context.Context, g *siege) error {
	const width = 150 // below the seats
	errs := make([]error, width)
	var group sync.WaitGroup
	for w := range width {
		group.Go(func() {
			c, err := g.dial(ctx)
			if err != nil {
				errs[w] = err
				return
			}
			defer func() { _ = c.Close() }()
			answers := bufio.NewReader(c)
			for i := w; i < forgedRequests && errs[w] == nil && ctx.Err() == nil; i += width {
				errs[w] = g.forge(c, answers, i)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (g *siege) forge(c net.Conn, answers *bufio.Reader, i int) error {
	address := fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)
	_, err := fmt.Fprintf(c, "%sX-Forwarded-For: %s, %s\r\nX-Real-IP: %s\r\nForwarded: for=%s\r\nContent-Length: %d\r\n\r\n%s",
		malform.Head, address, address, address, address, len(malform.Question), malform.Question)
	if err != nil {
		return err
	}
	response, err := http.ReadResponse(answers, nil)
	if err != nil {
		return err
	}
	g.status(response.StatusCode)
	_, err = io.Copy(io.Discard, response.Body)
	return errors.Join(err, response.Body.Close())
}

func checkForged(v *verdict, g *siege) {
	v.equal("answered", float64(g.count(200, 300)), forgedRequests)
	v.atMost("flows at a time, with the polite user's", float64(g.flows.Load()), 2)
	v.atLeast("flows seen", float64(g.flows.Load()), 1)
}

// headerBombs sends headers that are too much, of every shape, from eight
// connections at a time.
func headerBombs(ctx context.Context, g *siege) error {
	many := strings.Builder{}
	for i := range 5000 {
		fmt.Fprintf(&many, "X-%d: y\r\n", i)
	}
	bombs := []string{
		malform.Head + "X-Long: " + strings.Repeat("a", 1<<20),
		malform.Head + strings.Repeat("b", 1<<20) + ": x\r\n\r\n",
		malform.Head + many.String() + "\r\n",
		malform.Head + many.String()[:101*9] + "\r\n\r\n" + malform.Question,
		malform.Head + strings.Repeat("Cookie: a=b\r\n", 20_000) + "\r\n",
		malform.Head + "X-Fold: a\r\n" + strings.Repeat(" folded\r\n", 50_000) + "\r\n",
		"POST /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /?" + strings.Repeat("a=b&", 1<<18) + " HTTP/1.1\r\nHost: x\r\n\r\n",
		strings.Repeat("A", 1<<20) + " / HTTP/1.1\r\nHost: x\r\n\r\n",
		malform.Head + "Prefer: " + strings.Repeat("wait=1,", 4000) + "\r\nContent-Length: 2\r\n\r\n{}",
		malform.Head + "Authorization: Bearer " + strings.Repeat("k", 32_000) + "\r\nContent-Length: 2\r\n\r\n{}",
		malform.Head + "Transfer-Encoding: chunked\r\n\r\n2;" + strings.Repeat("x", 1<<20) + "\r\n{}\r\n0\r\n\r\n",
		malform.Head + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + many.String() + "\r\n",
	}
	return g.throw(ctx, 1300, 8, func(i int) string { return bombs[i%len(bombs)] })
}

func checkBombs(v *verdict, g *siege) {
	v.equal("let in", float64(g.count(200, 300)), 0)
}

// patience of one who threw something for an answer.
const thrown = 300 * time.Millisecond

// throw sends n texts, so many at once, each on a connection of its own.
func (g *siege) throw(ctx context.Context, n, width int, text func(int) string) error {
	errs := make([]error, width)
	var group sync.WaitGroup
	for w := range width {
		group.Go(func() {
			for i := w; i < n && ctx.Err() == nil && errs[w] == nil; i += width {
				errs[w] = g.throwOne(ctx, text(i))
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (g *siege) throwOne(ctx context.Context, text string) error {
	c, err := g.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	code := make(chan int, 1)
	go func() { code <- statusFrom(c) }()
	began := time.Now()
	_ = c.SetDeadline(began.Add(dialTime)) // never refused by a connection that is open
	_, _ = io.WriteString(c, text)         // it may be cut off before its end
	_ = c.SetReadDeadline(time.Now().Add(thrown))
	g.status(<-code)
	g.lived(time.Since(began))
	return nil
}

const malformedCount = 10_000

// malformedRequests throws requests of which each has something wrong; which, is
// drawn with a fixed seed.
func malformedRequests(ctx context.Context, g *siege) error {
	rng := rand.New(rand.NewPCG(7, 1))
	all := make([]string, malformedCount)
	for i := range all {
		all[i] = malform.Request(i, rng)
	}
	return g.throw(ctx, len(all), 16, func(i int) string { return all[i] })
}

func checkMalformed(v *verdict, g *siege) {
	v.equal("requests", float64(g.opened.Load()), malformedCount)
	v.atLeast("told 400 to 499", float64(g.count(400, 500)), malformedCount/2)
}
