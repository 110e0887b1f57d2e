package up

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/source/webhook"
)

const (
	// redrawEvery is how often the live line is drawn on a terminal, and reportEvery how often it is printed elsewhere.
	redrawEvery = time.Second
	reportEvery = 10 * time.Second
)

// live is what a person sees of a fleet in one process: where to look, a line that moves, and what was done in the end.
type live struct {
	p        *process.Process
	out      io.Writer
	terminal bool
	program  string
	last     figures
}

// figures are the counters of the line at one moment.
type figures struct {
	at        time.Time
	received  float64
	refused   float64
	committed float64
	repeats   float64
	dead      float64
	messages  float64
	// ageSum and ageCount make the mean age of updates at their commit.
	ageSum, ageCount float64
}

func newLive(p *process.Process, opts Options) *live {
	return &live{p: p, out: opts.Out, terminal: opts.Terminal, program: opts.Program}
}

// announce prints where to look.
func (l *live) announce(cfg config.Up, home home) {
	host := cfg.HTTPAddr
	if strings.HasPrefix(host, ":") {
		host = "127.0.0.1" + host
	}
	fmt.Fprint(l.out, "\ntgfleet is up. Ctrl-C drains and ends it.\n\n")
	fmt.Fprintf(l.out, "  webhooks   http://%s%s{bot}\n", host, webhook.Prefix)
	fmt.Fprintf(l.out, "  metrics    http://%s/metrics  /health  /ready\n", host)
	if home.databasePath != "" {
		fmt.Fprintf(l.out, "  updates    DATABASE_URL=sqlite:%s %s updates tail --follow\n", home.databasePath, l.program)
		fmt.Fprintf(l.out, "  messages   sqlite3 -box %s 'SELECT date, chat_id, from_id, kind, text FROM messages ORDER BY date DESC LIMIT 20'\n",
			home.databasePath)
		fmt.Fprintf(l.out, "  accounts   DATABASE_URL=sqlite:%s %s connector list\n", home.databasePath, l.program)
	}
	fmt.Fprintln(l.out)
}

// run draws the line until ctx ends.
func (l *live) run(ctx context.Context) error {
	every := reportEvery
	if l.terminal {
		every = redrawEvery
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	l.last = l.read()
	for {
		select {
		case <-ctx.Done():
			if l.terminal {
				fmt.Fprintln(l.out)
			}
			fmt.Fprintln(l.out, "Draining; a second Ctrl-C ends it at once, and loses nothing either.")
			return nil
		case <-tick.C:
			l.draw()
		}
	}
}

func (l *live) draw() {
	now := l.read()
	seconds := now.at.Sub(l.last.at).Seconds()
	lag := "-"
	if commits := now.ageCount - l.last.ageCount; commits > 0 {
		lag = time.Duration((now.ageSum - l.last.ageSum) / commits * float64(time.Second)).Round(100 * time.Microsecond).String()
	}
	done := now.committed + now.dead
	line := fmt.Sprintf("received %.0f (%.0f/s)  queued %.0f  committed %.0f (%.0f/s)  dead %.0f  lag %s",
		now.received, (now.received-l.last.received)/seconds, max(now.received-done, 0), now.committed,
		(now.committed-l.last.committed)/seconds, now.dead, lag)
	if l.terminal {
		fmt.Fprintf(l.out, "\r\033[K%s", line)
	} else {
		fmt.Fprintln(l.out, line)
	}
	l.last = now
}

// farewell prints what was done.
func (l *live) farewell() {
	f := l.read()
	fmt.Fprintf(l.out, "Drained. Received %.0f updates, refused %.0f; committed %.0f, of them %.0f repeats; %.0f new messages, %.0f dead letters.\n",
		f.received, f.refused, f.committed, f.repeats, f.messages, f.dead)
	if left := f.received - f.committed - f.dead; left > 0 {
		fmt.Fprintf(l.out, "%.0f are kept safe and come first at the next start.\n", left)
	}
}

// read takes the counters from the registry, where everybody else reads them too.
func (l *live) read() figures {
	f := figures{at: time.Now()}
	families, err := l.p.Registry.Gather()
	if err != nil {
		return l.last // a collector that can't answer now costs one drawing of the line
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			f.take(family.GetName(), m)
		}
	}
	return f
}

func (f *figures) take(name string, m *dto.Metric) {
	value, label := m.GetCounter().GetValue(), ""
	if labels := m.GetLabel(); len(labels) > 0 {
		label = labels[0].GetValue()
	}
	switch name {
	case "tgfleet_accept_updates_total":
		if label == "refused" {
			f.refused += value
		} else {
			f.received += value
		}
	case "tgfleet_archive_updates_total":
		f.committed += value
		if label == "repeat" {
			f.repeats += value
		}
	case "tgfleet_archive_messages_total":
		f.messages += value
	case "tgfleet_archive_dead_letters_total":
		f.dead += value
	case "tgfleet_archive_update_age_seconds":
		f.ageSum += m.GetHistogram().GetSampleSum()
		f.ageCount += float64(m.GetHistogram().GetSampleCount())
	}
}
