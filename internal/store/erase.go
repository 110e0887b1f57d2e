package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"gorm.io/gorm"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/event"
)

const (
	// erasedMessages bounds the messages of one transaction.
	erasedMessages = 5000
	// eraseWait bounds how long an erasure waits for the batches under way, because later ones wait behind it.
	eraseWait = "SET LOCAL lock_timeout = '5s'"
)

// SubjectKind is whose content is erased.
type SubjectKind string

// The kinds of subjects.
const (
	// UserSubject is a person: what they wrote, wherever it is, who they are, what they did, and the private chat with them.
	UserSubject SubjectKind = "user"
	// ChatSubject is a chat under every id that it has had: all that was said and done in it, and its posts elsewhere.
	ChatSubject SubjectKind = "chat"
)

// pollSubject is the kind under which a poll is recorded that was the subject's.
const pollSubject = "poll"

// Subject is a person or a chat.
type Subject struct {
	Kind SubjectKind
	// ID is Telegram's, as the Bot API writes it.
	ID int64
}

// String returns the subject as user 123 or chat -100123.
func (s Subject) String() string { return fmt.Sprintf("%s %d", s.Kind, s.ID) }

// Receipt is what an erasure came to.
type Receipt struct {
	ID       int64
	Subject  Subject
	ErasedAt time.Time
	// IDs are the ids under which the subject was looked for.
	IDs []int64
	// Rows counts, by table, the rows that were removed, or emptied of what is erased.
	Rows map[string]int
}

// Erasures remove what the archive has of a person or of a chat. What was received, or sent, until then and comes again, from a queue, the
// spool, Telegram or a replay, is kept out by every writer: see Archive.Apply. Any number of goroutines and processes may use it.
type Erasures struct {
	db *DB
}

// Erasures returns the repository for erasing.
func (db *DB) Erasures() *Erasures { return &Erasures{db: db} }

// Erase removes the content of subject from every table, and returns the receipt, which is recorded with who asked for it. First it commits
// the record, after all batches under way and before all later ones; then it removes, transaction by transaction, and calls step
// before each. When it fails in between nothing that was erased comes back, and calling it again removes the rest.
//
// A ledger's row that names the subject loses its bytes and keeps what says that the update is known. What others wrote stays, and loses
// the parts that are the subject's: quotes, forwards, contacts. Dead letters that name the subject go whole.
func (e *Erasures) Erase(ctx context.Context, subject Subject, mover Mover, step func(done, of int)) (Receipt, error) {
	w := erasure{db: e.db, mover: mover, receipt: Receipt{Subject: subject, Rows: map[string]int{}}}
	if err := w.run(ctx, step); err != nil {
		return Receipt{}, fmt.Errorf("erase %s: %w", subject, err)
	}
	return w.receipt, nil
}

// erasure is one run of Erase.
type erasure struct {
	db      *DB
	mover   Mover
	receipt Receipt
	// user is 0 when a chat is erased. chats are the ids of the chats whose messages go.
	user  int64
	chats []int64
	// polls are the ids of the polls that were in messages which went, now or in an erasure before.
	polls []string
}

func (w *erasure) run(ctx context.Context, step func(done, of int)) error {
	if err := w.record(ctx); err != nil {
		return err
	}
	days, err := w.days(ctx)
	if err != nil {
		return err
	}
	steps := []func(context.Context) error{w.eraseMessages, w.eraseState, w.eraseMentions, w.eraseEvents, w.eraseDeadLetters}
	for _, day := range days {
		steps = append(steps, func(ctx context.Context) error { return w.eraseDay(ctx, day) })
	}
	for i, erase := range steps {
		step(i, len(steps))
		if err := erase(ctx); err != nil {
			return err
		}
	}
	step(len(steps), len(steps))
	return w.sign(ctx)
}

// record commits who is erased. Every batch reads the table before it writes; the lock has it committed after those that have read it,
// so that what they wrote is there to be removed.
func (w *erasure) record(ctx context.Context) error {
	subject := w.receipt.Subject
	return w.db.write(ctx, func(tx *gorm.DB) error {
		if w.db.dialect == onPostgres {
			if err := inOrder(tx, eraseWait, "LOCK TABLE erasures IN ACCESS EXCLUSIVE MODE"); err != nil {
				return err
			}
		}
		w.chats = []int64{subject.ID}
		if subject.Kind == UserSubject {
			w.user = subject.ID
		} else if err := tx.Raw(idsOfChat, subject.ID).Scan(&w.chats).Error; err != nil {
			return err
		}
		slices.Sort(w.chats)
		for _, id := range w.chats {
			var row struct {
				ID       int64
				ErasedAt instant
			}
			err := tx.Raw(w.insert()+" RETURNING id, erased_at", string(subject.Kind), strconv.FormatInt(id, 10), w.mover.Who, w.mover.Reason).
				Scan(&row).Error
			if err != nil {
				return err
			}
			w.receipt.ID, w.receipt.ErasedAt = row.ID, row.ErasedAt.Time
		}
		w.receipt.IDs = w.chats
		return tx.Raw("SELECT subject_id FROM erasures WHERE subject = ?", pollSubject).Scan(&w.polls).Error
	})
}

// insert returns the statement that records one subject.
func (w *erasure) insert() string {
	return "INSERT INTO erasures (subject, subject_id, erased_at, who, reason) VALUES (?, ?, " + w.db.dialect.clockTime() + ", ?, ?)"
}

// recordPolls commits that polls are erased, with the messages that show them.
func (w *erasure) recordPolls(tx *gorm.DB, polls []string) error {
	for _, id := range polls {
		if err := tx.Exec(w.insert(), pollSubject, id, w.mover.Who, w.mover.Reason).Error; err != nil {
			return err
		}
	}
	w.polls = append(w.polls, polls...)
	return nil
}

// sign keeps the receipt with its record.
func (w *erasure) sign(ctx context.Context) error {
	removed, err := json.Marshal(w.receipt.Rows)
	if err != nil {
		panic(fmt.Sprintf("store: names and numbers always marshal: %v", err))
	}
	return w.db.write(ctx, func(tx *gorm.DB) error {
		return tx.Exec("UPDATE erasures SET removed = ? WHERE id = ?", string(removed), w.receipt.ID).Error
	})
}

// exec runs a statement and counts the rows of table that it changed.
func (w *erasure) exec(tx *gorm.DB, table, statement string, args ...any) error {
	result := tx.Exec(statement, args...)
	w.count(table, int(result.RowsAffected))
	return result.Error
}

func (w *erasure) count(table string, rows int) {
	if rows > 0 {
		w.receipt.Rows[table] += rows
	}
}

// eraseMessages removes the messages of the subject with all that belongs to them, some at a time. How others reacted to them stays theirs.
func (w *erasure) eraseMessages(ctx context.Context) error {
	for {
		removed := 0
		err := w.db.write(ctx, func(tx *gorm.DB) error {
			keys, polls, err := w.nextMessages(tx)
			removed = len(keys)
			if err != nil || removed == 0 {
				return err
			}
			if err := w.recordPolls(tx, polls); err != nil {
				return err
			}
			if err := w.removeEvents(tx, keys, polls); err != nil {
				return err
			}
			return w.removeMessages(ctx, tx, keys)
		})
		if err != nil || removed == 0 {
			return err
		}
	}
}

// nextMessages returns the keys of messages that are left, and the ids of the polls among them.
func (w *erasure) nextMessages(tx *gorm.DB) (keys []content.MessageKey, polls []string, err error) {
	var rows []struct {
		Scope     content.Scope
		ChatID    content.ChatID
		MessageID content.MessageID
		PollID    string
	}
	err = tx.Raw(`SELECT scope, chat_id, message_id, CASE WHEN kind = 'poll' THEN coalesce(content ->> 'id', '') ELSE '' END AS poll_id
		FROM messages WHERE chat_id IN ? OR sender_chat_id IN ? OR forward_chat_id IN ? OR from_id = ? OR forward_from_id = ?
		ORDER BY scope, chat_id, message_id LIMIT ?`,
		w.chats, w.chats, w.chats, numberOrNull(w.user), numberOrNull(w.user), erasedMessages).Scan(&rows).Error
	for _, row := range rows {
		keys = append(keys, content.MessageKey{Scope: row.Scope, ChatID: row.ChatID, MessageID: row.MessageID})
		if row.PollID != "" {
			polls = append(polls, row.PollID)
		}
	}
	return keys, polls, err
}

func (w *erasure) removeMessages(ctx context.Context, tx *gorm.DB, keys []content.MessageKey) error {
	quotes := statement[content.MessageKey]{
		name: "empty quotes", dialect: w.db.dialect, columns: messageKeyColumns[1:], tail: ")",
		head: "UPDATE messages SET quote = NULL WHERE quote IS NOT NULL AND " +
			among(w.db.dialect, messageKeyColumns[1:], "coalesce(reply_to_chat_id, chat_id)", "reply_to_message_id"),
	}
	emptied, err := quotes.exec(ctx, tx.Statement.ConnPool, keys)
	if err != nil {
		return err
	}
	w.count("messages", emptied)
	for _, table := range []string{"messages", "message_revisions", "media", "media_files"} {
		gone := remove(w.db.dialect, table, messageKeyColumns)
		n, err := gone.exec(ctx, tx.Statement.ConnPool, keys)
		if err != nil {
			return err
		}
		w.count(table, n)
	}
	return nil
}

// removeEvents removes the events about messages and polls, which nothing names any more once they went. Those of a whole chat are
// found by its id later.
func (w *erasure) removeEvents(tx *gorm.DB, keys []content.MessageKey, polls []string) error {
	var subjects []string
	for _, key := range keys {
		if !slices.Contains(w.chats, int64(key.ChatID)) {
			subjects = append(subjects, event.Subject(key))
		}
	}
	for _, id := range polls {
		subjects = append(subjects, event.PollSubject(id))
	}
	if len(subjects) == 0 {
		return nil
	}
	return w.exec(tx, "platform_events", "DELETE FROM platform_events WHERE subject IN ?", subjects)
}

// eraseState removes what the subject is and did.
func (w *erasure) eraseState(ctx context.Context) error {
	user := numberOrNull(w.user)
	polls := w.polls
	if len(polls) == 0 {
		polls = []string{""}
	}
	return w.db.write(ctx, func(tx *gorm.DB) error {
		if err := w.giveUpHoles(tx); err != nil {
			return err
		}
		for _, s := range []struct {
			table, rows string
			args        []any
		}{
			{"reactions", "actor_id = ? OR actor_id IN ? OR chat_id IN ?", []any{user, w.chats, w.chats}},
			{"reaction_counts", "chat_id IN ?", []any{w.chats}},
			{"memberships", "user_id = ? OR chat_id IN ?", []any{user, w.chats}},
			{"poll_answers", "voter_id = ? OR voter_id IN ? OR poll_id IN ?", []any{user, w.chats, polls}},
			{"polls", "id IN ?", []any{polls}},
			{"interactions", "from_id = ? OR chat_id IN ?", []any{user, w.chats}},
			{"business_connections", "user_id = ? OR user_chat_id IN ?", []any{user, w.chats}},
			{"chat_boosts", "user_id = ? OR chat_id IN ?", []any{user, w.chats}},
			{"backfills", "chat_id IN ?", []any{w.chats}},
			{"holes", "chat_id IN ?", []any{w.chats}},
			{"access_hashes", "peer = ? OR peer IN ?", []any{user, w.chats}},
			{"chats", "id IN ?", []any{w.chats}},
			{"users", "id = ?", []any{user}},
		} {
			if err := w.exec(tx, s.table, "DELETE FROM "+s.table+" WHERE "+s.rows, s.args...); err != nil {
				return err
			}
		}
		return w.exec(tx, "memberships", "UPDATE memberships SET actor_id = NULL WHERE actor_id = ?", user)
	})
}

// giveUpHoles closes the holes of which nothing would be read any more once the backfills of the subject's chats are gone.
func (w *erasure) giveUpHoles(tx *gorm.DB) error {
	return tx.Exec(`UPDATE holes SET status = 'given_up', closed_at = `+w.db.dialect.clockTime()+` WHERE status = 'open'
		AND EXISTS (SELECT 1 FROM backfills WHERE hole_id = holes.id AND chat_id IN ?)
		AND NOT EXISTS (SELECT 1 FROM backfills WHERE hole_id = holes.id AND chat_id NOT IN ? AND ended_at IS NULL)`, w.chats, w.chats).Error
}

// mentions are the columns in which others may tell of the subject: who joined, a contact, a pinned message, an invite link.
var mentions = []struct{ table, column string }{
	{"messages", "content"},
	{"messages", "rest"},
	{"memberships", "rest"},
	{"polls", "rest"},
	{"poll_answers", "rest"},
	{"interactions", "rest"},
	{"business_connections", "rest"},
	{"chat_boosts", "rest"},
}

// eraseMentions empties what others tell of the subject by its id.
func (w *erasure) eraseMentions(ctx context.Context) error {
	for _, m := range mentions {
		err := w.db.write(ctx, func(tx *gorm.DB) error {
			named, args := w.naming("CAST("+m.column+" AS text)", nil)
			return w.exec(tx, m.table, "UPDATE "+m.table+" SET "+m.column+" = NULL WHERE "+m.column+" IS NOT NULL AND "+named, args...)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eraseEvents removes the events that name the subject. Their data are ids and dates, whose names are fixed.
func (w *erasure) eraseEvents(ctx context.Context) error {
	ids := w.chats
	return w.db.write(ctx, func(tx *gorm.DB) error {
		for _, name := range []string{"chat_id", "migrated_to_chat_id", "user_id", "from_id", "actor_id", "voter_id", "account_id"} {
			err := w.exec(tx, "platform_events", "DELETE FROM platform_events WHERE CAST(data ->> '"+name+"' AS bigint) IN ?", ids)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *erasure) eraseDeadLetters(ctx context.Context) error {
	return w.db.write(ctx, func(tx *gorm.DB) error {
		named, args := w.bytesNaming("payload", w.polls)
		return w.exec(tx, "dead_letters", "DELETE FROM dead_letters WHERE "+named, args...)
	})
}

// days returns the days that the ledger has.
func (w *erasure) days(ctx context.Context) (days []string, err error) {
	err = w.db.read(ctx).Raw("SELECT CAST(day AS text) FROM (" + ledgerDays + ") AS days WHERE day IS NOT NULL ORDER BY day").Scan(&days).Error
	return days, classify(err)
}

// eraseDay empties the updates of one day that name the subject. What says that the update is known stays, and no event leaves when
// it comes again.
func (w *erasure) eraseDay(ctx context.Context, day string) error {
	return w.db.write(ctx, func(tx *gorm.DB) error {
		named, args := w.bytesNaming("payload", w.polls)
		args = append([]any{w.chats, []byte{}, day, w.chats}, args...)
		return w.exec(tx, "updates", `UPDATE updates SET chat_id = CASE WHEN chat_id IN ? THEN NULL ELSE chat_id END, payload = ?, request = NULL
			WHERE day = ? AND length(payload) > 0 AND (coalesce(chat_id, 0) IN ? OR `+named+")", args...)
	})
}
