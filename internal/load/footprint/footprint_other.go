//go:build !unix

package footprint

import "time"

// CPU is the processor time this process has used; 0 if it cannot be told.
func CPU() time.Duration { return 0 }

// Peak is the most memory this process has ever held, in bytes; 0 if it cannot
// be told.
func Peak() int64 { return 0 }

// Files is how many files and connections this process may have open; 0 if it
// cannot be told.
func Files() int { return 0 }
