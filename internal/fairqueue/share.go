package fairqueue

// Bounds of a lap: what was dispatched lately is what was dispatched in this lap and
// the last.
const (
	lapWork   = 30.0 // seconds of the bottleneck quota
	lapStarts = 4096
)

// lap counts the laps, and what is in this one.
type lap struct {
	number uint32
	work   float64
	starts int
}

// ledger is what a flow, or all flows, were given in two laps.
type ledger struct {
	lap       uint32 // of now
	now, last float64
}

// turn brings the ledger to a lap.
func (l *ledger) turn(lap uint32) {
	switch lap - l.lap {
	case 0:
		return
	case 1:
		l.last = l.now
	default:
		l.last = 0
	}
	l.lap, l.now = lap, 0
}

func (l *ledger) sum() float64 { return max(l.now+l.last, 0) }

// give notes that a flow was given cost, less than none where a settlement gives
// some back.
func (q *Queue) give(u *node, cost float64) {
	q.laps.work += cost
	q.laps.starts++
	if q.laps.work >= lapWork || q.laps.starts >= lapStarts {
		q.laps = lap{number: q.laps.number + 1}
	}
	q.given.turn(q.laps.number)
	q.given.now += cost
	u.given.turn(q.laps.number)
	u.given.now += cost
}

// share is the flow's part of what was dispatched lately, 0 to 1.
func (q *Queue) share(u *node) float64 {
	q.given.turn(q.laps.number)
	u.given.turn(q.laps.number)
	if all := q.given.sum(); all > 0 {
		return min(u.given.sum()/all, 1)
	}
	return 0
}

// due is the part of all that the flow would get if every active flow got its due.
func due(u *node) float64 {
	part := 1.0
	for n := u; n.parent != nil; n = n.parent {
		all := n.parent.sumW
		if !n.inMean() || n.apart {
			all += n.weight
		}
		part *= n.weight / all
	}
	return part
}
