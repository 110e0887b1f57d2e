package store

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
)

// Archive keeps what Telegram told. Any number of goroutines and processes may use it at once.
type Archive struct {
	db *DB

	insertUpdates     statement[*updateRow]
	mergeUpdates      statement[*updateRow]
	announceMessages  statement[*messageRow]
	mergeMessages     statement[*messageRow]
	removeMedia       statement[*messageRow]
	insertMedia       statement[*mediaRow]
	mergeFiles        statement[*fileRow]
	announceRevisions statement[*snapshot]
	mergeRevisions    statement[*snapshot]
	insertEvents      statement[*eventRow]
	insertDeadLetter  statement[*letterRow]
	mergeChats        statement[*content.Chat]
	mergeUsers        statement[*userRow]
	removeSpooled     statement[int64]
	chatless          chatlessStatements
	state             stateStatements
	// known is who was erased when a batch last looked; any writer loads and stores it.
	known *atomic.Pointer[erasedSet]
}

// Archive returns the repository of what Telegram told.
func (db *DB) Archive() *Archive {
	d := db.dialect
	return &Archive{
		db:                db,
		insertUpdates:     updatesTable.insertNew(d).returning("CAST(day AS text)", "source", "update_id", "hash"),
		mergeUpdates:      updatesTable.upsert(d),
		announceMessages:  messagesTable.upsertWhere(d, messageAnnounced).returning(messageResult...),
		mergeMessages:     messagesTable.upsert(d).returning(messageResult...),
		removeMedia:       remove(d, "media", messagesTable.columns[:len(messagesTable.key)]),
		insertMedia:       mediaTable.insert(d),
		mergeFiles:        mediaFilesTable.upsert(d),
		announceRevisions: revisionsTable.upsertWhere(d, revisionAnnounced).returning(revisionsTable.key...),
		mergeRevisions:    revisionsTable.upsert(d),
		insertEvents:      eventsTable.insertNew(d),
		insertDeadLetter:  deadLettersTable.insertNew(d),
		mergeChats:        chatsTable.upsert(d),
		mergeUsers:        usersTable.upsert(d),
		removeSpooled:     remove(d, "spool", spoolColumns),
		chatless:          newChatlessStatements(d),
		state:             newStateStatements(d),
		known:             &atomic.Pointer[erasedSet]{},
	}
}

// Apply writes batch in one transaction and reports what it changed. The archive and the events in the outbox are a function of
// the set of updates applied so far, never of their order, their repetition, how they were cut into batches, or who applied
// them at the same time; applying a batch again changes nothing and emits nothing. When Apply returns an error nothing
// is written, unless the connection broke during the commit, and then trying again is harmless. The error is fault.Permanent when this
// batch can never be written, fault.Transient when the database may take it later, and else unclassified; it
// holds nothing of what people wrote. What batch tells of somebody who was erased after it was received, or sent, is left out, the bytes of
// its updates included.
func (a *Archive) Apply(ctx context.Context, batch content.Batch) (content.Outcome, error) {
	outcome, err := a.apply(ctx, &batch)
	if err != nil {
		return content.Outcome{}, fmt.Errorf("apply %d updates: %w", len(batch.Changes), err)
	}
	return outcome, nil
}

func (a *Archive) apply(ctx context.Context, batch *content.Batch) (content.Outcome, error) {
	if err := checkTimes(batch); err != nil {
		return content.Outcome{}, fault.As(fault.Permanent, err)
	}
	var outcome content.Outcome
	err := a.db.write(ctx, func(tx *gorm.DB) error {
		w := writer{Archive: a, conn: tx.Statement.ConnPool}
		batch, err := w.withoutErased(ctx, batch)
		if err != nil {
			return err
		}
		updates := foldUpdates(batch)
		fresh, err := w.writeUpdates(ctx, updates)
		if err != nil {
			return err
		}
		if err := w.write(ctx, fold(batch, fresh)); err != nil {
			return err
		}
		outcome = w.outcome
		_, err = a.removeSpooled.exec(ctx, w.conn, batch.SpoolIDs)
		return err
	})
	return outcome, err
}

// Probe commits one small write, and so tells whether the database takes writes now. Its errors have the classes of Apply's.
func (a *Archive) Probe(ctx context.Context) error {
	err := a.db.write(ctx, func(tx *gorm.DB) error {
		return tx.Exec("INSERT INTO probes (id, writes) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET writes = probes.writes + 1").Error
	})
	if err != nil {
		return fmt.Errorf("probe write: %w", err)
	}
	return nil
}

// writer is one transaction of Apply.
type writer struct {
	*Archive
	conn    gorm.ConnPool
	outcome content.Outcome
}

// write writes rows, after the ledger's. All transactions take the tables in this order, and the rows of each in the order of the keys,
// so that none waits for another in a circle. Chats and users, which most batches share, come last and are locked the shortest.
func (w *writer) write(ctx context.Context, rows *folded) (err error) {
	if err := w.joinChatless(ctx, rows); err != nil {
		return err
	}
	created, err := w.writeMessages(ctx, rows.messages)
	if err != nil {
		return err
	}
	if _, err := w.mergeFiles.exec(ctx, w.conn, rows.files); err != nil {
		return err
	}
	revised, err := w.writeRevisions(ctx, rows.revisions)
	if err != nil {
		return err
	}
	w.outcome.Messages, w.outcome.Revisions = len(created), len(revised)
	if err := w.writeState(ctx, &rows.state); err != nil {
		return err
	}
	events := distinct(append(eventsOf(created, deletionsOf(rows), revised), rows.state.events...), compareEvents, firstEvent)
	if w.outcome.Events, err = w.insertEvents.exec(ctx, w.conn, events); err != nil {
		return err
	}
	if w.outcome.DeadLetters, err = w.insertDeadLetter.exec(ctx, w.conn, rows.deadLetters); err != nil {
		return err
	}
	if _, err := w.mergeChats.exec(ctx, w.conn, rows.chats); err != nil {
		return err
	}
	_, err = w.mergeUsers.exec(ctx, w.conn, rows.users)
	return err
}

// writeUpdates writes rows into the ledger and returns the new ones. Events follow from new updates only: those of a repeat left with
// the first arrival, and what a newer normaliser reads in an old update is no news.
func (w *writer) writeUpdates(ctx context.Context, rows []*updateRow) (fresh []*updateRow, err error) {
	fresh, known, err := split(rows, findUpdate, func(scan func(*sql.Rows) error) error {
		return w.insertUpdates.query(ctx, w.conn, rows, scan)
	})
	if err != nil {
		return nil, err
	}
	w.outcome.Updates = len(fresh)
	_, err = w.mergeUpdates.exec(ctx, w.conn, known)
	return fresh, err
}

// writeMessages writes rows and the media of those that won, and returns the rows of the messages that are announced now. Who inserts a
// message, or is the first to announce it, does so: nothing else decides.
func (w *writer) writeMessages(ctx context.Context, rows []*messageRow) (created []*messageRow, err error) {
	var won []*messageRow
	find := func(rows []*messageRow, result *sql.Rows) (int, error) {
		i, version, err := findMessage(rows, result)
		if err == nil && version == rows[i].newest.Version {
			won = append(won, rows[i])
		}
		return i, err
	}
	written, known, err := split(rows, find, func(scan func(*sql.Rows) error) error {
		return w.announceMessages.query(ctx, w.conn, rows, scan)
	})
	if err != nil {
		return nil, err
	}
	if _, _, err := split(known, find, func(scan func(*sql.Rows) error) error {
		return w.mergeMessages.query(ctx, w.conn, known, scan)
	}); err != nil {
		return nil, err
	}
	for _, row := range written {
		if row.first != nil {
			created = append(created, row)
		}
	}
	// The row of the message is locked, so nobody else touches its media meanwhile.
	slices.SortFunc(won, compareMessages)
	if _, err := w.removeMedia.exec(ctx, w.conn, won); err != nil {
		return nil, err
	}
	_, err = w.insertMedia.exec(ctx, w.conn, mediaOf(won))
	return created, err
}

// writeRevisions writes rows and returns those that are announced now. Like messages, they are told by who is first.
func (w *writer) writeRevisions(ctx context.Context, rows []*snapshot) (revised []*snapshot, err error) {
	written, known, err := split(rows, findRevision, func(scan func(*sql.Rows) error) error {
		return w.announceRevisions.query(ctx, w.conn, rows, scan)
	})
	if err != nil {
		return nil, err
	}
	for _, row := range written {
		if row.announces {
			revised = append(revised, row)
		}
	}
	_, err = w.mergeRevisions.exec(ctx, w.conn, known)
	return revised, err
}

// split runs a statement that returns keys, and divides rows into those whose keys came back and the others, both still in order.
func split[T any](
	rows []T, find func([]T, *sql.Rows) (int, error), run func(scan func(*sql.Rows) error) error,
) (returned, others []T, err error) {
	hit := make([]bool, len(rows))
	err = run(func(result *sql.Rows) error {
		i, err := find(rows, result)
		if err == nil {
			hit[i] = true
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	for i, row := range rows {
		if hit[i] {
			returned = append(returned, row)
		} else {
			others = append(others, row)
		}
	}
	return returned, others, nil
}

// errKey says that a statement returned a key that it was not given.
var errKey = errors.New("the database returned a key that it was not given")

func findUpdate(rows []*updateRow, result *sql.Rows) (int, error) {
	var wanted content.Update
	key := updateRow{read: &wanted}
	var hash sql.RawBytes
	if err := result.Scan(&key.day, &key.source, &wanted.UpdateID, &hash); err != nil {
		return 0, err
	}
	copy(key.hash[:], hash)
	i, found := slices.BinarySearchFunc(rows, &key, compareUpdates)
	if !found {
		return 0, errKey
	}
	return i, nil
}

// messageResult is what the statements that write messages return.
var messageResult = append(slices.Clone(messagesTable.key), "version")

// findMessage returns the row that result tells of, and the version that the database has of it now.
func findMessage(rows []*messageRow, result *sql.Rows) (int, content.Version, error) {
	var scope, chat, message int64
	var version sql.RawBytes
	if err := result.Scan(&scope, &chat, &message, &version); err != nil {
		return 0, "", err
	}
	key := content.MessageKey{Scope: content.Scope(scope), ChatID: content.ChatID(chat), MessageID: content.MessageID(message)}
	i, found := slices.BinarySearchFunc(rows, key, func(row *messageRow, key content.MessageKey) int {
		return compareKeys(row.newest.Key, key)
	})
	if !found {
		return 0, "", errKey
	}
	return i, content.Version(version), nil
}

func findRevision(rows []*snapshot, result *sql.Rows) (int, error) {
	var scope, chat, message int64
	var hash sql.RawBytes
	if err := result.Scan(&scope, &chat, &message, &hash); err != nil {
		return 0, err
	}
	key := content.MessageKey{Scope: content.Scope(scope), ChatID: content.ChatID(chat), MessageID: content.MessageID(message)}
	i, found := slices.BinarySearchFunc(rows, key, func(row *snapshot, key content.MessageKey) int {
		return cmp.Or(compareKeys(row.Key, key), bytes.Compare(row.hash[:], hash))
	})
	if !found {
		return 0, errKey
	}
	return i, nil
}
