package testkit

import "time"

// often is how often Until looks.
const often = 10 * time.Millisecond

// Until calls happened until it returns true, on the goroutine of its caller, so that happened may end the test. It returns false when that has
// not come about within the time.
func Until(within time.Duration, happened func() bool) bool {
	over := time.NewTimer(within)
	defer over.Stop()
	again := time.NewTicker(often)
	defer again.Stop()
	for !happened() {
		select {
		case <-again.C:
		case <-over.C:
			return false
		}
	}
	return true
}
