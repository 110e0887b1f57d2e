package operator

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	barCells = 24
	// drawEvery bounds how often the line is drawn.
	drawEvery = 100 * time.Millisecond
)

// progress is the line that shows how far a run has come, at a bounded rate. It belongs to one goroutine.
type progress struct {
	// terminal is where the line is drawn; nil means nowhere.
	terminal io.Writer
	// plain is where it is said once, in a line of its own, that the run waits; nil means nowhere.
	plain io.Writer
	total int
	// rate is what the run does a second at most.
	rate  int
	start time.Time
	drawn time.Time
}

// show draws the line: done of total are done, and the run waits because spooled updates are in the spool; 0 when it does not
// wait.
func (p *progress) show(done, spooled int) {
	if p.plain != nil && spooled > 0 {
		fmt.Fprintf(p.plain, "waiting for the workers: %d updates in the spool, and no more than %d may wait there\n", spooled, maxSpooled)
		p.plain = nil
	}
	if p.terminal == nil || time.Since(p.drawn) < drawEvery {
		return
	}
	p.drawn = time.Now()
	fmt.Fprint(p.terminal, "\r\x1b[K", p.line(done, spooled, time.Since(p.start)))
}

// clear wipes the line out.
func (p *progress) clear() {
	if p.terminal != nil && !p.drawn.IsZero() {
		fmt.Fprint(p.terminal, "\r\x1b[K")
	}
}

func (p *progress) line(done, spooled int, elapsed time.Duration) string {
	full := barCells * done / p.total
	line := fmt.Sprintf("[%s%s] %d of %d", strings.Repeat("#", full), strings.Repeat(".", barCells-full), done, p.total)
	if spooled > 0 {
		return line + fmt.Sprintf("  waiting for the workers: %d updates in the spool", spooled)
	}
	if done == 0 {
		return line
	}
	// What was done at once is not yet paid for in time.
	a := max(elapsed, time.Duration(done)*time.Second/time.Duration(p.rate))
	left := time.Duration(float64(a) / float64(done) * float64(p.total-done))
	return line + fmt.Sprintf("  %.0f/s  %s left", float64(done)/a.Seconds(), left.Round(time.Second))
}
