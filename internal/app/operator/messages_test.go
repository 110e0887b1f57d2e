package operator_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
)

// receive applies updates of the Bot API as a worker would.
func (d *desk) receive(updates ...string) {
	d.t.Helper()
	for i, raw := range updates {
		change, err := botapi.New().Normalise(ingest.Envelope{
			Source: ingest.Source{Transport: ingest.BotAPI, Account: 7000000001}, ReceivedAt: time.Unix(1_790_000_000+int64(i), 0),
			Origin: ingest.Live, Format: ingest.BotAPIJSON, Raw: []byte(raw),
		})
		require.NoError(d.t, err, raw)
		_, err = d.db.Archive().Apply(d.t.Context(), content.Batch{Changes: []content.ChangeSet{change}})
		require.NoError(d.t, err)
	}
}

const (
	oldID = `{"id":-1500,"type":"group","title":"Birds"}`
	newID = `{"id":-1001500,"type":"supergroup","title":"Birds"}`
)

// birds is a group that becomes a supergroup, with an album on both sides.
func birds() []string {
	message := func(id, seconds int, chat, rest string) string {
		return fmt.Sprintf(`{"update_id":%d,"message":{"message_id":%d,"date":%d,"chat":%s,"from":{"id":77,"is_bot":false,"first_name":"Ann"},%s}}`,
			1000+seconds, id, 1_790_000_000+seconds, chat, rest)
	}
	photo := func(name string) string {
		return `"media_group_id":"13579","photo":[{"file_id":"x` + name + `","file_unique_id":"` + name + `","width":90,"height":60}]`
	}
	return []string{
		message(41, 1, oldID, `"text":"a wren\nand \u001b[2Janother"`),
		message(42, 2, oldID, photo("first")),
		message(43, 3, oldID, `"migrate_to_chat_id":-1001500`),
		message(1, 4, newID, `"migrate_from_chat_id":-1500`),
		message(2, 5, newID, photo("second")),
		message(3, 6, newID, `"text":"where?","reply_to_message":{"message_id":2,"date":1790000005,"chat":`+newID+`}`),
		`{"update_id":2000,"deleted_business_messages":{"business_connection_id":"b","chat":{"id":9,"type":"private"},"message_ids":[5]}}`,
	}
}

func TestMessagesAreListedUnderAllIDsOfTheirChat(t *testing.T) {
	t.Parallel()
	d := setup(t)
	d.receive(birds()...)
	for _, chat := range []string{"-1500", "-1001500"} {
		stdout, stderr, err := d.tool(t.Context(), "messages", "list", "--chat", chat)
		require.NoError(t, err)
		require.Equal(t, "This chat has had the ids -1001500 -1500.\n", stderr)
		lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
		require.Len(t, lines, 7)
		for i, want := range [][]string{
			{"DATE", "CHAT", "MESSAGE"},
			{"2026-09-21 14:13:26", "-1001500", "3", "77", "text", `"where?", reply to 2`},
			{"-1001500", "2", "photo", "photo second, album 13579"},
			{"-1001500", "1"},
			{"-1500", "43"},
			{"-1500", "42", "photo first, album 13579"},
			{"-1500", "41", `"a wren\nand \x1b[2Janother"`},
		} {
			for _, part := range want {
				require.Contains(t, lines[i], part)
			}
		}
	}
	stdout, _, err := d.tool(t.Context(), "messages", "list", "--chat", "-1500", "--album", "13579", "--json")
	require.NoError(t, err)
	var album []map[string]any
	for decoder := json.NewDecoder(strings.NewReader(stdout)); decoder.More(); {
		var line map[string]any
		require.NoError(t, decoder.Decode(&line))
		album = append(album, line)
	}
	require.Len(t, album, 2)
	require.InDelta(t, -1001500, album[0]["chat_id"], 0)
	require.InDelta(t, -1500, album[1]["chat_id"], 0)
	require.Equal(t, []any{map[string]any{"kind": "photo", "file_unique_id": "first", "width": 90., "height": 60.}}, album[1]["media"])

	tail, _, err := d.tool(t.Context(), "updates", "tail", "--chat", "-1500", "--json")
	require.NoError(t, err)
	require.Equal(t, 6, strings.Count(tail, "\n"), "updates are found in the same way")
}

func TestMessagesAreListedPageByPage(t *testing.T) {
	t.Parallel()
	d := setup(t)
	d.receive(birds()...)
	var listed []string
	more := []string{}
	for range 3 {
		stdout, stderr, err := d.tool(t.Context(), append([]string{"messages", "list", "--chat", "-1500", "--limit", "2"}, more...)...)
		require.NoError(t, err)
		listed = append(listed, strings.Split(strings.TrimSpace(stdout), "\n")[1:]...)
		_, place, found := strings.Cut(stderr, "There may be more: ")
		require.True(t, found)
		more = strings.Fields(place)
	}
	require.Len(t, listed, 6)
	require.Contains(t, listed[5], "a wren")
	_, stderr, err := d.tool(t.Context(), append([]string{"messages", "list", "--chat", "-1500"}, more...)...)
	require.NoError(t, err)
	require.Contains(t, stderr, "The archive has no such message.")
}

func TestADeletedMessageIsListedAsDeleted(t *testing.T) {
	t.Parallel()
	d := setup(t)
	d.receive(birds()...)
	stdout, stderr, err := d.tool(t.Context(), "messages", "list", "--chat", "9")
	require.NoError(t, err)
	require.Empty(t, stderr)
	require.Regexp(t, `(?m)^-\s+9\s+5\s+-\s+-\s+deleted 2026-09-21 14:13:26$`, stdout)
	stdout, _, err = d.tool(t.Context(), "messages", "list", "--chat", "9", "--json")
	require.NoError(t, err)
	require.Contains(t, stdout, `"deleted_at":"2026-09-21T14:13:26Z"`)
	require.NotContains(t, stdout, `"date"`)
}

func TestMessagesSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	d := setup(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{}, "--chat is missing: want the id of a chat"},
		{[]string{"--chat", "birds"}, "birds"},
		{[]string{"--chat", "1", "--limit", "0"}, "--limit 0: want a number from 1 to 10000"},
		{[]string{"--chat", "1", "--before", "yesterday"}, `--before "yesterday": want <time>/<scope>/<chat id>/<message id>`},
		{[]string{"1"}, "unknown command"},
	} {
		_, _, err := d.tool(t.Context(), append([]string{"messages", "list"}, c.args...)...)
		require.ErrorContains(t, err, c.want)
	}
	_, stderr, err := d.tool(t.Context(), "messages", "list", "--chat", "1")
	require.NoError(t, err)
	require.Equal(t, "The archive has no such message.\n", stderr)
}
