package crowd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// loop is one of the loops of a user.
type loop struct {
	*Crowd
	user, tenant int
	rng          *rand.Rand
	buf          bytes.Buffer
	text         []byte // of the answer
}

// wish is what one request asks for.
type wish struct {
	model  string
	nonce  string // what the judge will say
	owner  int    // whose id the answer's has to be; -1: not looked at
	stream bool
	task   bool
	leave  time.Duration // from when on the user does not want it any more; 0: he stays
}

func (l *loop) chance(percent int) bool { return l.rng.IntN(100) < percent }

// think draws a wish: 45 % of a user's own nonces, 35 % of his tenant's, 20 % of
// prompts that are the same for all.
func (l *loop) think() wish {
	w := wish{model: "mine", owner: -1, stream: l.chance(25)}
	switch kind := l.rng.IntN(100); {
	case kind < 45:
		w.nonce = l.secrets[l.user] + l.number(50, 8)
	case kind < 80:
		w.model, w.nonce = "ours", l.secrets[users+l.tenant]+l.number(30, 32)
	case kind < 90:
		w.nonce, w.owner = "nce-of-all-"+l.number(0, 4), l.user
	default:
		w.model, w.nonce, w.owner = "ours", "nce-of-all-"+l.number(0, 4), users+l.tenant
	}
	w.task = !w.stream && l.chance(3)
	if l.chance(10) {
		w.leave = time.Duration(l.rng.Int64N(int64(40 * time.Millisecond)))
	}
	return w
}

// number tells prompts apart: new ones, else one of a few, half of the time the one
// that the others choose at this moment too.
func (l *loop) number(percent, few int) string {
	switch {
	case l.chance(percent):
		return "f" + strconv.FormatInt(l.fresh.Add(1), 10)
	case l.chance(50):
		return strconv.Itoa(int(time.Now().UnixMilli()/50) % few)
	}
	return strconv.Itoa(l.rng.IntN(few))
}

// once asks once and counts what comes of it.
func (l *loop) once(ctx context.Context) {
	w := l.think()
	if w.leave > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, w.leave)
		defer cancel()
	}
	err := l.ask(ctx, &w)
	switch {
	case err == nil:
		l.answered.Add(1)
	case errors.Is(err, errForeign):
		l.foreign.Add(1)
		l.failed.Add(1)
		l.wrong("%v", err)
	case w.leave > 0 && ctx.Err() != nil:
		l.canceled.Add(1)
	default:
		l.failed.Add(1)
		l.wrong("%v", err)
	}
}

var errForeign = errors.New("an answer of somebody else")

func (l *loop) ask(ctx context.Context, w *wish) error {
	body := `{"model":"` + w.model + `","max_tokens":64,"messages":[{"role":"system","content":"You repeat what you are told, and nothing else."},` +
		`{"role":"user","content":"ECHO:` + w.nonce + ` and this is the end of what is to be repeated."}]`
	if w.stream {
		body += `,"stream":true`
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, l.base+"/v1/chat/completions", strings.NewReader(body+"}"))
	if err != nil {
		return err
	}
	r.Header = http.Header{
		"Authorization": {"Bearer " + Key(l.tenant)}, "Content-Type": {"application/json"}, "Millrace-User": {"user-" + strconv.Itoa(l.user)},
	}
	if w.task {
		l.tasks.Add(1)
		r.Header["Prefer"] = []string{"respond-async, wait=" + strconv.Itoa(l.rng.IntN(2))}
	}
	status, header, err := l.send(r)
	if header != nil {
		l.note(header, w)
	}
	if err == nil && status == http.StatusAccepted && w.task {
		return l.collect(ctx, w, header.Get("Location"))
	}
	return l.check(w, status, err)
}

// send reads the whole answer into buf, or what came of it.
func (l *loop) send(r *http.Request) (status int, h http.Header, err error) {
	l.buf.Reset()
	response, err := l.clients[l.tenant].Do(r)
	if err != nil {
		return 0, nil, err
	}
	_, err = io.Copy(&l.buf, response.Body)
	return response.StatusCode, response.Header, errors.Join(err, response.Body.Close())
}

func (l *loop) note(h http.Header, w *wish) {
	switch h.Get("Millrace-Cache") {
	case "hit":
		l.hits.Add(1)
	case "coalesced":
		l.joined.Add(1)
	default:
		if n := h.Get("Millrace-Attempts"); n != "" && n != "1" {
			l.again.Add(1)
		}
	}
	if w.stream {
		l.streams.Add(1)
	}
}

// collect asks for a task until it has ended; now and then somebody of another
// tenant asks for it first.
func (l *loop) collect(ctx context.Context, w *wish, location string) error {
	if l.chance(20) {
		if err := l.peek(ctx, location); err != nil {
			return err
		}
	}
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+location+"?wait=10s", http.NoBody)
		if err != nil {
			return err
		}
		r.Header["Authorization"] = []string{"Bearer " + Key(l.tenant)}
		status, _, err := l.send(r)
		if waits := bytes.Contains(l.buf.Bytes(), []byte(`"state":"PENDING"`)) || bytes.Contains(l.buf.Bytes(), []byte(`"state":"STARTED"`)); err != nil ||
			status != http.StatusOK || !waits {
			return l.check(w, status, err)
		}
	}
}

// peek asks for a task in the name of another tenant.
func (l *loop) peek(ctx context.Context, location string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, l.base+location, http.NoBody)
	if err != nil {
		return err
	}
	r.Header["Authorization"] = []string{"Bearer " + Key((l.tenant+1)%Tenants)}
	status, _, err := l.send(r)
	if err != nil {
		return err
	}
	if status != http.StatusNotFound {
		l.peeked.Add(1)
		return fmt.Errorf("another tenant's task: %d", status)
	}
	return nil
}

// check looks at what came: of a whole answer all of it, of a part that it is the
// beginning of the right one.
func (l *loop) check(w *wish, status int, err error) error {
	text := l.said()
	if err != nil || status != http.StatusOK {
		if !strings.HasPrefix(w.nonce, text) {
			return fmt.Errorf("%w: %q, for %q", errForeign, text, w.nonce)
		}
		if err == nil {
			err = fmt.Errorf("%d: %.200s", status, l.buf.Bytes())
		}
		return err
	}
	if text != w.nonce {
		if strings.HasPrefix(w.nonce, text) || !strings.Contains(text, "nce-") {
			return fmt.Errorf("said %q of %q: %.300s", text, w.nonce, l.buf.Bytes())
		}
		return fmt.Errorf("%w: %q, for %q", errForeign, text, w.nonce)
	}
	if w.stream && !bytes.Contains(l.buf.Bytes(), []byte("data: [DONE]")) {
		return fmt.Errorf("a stream without an end: %.300s", l.buf.Bytes())
	}
	if w.owner >= 0 && !l.owns(l.id(), w.owner) {
		return fmt.Errorf("%w: its id was another's, %q for owner %d", errForeign, l.id(), w.owner)
	}
	return nil
}

// said is the text of the answer in buf, whole or in deltas. Nonces need no escapes.
func (l *loop) said() string {
	l.text = l.text[:0]
	for rest := l.buf.Bytes(); ; {
		_, after, found := bytes.Cut(rest, []byte(`"content":"`))
		end := bytes.IndexByte(after, '"')
		if !found || end < 0 {
			return string(l.text)
		}
		l.text, rest = append(l.text, after[:end]...), after[end:]
	}
}

// id is what the judge called the answer in buf.
func (l *loop) id() string {
	_, after, _ := bytes.Cut(l.buf.Bytes(), []byte(`"id":"chatcmpl-`))
	id, _, _ := bytes.Cut(after, []byte(`"`))
	return string(id)
}
