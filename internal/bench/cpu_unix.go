//go:build unix

package bench

import (
	"syscall"
	"time"
)

// processorTime returns how long this process has had a processor, in all its threads together.
func processorTime() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
