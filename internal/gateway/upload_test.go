package gateway

import (
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
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

// TestI1OneTenantLeavesRoomForBodies: a tenant whose bodies take all the room they may
// leaves as much to the others.
func TestI1OneTenantLeavesRoomForBodies(t *testing.T) {
	const room = 1 << 20
	padded := chatBody + strings.Repeat(" ", room/8)
	as := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token); r.ContentLength = -1 }
	}
	in(t, 4, echo, func(t *testing.T, w *world, client *http.Client) {
		ctx, release := context.WithCancel(t.Context())
		var all sync.WaitGroup
		refused := atomic.Int64{}
		for range 8 {
			all.Go(func() {
				resp := post(t, client, "/v1/chat/completions", "", as("sk-a"), func(r *http.Request) {
					r.Body = io.NopCloser(io.MultiReader(strings.NewReader(padded), stuck{ctx}))
				})
				_ = resp.Body.Close()
				if resp.StatusCode == http.StatusServiceUnavailable {
					refused.Add(1)
				}
			})
		}
		synctest.Wait()
		if resp := post(t, client, "/v1/chat/completions", padded, as("sk-b")); resp.StatusCode != http.StatusOK {
			t.Errorf("another tenant: %d", resp.StatusCode)
		} else {
			readAll(t, resp)
		}
		release()
		all.Wait()
		if refused.Load() == 0 {
			t.Error("the bodies of one tenant have no bound")
		}
		synctest.Wait()
		if held := w.gateway.bodies.Load(); held != 0 {
			t.Errorf("%d bytes are set aside for nobody", held)
		}
		w.gateway.parts.Range(func(tenant, part any) bool {
			if held := part.(*atomic.Int64).Load(); held != 0 {
				t.Errorf("%d bytes are set aside for nobody of %v", held, tenant)
			}
			return true
		})
	}, func(o *Options) {
		o.MaxBody, o.Bodies = room/4, room
		o.Keys = []Key{{SHA256: sha256.Sum256([]byte("sk-a")), Tenant: "acme"}, {SHA256: sha256.Sum256([]byte("sk-b")), Tenant: "beta"}}
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

// TestI10RoomIsGivenBackWhoeverWrites: a mount may read a body for a writer that is
// not the gateway's; the room that the body took is free again afterwards.
func TestI10RoomIsGivenBackWhoeverWrites(t *testing.T) {
	for name, as := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"its own": func(w http.ResponseWriter) http.ResponseWriter { return w },
		"foreign": func(http.ResponseWriter) http.ResponseWriter { return httptest.NewRecorder() },
	} {
		t.Run(name, func(t *testing.T) {
			var g *Gateway
			during := int64(0)
			in(t, 4, echo, func(t *testing.T, w *world, client *http.Client) {
				g = w.gateway
				readAll(t, post(t, client, "/app", chatBody))
				synctest.Wait()
				if held := g.bodies.Load(); held != 0 || (during == 0) != (name == "foreign") {
					t.Errorf("%d bytes are set aside for nobody, %d were while it was answered", held, during)
				}
			}, func(o *Options) {
				o.Mounts = []Mount{{Pattern: "POST /app", Access: Keyed, Handler: func(w http.ResponseWriter, r *http.Request, _ Caller) {
					if body, err := g.Body(as(w), r); err != nil || string(body) != chatBody {
						t.Errorf("%q, %v", body, err)
					}
					during = g.bodies.Load()
				}}}
			})
		})
	}
}
