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
	// before is how many of them an earlier run did.
	before int
	// rate is what the run does a second at most; 0 is as much as it can.
	rate  int
	start time.Time
	drawn time.Time
}

// show draws the line: done of total are done, and the run waits for what waiting says; the empty text when it does not wait.
func (p *progress) show(done int, waiting string) {
	if p.plain != nil && waiting != "" {
		fmt.Fprintln(p.plain, "waiting for "+waiting)
		p.plain = nil
	}
	if p.terminal == nil || time.Since(p.drawn) < drawEvery {
		return
	}
	p.drawn = time.Now()
	fmt.Fprint(p.terminal, "\r\x1b[K", p.line(done, waiting, time.Since(p.start)))
}

// clear wipes the line out.
func (p *progress) clear() {
	if p.terminal != nil && !p.drawn.IsZero() {
		fmt.Fprint(p.terminal, "\r\x1b[K")
	}
}

func (p *progress) line(done int, waiting string, elapsed time.Duration) string {
	full := barCells
	if p.total > 0 {
		full = barCells * min(done, p.total) / p.total
	}
	line := fmt.Sprintf("[%s%s] %d of %d", strings.Repeat("#", full), strings.Repeat(".", barCells-full), done, p.total)
	if waiting != "" {
		return line + "  waiting for " + waiting
	}
	fresh := done - p.before
	if fresh == 0 {
		return line
	}
	if p.rate > 0 {
		// What was done at once is not yet paid for in time.
		elapsed = max(elapsed, time.Duration(fresh)*time.Second/time.Duration(p.rate))
	}
	elapsed = max(elapsed, time.Millisecond)
	left := time.Duration(float64(elapsed) / float64(fresh) * float64(max(0, p.total-done)))
	return line + fmt.Sprintf("  %.0f/s  %s left", float64(fresh)/elapsed.Seconds(), left.Round(time.Second))
}
