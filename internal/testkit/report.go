package testkit

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a run of faults came to. It belongs to one goroutine.
type Report struct {
	// Seed decides the schedule.
	Seed uint64
	// Updates counts what Telegram sent and was told is taken; Repeats its tries of what the fleet already had.
	Updates, Repeats int
	// Lost counts what must be there and is not or is not as it must be, Doubled what is there and must not be: ledger rows, messages,
	// media, revisions, events and dead letters together.
	Lost, Doubled int

	kinds []*kindReport
}

// kindReport sums up the faults of one kind.
type kindReport struct {
	kind       Kind
	faults     int
	refused    int
	recoveries []time.Duration
}

// Recovered takes in how long it took after f until nothing of what came before its end waited any more, and how many updates were
// refused although a store was there to take them.
func (r *Report) Recovered(f Fault, took time.Duration, refused int) {
	at := slices.IndexFunc(r.kinds, func(k *kindReport) bool { return k.kind == f.Kind })
	if at < 0 {
		at = len(r.kinds)
		r.kinds = append(r.kinds, &kindReport{kind: f.Kind})
	}
	r.kinds[at].faults++
	r.kinds[at].refused += refused
	r.kinds[at].recoveries = append(r.kinds[at].recoveries, took)
}

// Refused returns how many updates were refused although a store was there to take them.
func (r *Report) Refused() (n int) {
	for _, k := range r.kinds {
		n += k.refused
	}
	return n
}

// Write writes the table for people, in Markdown.
func (r *Report) Write(out io.Writer) error {
	slices.SortFunc(r.kinds, func(a, b *kindReport) int { return strings.Compare(string(a.kind), string(b.kind)) })
	table := tabwriter.NewWriter(out, 0, 0, 1, ' ', tabwriter.Debug)
	row := func(cells ...any) {
		for _, cell := range cells {
			fmt.Fprintf(table, "\t %v", cell)
		}
		fmt.Fprintln(table, "\t")
	}
	row("fault", "times", "refused", "median recovery", "longest recovery")
	row("---", "---", "---", "---", "---")
	faults, all := 0, []time.Duration{}
	for _, k := range r.kinds {
		faults += k.faults
		all = append(all, k.recoveries...)
		row(k.kind, k.faults, k.refused, median(k.recoveries), slices.Max(k.recoveries).Round(100*time.Millisecond))
	}
	if faults > 0 {
		row("all", faults, r.Refused(), median(all), slices.Max(all).Round(100*time.Millisecond))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	_, err := fmt.Fprintf(out, "\nseed %d: %d faults, %d updates, %d repeats; lost %d, doubled %d, refused %d\n",
		r.Seed, faults, r.Updates, r.Repeats, r.Lost, r.Doubled, r.Refused())
	return err
}

func median(all []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2].Round(100 * time.Millisecond)
}
