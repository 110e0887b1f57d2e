package operator

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/store"
)

const (
	maxWhoBytes    = 100
	maxReasonBytes = 500
)

// moverFlags is in whose name letters are moved, and why.
type moverFlags struct {
	who    string
	reason string
}

func (f *moverFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.who, "as", "", "who does this, for the record (default your user@host)")
	cmd.Flags().StringVar(&f.reason, "reason", "", "why, for the record")
}

// mover returns who the record is to name: whoever the flag says, or the system's user.
func (f *moverFlags) mover(cmd *cobra.Command) (store.Mover, error) {
	who := f.who
	if !cmd.Flags().Changed("as") {
		who = userAtHost()
	}
	if who == "" {
		return store.Mover{}, errors.New("--as is empty: want a name for the record")
	}
	if err := checkWords("--as", who, maxWhoBytes); err != nil {
		return store.Mover{}, err
	}
	if err := checkWords("--reason", f.reason, maxReasonBytes); err != nil {
		return store.Mover{}, err
	}
	return store.Mover{Who: who, Reason: f.reason}, nil
}

// checkWords returns an error unless text is one line that a table can hold.
func checkWords(flag, text string, most int) error {
	odd := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	if len(text) > most || strings.ContainsFunc(text, odd) {
		return fmt.Errorf("%s: want one line of printable text, of %d bytes at most", flag, most)
	}
	return nil
}

// userAtHost returns the system's user and host, or what there is of them.
func userAtHost() string {
	name := "uid-" + strconv.Itoa(os.Getuid())
	if account, err := user.Current(); err == nil && account.Username != "" {
		name = account.Username
	}
	host, err := os.Hostname()
	if err != nil {
		return name
	}
	return name + "@" + host
}

func deadDrop(env Env) *cobra.Command {
	var chosen deadFilter
	var by moverFlags
	var expect int
	cmd := addJSON(&cobra.Command{
		Use:   "drop ID... | drop --class NAME --expect N",
		Short: "Delete dead letters for good",
		Long: `Deletes dead letters, and the updates in them, for good. A dead letter holds the only copy of its update: the ledger has only
updates that were applied, and Telegram was told long ago that this one has arrived. What remains is the record of the drop with source,
update_id, hash and class of each letter, who dropped it and when: tgfleet dead log.

Letters are dropped only by name: name their ids, or name a class and say with --expect how many letters of it there are; --source and
--normaliser-version narrow the class down. When an id does not exist, or the number is another, nothing is dropped.

--json prints {"dropped": N}.` + settings(),
		Example: `  tgfleet dead drop 7 8
  tgfleet dead drop --class not_json --expect 12 --reason "a scanner's noise"
  tgfleet dead drop --class not_json --source botapi:7000000001 --expect 3`,
	})
	chosen.flags(cmd)
	by.flags(cmd)
	cmd.Flags().IntVar(&expect, "expect", 0, "how many letters --class means; any other number drops nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := chosen.filter()
		if err != nil {
			return err
		}
		byNumber := cmd.Flags().Changed("expect")
		switch {
		case len(args) > 0 && (chosen != (deadFilter{}) || byNumber):
			return errors.New("name ids, or a class with --expect, not both")
		case len(args) == 0 && filter.Class == "":
			return errors.New("letters are dropped only by name: name their ids, or a class with --class NAME --expect N")
		case len(args) == 0 && !byNumber:
			return errors.New("--expect is missing: `tgfleet dead list` says how many letters of the class there are")
		case byNumber && expect < 1:
			return fmt.Errorf("--expect %d: want at least 1", expect)
		}
		if filter.IDs, err = letterIDs(args); err != nil {
			return err
		}
		expected := max(expect, len(filter.IDs))
		mover, err := by.mover(cmd)
		if err != nil {
			return err
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			if err := s.checkClass(ctx, filter.Class); err != nil {
				return err
			}
			if err := s.db.DeadLetters().By(mover).Drop(ctx, filter, expected); err != nil {
				return err
			}
			return s.print(map[string]int{"dropped": expected}, func(w io.Writer) { row(w, fmt.Sprintf("%d dropped.", expected)) })
		})
	}
	return cmd
}

// moveLine is one move of a dead letter as `dead log` and `dead show` print it.
type moveLine struct {
	MovedAt    time.Time `json:"moved_at"`
	Move       string    `json:"move"`
	Who        string    `json:"who"`
	Reason     string    `json:"reason,omitempty"`
	LetterID   int64     `json:"letter_id"`
	Source     string    `json:"source"`
	UpdateID   int64     `json:"update_id"`
	Class      string    `json:"class"`
	Normaliser uint16    `json:"normaliser_version"`
	Hash       string    `json:"hash"`
	DiedAt     time.Time `json:"died_at"`
	// OpenLetterID is the letter in which the same update waits now.
	OpenLetterID int64 `json:"open_letter_id,omitempty"`
}

func moveLines(moves []store.DeadLetterMove) []moveLine {
	lines := make([]moveLine, len(moves))
	for i, m := range moves {
		lines[i] = moveLine{
			MovedAt: m.MovedAt, Move: string(m.Kind), Who: m.Who, Reason: m.Reason, LetterID: m.LetterID, Source: m.Source.String(),
			UpdateID: m.UpdateID, Class: m.Class, Normaliser: m.NormaliserVersion, Hash: hex.EncodeToString(m.Hash[:]),
			DiedAt: m.DiedAt, OpenLetterID: m.OpenLetterID,
		}
	}
	return lines
}

func deadLog(env Env) *cobra.Command {
	var chosen deadFilter
	var limit int
	cmd := addJSON(&cobra.Command{
		Use:   "log [ID...]",
		Short: "List who retried or dropped which letters, and when",
		Long: `Lists the moves of dead letters, the latest first: what was done with which letter, by whom, when and why. An ID stands for its
update, whichever letters it has been: an update that was retried and died again has a letter with a new id, and the log of either
id shows every move of both. OPEN AS is the letter in which the update waits now, - when it does not.

--json prints a list of objects: moved_at, move (retried or dropped), who, reason, letter_id, source, update_id, class,
normaliser_version, hash (of the update's bytes), died_at, and open_letter_id where there is one.` + settings(),
		Example: `  tgfleet dead log
  tgfleet dead log 7
  tgfleet dead log --class panic --limit 10 --json`,
	})
	chosen.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "how many moves")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := chosen.filter()
		if err != nil {
			return err
		}
		if err := checkLimit(limit); err != nil {
			return err
		}
		if filter.IDs, err = letterIDs(args); err != nil {
			return err
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			if err := s.checkClass(ctx, filter.Class); err != nil {
				return err
			}
			moves, err := s.db.DeadLetters().Moves(ctx, filter, limit)
			if err != nil {
				return err
			}
			lines := moveLines(moves)
			return s.print(lines, func(w io.Writer) { printMoves(w, lines) })
		})
	}
	return cmd
}

func printMoves(w io.Writer, lines []moveLine) {
	if len(lines) == 0 {
		row(w, "No moves.")
		return
	}
	row(w, "MOVED AT", "MOVE", "LETTER", "SOURCE", "UPDATE", "CLASS", "NORMALISER", "OPEN AS", "WHO", "REASON")
	for _, m := range lines {
		openAs := "-"
		if m.OpenLetterID != 0 {
			openAs = strconv.FormatInt(m.OpenLetterID, 10)
		}
		row(w, m.MovedAt.UTC().Format(timeFormat), m.Move, m.LetterID, m.Source, m.UpdateID, m.Class, m.Normaliser, openAs, m.Who, m.Reason)
	}
}
