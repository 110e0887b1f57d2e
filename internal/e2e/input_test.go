package e2e_test

import (
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newFront starts a fleet with an api, a worker and two bots.
func newFront(t testing.TB) *fleet {
	t.Helper()
	f := newFleet(t)
	f.addBots(people[0].token, people[1].token)
	f.startAPI()
	f.startWorker()
	return f
}

const maxBodySizeBytes = 1 << 20

// padded returns an update whose bytes are exactly size many.
func padded(updateID, size int) string {
	update := fmt.Sprintf(`{"update_id":%d,"poll":{"id":"5","question":"`, updateID)
	const end = `"}}`
	return update + strings.Repeat("x", size-len(update)-len(end)) + end
}

// deep returns an update with so many objects inside one another.
func deep(updateID, levels int) string {
	return fmt.Sprintf(`{"update_id":%d,"message_from_the_future":%s0%s}`,
		updateID, strings.Repeat(`{"in":`, levels-1), strings.Repeat("}", levels-1))
}

// TestAPITurnsAwayWhatIsNoUpdateOfABot asks for every answer but 200, over the wire.
func TestAPITurnsAwayWhatIsNoUpdateOfABot(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	first, second := f.bots[0], f.bots[1]
	hook := first.WebhookPath
	for _, c := range []struct {
		name, method, path, secret, body string
		want                             int
	}{
		{"no secret", "POST", hook, "", hello(1), 401},
		{"a wrong secret", "POST", hook, "x" + first.Secret, hello(1), 401},
		{"another bot's secret", "POST", hook, second.Secret, hello(1), 401},
		{"a wrong secret, before the size", "POST", hook, "wrong", padded(1, maxBodySizeBytes+1), 401},
		{"an unknown bot", "POST", "/telegram/webhook/nobody", first.Secret, hello(1), 404},
		{"Telegram's id of the bot", "POST", "/telegram/webhook/" + strconv.FormatInt(first.BotID, 10), first.Secret, hello(1), 404},
		{"the bot's token", "POST", "/telegram/webhook/" + first.token, first.Secret, hello(1), 404},
		{"no bot", "POST", "/telegram/webhook/", first.Secret, hello(1), 404},
		{"GET", "GET", hook, first.Secret, "", 405},
		{"HEAD", "HEAD", hook, first.Secret, "", 405},
		{"PUT", "PUT", hook, first.Secret, hello(1), 405},
		{"DELETE of an unknown bot", "DELETE", "/telegram/webhook/nobody", "", "", 405},
		{"a byte over 1 MiB", "POST", hook, first.Secret, padded(1, maxBodySizeBytes+1), 413},
		{"a slash at the start", "POST", "/" + hook, first.Secret, hello(1), 404},
		{"a slash in the middle", "POST", strings.Replace(hook, "webhook/", "webhook//", 1), first.Secret, hello(1), 404},
		{"a slash in the prefix", "POST", strings.Replace(hook, "telegram/", "telegram//", 1), first.Secret, hello(1), 404},
		{"a slash at the end", "POST", hook + "/", first.Secret, hello(1), 404},
		{"the prefix without its slash", "POST", "/telegram/webhook", first.Secret, hello(1), 404},
		{"a way out of the prefix", "POST", "/telegram/webhook/../../metrics", first.Secret, hello(1), 404},
		{"another way into the prefix", "POST", "/health/.." + hook, first.Secret, hello(1), 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			request := f.request(c.method, f.api.url+c.path, c.body)
			if c.secret != "" {
				request.Header.Set(secretHeader, c.secret)
			}
			// A client that is still writing when the answer comes may miss it; this one waits before it sends its body.
			request.Header.Set("Expect", "100-continue")
			got, err := do(request)
			require.NoError(t, err)
			require.Equal(t, c.want, got.status, "Location %q, body %q", got.header.Get("Location"), got.body)
			if c.want == http.StatusMethodNotAllowed {
				require.Equal(t, "POST", got.header.Get("Allow"))
			}
		})
	}
	t.Run("a byte over 1 MiB whose length nobody told", func(t *testing.T) {
		request := f.request(http.MethodPost, f.api.url+hook, "")
		request.Body, request.ContentLength = io.NopCloser(strings.NewReader(padded(1, maxBodySizeBytes+1))), -1
		request.Header.Set(secretHeader, first.Secret)
		got, err := do(request)
		require.NoError(t, err)
		require.Equal(t, http.StatusRequestEntityTooLarge, got.status)
	})

	// What came after all this shows that nothing of it was taken.
	body := hello(2)
	require.Equal(t, http.StatusOK, f.send(first, body))
	f.settled(time.Minute)
	require.Equal(t, map[ledgerKey]ledgerRow{
		{source: first.source(), updateID: 2, payload: body}: {kind: "message", chatID: 4242},
	}, f.db.ledger())
	require.Zero(t, f.db.count("SELECT count(*) FROM dead_letters"))
}

// TestStrangeUpdatesEndWhereTheyShould posts what Telegram should not send but might, and finds each again, byte for byte.
func TestStrangeUpdatesEndWhereTheyShould(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	const chat = `"chat":{"id":4242,"type":"private","first_name":"Ada"},"date":1700000000`
	cases := []struct {
		name, body string
		// kind is what the ledger calls it; empty when it becomes a dead letter of the class.
		kind, class string
		updateID    int64
		// text is what the archive makes of it, when it makes a message of it, which has the update's id then.
		text string
	}{
		{name: "empty", body: "", class: "not_json"},
		{name: "not JSON", body: "update_id=7", class: "not_json"},
		{name: "cut off", body: `{"update_id":11,"message":{`, class: "not_json", updateID: 11},
		{name: "bytes that are no text", body: "\xff\xfe\x00\x01", class: "not_json"},
		{name: "an array", body: `[{"update_id":12}]`, class: "not_object"},
		{name: "null", body: `null`, class: "not_object"},
		{name: "a number", body: `13`, class: "not_object"},
		{name: "no update_id", body: `{"message":{"message_id":1,` + chat + `,"text":"nobody"}}`, class: "no_update_id"},
		{name: "update_id as text", body: `{"update_id":"14","poll":{"id":"5"}}`, class: "malformed"},
		{name: "a negative update_id", body: `{"update_id":-15,"poll":{"id":"5"}}`, class: "malformed"},
		{name: "an update_id over 64 bits", body: `{"update_id":18446744073709551616,"poll":{"id":"5"}}`, class: "malformed"},
		{
			name: "a message without a date", body: `{"update_id":16,"message":{"message_id":1,"chat":{"id":4242,"type":"private"},"text":"x"}}`,
			class: "malformed", updateID: 16,
		},
		{
			name: "a chat id over 64 bits", body: `{"update_id":17,"message":{"message_id":1,"chat":{"id":9223372036854775808},"date":1}}`,
			class: "malformed", updateID: 17,
		},
		{name: "20,000 levels deep", body: deep(18, 20_000), class: "too_deep", updateID: 18},
		{
			name: "U+0000", body: `{"update_id":21,"message":{"message_id":21,` + chat + `,"text":"a\u0000b"}}`,
			kind: "message", updateID: 21, text: "a\uFFFDb",
		},
		{
			name: "lone surrogates", body: `{"update_id":22,"message":{"message_id":22,` + chat + `,"text":"a\ud83d b\udc00"}}`,
			kind: "message", updateID: 22, text: "a\uFFFD b\uFFFD",
		},
		{name: "2,000 levels deep", body: deep(23, 2_000), kind: "message_from_the_future", updateID: 23},
		{
			name: "duplicate keys", body: `{"update_id":1,"update_id":24,"message":{"message_id":24,` + chat + `,"text":"first","text":"last"}}`,
			kind: "message", updateID: 24, text: "last",
		},
		{
			name: "a whole message twice", body: `{"update_id":25,"message":5,"message":{"message_id":25,` + chat + `,"text":"the second"}}`,
			kind: "message", updateID: 25, text: "the second",
		},
		{
			name: "ids over 2^53", body: `{"update_id":9007199254740993,"message":{"message_id":9007199254740993,` +
				`"chat":{"id":9007199254740997,"type":"private"},"date":1700000000,"text":"large"}}`,
			kind: "message", updateID: 9007199254740993, text: "large",
		},
		{name: "an unknown kind", body: `{"update_id":26,"telepathy":{"chat":{"id":4242},"thought":"?"}}`, kind: "telepathy", updateID: 26},
		{name: "a kind that is no name", body: `{"update_id":27,"<b>Robert'); DROP TABLE updates;--":{}}`, kind: "unknown", updateID: 27},
		{
			name: "unknown fields", body: `{"update_id":28,"message":{"message_id":28,` + chat + `,"text":"known","aura":{"colour":["red"]}},"x":null}`,
			kind: "message", updateID: 28, text: "known",
		},
		{name: "names in another case", body: `{"update_id":29,"Message":{"text":"x"}}`, kind: "unknown", updateID: 29},
		{name: "spaces around", body: " \n{\"update_id\":30,\"poll\":{\"id\":\"5\"}}\r\n ", kind: "poll", updateID: 30},
		{name: "1 MiB exactly", body: padded(31, maxBodySizeBytes), kind: "poll", updateID: 31},
		{name: "an id and nothing else", body: `{"update_id":32}`, kind: "unknown", updateID: 32},
	}
	letters := 0
	for _, c := range cases {
		require.Equal(t, http.StatusOK, f.send(f.bots[0], c.body), c.name)
		if c.class != "" {
			letters++
		}
	}
	f.settled(time.Minute)
	kept, dead := f.db.contents(), f.db.deadLetters()
	require.Len(t, dead, letters)
	require.Len(t, kept.ledger, len(cases)-letters)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			source := f.bots[0].source()
			if c.class != "" {
				letter := dead[c.body]
				require.Equal(t, deadRow{id: letter.id, source: source, updateID: c.updateID, class: c.class}, letter)
				require.Equal(t, c.body, tool(t, f.env, "dead", "show", strconv.FormatInt(letter.id, 10), "--raw"))
				return
			}
			row := kept.ledger[ledgerKey{source: source, updateID: c.updateID, payload: c.body}]
			require.Equal(t, c.kind, row.kind)
			id := strconv.FormatInt(c.updateID, 10)
			require.Equal(t, c.body, tool(t, f.env, "updates", "show", id, "--source", source, "--raw"))
			if c.text != "" {
				key := messageKey{scope: f.bots[0].BotID, chatID: row.chatID, messageID: c.updateID}
				require.Equal(t, c.text, kept.messages[key].text)
			}
		})
	}
	require.Contains(t, kept.messages, messageKey{scope: f.bots[0].BotID, chatID: 9007199254740997, messageID: 9007199254740993})
}

// deadRow is a dead letter as the database has it.
type deadRow struct {
	id       int64
	source   string
	updateID int64
	class    string
}

// deadLetters returns the dead letters by their bytes.
func (a *archive) deadLetters() map[string]deadRow {
	a.t.Helper()
	letters := map[string]deadRow{}
	a.each("SELECT id, source, update_id, class, payload FROM dead_letters", func(rows *sql.Rows) error {
		var row deadRow
		var payload []byte
		err := rows.Scan(&row.id, &row.source, &row.updateID, &row.class, &payload)
		letters[string(payload)] = row
		return err
	})
	return letters
}
