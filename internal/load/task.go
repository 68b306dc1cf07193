package load

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/millrace/millrace/internal/load/wire"
)

// The labels of errors that endpoints tell in their own form.
const (
	labelSaid    = "success_false" // an answer that says it is none
	labelTask    = "task_failed"
	labelRevoked = "task_revoked"
)

// pollGap is the least time between two questions for a task; a server that
// holds them itself is asked less often.
const pollGap = time.Second

// readEndpoint reads what an application's endpoint answers, and follows the
// task it names to the end.
func (x *exchange) readEndpoint(ctx context.Context, body io.Reader) {
	o := x.out
	o.first = o.clock.now()
	if x.hangsUp(ctx) {
		return
	}
	var said wire.Reply
	if ok := x.decode(ctx, body, &said); ok {
		x.follow(ctx, &said)
	}
	if x.plan.mischief == stallReading {
		o.finish(stalled, "")
	}
}

// follow takes an answer for the end of the request, or waits for its task.
func (x *exchange) follow(ctx context.Context, said *wire.Reply) {
	if said.Async && said.ValidID() {
		x.out.task = true
		x.await(ctx, said.TaskID)
		return
	}
	x.accept(said)
}

// accept ends the request with a whole answer.
func (x *exchange) accept(said *wire.Reply) {
	o := x.out
	switch {
	case said.Success == nil, said.Async:
		o.finish(failed, labelFormat)
	case !*said.Success:
		o.finish(failed, labelSaid)
	default:
		if said.Tokens != nil {
			o.tally.Prompt, o.tally.Completion, o.tally.HasUsage = said.Tokens.Input, said.Tokens.Output, true
		}
		o.finish(answered, o.label)
	}
}

// await asks for a task until it has ended.
func (x *exchange) await(ctx context.Context, id string) {
	for {
		asked := x.out.clock.now()
		state, ok := x.poll(ctx, id)
		if !ok {
			return
		}
		switch state.State {
		case "SUCCESS":
			var result wire.Reply
			if err := json.Unmarshal(state.Result, &result); err != nil {
				result = wire.Reply{}
			}
			x.accept(&result)
			return
		case "FAILURE":
			x.out.finish(failed, labelTask)
			return
		case "REVOKED":
			x.out.finish(failed, labelRevoked)
			return
		}
		if !x.out.clock.sleepUntil(ctx, asked.Add(pollGap)) {
			x.out.fail(ctx, ctx.Err(), labelEOF)
			return
		}
	}
}

// poll asks once; false means that the request has ended over it.
func (x *exchange) poll(ctx context.Context, id string) (state wire.Reply, ok bool) {
	resp, err := x.run.transport.RoundTrip(x.run.composer.status(ctx, &x.plan, id))
	if err != nil {
		x.out.fail(ctx, err, labelEOF)
		return state, false
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		x.out.tally.ReadSample(resp.Body)
		x.out.finish(failed, strconv.Itoa(resp.StatusCode))
		return state, false
	}
	return state, x.decode(ctx, resp.Body, &state)
}

// decode reads a JSON answer; false means that the request has ended over it.
func (x *exchange) decode(ctx context.Context, r io.Reader, into *wire.Reply) bool {
	body, err := io.ReadAll(io.LimitReader(r, wire.MaxJSON+1))
	x.out.tally.Bytes += int64(len(body))
	switch {
	case err != nil:
		x.out.fail(ctx, err, labelEOF)
	case len(body) > wire.MaxJSON, json.Unmarshal(body, into) != nil:
		x.out.finish(failed, labelFormat)
	default:
		return true
	}
	return false
}
