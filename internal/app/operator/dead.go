package operator

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/tasks"
)

func deadCommand(env Env) *cobra.Command {
	return group("dead", "Look at the updates that could not be applied, send them back, or drop them",
		deadList(env), deadShow(env), deadRetry(env), deadDrop(env), deadLog(env))
}

// deadLine is one dead letter as `dead list` and `dead show` print it.
type deadLine struct {
	ID         int64     `json:"id"`
	DiedAt     time.Time `json:"died_at"`
	ReceivedAt time.Time `json:"received_at"`
	Source     string    `json:"source"`
	UpdateID   int64     `json:"update_id"`
	Class      string    `json:"class"`
	Normaliser uint16    `json:"normaliser_version"`
	Error      string    `json:"error"`
}

func deadLineOf(l *store.DeadLetter) deadLine {
	return deadLine{
		ID: l.ID, DiedAt: l.DiedAt, ReceivedAt: l.Envelope.ReceivedAt, Source: l.Envelope.Source.String(), UpdateID: l.UpdateID,
		Class: l.Class, Normaliser: l.NormaliserVersion, Error: l.Error,
	}
}

// deadGroupLine is the letters of one class and normaliser as `dead list` prints them.
type deadGroupLine struct {
	Class      string    `json:"class"`
	Normaliser uint16    `json:"normaliser_version"`
	Letters    int       `json:"letters"`
	Oldest     time.Time `json:"oldest"`
	Newest     time.Time `json:"newest"`
	Example    string    `json:"example"`
}

// deadFilter is the flags by which letters are chosen.
type deadFilter struct {
	class      string
	source     string
	normaliser string
}

func (f *deadFilter) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.class, "class", "", "only letters of this class, as malformed")
	cmd.Flags().StringVar(&f.source, "source", "", "only letters of this source, as botapi:<bot id>")
	cmd.Flags().StringVar(&f.normaliser, "normaliser-version", "", "only letters that this version of the normaliser gave up on")
}

// filter returns what the flags mean; nobody has looked yet whether the class is one.
func (f *deadFilter) filter() (filter store.DeadLetterFilter, err error) {
	filter.Class = f.class
	if f.source != "" {
		if filter.Source, err = ingest.ParseSource(f.source); err != nil {
			return filter, fmt.Errorf("--source: %w", err)
		}
	}
	if f.normaliser != "" {
		version, err := strconv.ParseUint(f.normaliser, 10, 16)
		if err != nil {
			return filter, fmt.Errorf("--normaliser-version %q: want a number from 0 to 65535", f.normaliser)
		}
		short := uint16(version)
		filter.NormaliserVersion = &short
	}
	return filter, nil
}

// checkClass returns an error when class is none that this program gives, nor one that a letter has or had. The empty class
// means any.
func (s *session) checkClass(ctx context.Context, class string) error {
	if class == "" || slices.Contains(tasks.DeadLetterClasses, class) {
		return nil
	}
	filter := store.DeadLetterFilter{Class: class}
	letters, err := s.db.DeadLetters().List(ctx, filter, 1)
	if err != nil || len(letters) > 0 {
		return err
	}
	moves, err := s.db.DeadLetters().Moves(ctx, filter, 1)
	if err != nil || len(moves) > 0 {
		return err
	}
	return fmt.Errorf("--class %q: there is no such class, and no letter of it; want one of %s", class,
		strings.Join(tasks.DeadLetterClasses, ", "))
}

// maxLetterIDs bounds the letters that one command names.
const maxLetterIDs = 1000

// letterIDs returns the numbers that args name, in order and each once; nil when args is empty.
func letterIDs(args []string) ([]int64, error) {
	if len(args) == 0 {
		return nil, nil
	}
	if len(args) > maxLetterIDs {
		return nil, fmt.Errorf("%d ids: want %d at most; --class and --source mean more", len(args), maxLetterIDs)
	}
	ids := make([]int64, len(args))
	for i, arg := range args {
		id, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || id <= 0 {
			return nil, fmt.Errorf("ID %q: want a number from `tgfleet dead list`", arg)
		}
		ids[i] = id
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

func checkLimit(limit int) error {
	if limit < 1 {
		return fmt.Errorf("--limit %d: want at least 1", limit)
	}
	return nil
}

func deadList(env Env) *cobra.Command {
	var chosen deadFilter
	var limit int
	cmd := addJSON(&cobra.Command{
		Use:   "list [ID...]",
		Short: "List the dead letters, by cause and one by one",
		Long: `Lists the updates that could not be applied: first how many died of what, by class and version of the normaliser and with the
latest error as an example, the largest group first; then the letters, the latest first. What people wrote is not shown.

--json prints one object: {"groups": [...], "letters": [...]}. A group has class, normaliser_version, letters (their number), oldest,
newest (times of death) and example; a letter has id, died_at, received_at, source, update_id, class, normaliser_version and error.` +
			settings(),
		Example: `  tgfleet dead list
  tgfleet dead list --class malformed --normaliser-version 1 --limit 10
  tgfleet dead list --json | jq -r '.groups[] | [.class, .letters] | @tsv'`,
	})
	chosen.flags(cmd)
	cmd.Flags().IntVar(&limit, "limit", 50, "how many letters; those that are named are listed all")
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
			return s.listDead(ctx, filter, max(limit, len(filter.IDs)))
		})
	}
	return cmd
}

func (s *session) listDead(ctx context.Context, filter store.DeadLetterFilter, limit int) error {
	if err := s.checkClass(ctx, filter.Class); err != nil {
		return err
	}
	groups, err := s.db.DeadLetters().Summary(ctx, filter)
	if err != nil {
		return err
	}
	letters, err := s.db.DeadLetters().List(ctx, filter, limit)
	if err != nil {
		return err
	}
	list := struct {
		Groups  []deadGroupLine `json:"groups"`
		Letters []deadLine      `json:"letters"`
	}{make([]deadGroupLine, len(groups)), make([]deadLine, len(letters))}
	for i, g := range groups {
		list.Groups[i] = deadGroupLine{
			Class: g.Class, Normaliser: g.NormaliserVersion, Letters: g.Letters, Oldest: g.Oldest, Newest: g.Newest, Example: g.Example,
		}
	}
	for i := range letters {
		list.Letters[i] = deadLineOf(&letters[i])
	}
	return s.print(list, func(w io.Writer) {
		if len(list.Groups) == 0 {
			row(w, "No dead letters.")
			return
		}
		row(w, "CLASS", "NORMALISER", "LETTERS", "OLDEST", "NEWEST", "EXAMPLE")
		for _, g := range list.Groups {
			row(w, g.Class, g.Normaliser, g.Letters, g.Oldest.UTC().Format(timeFormat), g.Newest.UTC().Format(timeFormat), g.Example)
		}
		row(w)
		row(w, "ID", "DIED AT", "SOURCE", "UPDATE", "CLASS", "NORMALISER", "ERROR")
		for _, l := range list.Letters {
			row(w, l.ID, l.DiedAt.UTC().Format(timeFormat), l.Source, l.UpdateID, l.Class, l.Normaliser, l.Error)
		}
	})
}

// deadWhole is one dead letter as `dead show` prints it.
type deadWhole struct {
	deadLine
	Origin    string `json:"origin"`
	Format    string `json:"format"`
	Layer     uint32 `json:"layer,omitempty"`
	Hash      string `json:"hash"`
	SizeBytes int    `json:"size_bytes"`
	// Request and Payload are the exact bytes, in base64; only --raw tells them.
	Request []byte `json:"request,omitempty"`
	Payload []byte `json:"payload,omitempty"`
	// Moves are those of the letters that the same update was before.
	Moves []moveLine `json:"moves"`
}

func deadShow(env Env) *cobra.Command {
	var raw bool
	cmd := addJSON(&cobra.Command{
		Use:   "show ID",
		Short: "Print what is known of one dead letter",
		Long: `Prints everything about a dead letter but what people wrote: where the update came from, why it died, and how often it was
retried before. --raw prints the exact bytes that came and nothing else; with --json it adds them to the object, as payload in base64.` +
			settings(),
		Example: "  tgfleet dead show 7\n  tgfleet dead show 7 --raw | jq .",
		Args:    cobra.ExactArgs(1),
	})
	cmd.Flags().BoolVar(&raw, "raw", false, "print the exact bytes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ids, err := letterIDs(args)
		if err != nil {
			return err
		}
		return withDatabase(env, cmd, nil, func(ctx context.Context, s *session) error {
			return s.showDead(ctx, ids[0], raw)
		})
	}
	return cmd
}

// maxShownMoves bounds the moves that `dead show` prints.
const maxShownMoves = 100

func (s *session) showDead(ctx context.Context, id int64, raw bool) error {
	letter, err := s.db.DeadLetters().Get(ctx, id)
	if err != nil {
		return err
	}
	if raw && !s.json {
		_, err := s.cmd.OutOrStdout().Write(letter.Envelope.Raw)
		return err
	}
	moves, err := s.db.DeadLetters().Moves(ctx, store.DeadLetterFilter{IDs: []int64{id}}, maxShownMoves)
	if err != nil {
		return err
	}
	hash := ingest.HashOf(letter.Envelope.Raw)
	whole := deadWhole{
		deadLine: deadLineOf(&letter), Origin: letter.Envelope.Origin.String(), Format: formatName(letter.Envelope.Format),
		Layer: letter.Envelope.Layer, Hash: hex.EncodeToString(hash[:]), SizeBytes: len(letter.Envelope.Raw), Moves: moveLines(moves),
	}
	if raw {
		whole.Request, whole.Payload = letter.Envelope.Request, letter.Envelope.Raw
	}
	return s.print(whole, func(w io.Writer) { printLetter(w, &whole) })
}

// formatName returns the word for how an update's bytes are written.
func formatName(f ingest.Format) string {
	switch f {
	case ingest.BotAPIJSON:
		return "botapi_json"
	case ingest.MTProtoTL:
		return "mtproto_tl"
	case ingest.QueuedBatch:
		return "queued_batch"
	case ingest.SealedTL:
		return "sealed_tl"
	default:
		return "format-" + strconv.Itoa(int(f))
	}
}

func printLetter(w io.Writer, l *deadWhole) {
	row(w, "id", l.ID)
	row(w, "died_at", l.DiedAt.UTC().Format(timeFormat))
	row(w, "received_at", l.ReceivedAt.UTC().Format(timeFormat))
	row(w, "source", l.Source)
	row(w, "update_id", l.UpdateID)
	row(w, "origin", l.Origin)
	row(w, "format", l.Format)
	if l.Layer != 0 {
		row(w, "layer", l.Layer)
	}
	row(w, "class", l.Class)
	row(w, "error", l.Error)
	row(w, "normaliser", l.Normaliser)
	row(w, "hash", l.Hash)
	row(w, "payload", fmt.Sprintf("%d bytes; --raw prints them", l.SizeBytes))
	for _, m := range l.Moves {
		row(w, m.Move, fmt.Sprintf("%s by %s, as letter %d", m.MovedAt.UTC().Format(timeFormat), m.Who, m.LetterID))
	}
}
