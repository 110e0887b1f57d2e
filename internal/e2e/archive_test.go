package e2e_test

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	_ "github.com/glebarez/go-sqlite" // the driver of SQLite files
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
)

// The rows of the archive, as far as the tests look at them. Keys and values are plain, so that what is there can be compared with
// what must be there.
type (
	// ledgerKey is an update as it came. That each is there once, whatever its day, is looked at apart.
	ledgerKey struct {
		source   string
		updateID int64
		payload  string
	}
	ledgerRow struct {
		kind   string
		chatID int64
	}
	messageKey struct{ scope, chatID, messageID int64 }
	messageRow struct {
		kind, text, entities           string
		fromID, senderChatID, threadID int64
		replyToMessageID               int64
		mediaGroupID                   string
		date, editDate                 int64
	}
	// revisionKey is one content that a message has had, as far as message_revisions tells; several contents may look the
	// same in it, when they differ in their files.
	revisionKey struct {
		messageKey
		kind, text, entities string
		date                 int64
	}
	mediaKey struct {
		messageKey
		ordinal int
	}
	mediaRow struct{ kind, fileUniqueID string }
	eventKey struct{ kind, subject, contentHash string }
	// stateKey is a row of one of the tables beside those of messages, by its table and the columns of its key.
	stateKey struct{ table, key string }
)

// contents is what the database holds, or should hold.
type contents struct {
	ledger    map[ledgerKey]ledgerRow
	messages  map[messageKey]messageRow
	revisions map[revisionKey]int
	media     map[mediaKey]mediaRow
	events    map[eventKey]int
	// state holds of each row what shows which update it is from.
	state map[stateKey]string
	chats map[int64]bool
	users map[int64]bool
}

func newContents() contents {
	return contents{
		ledger: map[ledgerKey]ledgerRow{}, messages: map[messageKey]messageRow{}, revisions: map[revisionKey]int{},
		media: map[mediaKey]mediaRow{}, events: map[eventKey]int{}, state: map[stateKey]string{},
		chats: map[int64]bool{}, users: map[int64]bool{},
	}
}

// archive reads a fleet's database, past all code of the fleet.
type archive struct {
	t    testing.TB
	pool *sql.DB
	// seconds turns a column with a time into Unix time.
	seconds func(column string) string
}

func openPostgres(t testing.TB, url string) *archive {
	return openArchive(t, "pgx", url, func(column string) string { return "extract(epoch FROM " + column + ")::bigint" })
}

func openSQLite(t testing.TB, path string) *archive {
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)"
	return openArchive(t, "sqlite", dsn, func(column string) string { return "unixepoch(" + column + ")" })
}

func openArchive(t testing.TB, driver, dsn string, seconds func(string) string) *archive {
	t.Helper()
	pool, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	return &archive{t: t, pool: pool, seconds: seconds}
}

// readWithin bounds the reading of one table; a long run fills it.
const readWithin = 10 * time.Minute

// each calls scan for every row that the query returns.
func (a *archive) each(query string, scan func(rows *sql.Rows) error) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	rows, err := a.pool.QueryContext(ctx, query)
	require.NoError(a.t, err)
	defer func() { require.NoError(a.t, rows.Close()) }()
	for rows.Next() {
		require.NoError(a.t, scan(rows))
	}
	require.NoError(a.t, rows.Err())
}

// number returns the one number that the query asks for.
func (a *archive) number(ctx context.Context, query string) (n int, err error) {
	err = a.pool.QueryRowContext(ctx, query).Scan(&n)
	return n, err
}

// count returns the one number that the query asks for, which must be there.
func (a *archive) count(query string) int {
	a.t.Helper()
	n, err := a.number(context.Background(), query)
	require.NoError(a.t, err)
	return n
}

// spoolEmpty returns nil when nothing waits in the spool.
func (a *archive) spoolEmpty(ctx context.Context) error {
	rows, err := a.number(ctx, "SELECT count(*) FROM spool")
	if err == nil && rows > 0 {
		err = fmt.Errorf("%d batches in the spool", rows)
	}
	return err
}

// ledger reads the ledger. It fails when an update is there twice, for a reason other than that it came on two days.
func (a *archive) ledger() map[ledgerKey]ledgerRow {
	a.t.Helper()
	ledger := map[ledgerKey]ledgerRow{}
	total := 0
	a.each("SELECT source, update_id, payload, kind, COALESCE(chat_id, 0) FROM updates", func(rows *sql.Rows) error {
		var key ledgerKey
		var payload []byte
		var row ledgerRow
		err := rows.Scan(&key.source, &key.updateID, &payload, &row.kind, &row.chatID)
		key.payload = string(payload)
		ledger[key] = row
		total++
		return err
	})
	if days := a.count("SELECT count(DISTINCT day) FROM updates"); days <= 1 {
		require.Len(a.t, ledger, total, "updates are in the ledger twice")
	}
	return ledger
}

// contents reads the whole archive.
func (a *archive) contents() contents {
	a.t.Helper()
	c := newContents()
	c.ledger = a.ledger()
	a.readMessages(&c)
	a.readMedia(&c)
	a.readRevisions(&c)
	a.readEvents(&c)
	a.readState(&c)
	a.each("SELECT id FROM chats", func(rows *sql.Rows) error { return addID(rows, c.chats) })
	a.each("SELECT id FROM users", func(rows *sql.Rows) error { return addID(rows, c.users) })
	return c
}

func addID(rows *sql.Rows, ids map[int64]bool) error {
	var id int64
	err := rows.Scan(&id)
	ids[id] = true
	return err
}

func (a *archive) readMessages(c *contents) {
	a.t.Helper()
	query := `SELECT scope, chat_id, message_id, kind, text, COALESCE(entities, '[]'), COALESCE(from_id, 0),
		COALESCE(sender_chat_id, 0), COALESCE(message_thread_id, 0), COALESCE(reply_to_message_id, 0), COALESCE(media_group_id, ''),
		` + a.seconds("date") + `, COALESCE(` + a.seconds("edit_date") + `, 0) FROM messages`
	a.each(query, func(rows *sql.Rows) error {
		var key messageKey
		var row messageRow
		var entities []byte
		err := rows.Scan(&key.scope, &key.chatID, &key.messageID, &row.kind, &row.text, &entities, &row.fromID, &row.senderChatID,
			&row.threadID, &row.replyToMessageID, &row.mediaGroupID, &row.date, &row.editDate)
		row.entities = storedEntities(a.t, entities)
		c.messages[key] = row
		return err
	})
}

func (a *archive) readMedia(c *contents) {
	a.t.Helper()
	a.each("SELECT scope, chat_id, message_id, ordinal, kind, file_unique_id FROM media", func(rows *sql.Rows) error {
		var key mediaKey
		var row mediaRow
		err := rows.Scan(&key.scope, &key.chatID, &key.messageID, &key.ordinal, &row.kind, &row.fileUniqueID)
		c.media[key] = row
		return err
	})
}

// readRevisions reads the revisions, and which events they ask for.
func (a *archive) readRevisions(c *contents) {
	a.t.Helper()
	query := "SELECT scope, chat_id, message_id, kind, text, COALESCE(entities, '[]'), " + a.seconds("date") + " FROM message_revisions"
	a.each(query, func(rows *sql.Rows) error {
		var key revisionKey
		var entities []byte
		err := rows.Scan(&key.scope, &key.chatID, &key.messageID, &key.kind, &key.text, &entities, &key.date)
		key.entities = storedEntities(a.t, entities)
		c.revisions[key]++
		return err
	})
}

// storedEntities returns entities as canonicalEntities writes them.
func storedEntities(t testing.TB, stored []byte) string {
	t.Helper()
	var entities []entity
	require.NoError(t, json.Unmarshal(stored, &entities))
	return canonicalEntities(t, entities)
}

func (a *archive) readEvents(c *contents) {
	a.t.Helper()
	a.each("SELECT type, subject, data FROM platform_events", func(rows *sql.Rows) error {
		var key eventKey
		var data []byte
		if err := rows.Scan(&key.kind, &key.subject, &data); err != nil {
			return err
		}
		var fields map[string]any
		if err := json.Unmarshal(data, &fields); err != nil {
			return err
		}
		key.contentHash, _ = fields["content_hash"].(string)
		for _, name := range eventFields {
			delete(fields, name)
		}
		require.Empty(a.t, fields, "an event names things and holds nothing of what people wrote")
		if key.kind == "interaction.received" {
			key.subject = key.subject[:strings.LastIndexByte(key.subject, '/')] // the update's hash
		}
		c.events[key]++
		return nil
	})
}

// eventFields are the names that the data of events may have.
var eventFields = []string{
	"scope", "chat_id", "message_id", "date", "origin", "content_hash", "user_id", "actor_id", "old_status", "status", "is_member", "total_count",
	"poll_id", "voter_id", "is_closed", "total_voter_count", "kind", "update_id", "from_id", "migrated_to_chat_id",
	"type", "profile_hash",
}

// stateQueries give the key of each row of a table, and what shows which update it is from.
var stateQueries = map[string]string{
	"memberships":     "SELECT chat_id || '/' || user_id, status FROM memberships",
	"reactions":       "SELECT scope || '/' || chat_id || '/' || message_id || '/' || actor_id, CAST(reactions AS text) FROM reactions",
	"reaction_counts": "SELECT scope || '/' || chat_id || '/' || message_id, CAST(total_count AS text) FROM reaction_counts",
	"polls":           "SELECT id, question FROM polls",
	"poll_answers":    "SELECT poll_id || '/' || voter_id, CAST(option_ids AS text) FROM poll_answers",
	"interactions":    "SELECT source || '/' || update_id, kind || ' ' || from_id || ' ' || COALESCE(message_id, 0) FROM interactions",
	"chat_aliases":    "SELECT chat_id || '/' || migrated_to_chat_id, '' FROM chat_aliases",
}

func (a *archive) readState(c *contents) {
	a.t.Helper()
	for table, query := range stateQueries {
		a.each(query, func(rows *sql.Rows) error {
			key := stateKey{table: table}
			var value string
			err := rows.Scan(&key.key, &value)
			c.state[key] = strings.ReplaceAll(value, " ", "")
			return err
		})
	}
}

// eventsOfRevisions returns the events that the messages and revisions which are there ask for: one for each message, and one
// for each content.
func (a *archive) eventsOfRevisions(messages map[messageKey]messageRow) map[eventKey]int {
	a.t.Helper()
	events := map[eventKey]int{}
	for key := range messages {
		events[eventKey{kind: "message.created", subject: key.subject()}] = 1
	}
	a.each("SELECT scope, chat_id, message_id, content_hash FROM message_revisions", func(rows *sql.Rows) error {
		var key messageKey
		var hash []byte
		err := rows.Scan(&key.scope, &key.chatID, &key.messageID, &hash)
		events[eventKey{kind: "message.revised", subject: key.subject(), contentHash: hex.EncodeToString(hash)}] = 1
		return err
	})
	return events
}

func (k messageKey) subject() string {
	return fmt.Sprintf("messages/%d/%d/%d", k.scope, k.chatID, k.messageID)
}
