package storetest

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"pgregory.net/rapid"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// dumped is the columns of each table that are a function of the set of updates. Of an event that is all that names it: its source and
// its origin are those of whoever came first.
var dumped = map[string]string{
	"updates":           "day, source, update_id, hash, received_at, kind, chat_id, origin, format, layer, normaliser_version, request, payload",
	"chats":             "*",
	"users":             "*",
	"messages":          "*",
	"message_revisions": "*",
	"media":             "*",
	"media_files":       "*",
	"platform_events":   "id, type, subject",

	"memberships":          "*",
	"reactions":            "*",
	"reaction_counts":      "*",
	"polls":                "*",
	"poll_answers":         "*",
	"interactions":         "*",
	"business_connections": "*",
	"chat_boosts":          "*",
	"chat_aliases":         "*",

	"dead_letters": "source, update_id, hash, payload",
}

// test is a test of Go's or one try of a property.
type test interface {
	require.TestingT
	Context() context.Context
}

// dump returns all rows, by table, as text.
func (a *archive) dump(t test) map[string][]string {
	tables := map[string][]string{}
	for table, columns := range dumped {
		tables[table] = a.dumpTable(t, table, columns)
	}
	return tables
}

func (a *archive) dumpTable(t test, table, columns string) (lines []string) {
	rows, err := a.sql.QueryContext(t.Context(), "SELECT "+columns+" FROM "+table)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	names, err := rows.Columns()
	require.NoError(t, err)
	for rows.Next() {
		cells := make([]any, len(names))
		for i := range cells {
			cells[i] = new(any)
		}
		require.NoError(t, rows.Scan(cells...))
		lines = append(lines, line(names, cells))
	}
	require.NoError(t, rows.Err())
	slices.Sort(lines)
	return lines
}

func line(names []string, cells []any) string {
	var b strings.Builder
	for i, name := range names {
		switch cell := (*cells[i].(*any)).(type) {
		case time.Time:
			fmt.Fprintf(&b, "%s=%s ", name, cell.UTC().Format(time.RFC3339Nano))
		case []byte:
			fmt.Fprintf(&b, "%s=%x ", name, cell)
		default:
			fmt.Fprintf(&b, "%s=%v ", name, cell)
		}
	}
	return b.String()
}

// clear empties the database.
func (a *archive) clear(t test) {
	var statements strings.Builder
	for table := range dumped {
		statements.WriteString("DELETE FROM " + table + ";")
	}
	_, err := a.sql.ExecContext(t.Context(), statements.String())
	require.NoError(t, err)
}

// hurry makes commits of SQLite quick and forgetful, which a test with thousands of them can afford. PostgreSQL's are already.
func (a *archive) hurry(t *testing.T) {
	t.Helper()
	a.sql.SetMaxOpenConns(1)
	var version string
	if a.sql.QueryRowContext(t.Context(), "SELECT sqlite_version()").Scan(&version) == nil {
		a.exec(t, "PRAGMA synchronous = off")
	}
}

// each scans all rows of query.
func (a *archive) each(t *testing.T, query string, row func(scan func(...any) error) error) {
	t.Helper()
	rows, err := a.sql.QueryContext(t.Context(), query)
	require.NoError(t, err)
	defer rows.Close() //nolint:errcheck // Err has what there is to know
	for rows.Next() {
		require.NoError(t, row(rows.Scan))
	}
	require.NoError(t, rows.Err())
}

// events returns the types and subjects of all events, sorted.
func (a *archive) events(t *testing.T) (events []string) {
	t.Helper()
	a.each(t, "SELECT type, subject FROM platform_events ORDER BY type, subject", func(scan func(...any) error) error {
		var kind, subject string
		err := scan(&kind, &subject)
		events = append(events, kind+" "+subject)
		return err
	})
	return events
}

// histories generates lists of updates about the same few chats, users, messages and files: edits, edits back, replays by a newer
// normaliser, second deliveries, two accounts.
func histories(least, most int) *rapid.Generator[[]content.ChangeSet] {
	return rapid.Custom(func(t *rapid.T) []content.ChangeSet {
		drawn := rapid.SliceOfN(rapid.Custom(drawStep), least, most).Draw(t, "history")
		changes := make([]content.ChangeSet, 0, len(drawn))
		for i, s := range drawn {
			if s.again && i > 0 {
				original := s.which % i
				for drawn[original].again && original > 0 {
					original = drawn[original].which % original
				}
				changes = append(changes, s.repeat(&drawn[original], int64(original)))
				continue
			}
			changes = append(changes, s.change(int64(i)))
		}
		return changes
	})
}

// step is one update of a history.
type step struct {
	bot, chat, message, user, at, edit, text, arrival, which int

	media    []int
	language bool
	again    bool
	reread   bool
	deletes  bool
	// state chooses among states what is told beside messages.
	state int
}

func drawStep(t *rapid.T) step {
	below := func(n int, label string) int { return rapid.IntRange(0, n-1).Draw(t, label) }
	return step{
		bot: below(2, "bot"), chat: below(4, "chat"), message: below(3, "message"), user: below(4, "user"), at: below(5, "at"),
		edit: max(0, below(12, "edit")-4), text: below(3, "text"), arrival: below(3, "arrival"), which: below(1000, "which"),
		media: rapid.SliceOfN(rapid.IntRange(0, 3), 0, 2).Draw(t, "media"), language: rapid.Bool().Draw(t, "language"),
		again: below(5, "again") == 0, reread: rapid.Bool().Draw(t, "reread"), deletes: below(6, "deletes") == 0,
		state: below(len(states), "state"),
	}
}

var (
	chatTypes = []content.ChatType{content.Private, content.Group, content.Supergroup, content.Channel}
	chatIDs   = []content.ChatID{501, -502, -1000000000503, -1000000000504}
)

// change returns the step as update id.
func (s *step) change(id int64) content.ChangeSet {
	change := of(someBot+int64(s.bot), update(id))
	change.Update.ChatID = chatIDs[s.chat]
	change.Update.Envelope.ReceivedAt = received.Add(time.Duration(s.arrival) * 9 * time.Hour)
	s.show(&change)
	return change
}

// show writes into change what the step shows, read by change's normaliser.
func (s *step) show(change *content.ChangeSet) {
	source := change.Update.Envelope.Source
	date := sent.Add(time.Duration(s.message*10+s.at) * time.Second)
	stamp := content.Stamp{
		Date: date.Add(time.Duration(s.edit) * time.Second), Edit: s.edit > 0, Source: source, Sequence: change.Update.UpdateID,
		Hash: change.Update.Hash, Normaliser: change.Update.NormaliserVersion,
	}
	version := content.NewVersion(stamp)
	text := fmt.Sprintf("text %d", s.text)
	if change.Update.NormaliserVersion > 1 {
		text += " read better"
	}
	m := content.Message{
		Key: content.MessageKey{
			Scope: content.ScopeOf(chatTypes[s.chat], source.Account), ChatID: chatIDs[s.chat], MessageID: content.MessageID(s.message + 1),
		},
		Version: version, Kind: "text", NormaliserVersion: change.Update.NormaliserVersion, FromID: content.UserID(s.user + 1), Date: date, Text: text,
	}
	if s.edit > 0 {
		m.EditDate = stamp.Date
	}
	for _, n := range s.media {
		name := fmt.Sprintf("file %d", n)
		m.Kind = "document"
		m.Media = append(m.Media, content.Media{Kind: "document", FileUniqueID: name, FileID: fmt.Sprint(name, change.Update.UpdateID)})
	}
	user := content.User{ID: content.UserID(s.user + 1), Version: version, FirstName: fmt.Sprint("name ", change.Update.UpdateID)}
	if s.language {
		user.LanguageVersion, user.LanguageCode = version, fmt.Sprint(change.Update.UpdateID)
	}
	if s.state > 0 {
		states[s.state](change, &told{s, stamp, m.Key, text})
	}
	if s.deletes {
		change.Deletions = []content.Deletion{{Key: m.Key, DeletedAt: stamp.Date}}
		return
	}
	change.Messages = []content.Message{m}
	change.Users = []content.User{user}
	change.Chats = []content.Chat{{ID: chatIDs[s.chat], Version: version, Type: chatTypes[s.chat], Title: text}}
}

// repeat returns the original step as it comes another time: later, or from the ledger and read by a newer normaliser.
func (s *step) repeat(original *step, id int64) content.ChangeSet {
	change := original.change(id)
	if !s.reread {
		change.Update.Envelope.ReceivedAt = change.Update.Envelope.ReceivedAt.Add(time.Duration(s.arrival) * time.Hour)
	} else {
		change.Update.Envelope.Origin = ingest.Replay
		change.Update.NormaliserVersion = 2
		original.show(&change)
	}
	return change
}

// inOrder applies history once, in order, one update at a time.
func (a *archive) inOrder(t test, history []content.ChangeSet) {
	for _, change := range history {
		_, err := a.Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{change}})
		require.NoError(t, err)
	}
}

// waves divides changes into those that come from outside and those that are read again, which is never before the first time.
func waves(changes []content.ChangeSet) [2][]content.ChangeSet {
	var divided [2][]content.ChangeSet
	for _, change := range changes {
		wave := 0
		if change.Update.NormaliserVersion > 1 {
			wave = 1
		}
		divided[wave] = append(divided[wave], change)
	}
	return divided
}

func convergesInAnyOrder(t *testing.T, a *archive) {
	a.hurry(t)
	rapid.Check(t, func(t *rapid.T) {
		history := histories(1, 16).Draw(t, "updates")
		a.clear(t)
		a.inOrder(t, history)
		want := a.dump(t)
		a.clear(t)
		order := rapid.Permutation(append(slices.Clone(history), history[:len(history)/2]...)).Draw(t, "order")
		for _, wave := range waves(order) {
			for len(wave) > 0 {
				n := rapid.IntRange(1, len(wave)).Draw(t, "cut")
				_, err := a.Apply(t.Context(), content.Batch{Changes: wave[:n]})
				require.NoError(t, err)
				wave = wave[n:]
			}
		}
		requireSame(t, want, a.dump(t))
	})
}

func convergesWithManyWriters(t *testing.T, open OpenSQL) {
	const writers = 8
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	history := histories(250, 300).Example(int(seed))
	once := openArchive(t, open)
	once.inOrder(t, history)

	many := openArchive(t, open)
	for _, wave := range waves(history) {
		var group errgroup.Group
		for w := range writers {
			random := rand.New(rand.NewPCG(uint64(seed), uint64(w)))
			order := slices.Clone(wave)
			random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			group.Go(func() error {
				for len(order) > 0 {
					n := min(len(order), 1+random.IntN(60))
					if _, err := many.Apply(t.Context(), content.Batch{Changes: order[:n]}); err != nil {
						return err
					}
					order = order[n:]
				}
				return nil
			})
		}
		require.NoError(t, group.Wait())
	}
	requireSame(t, once.dump(t), many.dump(t))
}

// writersNeverBlockEachOther has writers whose batches share the rows of one table and nothing else: a table that all wait for first would
// hide the order in which they take the next one.
func writersNeverBlockEachOther(t *testing.T, a *archive) {
	const writers, batches, rows = 6, 30, 40
	for name, write := range map[string]func(b *content.Batch, id int64, row int){
		"updates": func(b *content.Batch, id int64, row int) {
			change := update(int64(row))
			change.Update.Envelope.ReceivedAt = received.Add(-time.Duration(id) * time.Microsecond)
			b.Changes = append(b.Changes, change)
		},
		"messages": func(b *content.Batch, id int64, row int) {
			change := post(id, int(id), "text")
			change.Messages[0].Key.MessageID = content.MessageID(row + 1)
			b.Changes = append(b.Changes, change)
		},
		"chats": func(b *content.Batch, id int64, row int) {
			change := update(id)
			change.Chats = []content.Chat{{ID: content.ChatID(row), Version: version(&change, int(id))}}
			b.Changes = append(b.Changes, change)
		},
		"users": func(b *content.Batch, id int64, row int) {
			change := update(id)
			change.Users = []content.User{{ID: content.UserID(row), Version: version(&change, int(id))}}
			b.Changes = append(b.Changes, change)
		},
		"dead letters": func(b *content.Batch, id int64, row int) {
			round := (id - 1) / (writers * rows)
			b.DeadLetters = append(b.DeadLetters, ingest.DeadLetter{Envelope: update(round*rows + int64(row)).Update.Envelope})
		},
	} {
		a.clear(t)
		var group errgroup.Group
		for w := range writers {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			group.Go(func() error {
				for i := range batches {
					var batch content.Batch
					for _, row := range random.Perm(rows) {
						write(&batch, int64((i*writers+w)*rows+row+1), row)
					}
					if _, err := a.Apply(t.Context(), batch); err != nil {
						return err
					}
				}
				return nil
			})
		}
		require.NoError(t, group.Wait(), name)
	}
}

func requireSame(t require.TestingT, want, got map[string][]string) {
	for _, table := range slices.Sorted(maps.Keys(want)) {
		require.Equal(t, want[table], got[table], table)
	}
}
