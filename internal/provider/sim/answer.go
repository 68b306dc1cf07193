package sim

import (
	"math"
	"math/rand/v2"
	"time"
)

// answer is everything about one reply, decided before the first byte.
type answer struct {
	text   string // of the message or of the tool's arguments; "" with cuts nil: prose
	cuts   []int32
	start  int64 // of prose, in the corpus
	prose  bool
	tokens int64 // of one choice
	finish string
	tool   string // the function called; "": none
	id     uint64

	first time.Duration // to the first token
	token time.Duration // mean between tokens
	exact bool          // no jitter: the total is given
}

const (
	outputLogMean = 5.02 // of the lognormal of completion tokens: median 151
	outputLogSD   = 0.86
	outputDefault = 4096 // bound when the client gives none
)

// decide makes the answer to r. load is how full the seats are.
func (p *Provider) decide(r *request, rng *rand.Rand, prompt int64, load float64) *answer {
	a := &answer{finish: "stop", id: rng.Uint64()}
	a.fill(p, r, rng)
	bound := r.maxTokens
	if bound <= 0 {
		bound = outputDefault
	}
	if a.tokens > bound {
		a.tokens, a.finish = bound, "length"
	}
	p.time(a, r, rng, prompt, load)
	return a
}

func (a *answer) fill(p *Provider, r *request, rng *rand.Rand) {
	content := rand.New(rand.NewPCG(p.options.Seed, r.hash))
	switch {
	case r.op == opChat && r.wantsTool():
		a.tool, a.text = callTool(r, content)
		a.finish = "tool_calls"
	case r.echo != "":
		a.text = r.echo
	case r.op == opChat && len(r.format) > 0 && formatted(r.format) != nil:
		a.text = fromFormat(r, content)
	case r.feedback && r.json:
		a.text = feedback(content)
	default:
		a.prose = true
		sentences := p.corpus.sentences
		a.start = int64(sentences[content.IntN(len(sentences))])
		a.tokens = p.options.Output
		if a.tokens == 0 {
			a.tokens = max(1, int64(math.Exp(outputLogMean+outputLogSD*rng.NormFloat64())+0.5))
		}
		return
	}
	a.cuts = cutText(a.text)
	a.tokens = max(1, int64(len(a.cuts)-1))
}

// append adds tokens from..to, escaped for JSON.
func (p *Provider) append(dst []byte, a *answer, from, to int64) []byte {
	if a.prose {
		return p.corpus.append(dst, a.start, from, to)
	}
	last := int64(len(a.cuts) - 1)
	from, to = min(from, last), min(to, last)
	return appendEscaped(dst, a.text[a.cuts[from]:a.cuts[to]])
}

// time decides when the answer's tokens come.
func (p *Provider) time(a *answer, r *request, rng *rand.Rand, prompt int64, load float64) {
	t := p.options.Latency
	if t.Instant {
		a.exact = true
		return
	}
	slow := p.script.factor(FaultLatency) / (t.Speed * p.options.Speed)
	if t.Total > 0 {
		total := float64(t.Total) * slow * math.Exp(t.Sigma*rng.NormFloat64()-t.Sigma*t.Sigma/2)
		a.exact = true
		a.first = time.Duration(total * firstShare)
		if r.op == opEmbedding || a.tokens < 2 {
			a.first = time.Duration(total)
			return
		}
		a.token = time.Duration(total * (1 - firstShare) / float64(a.tokens-1))
		return
	}
	slow *= 1 + load
	sigma := math.Log(float64(t.FirstP95)/float64(t.First)) / z95
	first := float64(t.First) * math.Exp(sigma*rng.NormFloat64())
	a.first = time.Duration(slow * (first + float64(t.InputToken)*float64(prompt)))
	a.token = time.Duration(slow * float64(t.Token))
}

const (
	z95        = 1.6448536 // the normal's 95th percentile
	firstShare = 0.3       // of a fixed total, before the first token
	jitter     = 0.15      // of the time between tokens
	stallShare = 0.005     // of tokens that come late
	stallTimes = 5
)

// gap is the time that n tokens take.
func (a *answer) gap(rng *rand.Rand, n int64) time.Duration {
	if a.exact {
		return time.Duration(n) * a.token
	}
	total := 0.0
	for range n {
		d := 1 + jitter*(2*rng.Float64()-1)
		if rng.Float64() < stallShare {
			d *= stallTimes
		}
		total += d
	}
	return time.Duration(total * float64(a.token))
}
