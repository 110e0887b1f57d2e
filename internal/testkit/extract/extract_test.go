package extract_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/glebarez/go-sqlite" // the driver of SQLite files
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/store"
)

var postgres = localtest.Postgres{Migrate: migrate}

func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Around(m)) }

func migrate(ctx context.Context, url string) error {
	db, err := store.Open(ctx, seal.Secret(url), store.Options{})
	if err != nil {
		return err
	}
	return errors.Join(db.Migrate(ctx), db.Close())
}

// account is the bot that receives all fixtures.
const account = 7_301_558_204

// fixtures are the updates that the normaliser is tested with: of every kind, and with every content.
const fixtures = "../../normalise/botapi/testdata/"

// answer is what an update says, by extract.py or by the archive's tables. What it does not say is zero.
type answer struct {
	UpdateID             int64    `json:"update_id"`
	Kind                 string   `json:"kind"`
	Scope                int64    `json:"scope"`
	ChatID               int64    `json:"chat_id"`
	MessageID            int64    `json:"message_id"`
	MessageIDs           []int64  `json:"message_ids"` // of the messages that are gone
	BusinessConnectionID string   `json:"business_connection_id"`
	FromID               int64    `json:"from_id"`
	SenderChatID         int64    `json:"sender_chat_id"`
	Date                 int64    `json:"date"`
	EditDate             int64    `json:"edit_date"`
	Content              string   `json:"content"`
	Text                 string   `json:"text"`
	Entities             []entity `json:"entities"`
	Files                []file   `json:"files"`
	FileUniqueID         string   `json:"file_unique_id"` // of the largest file
	MediaGroupID         string   `json:"media_group_id"`
	ReplyToChatID        int64    `json:"reply_to_chat_id"`
	ReplyToMessageID     int64    `json:"reply_to_message_id"`
	Quote                string   `json:"quote"`
	MessageThreadID      int64    `json:"message_thread_id"`
	IsTopicMessage       bool     `json:"is_topic_message"`
	MigrateToChatID      int64    `json:"migrate_to_chat_id"`
	MigrateFromChatID    int64    `json:"migrate_from_chat_id"`
}

type entity struct {
	Type           string `json:"type"`
	Offset         int64  `json:"offset"`
	Length         int64  `json:"length"`
	URL            string `json:"url"`
	UserID         int64  `json:"user_id"`
	Language       string `json:"language"`
	CustomEmojiID  string `json:"custom_emoji_id"`
	UnixTime       int64  `json:"unix_time"`
	DateTimeFormat string `json:"date_time_format"`
}

type file struct {
	Kind         string `json:"kind"`
	FileUniqueID string `json:"file_unique_id"`
}

func TestArchiveSaysOfEveryFixtureWhatTheSecondOpinionSays(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob(fixtures + "*/*.json")
	require.NoError(t, err)
	want := secondOpinion(t, names)
	requireEveryQuestionAsked(t, want)
	for name, open := range map[string]func(*testing.T) *archive{"postgres": openPostgres, "sqlite": openSQLite} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := open(t)
			for i, fixture := range names {
				t.Run(strings.TrimPrefix(fixture, fixtures), func(t *testing.T) {
					body, err := os.ReadFile(fixture)
					require.NoError(t, err)
					a.holdOnly(t, body)
					require.Equal(t, want[i], a.answer(t))
				})
			}
		})
	}
}

// secondOpinion returns what extract.py says of the files.
func secondOpinion(t *testing.T, names []string) []answer {
	t.Helper()
	python, err := exec.LookPath("python3")
	require.NoError(t, err, "this test runs extract.py: please install python3 (its standard library is enough)")
	command := exec.CommandContext(t.Context(), python,
		append([]string{"-B", "extract.py", strconv.FormatInt(account, 10)}, names...)...)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	out, err := command.Output()
	require.NoError(t, err, complaints.String())
	var answers []answer
	for line := range strings.Lines(string(out)) {
		dec := json.NewDecoder(strings.NewReader(line))
		dec.DisallowUnknownFields()
		var one answer
		require.NoError(t, dec.Decode(&one))
		answers = append(answers, one)
	}
	require.Len(t, answers, len(names), "an answer for each fixture")
	return answers
}

// requireEveryQuestionAsked makes sure that no field is zero in all fixtures, for then nobody would have looked at it.
func requireEveryQuestionAsked(t *testing.T, answers []answer) {
	t.Helper()
	asked := map[string]bool{}
	note := func(v reflect.Value) {
		for i := range v.NumField() {
			name := v.Type().Name() + "." + v.Type().Field(i).Name
			asked[name] = asked[name] || !v.Field(i).IsZero()
		}
	}
	for _, a := range answers {
		note(reflect.ValueOf(a))
		for _, e := range a.Entities {
			note(reflect.ValueOf(e))
		}
	}
	for name, ever := range asked {
		require.True(t, ever, "no fixture tells of %s", name)
	}
}

// archive is a store, and its database as SQL shows it.
type archive struct {
	store *store.Archive
	pool  *sql.DB
	// seconds turns a column with a time into Unix time.
	seconds func(column string) string
}

func openPostgres(t *testing.T) *archive {
	url := postgres.Database(t)
	return openArchive(t, url, "pgx", url, func(column string) string { return "extract(epoch FROM " + column + ")::bigint" })
}

func openSQLite(t *testing.T) *archive {
	path := filepath.Join(t.TempDir(), "test.db")
	require.NoError(t, migrate(t.Context(), "sqlite:"+path))
	dsn := "file:" + (&url.URL{Path: path}).EscapedPath() + "?_pragma=busy_timeout(10000)"
	return openArchive(t, "sqlite:"+path, "sqlite", dsn, func(column string) string { return "unixepoch(" + column + ")" })
}

func openArchive(t *testing.T, url, driver, dsn string, seconds func(string) string) *archive {
	t.Helper()
	db, err := store.Open(t.Context(), seal.Secret(url), store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	pool, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	return &archive{store: db.Archive(), pool: pool, seconds: seconds}
}

// received is when all fixtures were.
var received = time.Date(2026, time.September, 14, 9, 30, 0, 0, time.UTC)

// tables are all that an update can write to.
var tables = []string{
	"updates", "chats", "users", "messages", "message_revisions", "media", "media_files", "memberships", "reactions", "reaction_counts",
	"polls", "poll_answers", "interactions", "business_connections", "chat_boosts", "chat_aliases", "platform_events",
}

// holdOnly empties the archive and lets it take in the update.
func (a *archive) holdOnly(t *testing.T, body []byte) {
	t.Helper()
	for _, table := range tables {
		_, err := a.pool.ExecContext(t.Context(), "DELETE FROM "+table)
		require.NoError(t, err)
	}
	changes, err := botapi.New().Normalise(ingest.Envelope{
		Source: ingest.Source{Transport: ingest.BotAPI, Account: account}, ReceivedAt: received, Origin: ingest.Live,
		Format: ingest.BotAPIJSON, Raw: body,
	})
	require.NoError(t, err)
	_, err = a.store.Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{changes}})
	require.NoError(t, err)
}

// answer reads what the archive says of the one update that it holds.
func (a *archive) answer(t *testing.T) answer {
	t.Helper()
	var told answer
	require.Equal(t, 1, a.each(t, "SELECT update_id, kind, coalesce(chat_id, 0) FROM updates", func(rows *sql.Rows) error {
		return rows.Scan(&told.UpdateID, &told.Kind, &told.ChatID)
	}))
	things := a.message(t, &told) + a.happening(t, &told)
	require.LessOrEqual(t, things, 1, "an update tells of one message or of one thing beside messages")
	a.media(t, &told)
	a.deletions(t, &told)
	a.migration(t, &told)
	return told
}

func (a *archive) message(t *testing.T, told *answer) int {
	return a.each(t, `SELECT scope, chat_id, message_id, coalesce(business_connection_id, ''), coalesce(from_id, 0), coalesce(sender_chat_id, 0),
			`+a.seconds("date")+`, coalesce(`+a.seconds("edit_date")+`, 0), kind, text, coalesce(entities, '[]'), coalesce(media_group_id, ''),
			coalesce(reply_to_chat_id, 0), coalesce(reply_to_message_id, 0), coalesce(quote, ''), coalesce(message_thread_id, 0), is_topic_message
		FROM messages WHERE date IS NOT NULL`, func(rows *sql.Rows) error {
		var entities []byte
		inChat := told.ChatID
		err := rows.Scan(&told.Scope, &told.ChatID, &told.MessageID, &told.BusinessConnectionID, &told.FromID, &told.SenderChatID,
			&told.Date, &told.EditDate, &told.Content, &told.Text, &entities, &told.MediaGroupID,
			&told.ReplyToChatID, &told.ReplyToMessageID, &told.Quote, &told.MessageThreadID, &told.IsTopicMessage)
		require.NoError(t, err)
		require.Equal(t, inChat, told.ChatID, "the ledger and the message name one chat")
		require.NoError(t, json.Unmarshal(entities, &told.Entities))
		if len(told.Entities) == 0 {
			told.Entities = nil
		}
		return nil
	})
}

// happening reads what is no message: of each such table the columns that answer the same questions. An actor is a user, or a chat,
// whose id is negative. An interaction without a date has the time of receipt, which Telegram did not tell.
func (a *archive) happening(t *testing.T, told *answer) int {
	undated := "nullif(" + a.seconds("date") + ", " + strconv.FormatInt(received.Unix(), 10) + ")"
	query := `SELECT scope, chat_id, message_id, from_id, 0, ` + undated + ` FROM interactions
		UNION ALL SELECT 0, chat_id, 0, actor_id, 0, ` + a.seconds("date") + ` FROM memberships
		UNION ALL SELECT scope, chat_id, message_id, ` + above("actor_id") + `, ` + below("actor_id") + `, ` + a.seconds("date") + ` FROM reactions
		UNION ALL SELECT scope, chat_id, message_id, 0, 0, ` + a.seconds("date") + ` FROM reaction_counts
		UNION ALL SELECT 0, ` + below("voter_id") + `, 0, ` + above("voter_id") + `, ` + below("voter_id") + `, 0 FROM poll_answers
		UNION ALL SELECT 0, user_chat_id, 0, user_id, 0, ` + a.seconds("date") + ` FROM business_connections
		UNION ALL SELECT 0, chat_id, 0, user_id, 0, coalesce(` + a.seconds("add_date") + `, ` + a.seconds("removed_at") + `) FROM chat_boosts`
	return a.each(t, query, func(rows *sql.Rows) error {
		var chatID, messageID, fromID, senderChatID, date sql.NullInt64
		require.NoError(t, rows.Scan(&told.Scope, &chatID, &messageID, &fromID, &senderChatID, &date))
		require.Equal(t, told.ChatID, chatID.Int64, "the ledger names the same chat")
		told.MessageID, told.FromID, told.SenderChatID, told.Date = messageID.Int64, fromID.Int64, senderChatID.Int64, date.Int64
		return nil
	})
}

// above and below return a column's value where it is of that side of zero, and 0 elsewhere.
func above(column string) string {
	return "CASE WHEN " + column + " > 0 THEN " + column + " ELSE 0 END"
}

func below(column string) string {
	return "CASE WHEN " + column + " < 0 THEN " + column + " ELSE 0 END"
}

func (a *archive) media(t *testing.T, told *answer) {
	a.each(t, "SELECT kind, file_unique_id FROM media ORDER BY ordinal", func(rows *sql.Rows) error {
		var one file
		defer func() { told.Files = append(told.Files, one) }()
		return rows.Scan(&one.Kind, &one.FileUniqueID)
	})
	a.each(t, "SELECT file_unique_id FROM media ORDER BY coalesce(size_bytes, 0) DESC, ordinal LIMIT 1", func(rows *sql.Rows) error {
		return rows.Scan(&told.FileUniqueID)
	})
}

func (a *archive) deletions(t *testing.T, told *answer) {
	a.each(t, `SELECT scope, message_id, business_connection_id FROM messages WHERE deleted_at IS NOT NULL ORDER BY message_id`,
		func(rows *sql.Rows) error {
			var id int64
			defer func() { told.MessageIDs = append(told.MessageIDs, id) }()
			return rows.Scan(&told.Scope, &id, &told.BusinessConnectionID)
		})
}

// migration reads the two ids of a chat; the chat that the message stood in knew its own already.
func (a *archive) migration(t *testing.T, told *answer) {
	a.each(t, "SELECT chat_id, migrated_to_chat_id FROM chat_aliases", func(rows *sql.Rows) error {
		var from, to int64
		require.NoError(t, rows.Scan(&from, &to))
		if from == told.ChatID {
			told.MigrateToChatID = to
			return nil
		}
		require.Equal(t, told.ChatID, to)
		told.MigrateFromChatID = from
		return nil
	})
}

// each calls scan for every row that the query returns, and returns how many there were.
func (a *archive) each(t *testing.T, query string, scan func(*sql.Rows) error) (count int) {
	t.Helper()
	rows, err := a.pool.QueryContext(t.Context(), query)
	require.NoError(t, err)
	defer func() { require.NoError(t, rows.Close()) }()
	for ; rows.Next(); count++ {
		require.NoError(t, scan(rows))
	}
	require.NoError(t, rows.Err())
	return count
}
