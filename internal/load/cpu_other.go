//go:build !unix

package load

import "time"

// cpuTime is the processor time this process has used, 0 if it cannot be told.
func cpuTime() time.Duration { return 0 }
