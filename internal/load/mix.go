package load

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// chatCompletions is the path of the OpenAI API that is asked where no mix says
// otherwise.
const chatCompletions = "/v1/chat/completions"

// maxParts bounds a mix.
const maxParts = 100

// Part is one kind of request in a mix.
type Part struct {
	Path   string  // /v1/chat/completions, or an application's endpoint such as /chat, beside the target's /v1
	Weight float64 // its share, against the sum of all; 0 means 1
	Class  string  // Millrace-Class header; empty means Options.Class
	Tokens int     // mean prompt tokens; 0 means Options.Tokens
}

// chat reports whether the part asks the OpenAI API.
func (p *Part) chat() bool { return p.Path == chatCompletions }

// mix is the mix with every default filled in: the part that stands for no mix,
// if there is none.
func (o *Options) mix() []Part {
	if o.parts == nil {
		o.parts = make([]Part, 0, len(o.Mix))
		for _, p := range o.Mix {
			p.Weight, p.Class, p.Tokens = cmp.Or(p.Weight, 1), cmp.Or(p.Class, o.Class), cmp.Or(p.Tokens, o.Tokens)
			o.parts = append(o.parts, p)
		}
		if len(o.parts) == 0 {
			o.parts = append(o.parts, Part{chatCompletions, 1, o.Class, o.Tokens})
		}
	}
	return o.parts
}

// pick is the part for a number drawn evenly from 0 to 1.
func (o *Options) pick(u float64) int {
	parts, sum := o.mix(), 0.
	for _, p := range parts {
		sum += p.Weight
	}
	for i, p := range parts {
		if u -= p.Weight / sum; u < 0 {
			return i
		}
	}
	return len(parts) - 1
}

func (o *Options) validateMix() error {
	var faults []error
	if len(o.Mix) > maxParts {
		faults = append(faults, fmt.Errorf("%d parts in the mix, at most %d", len(o.Mix), maxParts))
	}
	for _, p := range o.Mix {
		if !strings.HasPrefix(p.Path, "/") || strings.ContainsAny(p.Path, "?#% ") || strings.Contains(p.Path, "//") {
			faults = append(faults, fmt.Errorf("mix: %q is no path such as /chat", p.Path))
		}
		if !(p.Weight >= 0 && p.Weight <= 1e6) {
			faults = append(faults, fmt.Errorf("mix: weight %v of %s is not between 0 and a million", p.Weight, p.Path))
		}
		if p.Tokens < 0 || p.Tokens > maxTokens {
			faults = append(faults, fmt.Errorf("mix: %d tokens of %s are not between 0 and %d", p.Tokens, p.Path, maxTokens))
		}
		if !p.chat() && o.Trace != nil {
			faults = append(faults, errors.New("mix: a trace is replayed on "+chatCompletions+" alone"))
		}
	}
	return errors.Join(faults...)
}
