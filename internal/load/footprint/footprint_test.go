package footprint

import (
	"runtime"
	"testing"
	"time"
)

func TestI1FootprintGrows(t *testing.T) {
	if runtime.GOOS != "linux" {
		return // elsewhere nothing may be told
	}
	cpu, peak := CPU(), Peak()
	if cpu <= 0 || peak < 1<<20 || Files() < 10 {
		t.Fatalf("CPU %v, peak %d, files %d", cpu, peak, Files())
	}
	for end := time.Now().Add(time.Second); CPU() < cpu+20*time.Millisecond && time.Now().Before(end); {
		runtime.Gosched()
	}
	held := make([]byte, 192<<20) // more than whoever started this process held: some of that may count
	for i := range held {
		held[i] = byte(i)
	}
	if more := CPU(); more < cpu+10*time.Millisecond {
		t.Errorf("CPU %v after %v and some work", more, cpu)
	}
	if more := Peak(); more < peak || more < int64(len(held)) {
		t.Errorf("peak %d after %d, with %d held", more, peak, len(held))
	}
	runtime.KeepAlive(held)
}
