package operator

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/tgfleet/tgfleet/internal/seal"
)

// unreadableShown is how many texts that do not open are named to people; --json names all.
const unreadableShown = 20

// rotateLine is what a run of `keys rotate` came to.
type rotateLine struct {
	Sealing    string           `json:"sealing"`
	Resealed   map[string]int   `json:"resealed"`
	Unreadable []unreadableText `json:"unreadable"`
	// Keys is how many texts of each column are under each key's id at the end; "" stands for what is no sealed text.
	Keys map[string]map[string]int `json:"keys"`
	// Updates is how many updates are sealed with each key, where they lie.
	Updates        map[string]*updateCounts `json:"updates"`
	UpdatesCounted bool                     `json:"updates_counted"`
	DryRun         bool                     `json:"dry_run,omitempty"`
}

type updateCounts struct {
	Ledger      int `json:"ledger"`
	DeadLetters int `json:"dead_letters"`
	Spool       int `json:"spool"`
}

// unreadableText names a text that does not open, and holds nothing of it.
type unreadableText struct {
	Table  string `json:"table"`
	Column string `json:"column"`
	Row    string `json:"row"`
	KeyID  string `json:"key_id"`
	Reason string `json:"reason"`
}

func (l *rotateLine) updates(id string) *updateCounts {
	if l.Updates[id] == nil {
		l.Updates[id] = &updateCounts{}
	}
	return l.Updates[id]
}

// left returns how many texts are under another key than the sealing one.
func (l *rotateLine) left() (n int) {
	for id, columns := range l.Keys {
		if id != l.Sealing {
			n += sum(columns)
		}
	}
	return n
}

// missing returns how many texts need each key that ring lacks.
func (l *rotateLine) missing(ring *seal.Ring) map[string]int {
	missing := map[string]int{}
	for i := range l.Unreadable {
		if id := l.Unreadable[i].KeyID; id != "" && !ring.Holds(id) {
			missing[id]++
		}
	}
	return missing
}

func missingKeys(missing map[string]int) error {
	var named []string
	for _, id := range slices.Sorted(maps.Keys(missing)) {
		named = append(named, fmt.Sprintf("key %s (%d texts)", id, missing[id]))
	}
	return fmt.Errorf("SECRET_KEYS lacks %s: put it at the end of SECRET_KEYS and run this again; without it, what it sealed has to be given again",
		strings.Join(named, ", "))
}

func (l *rotateLine) write(w io.Writer) {
	sealed := "sealed again with"
	if l.DryRun {
		sealed = "would be sealed again; nothing was written. The sealing key is"
	}
	row(w, fmt.Sprintf("%d texts %s %s.", sum(l.Resealed), sealed, l.Sealing))
	for _, column := range slices.Sorted(maps.Keys(l.Resealed)) {
		row(w, "  "+column, l.Resealed[column])
	}
	for i, text := range l.Unreadable {
		if i == unreadableShown {
			row(w, fmt.Sprintf("... and %d more: --json.", len(l.Unreadable)-i))
			break
		}
		row(w, fmt.Sprintf("%s %s does not open: %s", text.Table, text.Row, text.Reason))
	}
	if len(l.Keys) > 0 {
		row(w, "KEY", "COLUMN", "TEXTS")
	}
	for _, id := range slices.Sorted(maps.Keys(l.Keys)) {
		for _, column := range slices.Sorted(maps.Keys(l.Keys[id])) {
			row(w, keyName(id), column, l.Keys[id][column])
		}
	}
	l.writeUpdates(w)
}

// writeUpdates says which older keys the updates themselves need.
func (l *rotateLine) writeUpdates(w io.Writer) {
	if !l.UpdatesCounted {
		row(w, fmt.Sprintf("The sealed updates could not be counted within %s: keep every older key in SECRET_KEYS for LEDGER_RETENTION.", countWithin))
	}
	for _, id := range slices.Sorted(maps.Keys(l.Updates)) {
		if id == l.Sealing || id == "" {
			continue
		}
		n := l.Updates[id]
		row(w, fmt.Sprintf("%d sealed updates need key %s (ledger %d, dead letters %d, spool %d): keep key %s in SECRET_KEYS until these are gone "+
			"(LEDGER_RETENTION).", n.Ledger+n.DeadLetters+n.Spool, id, n.Ledger, n.DeadLetters, n.Spool, id))
	}
}

func keyName(id string) string {
	if id == "" {
		return "(none)"
	}
	return id
}

func sum(counts map[string]int) (n int) {
	for _, count := range counts {
		n += count
	}
	return n
}
