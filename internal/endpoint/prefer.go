package endpoint

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// longestWait bounds what a client may ask to be held for. Platforms cut
// requests at 120 s; the answer has to be on its way before.
const longestWait = 110 * time.Second

// preference is what a Prefer header (RFC 7240) says about waiting.
type preference struct {
	async bool // respond-async
	wait  time.Duration
	timed bool // wait is given
}

// prefer reads the Prefer headers. Of a preference that is there twice the first
// counts; one that makes no sense is ignored, as all unknown ones are.
func prefer(h http.Header) preference {
	var p preference
	for _, line := range h["Prefer"] {
		for item := range strings.SplitSeq(line, ",") {
			item, _, _ = strings.Cut(item, ";")
			name, value, _ := strings.Cut(item, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "respond-async":
				p.async = true
			case "wait":
				p.readWait(strings.Trim(strings.TrimSpace(value), `"`))
			}
		}
	}
	return p
}

func (p *preference) readWait(value string) {
	seconds, err := strconv.ParseUint(value, 10, 31)
	if err != nil || p.timed {
		return
	}
	p.wait, p.timed = min(time.Duration(seconds)*time.Second, longestWait), true
}

// hold is how long a client is held that would be for usual: as long as it says
// itself, within longestWait; not at all if it only asks for an asynchronous
// answer.
func (p preference) hold(usual time.Duration) time.Duration {
	switch {
	case p.timed:
		return p.wait
	case p.async:
		return 0
	}
	return usual
}

// applied is the value of Preference-Applied; empty if nothing was asked for.
func (p preference) applied() string {
	var said []string
	if p.async {
		said = append(said, "respond-async")
	}
	if p.timed {
		said = append(said, "wait="+strconv.Itoa(int(p.wait/time.Second)))
	}
	return strings.Join(said, ", ")
}
