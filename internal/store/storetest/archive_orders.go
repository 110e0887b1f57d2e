package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
)

// came is an update that account has received, by default the first bot, some time after the first one came.
type came struct {
	raw     string
	after   time.Duration
	account int64
}

// The message of most orders, as it was sent, and with what comes before its edits.
const (
	inGroup  = `"message_id":7,"date":1772366398,"chat":{"id":-1001234567890,"type":"supergroup","title":"Pier"},"from":{"id":5,"first_name":"Wren"}`
	original = `{"update_id":10,"message":{` + inGroup + `,"text":"a"}}`
	week     = 8 * 24 * time.Hour
)

// awkward are updates that come in any order and must land right, with what the archive shows of them then.
var awkward = map[string]struct {
	updates []came
	want    string
}{
	"edits in one second": {
		updates: []came{
			{raw: original},
			{raw: `{"update_id":11,"edited_message":{` + inGroup + `,"edit_date":1772366400,"text":"b"}}`},
			{raw: `{"update_id":12,"edited_message":{` + inGroup + `,"edit_date":1772366400,"text":"c"}}`},
		},
		want: "7 text c; revisions: text a, text b, text c; chat.updated, message.created, message.revised, message.revised, message.revised",
	},
	"edits without edit_date": {
		updates: []came{
			{raw: original},
			{raw: `{"update_id":11,"edited_message":{` + inGroup + `,"text":"b"}}`},
			{raw: `{"update_id":12,"edited_message":{` + inGroup + `,"text":"c"}}`},
		},
		want: "7 text c; revisions: text a, text b, text c; chat.updated, message.created, message.revised, message.revised, message.revised",
	},
	"edits without edit_date around a jump of update ids": {
		updates: []came{
			{raw: original},
			{raw: `{"update_id":900,"edited_message":{` + inGroup + `,"text":"b"}}`},
			{raw: `{"update_id":3,"edited_message":{` + inGroup + `,"text":"c"}}`, after: week},
		},
		want: "7 text c; revisions: text a, text b, text c; chat.updated, message.created, message.revised, message.revised, message.revised",
	},
	"an edit of the keyboard alone": {
		updates: []came{
			{raw: original},
			{raw: `{"update_id":11,"edited_message":{` + inGroup + `,"edit_date":1772366400,"text":"a","reply_markup":{"inline_keyboard":[[` +
				`{"text":"yes","callback_data":"1"}]]}}}`},
		},
		want: "7 text a; revisions: text a; chat.updated, message.created, message.revised",
	},
	"an edit that only says that reactions changed": {
		updates: []came{
			{raw: original},
			{raw: `{"update_id":11,"edited_message":{` + inGroup + `,"edit_date":1772366400,"text":"a"}}`},
			{raw: `{"update_id":12,"edited_message":{` + inGroup + `,"edit_date":1772366409,"text":"a"}}`},
		},
		want: "7 text a; revisions: text a; chat.updated, message.created, message.revised",
	},
	"an edit that turns text into media, and another that replaces them": {
		updates: []came{
			{raw: original},
			{raw: `{"update_id":11,"edited_message":{` + inGroup + `,"edit_date":1772366400,"caption":"a","photo":[` +
				`{"file_id":"f1","file_unique_id":"u1","width":9,"height":9}]}}`},
			{raw: `{"update_id":12,"edited_message":{` + inGroup + `,"edit_date":1772366409,"caption":"a","video":` +
				`{"file_id":"f2","file_unique_id":"u2","width":9,"height":9,"duration":1}}}`},
		},
		want: "7 video a with u2; revisions: text a, photo a, video a; " +
			"chat.updated, message.created, message.revised, message.revised, message.revised",
	},
	"a stale edit": {
		updates: []came{
			{raw: `{"update_id":12,"edited_message":{` + inGroup + `,"edit_date":1772366409,"text":"c"}}`},
			{raw: `{"update_id":13,"edited_message":{` + inGroup + `,"edit_date":1772366400,"text":"b"}}`},
			{raw: original},
		},
		want: "7 text c; revisions: text a, text b, text c; chat.updated, message.created, message.revised, message.revised, message.revised",
	},
	"a content that comes back": {
		updates: []came{
			{raw: original},
			{raw: `{"update_id":11,"edited_message":{` + inGroup + `,"edit_date":1772366400,"text":"b"}}`},
			{raw: `{"update_id":12,"edited_message":{` + inGroup + `,"edit_date":1772366409,"text":"a"}}`},
		},
		want: "7 text a; revisions: text a, text b; chat.updated, message.created, message.revised, message.revised",
	},
	"a reaction and its message": {
		updates: []came{
			{raw: original},
			{raw: `{"update_id":11,"message_reaction":{"chat":{"id":-1001234567890,"type":"supergroup","title":"Pier"},"message_id":7,` +
				`"user":{"id":5,"first_name":"Wren"},"date":1772366400,"old_reaction":[],"new_reaction":[{"type":"emoji","emoji":"👍"}]}}`},
			{raw: `{"update_id":12,"message_reaction":{"chat":{"id":-1001234567890,"type":"supergroup","title":"Pier"},"message_id":7,` +
				`"user":{"id":5,"first_name":"Wren"},"date":1772366400,"old_reaction":[{"type":"emoji","emoji":"👍"}],"new_reaction":[]}}`},
		},
		want: "7 text a; revisions: text a; reaction to 7 taken back; " +
			"chat.updated, message.created, message.revised, reaction.changed, reaction.changed",
	},
	"repeats, one of them on another day": {
		updates: []came{{raw: original}, {raw: original}, {raw: original, after: 30 * time.Hour}},
		want:    "7 text a; revisions: text a; chat.updated, message.created, message.revised",
	},
	"a message that two accounts see": {
		updates: []came{
			{raw: original},
			{raw: `{"update_id":77,"message":{` + inGroup + `,"text":"a"}}`, account: otherBot},
			{raw: `{"update_id":78,"edited_message":{` + inGroup + `,"edit_date":1772366400,"text":"b"}}`, account: otherBot},
		},
		want: "7 text b; revisions: text a, text b; chat.updated, message.created, message.revised, message.revised",
	},
	"an album, and one of the same id in another chat": {
		updates: []came{
			{raw: `{"update_id":1,"message":{"message_id":1,"date":1772366398,"chat":{"id":-1001,"type":"group"},"media_group_id":"9",` +
				`"photo":[{"file_id":"f1","file_unique_id":"u1","width":9,"height":9}]}}`},
			{raw: `{"update_id":2,"message":{"message_id":2,"date":1772366398,"chat":{"id":-1001,"type":"group"},"media_group_id":"9",` +
				`"photo":[{"file_id":"f2","file_unique_id":"u2","width":9,"height":9}]}}`},
			{raw: `{"update_id":3,"message":{"message_id":3,"date":1772366398,"chat":{"id":-1002,"type":"group"},"media_group_id":"9",` +
				`"photo":[{"file_id":"f3","file_unique_id":"u3","width":9,"height":9}]}}`},
		},
		want: "3 photo with u3 in album 9 of -1002; 1 photo with u1 in album 9 of -1001; 2 photo with u2 in album 9 of -1001; " +
			"revisions: photo, photo, photo; " +
			"chat.updated, chat.updated, message.created, message.created, message.created, message.revised, message.revised, message.revised",
	},
	"a deletion and its message": {
		updates: []came{
			{raw: `{"update_id":1,"business_message":{"message_id":1,"business_connection_id":"c","date":1772366398,` +
				`"chat":{"id":5,"type":"private","first_name":"Wren"},"text":"a"}}`},
			{raw: `{"update_id":2,"edited_business_message":{"message_id":1,"business_connection_id":"c","date":1772366398,` +
				`"edit_date":1772366400,"chat":{"id":5,"type":"private","first_name":"Wren"},"text":"b"}}`},
			{raw: `{"update_id":3,"deleted_business_messages":{"business_connection_id":"c","chat":{"id":5,"type":"private","first_name":"Wren"},` +
				`"message_ids":[1]}}`, after: time.Hour},
		},
		want: "1 text b, deleted; revisions: text a, text b; message.created, message.deleted, message.revised, message.revised",
	},
	"both ends of a migration": {
		updates: []came{
			{raw: `{"update_id":1,"message":{"message_id":1,"date":1772366398,"chat":{"id":-77,"type":"group","title":"Pier"},` +
				`"migrate_to_chat_id":-1001234567890}}`},
			{raw: `{"update_id":2,"message":{"message_id":1,"date":1772366399,"chat":{"id":-1001234567890,"type":"supergroup","title":"Pier"},` +
				`"migrate_from_chat_id":-77}}`},
		},
		want: "1 migrate_from_chat_id; 1 migrate_to_chat_id; revisions: migrate_to_chat_id, migrate_from_chat_id; " +
			"-77 is -1001234567890; " +
			"chat.migrated, chat.updated, chat.updated, message.created, message.created, message.revised, message.revised",
	},
	"a poll that is closed": {
		updates: []came{
			{raw: `{"update_id":1,"poll":{"id":"p","question":"when?","options":[],"total_voter_count":1,"is_closed":false}}`},
			{raw: `{"update_id":2,"poll":{"id":"p","question":"when?","options":[],"total_voter_count":2,"is_closed":true}}`},
			{raw: `{"update_id":3,"poll":{"id":"p","question":"when?","options":[],"total_voter_count":1,"is_closed":false}}`},
		},
		want: "poll of 2; poll.updated, poll.updated",
	},
	"memberships that change within a second": {
		updates: []came{
			{raw: member(1, "left", "member")},
			{raw: member(2, "member", "administrator")},
			{raw: member(3, "administrator", "left")},
		},
		want: "5 is left; chat.updated, member.changed, member.changed, member.changed",
	},
}

func member(id int, before, now string) string {
	return fmt.Sprintf(`{"update_id":%d,"chat_member":{"chat":{"id":-1001234567890,"type":"supergroup","title":"Pier"},"from":{"id":5,"first_name":"Wren"},`+
		`"date":1772366400,"old_chat_member":{"user":{"id":5,"first_name":"Wren"},"status":%q},"new_chat_member":{"user":{"id":5,"first_name":"Wren"},"status":%q}}}`,
		id, before, now)
}

func awkwardOrdersLandRight(t *testing.T, a *archive) {
	a.hurry(t)
	for name, order := range awkward {
		var changes []content.ChangeSet
		for _, update := range order.updates {
			if update.account == 0 {
				update.account = someBot
			}
			changes = append(changes, read(t, update.account, received.Add(update.after), update.raw))
		}
		for way, shuffled := range permutations(changes) {
			a.clear(t)
			a.apply(t, shuffled...)
			require.Equal(t, order.want, a.story(t), "%s, in one batch, %d", name, way)
			a.clear(t)
			for _, change := range shuffled {
				a.apply(t, change)
			}
			require.Equal(t, order.want, a.story(t), "%s, one by one, %d", name, way)
		}
	}
}

// permutations returns all orders of changes.
func permutations(changes []content.ChangeSet) (orders [][]content.ChangeSet) {
	if len(changes) == 0 {
		return [][]content.ChangeSet{nil}
	}
	for _, shorter := range permutations(changes[1:]) {
		for i := range changes {
			orders = append(orders, slices.Insert(slices.Clone(shorter), i, changes[0]))
		}
	}
	return orders
}

// story tells in short what the archive shows.
func (a *archive) story(t *testing.T) string {
	t.Helper()
	list := func(query, separator string) string {
		var lines []string
		a.each(t, query, func(scan func(...any) error) error {
			var line string
			err := scan(&line)
			lines = append(lines, strings.TrimSpace(line))
			return err
		})
		return strings.Join(lines, separator)
	}
	var parts []string
	for _, part := range []string{
		list(`SELECT m.message_id || ' ' || m.kind || CASE WHEN text = '' THEN '' ELSE ' ' || text END
			|| coalesce(' with ' || (SELECT max(file_unique_id) FROM media f
				WHERE (f.scope, f.chat_id, f.message_id) = (m.scope, m.chat_id, m.message_id)), '')
			|| coalesce(' in album ' || media_group_id || ' of ' || m.chat_id, '')
			|| CASE WHEN deleted_at IS NULL THEN '' ELSE ', deleted' END
			FROM messages m ORDER BY m.scope, m.chat_id, m.message_id`, "; "),
		"revisions: " + list("SELECT kind || ' ' || text FROM message_revisions ORDER BY version", ", "),
		list("SELECT 'reaction to ' || message_id || ' ' || CASE WHEN CAST(reactions AS text) = '[]' THEN 'taken back' ELSE 'given' END FROM reactions", "; "),
		list("SELECT 'poll of ' || total_voter_count FROM polls", "; "),
		list("SELECT user_id || ' is ' || status FROM memberships", "; "),
		list("SELECT chat_id || ' is ' || migrated_to_chat_id FROM chat_aliases", "; "),
		list("SELECT type FROM platform_events ORDER BY type", ", "),
	} {
		if part != "" && part != "revisions: " {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "; ")
}
