package botapi_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
)

func TestAPhotoIsItsLargestSizeWhereverItStands(t *testing.T) {
	t.Parallel()
	size := func(id string, width, height, bytes int) string {
		return `{"file_id":"f` + id + `","file_unique_id":"` + id + `","width":` + strconv.Itoa(width) + `,"height":` + strconv.Itoa(height) +
			`,"file_size":` + strconv.Itoa(bytes) + `}`
	}
	for name, sizes := range map[string][]string{
		"first":                 {size("L", 1280, 960, 9), size("s", 90, 67, 1), size("m", 320, 240, 3)},
		"in the middle":         {size("s", 90, 67, 1), size("L", 1280, 960, 9), size("m", 320, 240, 3)},
		"last":                  {size("s", 90, 67, 1), size("m", 320, 240, 3), size("L", 1280, 960, 9)},
		"by area, not by width": {size("w", 1300, 100, 99), size("L", 800, 960, 9)},
		"by bytes when equal":   {size("a", 800, 600, 5), size("L", 600, 800, 6), size("b", 800, 600, 4)},
		"beyond 32 bits":        {size("a", 40_000, 40_000, 1), size("L", 100_000, 50_000, 1)},
		"one":                   {size("L", 1, 1, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := acceptedMessage(t, `"photo":[`+strings.Join(sizes, ",")+`]`)
			require.Len(t, m.Media, 1)
			require.Equal(t, "photo", m.Media[0].Kind)
			require.Equal(t, "L", m.Media[0].FileUniqueID)
			require.Equal(t, "fL", m.Media[0].FileID)
		})
	}
}

func TestAFieldThatComesAlongForOldClientsIsNoSecondFile(t *testing.T) {
	t.Parallel()
	for kind, members := range map[content.MessageKind]string{
		"animation":  `"document":{"file_id":"a","file_unique_id":"u"},"animation":{"file_id":"a","file_unique_id":"u","duration":3}`,
		"live_photo": `"photo":[{"file_id":"p","file_unique_id":"w"}],"live_photo":{"file_id":"a","file_unique_id":"u","duration":3}`,
	} {
		m := acceptedMessage(t, members)
		require.Equal(t, kind, m.Kind)
		require.Equal(t, []content.Media{{Kind: string(kind), FileID: "a", FileUniqueID: "u", Duration: 3 * time.Second}}, m.Media)
	}
}

func TestWhatNamesNoFileIsNoMedia(t *testing.T) {
	t.Parallel()
	for kind, members := range map[content.MessageKind]string{
		"photo": `"photo":[]`,
		"video": `"video":{"file_id":"a"}`,
		"paid_media": `"paid_media":{"star_count":1,"paid_media":[{"type":"preview","width":3,"height":4},` +
			`{"type":"photo","photo":[]},{"type":"hologram"}]}`,
	} {
		m := acceptedMessage(t, members)
		require.Equal(t, kind, m.Kind)
		require.Empty(t, m.Media)
	}
}

func TestAServiceFieldCountsOnlyWhenItSaysYes(t *testing.T) {
	t.Parallel()
	for members, want := range map[string]content.MessageKind{
		`"delete_chat_photo":true`:                           "delete_chat_photo",
		`"delete_chat_photo":false,"video_chat_started":{}`:  "video_chat_started",
		`"poll":null,"forum_topic_closed":{}`:                "forum_topic_closed",
		`"poll":null`:                                        "unknown",
		`"location":{"latitude":1},"venue":{"title":"Gate"}`: "venue",
		`"text":"","dice":{"value":4}`:                       "dice",
		`"migrate_to_chat_id":-1001894420716`:                "migrate_to_chat_id",
	} {
		require.Equal(t, want, acceptedMessage(t, members).Kind, members)
	}
}

func TestTheScopeSaysWhoseNumberingAMessageIDBelongsTo(t *testing.T) {
	t.Parallel()
	for chat, want := range map[string]content.Scope{
		`{"id":5839201744,"type":"private"}`:        account,
		`{"id":-482016733,"type":"group"}`:          account,
		`{"id":-1001894420716,"type":"supergroup"}`: content.ScopeShared,
		`{"id":-1001551209334,"type":"channel"}`:    content.ScopeShared,
		// Types that nobody knows yet, or none: the id tells.
		`{"id":5839201744,"type":"monologue"}`:      account,
		`{"id":-482016733,"type":"gathering"}`:      account,
		`{"id":-999999999999,"type":"gathering"}`:   account,
		`{"id":-1000000000001,"type":"gigagroup"}`:  content.ScopeShared,
		`{"id":-1001894420716}`:                     content.ScopeShared,
		`{"id":-1001894420716,"type":"Supergroup"}`: content.ScopeShared,
	} {
		cs := accepted(t, `{"update_id":31,"message":{"message_id":7,"date":1789345201,"chat":`+chat+`}}`)
		require.Equal(t, want, cs.Messages[0].Key.Scope, chat)
	}
}

func TestABusinessConnectionIsAScopeOfItsOwn(t *testing.T) {
	t.Parallel()
	scope := func(connection string) content.Scope {
		return acceptedMessage(t, `"business_connection_id":"`+connection+`"`).Key.Scope
	}
	require.Negative(t, scope("Zk3v"))
	require.Greater(t, scope("Zk3v"), content.Scope(-1<<62-1), "62 bits")
	require.Equal(t, scope("Zk3v"), scope("Zk3v"))
	require.NotEqual(t, scope("Zk3v"), scope("Zk3w"))
}

func TestOneVersionStampsEverythingThatAnUpdateSays(t *testing.T) {
	t.Parallel()
	const editDate = `"edit_date":1789345260,`
	sent, edited := time.Unix(1789345201, 0), time.Unix(1789345260, 0)
	undated := content.Stamp{Date: sent, Edit: true, Undated: envelope(nil).ReceivedAt}
	for name, test := range map[string]struct {
		kind, editDate string
		want           content.Stamp
	}{
		"an original":                   {"message", "", content.Stamp{Date: sent}},
		"an original post":              {"channel_post", "", content.Stamp{Date: sent}},
		"an edit":                       {"edited_message", editDate, content.Stamp{Date: edited, Edit: true}},
		"an edited post":                {"edited_channel_post", editDate, content.Stamp{Date: edited, Edit: true}},
		"an edit without a date":        {"edited_message", "", undated},
		"an edited post without a date": {"edited_channel_post", `"edit_date":0,`, undated},
		"edited before its delivery":    {"message", editDate, content.Stamp{Date: edited, Edit: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := `{"update_id":31,"` + test.kind + `":{"message_id":7,"date":1789345201,` + test.editDate +
				`"chat":{"id":-1001894420716,"type":"supergroup"},"from":{"id":5,"first_name":"Wren","language_code":"en"}}}`
			test.want.Source = ingest.Source{Transport: ingest.BotAPI, Account: account}
			test.want.Sequence = 31
			test.want.Hash = ingest.HashOf([]byte(body))
			test.want.Normaliser = normalise.Version
			want := content.NewVersion(test.want)

			cs := accepted(t, body)
			require.Equal(t, want, cs.Messages[0].Version)
			require.Equal(t, want, cs.Chats[0].Version)
			require.Equal(t, want, cs.Users[0].Version)
			require.Equal(t, want, cs.Users[0].LanguageVersion)
		})
	}
}

func TestAUserWithoutALanguageSaysNothingOfIt(t *testing.T) {
	t.Parallel()
	cs := accepted(t, messageUpdate(`"from":{"id":5,"first_name":"Wren"}`))
	require.Empty(t, cs.Users[0].LanguageVersion)
	require.NotEmpty(t, cs.Users[0].Version)
}

func TestEveryUserStandsThereOnce(t *testing.T) {
	t.Parallel()
	t.Run("with the language from wherever it is told", func(t *testing.T) {
		t.Parallel()
		cs := accepted(t, messageUpdate(`"text":"Wren","via_bot":{"id":6,"is_bot":true,"first_name":"Bot"},`+
			`"from":{"id":5,"first_name":"Wren"},"entities":[{"type":"text_mention","offset":0,"length":4,`+
			`"user":{"id":5,"first_name":"Wren","language_code":"en"}}]`))
		require.Len(t, cs.Users, 2)
		require.Equal(t, content.UserID(5), cs.Users[0].ID)
		require.Equal(t, "en", cs.Users[0].LanguageCode)
		require.Equal(t, cs.Users[0].Version, cs.Users[0].LanguageVersion)
	})
	t.Run("however many there are", func(t *testing.T) {
		t.Parallel()
		var members []string
		for i := range 200 {
			members = append(members, `{"id":`+strconv.Itoa(1+i%100)+`,"first_name":"N"}`)
		}
		cs := accepted(t, messageUpdate(`"new_chat_members":[`+strings.Join(members, ",")+`],"left_chat_member":{"id":100}`))
		require.Len(t, cs.Users, 100)
		for i, u := range cs.Users {
			require.Equal(t, content.UserID(1+i), u.ID)
		}
	})
}

func TestTheLastSecondFitsEveryColumn(t *testing.T) {
	t.Parallel()
	cs := accepted(t, `{"update_id":31,"message":{"message_id":7,"date":253402300799,"chat":{"id":5,"type":"private"}}}`)
	require.Equal(t, "9999-12-31T23:59:59Z", cs.Messages[0].Date.Format(time.RFC3339))
}

func TestMessagesThatShareAnIDHaveScopesOfTheirOwn(t *testing.T) {
	t.Parallel()
	const chat = `"date":1789345201,"chat":{"id":-1001894420716,"type":"supergroup"}`
	keys := map[content.MessageKey]string{}
	for name, update := range map[string]string{
		"ordinary":            `{"update_id":1,"message":{"message_id":7,` + chat + `}}`,
		"ephemeral":           `{"update_id":1,"message":{"message_id":0,"ephemeral_message_id":7,` + chat + `}}`,
		"business":            `{"update_id":1,"business_message":{"message_id":7,"business_connection_id":"A",` + chat + `}}`,
		"of another business": `{"update_id":1,"business_message":{"message_id":7,"business_connection_id":"B",` + chat + `}}`,
		"guest":               `{"update_id":1,"guest_message":{"message_id":7,"guest_query_id":"A",` + chat + `}}`,
		"of another query":    `{"update_id":1,"guest_message":{"message_id":7,"guest_query_id":"B",` + chat + `}}`,
	} {
		cs := accepted(t, update)
		require.Len(t, cs.Messages, 1, name)
		key := cs.Messages[0].Key
		require.Equal(t, content.MessageID(7), key.MessageID, name)
		require.Equal(t, content.ChatID(-1001894420716), key.ChatID, name)
		require.LessOrEqual(t, key.Scope, content.ScopeShared, name)
		require.NotContains(t, keys, key, name)
		keys[key] = name
	}
}

func TestADeletionNamesTheMessagesThatTheConnectionShowed(t *testing.T) {
	t.Parallel()
	const chat = `"business_connection_id":"A","chat":{"id":5,"type":"private","first_name":"Wren"}`
	shown := accepted(t, `{"update_id":1,"business_message":{"message_id":7,"date":1789345201,`+chat+`}}`)
	gone := accepted(t, `{"update_id":2,"deleted_business_messages":{"message_ids":[7,9],`+chat+`}}`)
	require.Empty(t, gone.Messages)
	require.Len(t, gone.Deletions, 2)
	require.Equal(t, shown.Messages[0].Key, gone.Deletions[0].Key)
	require.Equal(t, gone.Update.Envelope.ReceivedAt, gone.Deletions[0].DeletedAt)
	require.Equal(t, content.ChatID(5), gone.Update.ChatID)
	require.Less(t, gone.Chats[0].Version, shown.Chats[0].Version, "what is dated knows the chat better")
}

func TestJSONIsKeptInOneWay(t *testing.T) {
	t.Parallel()
	reaction := func(emoji string) string {
		return `{"update_id":31,"message_reaction":{"chat":{"id":5,"type":"private"},"message_id":1,"user":{"id":5},"date":1795000000,` +
			`"new_reaction":[ {"type":"emoji","emoji":"` + emoji + `"}]}}`
	}
	plain, escaped := accepted(t, reaction("❤")), accepted(t, reaction(`\u2764`))
	require.Equal(t, content.JSON(`[{"type":"emoji","emoji":"❤"}]`), plain.Reactions[0].Reactions)
	require.Equal(t, plain.Reactions[0].Reactions, escaped.Reactions[0].Reactions)
}
