package capacity

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/millrace/millrace/internal/capacity/figure"
)

// WriteText writes the report for people: a table, then a line for each row that says
// what it means. Nothing is wider than 120 columns but long names. The error is the
// writer's.
func (r *Report) WriteText(w io.Writer) error {
	t := figure.Table{{"users", "wanted/min", "served/min", "tokens/min", "seats", "wait p50", "wait p95", "refused", "used", "of", "Jain"}}
	for i := range r.Rows {
		t = append(t, r.Rows[i].cells())
	}
	var b strings.Builder
	t.Write(&b)
	b.WriteByte('\n')
	for i := range r.Rows {
		row := &r.Rows[i]
		fmt.Fprintf(&b, "%6d users  %s.\n", row.Users, row.Verdict)
		if row.Advice != "" {
			figure.Fold(&b, row.Advice, "              ", 120)
		}
	}
	if r.Serves > 0 {
		fmt.Fprintf(&b, "\nThis configuration serves %d users with a p95 wait of at most %s.\n", r.Serves, figure.Wait(r.MaxP95))
	}
	for _, n := range r.Notes {
		figure.Fold(&b, n, "", 120)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Row) cells() []string {
	limit, used := "-", "-"
	for _, u := range r.Use {
		if u.Used >= r.Utilization && !u.Shadow {
			limit, used = u.What, figure.Percent(u.Used)
		}
	}
	return []string{
		strconv.Itoa(r.Users), figure.Number(r.Wanted), figure.Number(r.Served), figure.Grouped(int64(r.Tokens + 0.5)),
		fmt.Sprintf("%s of %d", figure.Number(r.Seats), r.Most), figure.Wait(r.WaitP50), figure.Wait(r.WaitP95),
		figure.Percent(lostShare(r)), used, limit, fmt.Sprintf("%.2f", r.Jain),
	}
}

func lostShare(r *Row) float64 {
	if r.Requests == 0 {
		return 0
	}
	return float64(r.Requests-r.Answered) / float64(r.Requests)
}
