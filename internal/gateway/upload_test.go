package gateway

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a body that stops coming.
type stuck struct{ context.Context }

func (s stuck) Read(p []byte) (int, error) {
	if s.Err() == nil {
		<-s.Done()
	}
	return 0, io.EOF
}

func TestSlowBodyTimesOut(t *testing.T) {
	in(t, 4, echo, func(t *testing.T, _ *world, client *http.Client) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		start := time.Now()
		resp := post(t, client, "/v1/chat/completions", "", func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader(chatBody[:10]), stuck{ctx})), int64(len(chatBody))
		})
		wantError(t, resp, http.StatusRequestTimeout, "slow_body")
		if took := time.Since(start); took != uploadGrace {
			t.Errorf("after %v", took)
		}
	})
}

// TestI1BodiesShareOneBound: what all requests under way hold of bodies is bounded,
// the place of each is free again when it ends, and small ones find room beside large.
func TestI1BodiesShareOneBound(t *testing.T) {
	const room = 1 << 20
	large := func(r *http.Request) { r.ContentLength = -1 }
	padded := chatBody + strings.Repeat(" ", room*3/8)
	in(t, 4, echo, func(t *testing.T, w *world, client *http.Client) {
		ctx, release := context.WithCancel(t.Context())
		first := make(chan int, 1)
		go func() {
			resp := post(t, client, "/v1/chat/completions", "", large, func(r *http.Request) {
				r.Body = io.NopCloser(io.MultiReader(strings.NewReader(padded), stuck{ctx}))
			})
			_ = resp.Body.Close()
			first <- resp.StatusCode
		}()
		synctest.Wait()
		wantError(t, post(t, client, "/v1/chat/completions", padded, large), http.StatusServiceUnavailable, codeOverloaded)
		if resp := post(t, client, "/v1/chat/completions", chatBody); resp.StatusCode != http.StatusOK {
			t.Errorf("a small body beside a large one: %d", resp.StatusCode)
		} else {
			readAll(t, resp)
		}
		release()
		if status := <-first; status != http.StatusOK {
			t.Errorf("the first body ended with %d", status)
		}
		if resp := post(t, client, "/v1/chat/completions", padded, large); resp.StatusCode != http.StatusOK {
			t.Errorf("afterwards: %d", resp.StatusCode)
		} else {
			readAll(t, resp)
		}
		synctest.Wait()
		if held := w.gateway.bodies.Load(); held != 0 {
			t.Errorf("%d bytes are set aside for nobody", held)
		}
	}, func(o *Options) { o.MaxBody, o.Bodies = room/2, room })
}
