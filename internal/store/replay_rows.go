package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/content"
)

// RowChange is how a row of the archive differs from what it was.
type RowChange struct {
	Table string
	// Key is the cells of the primary key, with slashes between them.
	Key string
	// New says that the row was not there before, and Gone that it is there no more.
	New, Gone bool
	// Cells are those that differ; of a row that is new or gone, those that are not NULL.
	Cells []CellChange
}

// CellChange is how a cell differs. Before and After are nil for NULL, or a string, an int64 or a bool; JSON and times are strings.
type CellChange struct {
	Column        string
	Before, After any
}

// reread writes what a normaliser of today makes of updates that the ledger has, and returns how that changes the archive. No event
// leaves: of what the ledger has, nothing is news.
func (w *writer) reread(ctx context.Context, batch *content.Batch) ([]RowChange, error) {
	batch, err := w.withoutErased(ctx, batch)
	if err != nil {
		return nil, err
	}
	updates := foldUpdates(batch)
	rows := fold(batch, nil)
	if _, err := w.mergeUpdates.exec(ctx, w.conn, updates); err != nil {
		return nil, err
	}
	if err := w.write(ctx, rows); err != nil {
		return nil, err
	}
	if err := w.replaceRevisions(ctx, batch.Changes); err != nil {
		return nil, err
	}
	after, err := w.picture(ctx, w.conn, updates, rows)
	if err != nil {
		return nil, err
	}
	// Seen from outside the transaction the rows are still as they were. All of them are locked by now, so nobody else's change of one
	// is taken for ours.
	before, err := w.picture(ctx, w.db.pool, updates, rows)
	if err != nil {
		return nil, err
	}
	return before.changesTo(after), nil
}

// replaceRevisions removes the contents that an older normaliser read in the same snapshots and that these changes do not show.
func (w *writer) replaceRevisions(ctx context.Context, changes []content.ChangeSet) error {
	shown := map[snapshotKey]*reading{}
	var keys []content.MessageKey
	for i := range changes {
		for j := range changes[i].Messages {
			m := &changes[i].Messages[j]
			if shown[snapshotOf(m.Key, m.Version)] == nil {
				shown[snapshotOf(m.Key, m.Version)] = &reading{newest: m.Version}
				keys = append(keys, m.Key)
			}
			s := shown[snapshotOf(m.Key, m.Version)]
			s.newest = max(s.newest, m.Version)
			s.hashes = append(s.hashes, m.ContentHash())
		}
	}
	var outdated []revisionKey
	find := lookup(w.db.dialect, "message_revisions", []string{"scope", "chat_id", "message_id", "content_hash", "version"}, messageKeyColumns)
	err := find.query(ctx, w.conn, keys, func(result *sql.Rows) error {
		var scope, chat, message int64
		var hash, version []byte
		if err := result.Scan(&scope, &chat, &message, &hash, &version); err != nil {
			return err
		}
		r := revisionKey{MessageKey: content.MessageKey{
			Scope: content.Scope(scope), ChatID: content.ChatID(chat), MessageID: content.MessageID(message),
		}}
		copy(r.hash[:], hash)
		s := shown[snapshotOf(r.MessageKey, content.Version(version))]
		if s != nil && content.Version(version) < s.newest && !slices.Contains(s.hashes, r.hash) {
			outdated = append(outdated, r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	gone := remove(w.db.dialect, "message_revisions", revisionKeyColumns)
	_, err = gone.exec(ctx, w.conn, outdated)
	return err
}

// snapshotKey names what one update shows of a message, whichever normaliser read it.
type snapshotKey struct {
	content.MessageKey
	snapshot content.Version
}

func snapshotOf(key content.MessageKey, version content.Version) snapshotKey {
	return snapshotKey{key, version.Snapshot()}
}

// reading is the contents of one snapshot, and the newest version under which it was read.
type reading struct {
	newest content.Version
	hashes []content.ContentHash
}

// revisionKey names a revision.
type revisionKey struct {
	content.MessageKey
	hash content.ContentHash
}

var messageKeyColumns = []column[content.MessageKey]{
	{"scope", ofNumber, func(k content.MessageKey) any { return int64(k.Scope) }},
	{"chat_id", ofNumber, func(k content.MessageKey) any { return int64(k.ChatID) }},
	{"message_id", ofNumber, func(k content.MessageKey) any { return int64(k.MessageID) }},
}

var revisionKeyColumns = []column[revisionKey]{
	{"scope", ofNumber, func(r revisionKey) any { return int64(r.Scope) }},
	{"chat_id", ofNumber, func(r revisionKey) any { return int64(r.ChatID) }},
	{"message_id", ofNumber, func(r revisionKey) any { return int64(r.MessageID) }},
	{"content_hash", ofBytes, func(r revisionKey) any { return r.hash[:] }},
}

// picture is rows of the archive as they are at one moment: by table and key, the other cells by column.
type picture map[string]map[string]map[string]any

// camera takes a picture.
type camera struct {
	conn    gorm.ConnPool
	dialect dialect
	picture picture
}

// unpictured are the columns that tell how a row came about, and the bytes of the ledger, which never change.
var unpictured = []string{"version", "language_version", "normaliser_version", "announced", "request", "payload"}

// picture reads, through conn, the rows that updates and rows write.
func (w *writer) picture(ctx context.Context, conn gorm.ConnPool, updates []*updateRow, rows *folded) (picture, error) {
	c := camera{conn: conn, dialect: w.db.dialect, picture: picture{}}
	messageKey := messagesTable.columns[:len(messagesTable.key)]
	s := &rows.state
	for _, look := range []func() error{
		func() error { return lookAt(ctx, c, &updatesTable, updates) },
		func() error { return lookAt(ctx, c, &messagesTable, rows.messages) },
		func() error { return lookAtParts(ctx, c, &mediaTable, messageKey, rows.messages) },
		func() error { return lookAt(ctx, c, &mediaFilesTable, rows.files) },
		func() error { return lookAtParts(ctx, c, &revisionsTable, messageKey, rows.messages) },
		func() error { return lookAt(ctx, c, membershipsTable.table, s.memberships) },
		func() error { return lookAt(ctx, c, reactionsTable.table, s.reactions) },
		func() error { return lookAt(ctx, c, reactionCountsTable.table, s.reactionCounts) },
		func() error { return lookAt(ctx, c, pollsTable.table, s.polls) },
		func() error { return lookAt(ctx, c, pollAnswersTable.table, s.pollAnswers) },
		func() error { return lookAt(ctx, c, interactionsTable.table, s.interactions) },
		func() error { return lookAt(ctx, c, businessConnectionsTable.table, s.businessConnections) },
		func() error { return lookAt(ctx, c, chatBoostsTable.table, s.chatBoosts) },
		func() error { return lookAt(ctx, c, chatAliasesTable.table, s.chatAliases) },
		func() error { return lookAt(ctx, c, holesTable.table, s.holes) },
		func() error { return lookAt(ctx, c, accessHashesTable.table, s.accessHashes) },
		func() error { return lookAt(ctx, c, &chatlessTable, rows.chatless) },
		func() error { return lookAt(ctx, c, &chatsTable, rows.chats) },
		func() error { return lookAt(ctx, c, &usersTable, rows.users) },
	} {
		if err := look(); err != nil {
			return nil, err
		}
	}
	return c.picture, nil
}

// lookAt takes the rows of t with the keys of rows.
func lookAt[T any](ctx context.Context, c camera, t *table[T], rows []T) error {
	var key []column[T]
	for _, name := range t.key {
		key = append(key, t.columns[slices.IndexFunc(t.columns, func(c column[T]) bool { return c.name == name })])
	}
	return lookAtParts(ctx, c, t, key, rows)
}

// lookAtParts takes the rows of t that have the cells in by of one of wholes.
func lookAtParts[T, W any](ctx context.Context, c camera, t *table[T], by []column[W], wholes []W) error {
	var names, cells []string
	var kinds []kind
	for _, column := range t.columns {
		if !slices.Contains(unpictured, column.name) {
			names, kinds = append(names, column.name), append(kinds, column.kind)
			cells = append(cells, column.read())
		}
	}
	find := lookup(c.dialect, t.name, cells, by)
	found := map[string]map[string]any{}
	c.picture[t.name] = found
	return find.query(ctx, c.conn, wholes, func(result *sql.Rows) error {
		values, targets := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := result.Scan(targets...); err != nil {
			return err
		}
		row := map[string]any{}
		for i, name := range names {
			row[name] = shownAs(values[i], kinds[i])
		}
		key := make([]string, len(t.key))
		for i, name := range t.key {
			key[i] = fmt.Sprint(row[name])
			delete(row, name)
		}
		found[strings.Join(key, "/")] = row
		return nil
	})
}

// read returns the expression that reads the column as both drivers hand it out alike.
func (c column[T]) read() string {
	if c.kind.cast == ofDay.cast || c.kind.cast == ofJSON.cast {
		return "CAST(" + c.name + " AS text)"
	}
	return c.name
}

// shownAs returns a cell of either driver as CellChange has it.
func shownAs(cell any, k kind) any {
	switch v := cell.(type) {
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case []byte:
		if k.element == ofBytes.element {
			return hex.EncodeToString(v)
		}
		return string(v)
	default:
		return v
	}
}

// changesTo returns how p differs from after, in the order of tables and keys.
func (p picture) changesTo(after picture) (changes []RowChange) {
	for _, table := range slices.Sorted(maps.Keys(after)) {
		was, is := p[table], after[table]
		for _, key := range slices.Sorted(maps.Keys(union(was, is))) {
			change := RowChange{Table: table, Key: key, New: was[key] == nil, Gone: is[key] == nil}
			for _, column := range slices.Sorted(maps.Keys(union(was[key], is[key]))) {
				if before, now := was[key][column], is[key][column]; before != now {
					change.Cells = append(change.Cells, CellChange{Column: column, Before: before, After: now})
				}
			}
			if len(change.Cells) > 0 {
				changes = append(changes, change)
			}
		}
	}
	return changes
}

func union[V any](a, b map[string]V) map[string]V {
	all := maps.Clone(b)
	if all == nil {
		all = map[string]V{}
	}
	maps.Copy(all, a)
	return all
}
