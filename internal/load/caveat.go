package load

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"syscall"

	"github.com/millrace/millrace/internal/load/footprint"
)

// labelFiles is that of a request for which no connection could be opened.
const labelFiles = "open_files"

// outOfFiles reports whether the machine, and not the target, refused a
// connection.
func outOfFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// filesError says how to mend what ended the run.
func filesError(inFlight int) error {
	return fmt.Errorf("no more connections can be opened with %d requests in flight: this process may have %d files open; "+
		"allow it more (ulimit -Hn and -n, LimitNOFILE= of a systemd unit, --ulimit nofile= of a container) or ask with fewer users",
		inFlight, footprint.Files())
}

// caveats are what makes the figures of a target other than they look: times
// that did not pass alike.
func (r *run) caveats(x *Result) []string {
	var all []string
	if x.Judge != nil {
		if speed := cmp.Or(x.Judge.Final.Speed, 1); speed != r.clock.speed {
			all = append(all, fmt.Sprintf("The judge's time passed %s times as fast as the machine's, that of the users %s times: its windows, latencies and use "+
				"of the quota are not those of these users. Run millrace sim --speed %[2]s.", number(speed), number(r.clock.speed)))
		}
	}
	if r.clock.speed != 1 && r.book.passed() {
		all = append(all, fmt.Sprintf("A Millrace gateway answered. Its windows, class rates and time limits are in real time, and a minute of them stood for %s: "+
			"comparable only where its rates are %[1]s times the judge's, in window: bucket, and all its times are divided by %[1]s.", number(r.clock.speed)))
	}
	return all
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }
