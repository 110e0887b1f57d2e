package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"

	"github.com/tgfleet/tgfleet/internal/content"
)

// chatlessTable has the deletions that name no chat, which Telegram tells of private chats and basic groups: their messages are numbered by the
// account, so that scope and number name one. The deletion and the message may come in any order, and at the same moment to two writers. Each
// looks for the other's: whoever writes messages of an account looks here, and whoever writes here looks for the messages. A lock on the
// account's numbering, which writers of messages share, has one of the two come after the other. No message has a row without its chat.
var chatlessTable = table[*deletion]{
	name: "chatless_deletions",
	key:  []string{"scope", "message_id"},
	columns: []column[*deletion]{
		{"scope", ofNumber, func(d *deletion) any { return int64(d.Key.Scope) }},
		{"message_id", ofNumber, func(d *deletion) any { return int64(d.Key.MessageID) }},
		{"deleted_at", ofTime, func(d *deletion) any { return d.DeletedAt }},
	},
	groups: []group{{newer: "excluded.deleted_at < chatless_deletions.deleted_at", columns: []string{"deleted_at"}}},
}

// isChatless tells whether d names a message by its number within an account alone.
func isChatless(d *content.Deletion) bool { return d.Key.ChatID == 0 && d.Key.Scope > 0 }

// earlierDeletion keeps the earlier deletion; an event follows when one of the two is news.
func earlierDeletion(kept, next *deletion) *deletion {
	earlier, later := kept, next
	if next.DeletedAt.Before(kept.DeletedAt) {
		earlier, later = next, kept
	}
	if later.announces && !earlier.announces {
		merged := *earlier
		merged.announces = true
		return &merged
	}
	return earlier
}

func compareDeletions(a, b *deletion) int { return compareNumbers(a.Key, b.Key) }

// compareNumbers orders by what names a message of an account.
func compareNumbers(a, b content.MessageKey) int {
	return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.MessageID, b.MessageID))
}

// chatlessStatements find the messages of deletions, and the deletions of messages.
type chatlessStatements struct {
	lock   statement[numbering]
	merge  statement[*deletion]
	gone   statement[*messageRow]
	delete statement[*deletion]
}

// numbering is an account's, as a transaction locks it.
type numbering struct {
	scope content.Scope
	alone bool
}

// numberingLocks is the first key of the advisory locks on numberings; the second is the scope folded to 32 bits. Two accounts with one lock
// only wait for each other.
const numberingLocks = "1852142957"

var numberingColumns = []column[numbering]{
	{"lock", ofNumber, func(n numbering) any { return int64(n.lock()) }},
	{"alone", ofFlag, func(n numbering) any { return n.alone }},
}

func (n numbering) lock() int32 {
	return int32(uint32(n.scope) ^ uint32(uint64(n.scope)>>32)) //nolint:gosec // folding the bits is the point
}

func newChatlessStatements(d dialect) chatlessStatements {
	number := chatlessTable.columns[:len(chatlessTable.key)]
	rowNumber := []column[*messageRow]{messagesTable.columns[0], messagesTable.columns[2]}
	s := chatlessStatements{
		merge: chatlessTable.upsert(d),
		gone:  lookup(d, "chatless_deletions", []string{"scope", "message_id", "deleted_at"}, rowNumber),
		delete: statement[*deletion]{
			name: "read messages", dialect: d, columns: number, tail: ")",
			head: "SELECT scope, chat_id, message_id FROM messages WHERE scope > 0 AND " + among(d, number),
		},
	}
	if d == onPostgres {
		s.lock = statement[numbering]{
			name: "lock numberings", dialect: d, columns: numberingColumns,
			head: "SELECT CASE WHEN new.alone THEN CAST(pg_advisory_xact_lock(" + numberingLocks + ", CAST(new.lock AS int4)) AS text) " +
				"ELSE CAST(pg_advisory_xact_lock_shared(" + numberingLocks + ", CAST(new.lock AS int4)) AS text) END " +
				"FROM " + unnest(numberingColumns) + " AS new (lock, alone)",
		}
	}
	return s
}

// joinChatless writes the deletions that name no chat, and has the messages that they mean among rows, deleted.
func (w *writer) joinChatless(ctx context.Context, rows *folded) error {
	var private []*messageRow
	for _, row := range rows.messages {
		if row.newest.Key.Scope > 0 {
			private = append(private, row)
		}
	}
	if len(private) == 0 && len(rows.chatless) == 0 {
		return nil
	}
	if err := w.lockNumberings(ctx, private, rows.chatless); err != nil {
		return err
	}
	if _, err := w.chatless.merge.exec(ctx, w.conn, rows.chatless); err != nil {
		return err
	}
	if err := w.markGone(ctx, private); err != nil {
		return err
	}
	return w.addDeleted(ctx, rows)
}

// lockNumberings has this transaction come before or after every other that writes deletions of the same accounts. All take the locks in
// one order, after the rows of the ledger and before those of the messages. SQLite has one writer at a time.
func (w *writer) lockNumberings(ctx context.Context, private []*messageRow, deletions []*deletion) error {
	if w.db.dialect == onSQLite {
		return nil
	}
	locks := make([]numbering, 0, len(private)+len(deletions))
	for _, row := range private {
		locks = append(locks, numbering{scope: row.newest.Key.Scope})
	}
	for _, d := range deletions {
		locks = append(locks, numbering{scope: d.Key.Scope, alone: true})
	}
	locks = distinct(locks, func(a, b numbering) int { return cmp.Compare(a.lock(), b.lock()) }, func(kept, next numbering) numbering {
		kept.alone = kept.alone || next.alone
		return kept
	})
	_, err := w.chatless.lock.exec(ctx, w.conn, locks)
	return err
}

// markGone marks those of private of which a deletion is known, from this batch or an earlier one.
func (w *writer) markGone(ctx context.Context, private []*messageRow) error {
	byNumber := slices.Clone(private)
	slices.SortFunc(byNumber, func(a, b *messageRow) int { return compareNumbers(a.newest.Key, b.newest.Key) })
	return w.chatless.gone.query(ctx, w.conn, byNumber, func(result *sql.Rows) error {
		var scope, number int64
		var at instant
		if err := result.Scan(&scope, &number, &at); err != nil {
			return err
		}
		key := content.MessageKey{Scope: content.Scope(scope), MessageID: content.MessageID(number)}
		i, _ := slices.BinarySearchFunc(byNumber, key, func(row *messageRow, key content.MessageKey) int { return compareNumbers(row.newest.Key, key) })
		for ; i < len(byNumber) && compareNumbers(byNumber[i].newest.Key, key) == 0; i++ {
			byNumber[i].deletedAt = earliest(byNumber[i].deletedAt, at.Time)
		}
		return nil
	})
}

// addDeleted adds the messages that the archive has and the deletions of rows mean.
func (w *writer) addDeleted(ctx context.Context, rows *folded) error {
	known := len(rows.messages)
	err := w.chatless.delete.query(ctx, w.conn, rows.chatless, func(result *sql.Rows) error {
		var scope, chat, number int64
		if err := result.Scan(&scope, &chat, &number); err != nil {
			return err
		}
		key := content.MessageKey{Scope: content.Scope(scope), ChatID: content.ChatID(chat), MessageID: content.MessageID(number)}
		i, found := slices.BinarySearchFunc(rows.chatless, key, func(d *deletion, key content.MessageKey) int { return compareNumbers(d.Key, key) })
		if !found {
			return errKey
		}
		rows.messages = append(rows.messages, newStub(&content.Deletion{Key: key, DeletedAt: rows.chatless[i].DeletedAt}, nil))
		return nil
	})
	if err == nil && len(rows.messages) > known {
		rows.messages = distinct(rows.messages, compareMessages, mergeMessages)
	}
	return err
}
