package providertest

import (
	"bytes"
	"context"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/millrace/millrace/internal/llm"
)

// Provider is the adapter under test.
type Provider interface {
	Do(context.Context, *llm.Call) (*llm.Answer, error)
}

// Setup is how the suite wants an adapter to be made. Zero durations and sizes
// mean the adapter's defaults.
type Setup struct {
	BaseURL          string // of the suite's own server
	Key              string
	FirstByteTimeout time.Duration // from Do to the answer's header
	ReadTimeout      time.Duration // silence in the middle of an answer
	MaxAnswer        int64         // bytes of a whole answer
}

// Harness is what the suite must be told about an adapter and its dialect.
type Harness struct {
	// New returns an adapter. What it holds is released by tb.Cleanup.
	New func(tb testing.TB, s Setup) Provider
	// Whole is an answer in one piece, Stream one in events.
	Whole, Stream Exchange
	// Requests are calls and the bodies that the provider must receive for them.
	Requests []Request
	// Errors are error answers in the provider's words.
	Errors []Refusal
	// Kinds are the statuses that mean something else here than usual.
	Kinds map[int]llm.ErrorKind
	// Event is the least that an event of the dialect looks like with text in
	// it; the suite repeats text in it until it is too large.
	Event func(text []byte) []byte
	// Complete returns how many of the leading bytes of b are whole events. Nil
	// means server-sent events, parted by blank lines.
	Complete func(b []byte) int
	// Slack is how many bytes at the end of a stream may be missing without
	// harm, such as the blank line after the last event.
	Slack int
	// Early are streams in which the provider says that it failed, under a
	// status of success, before it has sent any data.
	Early [][]byte
}

// Exchange is a call and its answer.
type Exchange struct {
	Call        llm.Call
	ContentType string
	Answer      []byte // what the provider sends
	Forwarded   []byte // what the client gets; nil means all of Answer
	Usage       llm.Usage
	Counted     int64 // bytes of generated text in Answer

	WithoutUsage []byte // the same answer from a provider that reports no usage
}

func (x Exchange) forwarded() []byte {
	if x.Forwarded != nil {
		return x.Forwarded
	}
	return x.Answer
}

// Request is a call and the body that the provider must receive for it.
type Request struct {
	Name string
	Call llm.Call
	Want []byte
}

// Refusal is an error answer and what it must be understood as.
type Refusal struct {
	Name       string
	Status     int
	Header     http.Header
	Body       []byte
	Kind       llm.ErrorKind
	RetryAfter time.Duration
}

// suite is one run.
type suite struct{ Harness }

// Run tests an adapter against every rule.
func Run(t *testing.T, h Harness) {
	if h.Complete == nil {
		h.Complete = completeEvents
	}
	s := suite{h}
	before := goleak.IgnoreCurrent()
	for _, c := range s.cases() {
		t.Run(c.name, c.test)
	}
	if err := goleak.Find(before); err != nil {
		t.Errorf("I8: a call leaves something running after its answer is closed: %v", err)
	}
}

type testCase struct {
	name string
	test func(*testing.T)
}

func (s suite) cases() []testCase {
	return []testCase{
		{"I1RequestPassesUnchanged", s.requestPassesUnchanged},
		{"I1KeyIsSent", s.keyIsSent},
		{"I2WholeAnswer", s.wholeAnswer},
		{"I2Stream", s.stream},
		{"I2StreamByteByByte", s.streamByteByByte},
		{"I2UsageMissing", s.usageMissing},
		{"I2UsageLate", s.usageLate},
		{"I2WholeAnswerToStream", s.wholeAnswerToStream},
		{"I3EventsLeaveAsTheyCome", s.eventsLeaveAsTheyCome},
		{"I4StreamCutAnywhere", s.streamCutAnywhere},
		{"I4WholeAnswerCutAnywhere", s.wholeAnswerCutAnywhere},
		{"I5EveryStatusHasAKind", s.everyStatusHasAKind},
		{"I5RetryAfter", s.retryAfter},
		{"I5Refusals", s.refusals},
		{"I5EarlyFailure", s.earlyFailure},
		{"I5RedirectsAreNotFollowed", s.redirectsAreNotFollowed},
		{"I6KeyStaysSecret", s.keyStaysSecret},
		{"I7RefusedConnectionSentNothing", s.refusedConnectionSentNothing},
		{"I8CancelBeforeHeader", s.cancelBeforeHeader},
		{"I8CancelInTheMiddle", s.cancelInTheMiddle},
		{"I8CloseInTheMiddle", s.closeInTheMiddle},
		{"I8ConnectionIsReused", s.connectionIsReused},
		{"I8CloseIsFinal", s.closeIsFinal},
		{"I9HangBeforeHeader", s.hangBeforeHeader},
		{"I9HangInTheMiddle", s.hangInTheMiddle},
		{"I10AnswerTooLarge", s.answerTooLarge},
		{"I10EventTooLarge", s.eventTooLarge},
	}
}

// completeEvents is Complete for server-sent events.
func completeEvents(b []byte) int {
	whole := 0
	for _, blank := range []string{"\n\n", "\n\r\n"} {
		if i := bytes.LastIndex(b, []byte(blank)); i >= 0 {
			whole = max(whole, i+len(blank))
		}
	}
	return whole
}
