package operator

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/tgfleet/tgfleet/internal/normalise"
	"github.com/tgfleet/tgfleet/internal/store"
)

// changeLine is one changed row as --json prints it.
type changeLine struct {
	Table string       `json:"table"`
	Key   string       `json:"key"`
	New   bool         `json:"new,omitempty"`
	Gone  bool         `json:"gone,omitempty"`
	Cells []changeCell `json:"cells"`
}

type changeCell struct {
	Column string `json:"column"`
	Before any    `json:"before"`
	After  any    `json:"after"`
}

// tell counts what a page came to, and prints what is to be shown of it.
func (r *replaying) tell(reading store.Reading) error {
	for _, refusal := range reading.Refused {
		r.tally.refused[reasonOf(refusal.Reason)]++
	}
	for i := range reading.Changes {
		change := &reading.Changes[i]
		tally := r.tally.tables[change.Table]
		if tally == nil {
			tally = &rowTally{}
			r.tally.tables[change.Table] = tally
		}
		sign := tally.count(change)
		if r.json {
			if err := r.print(lineOfChange(change), nil); err != nil {
				return err
			}
		} else if r.tally.shown < r.show {
			r.tally.shown++
			r.progress.clear()
			printChange(r.cmd.OutOrStdout(), sign, change)
		}
	}
	return nil
}

// count counts change, and returns the sign that stands before it in a diff.
func (t *rowTally) count(change *store.RowChange) string {
	switch {
	case change.New:
		t.added++
		return "+"
	case change.Gone:
		t.gone++
		return "-"
	default:
		t.changed++
		return "~"
	}
}

// reasonOf returns the class of a refusal, which is one of few.
func reasonOf(err error) string {
	var rejected *normalise.Rejected
	if errors.As(err, &rejected) {
		return rejected.Class
	}
	return "refused by the database"
}

func lineOfChange(change *store.RowChange) changeLine {
	line := changeLine{Table: change.Table, Key: change.Key, New: change.New, Gone: change.Gone, Cells: []changeCell{}}
	for _, c := range change.Cells {
		line.Cells = append(line.Cells, changeCell(c))
	}
	return line
}

func printChange(w io.Writer, sign string, change *store.RowChange) {
	fmt.Fprintf(w, "%s %s %s\n", sign, change.Table, change.Key)
	for _, c := range change.Cells {
		if c.Before != nil {
			fmt.Fprintf(w, "    - %s: %s\n", c.Column, cellText(c.Before))
		}
		if c.After != nil {
			fmt.Fprintf(w, "    + %s: %s\n", c.Column, cellText(c.After))
		}
	}
}

// cellText returns a cell as one line of a terminal, texts in quotes.
func cellText(cell any) string {
	const most = 200
	text, ok := cell.(string)
	if !ok {
		return fmt.Sprint(cell)
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "..."
	}
	return fmt.Sprintf("%q", text)
}

// replayLine is what a run came to.
type replayLine struct {
	Normaliser uint16         `json:"normaliser_version"`
	Updates    int            `json:"updates"`
	Changed    int            `json:"changed"`
	Refused    map[string]int `json:"refused"`
	DryRun     bool           `json:"dry_run,omitempty"`
}

func (r *replaying) conclude() error {
	return r.print(replayLine{
		Normaliser: normalise.Version, Updates: r.replay.Updates, Changed: r.replay.Changed, Refused: r.tally.refused, DryRun: r.dryRun,
	}, func(w io.Writer) {
		if hidden := r.replay.Changed - r.tally.shown; r.tally.shown > 0 && hidden > 0 {
			row(w, fmt.Sprintf("... and %d rows more: --show N, or --json.", hidden))
		}
		if len(r.tally.tables) > 0 {
			row(w, "TABLE", "CHANGED", "NEW", "GONE")
		}
		for _, table := range slices.Sorted(maps.Keys(r.tally.tables)) {
			t := r.tally.tables[table]
			row(w, table, t.changed, t.added, t.gone)
		}
		changed := "rows are different now"
		if r.dryRun {
			changed = "rows would be different; nothing was written"
		}
		row(w, fmt.Sprintf("%d updates read with normaliser %d: %d %s.", r.replay.Updates, normalise.Version, r.replay.Changed, changed))
		for _, reason := range slices.Sorted(maps.Keys(r.tally.refused)) {
			row(w, fmt.Sprintf("%d refused: %s. Their rows stay as they were.", r.tally.refused[reason], reason))
		}
	})
}
