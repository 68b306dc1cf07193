//go:build unix

package footprint

import (
	"math"
	"runtime"
	"syscall"
	"time"
)

// CPU is the processor time this process has used; 0 if it cannot be told.
func CPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Peak is the most memory this process has ever held, in bytes; 0 if it cannot
// be told.
func Peak() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	if runtime.GOOS == "darwin" || runtime.GOOS == "ios" {
		return int64(u.Maxrss) //nolint:unconvert // an int32 on some machines; the others tell kilobytes
	}
	return int64(u.Maxrss) << 10 //nolint:unconvert // likewise
}

// Files is how many files and connections this process may have open; 0 if it
// cannot be told.
func Files() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return int(min(uint64(l.Cur), math.MaxInt32)) //nolint:unconvert // some systems count in signed numbers
}
