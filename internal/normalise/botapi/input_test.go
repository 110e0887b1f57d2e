package botapi_test

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
)

// accepted normalises body, which must be an update.
func accepted(t *testing.T, body string) content.ChangeSet {
	t.Helper()
	cs, err := botapi.New().Normalise(envelope([]byte(body)))
	require.NoError(t, err)
	require.Equal(t, body, string(cs.Update.Envelope.Raw), "the ledger keeps the bytes as they came")
	return cs
}

// acceptedMessage normalises a message update whose message has the members given besides its id, date and chat.
func acceptedMessage(t *testing.T, members string) content.Message {
	t.Helper()
	cs := accepted(t, messageUpdate(members))
	require.Len(t, cs.Messages, 1)
	return cs.Messages[0]
}

func messageUpdate(members string) string {
	return `{"update_id":31,"message":{"message_id":7,"date":1789345201,` +
		`"chat":{"id":-1001894420716,"type":"supergroup"},` + members + `}}`
}

// rejected normalises body, which must be refused for good.
func rejected(t *testing.T, body string) *normalise.Rejected {
	t.Helper()
	cs, err := botapi.New().Normalise(envelope([]byte(body)))
	require.Error(t, err)
	require.Zero(t, cs)
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
	var r *normalise.Rejected
	require.ErrorAs(t, err, &r)
	return r
}

// What stands after the path of a field whose number does not fit.
const (
	whereInt64 = " where an integer of 64 bits belongs"

	noInt64 = ": a JSON number" + whereInt64
	noInt32 = ": a JSON number where an integer of 32 bits belongs"
)

func TestWhatIsNoUpdateIsRejected(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body, class string
		id          int64
		reason      string
	}{
		"empty":                        {"", normalise.NotJSON, 0, "the text ends too early, at offset 0"},
		"white space":                  {" \r\n\t", normalise.NotJSON, 0, "the text ends too early, at offset 0"},
		"a byte order mark alone":      {"\ufeff", normalise.NotJSON, 0, "the text ends too early, at offset 0"},
		"words":                        {"update_id=31", normalise.NotJSON, 0, "wrong syntax at offset 0"},
		"cut off":                      {`{"update_id":31,"a":{"text":"Two wa`, normalise.NotJSON, 31, "the text ends too early, at offset 35"},
		"cut off within the id":        {`{"update_id":31`, normalise.NotJSON, 0, "the text ends too early, at offset 15"},
		"followed by more":             {`{"update_id":31} more`, normalise.NotJSON, 31, "wrong syntax at offset 17"},
		"followed by another":          {`{"update_id":31}{"update_id":32}`, normalise.NotJSON, 31, "wrong syntax at offset 17"},
		"a raw U+0000 in a text":       {"{\"update_id\":31,\"a\":\"b\x00c\"}", normalise.NotJSON, 31, "wrong syntax at offset 22"},
		"an unknown escape":            {`{"update_id":31,"a":"\x41"}`, normalise.NotJSON, 31, "wrong syntax at offset 21"},
		"a broken \\u escape":          {`{"update_id":31,"a":"\u00g0"}`, normalise.NotJSON, 31, "wrong syntax at offset 21"},
		"broken behind a wrong field":  {`{"update_id":31,"message":5,}`, normalise.NotJSON, 31, "wrong syntax at offset 27"},
		"a list":                       {`[{"update_id":31}]`, normalise.NotObject, 0, "a JSON array where an object belongs"},
		"null":                         {"null", normalise.NotObject, 0, "a JSON null where an object belongs"},
		"a text":                       {`"{}"`, normalise.NotObject, 0, "a JSON string where an object belongs"},
		"a number":                     {"31", normalise.NotObject, 0, "a JSON number where an object belongs"},
		"true":                         {" true ", normalise.NotObject, 0, "a JSON boolean where an object belongs"},
		"a broken list":                {"[1,]", normalise.NotJSON, 0, "wrong syntax at offset 2"},
		"without an id":                {`{"message":{"message_id":7}}`, normalise.NoUpdateID, 0, "/update_id is missing"},
		"without anything":             {`{}`, normalise.NoUpdateID, 0, "/update_id is missing"},
		"with null for an id":          {`{"update_id":null}`, normalise.NoUpdateID, 0, "/update_id is missing"},
		"with an id of another name":   {`{"Update_ID":31,"updateid":31}`, normalise.NoUpdateID, 0, "/update_id is missing"},
		"with an inner id only":        {`{"message":{"update_id":31}}`, normalise.NoUpdateID, 0, "/update_id is missing"},
		"with a text for an id":        {`{"update_id":"31"}`, normalise.Malformed, 0, "/update_id: a JSON string" + whereInt64},
		"with a fraction for an id":    {`{"update_id":31.0}`, normalise.Malformed, 0, "/update_id" + noInt64},
		"with an exponent":             {`{"update_id":31e2}`, normalise.Malformed, 0, "/update_id" + noInt64},
		"with an id beyond 64 bits":    {`{"update_id":9223372036854775808}`, normalise.Malformed, 0, "/update_id" + noInt64},
		"with an id that is an object": {`{"update_id":{"a":[1]},"b":1}`, normalise.Malformed, 0, "/update_id: a JSON object" + whereInt64},
		"with a negative id":           {`{"update_id":-31}`, normalise.Malformed, 0, "/update_id: want a positive number"},
		"with a wrong id at last":      {`{"update_id":31,"update_id":true}`, normalise.Malformed, 0, "/update_id: a JSON boolean" + whereInt64},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, &normalise.Rejected{Class: test.class, UpdateID: test.id, Reason: test.reason}, rejected(t, test.body))
		})
	}
}

func TestAMessageThatCannotBeIsRejected(t *testing.T) {
	t.Parallel()
	const (
		chat = `"chat":{"id":-1001894420716,"type":"supergroup"}`
		head = `"message_id":7,"date":1789345201,` + chat
	)
	for name, test := range map[string]struct{ message, reason string }{
		"no object":     {`5`, "/message: a JSON number where an object belongs"},
		"a list":        {`[]`, "/message: a JSON array where an object belongs"},
		"nothing in it": {`{}`, "/message/message_id: want a positive number"},
		"no chat":       {`{"message_id":7,"date":1789345201}`, "/message/chat/id: want the id of a chat"},
		"null for a chat": {
			`{"message_id":7,"date":1789345201,"chat":null}`,
			"/message/chat/id: want the id of a chat",
		},
		"a chat without id": {
			`{"message_id":7,"date":1789345201,"chat":{"type":"private"}}`,
			"/message/chat/id: want the id of a chat",
		},
		"a fraction of a chat": {
			`{"message_id":7,"date":1789345201,"chat":{"id":-1001894420716.5}}`,
			"/message/chat/id" + noInt64,
		},
		"a chat beyond 64 bits": {
			`{"message_id":7,"date":1789345201,"chat":{"id":-9223372036854775809}}`,
			"/message/chat/id" + noInt64,
		},
		"no date":            {`{"message_id":7,` + chat + `}`, "/message/date: want a date"},
		"a date of 0":        {`{"message_id":7,"date":0,` + chat + `}`, "/message/date: want a date"},
		"a date before 1970": {`{"message_id":7,"date":-1,` + chat + `}`, "/message/date: want a date"},
		"a date after 9999":  {`{"message_id":7,"date":253402300800,` + chat + `}`, "/message/date: want a date"},
		"no id":              {`{"date":1789345201,` + chat + `}`, "/message/message_id: want a positive number"},
		"an id of 0": {
			`{"message_id":0,"date":1789345201,` + chat + `}`,
			"/message/message_id: want a positive number",
		},
		"a negative id": {
			`{"message_id":-7,"date":1789345201,` + chat + `}`,
			"/message/message_id: want a positive number",
		},
		"an ephemeral negative": {
			`{"message_id":-7,"ephemeral_message_id":8,"date":1789345201,` + chat + `}`,
			"/message/message_id: want a positive number",
		},
		"an edit_date too far": {`{` + head + `,"edit_date":99999999999999}`, "/message/edit_date: want a date"},
		"a forward too far": {
			`{` + head + `,"forward_origin":{"type":"user","date":99999999999999}}`,
			"/message/forward_origin/date: want a date",
		},
		"a negative sender":   {`{` + head + `,"from":{"id":-5}}`, "/message/from/id: want a positive number"},
		"a sender without id": {`{` + head + `,"from":{"first_name":"Wren"}}`, "/message/from/id: want a positive number"},
		"a text sender": {
			`{` + head + `,"from":{"id":"5"}}`,
			"/message/from/id: a JSON string where an integer of 64 bits belongs",
		},
		"a sender chat of 0": {`{` + head + `,"sender_chat":{"id":0}}`, "/message/sender_chat/id: want the id of a chat"},
		"a negative member": {
			`{` + head + `,"new_chat_members":[{"id":-1}]}`,
			"/message/new_chat_members/id: want a positive number",
		},
		"a negative mention": {
			`{` + head + `,"text":"Wren","entities":[{"type":"text_mention","offset":0,"length":4,"user":{"id":-1}}]}`,
			"/message/entities/user/id: want a positive number",
		},
		"a number for a text": {`{` + head + `,"text":5}`, "/message/text: a JSON number where a string belongs"},
		"a text for yes": {
			`{` + head + `,"is_topic_message":"yes"}`,
			"/message/is_topic_message: a JSON string where a boolean belongs",
		},
		"an object for entities": {
			`{` + head + `,"text":"a","entities":{}}`,
			"/message/entities: a JSON object where an array belongs",
		},
		"a text for an entity": {
			`{` + head + `,"text":"a","entities":[{},"bold"]}`,
			"/message/entities/1: a JSON string where an object belongs",
		},
		"an offset too far": {
			`{` + head + `,"text":"a","entities":[{"type":"bold","offset":2147483648,"length":1}]}`,
			"/message/entities/0/offset" + noInt32,
		},
		"a photo too wide": {
			`{` + head + `,"photo":[{"file_unique_id":"u","width":2147483648}]}`,
			"/message/photo/0/width" + noInt32,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := rejected(t, `{"update_id":31,"message":`+test.message+`}`)
			require.Equal(t, &normalise.Rejected{Class: normalise.Malformed, UpdateID: 31, Reason: test.reason}, got)
		})
	}
}

func TestADeletionThatCannotBeIsRejected(t *testing.T) {
	t.Parallel()
	const chat = `"chat":{"id":5,"type":"private"}`
	for deletion, reason := range map[string]string{
		`{"message_ids":[7],` + chat + `}`:                                     "/business_connection_id: want the id of a connection",
		`{"business_connection_id":"A","message_ids":[7]}`:                     "/chat/id: want the id of a chat",
		`{"business_connection_id":"A","message_ids":[7,0],` + chat + `}`:      "/message_ids: want positive numbers",
		`{"business_connection_id":"A","message_ids":["7"],` + chat + `}`:      "/message_ids/0: a JSON string where an integer of 64 bits belongs",
		`{"business_connection_id":"A","message_ids":{"7":true},` + chat + `}`: "/message_ids: a JSON object where an array belongs",
	} {
		got := rejected(t, `{"update_id":31,"deleted_business_messages":`+deletion+`}`)
		want := "/deleted_business_messages" + reason
		require.Equal(t, &normalise.Rejected{Class: normalise.Malformed, UpdateID: 31, Reason: want}, got)
	}
}

func TestThePathOfAWrongFieldNamesItsKind(t *testing.T) {
	t.Parallel()
	require.Equal(t, "/edited_channel_post/date: want a date", rejected(t,
		`{"update_id":31,"edited_channel_post":{"message_id":7,"chat":{"id":-1001551209334,"type":"channel"}}}`).Reason)
}

func TestWhiteSpaceAndAByteOrderMarkAroundAreFine(t *testing.T) {
	t.Parallel()
	cs := accepted(t, "\ufeff \r\n{\t\"update_id\" : 31 }\n")
	require.Equal(t, int64(31), cs.Update.UpdateID)
	require.Equal(t, ingest.HashOf(cs.Update.Envelope.Raw), cs.Update.Hash, "the hash is that of the bytes as they came")
}

func TestNamesMatchExactly(t *testing.T) {
	t.Parallel()
	m := acceptedMessage(t, `"Text":"no","TEXT":"no","te\u0078t":"yes","mediagroupid":"no","media-group-id":"no"`)
	require.Equal(t, "yes", m.Text)
	require.Empty(t, m.MediaGroupID)

	require.Equal(t, ingest.KindUnknown, accepted(t, `{"update_id":31,"Message":{"message_id":7}}`).Update.Kind)
}

func TestIDsAreExactToTheLastBit(t *testing.T) {
	t.Parallel()
	cs := accepted(t, `{"update_id":9223372036854775807,"message":{"message_id":9007199254740993,"date":1789345201,`+
		`"chat":{"id":-9223372036854775808,"type":"channel"},"from":{"id":9223372036854775807},"message_thread_id":9007199254740995}}`)
	require.Equal(t, int64(math.MaxInt64), cs.Update.UpdateID)
	require.Equal(t, content.ChatID(math.MinInt64), cs.Update.ChatID)
	m := cs.Messages[0]
	require.Equal(t, content.MessageKey{ChatID: math.MinInt64, MessageID: 1<<53 + 1}, m.Key)
	require.Equal(t, content.UserID(math.MaxInt64), m.FromID)
	require.Equal(t, content.MessageID(1<<53+3), m.ThreadID)
}

func TestAnUnknownFieldMayBeDeep(t *testing.T) {
	t.Parallel()
	for name, deep := range map[string]string{
		"lists":   strings.Repeat("[", 2000) + strings.Repeat("]", 2000),
		"objects": strings.Repeat(`{"a":`, 2000) + "1" + strings.Repeat("}", 2000),
		// The repeated name makes the text go through repair.
		"repaired": strings.Repeat(`{"a":1,"a":`, 2000) + "1" + strings.Repeat("}", 2000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, "Two.", acceptedMessage(t, `"well":`+deep+`,"text":"Two."`).Text)
			require.Equal(t, ingest.Kind("well"), accepted(t, `{"well":`+deep+`,"update_id":31}`).Update.Kind)
		})
	}
}

func TestDeeperThanTheDecoderGoesIsAClassOfItsOwn(t *testing.T) {
	t.Parallel()
	body := `{"update_id":31,"well":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + "}"
	got := rejected(t, body)
	require.Equal(t, normalise.TooDeep, got.Class)
	require.Equal(t, int64(31), got.UpdateID)
	require.Equal(t, "nested deeper than 10000 at offset 10022", got.Reason)
}

func TestOfDuplicateNamesTheLastCountsWhole(t *testing.T) {
	t.Parallel()
	const head = `"message_id":7,"date":1789345201,"chat":{"id":-1001894420716,"type":"supergroup"}`
	t.Run("a message is not merged", func(t *testing.T) {
		t.Parallel()
		cs := accepted(t, `{"update_id":30,"message":{`+head+`,"text":"first","media_group_id":"13","from":{"id":5}},`+
			`"update_id":31,"message":{`+head+`,"caption":"second"}}`)
		require.Equal(t, int64(31), cs.Update.UpdateID)
		require.Equal(t, "second", cs.Messages[0].Text)
		require.Empty(t, cs.Messages[0].MediaGroupID)
		require.Zero(t, cs.Messages[0].FromID)
		require.Empty(t, cs.Users)
	})
	t.Run("at every level", func(t *testing.T) {
		t.Parallel()
		cs := accepted(t, messageUpdate(`"from":{"id":5,"first_name":"Wren","last_name":"Haldane"},"from":{"id":6,"id":8,"first_name":"Tobias"}`))
		require.Equal(t, content.UserID(8), cs.Messages[0].FromID)
		require.Len(t, cs.Users, 1)
		require.Equal(t, content.User{ID: 8, FirstName: "Tobias", Version: cs.Users[0].Version}, cs.Users[0])
	})
	t.Run("within lists", func(t *testing.T) {
		t.Parallel()
		m := acceptedMessage(t, `"text":"a","entities":[{"type":"bold","type":"code","offset":0,"length":1},`+
			`{"type":"url","offset":0,"length":1,"offset":1}]`)
		require.Equal(t, []content.Entity{{Type: "code", Length: 1}, {Type: "url", Offset: 1, Length: 1}}, m.Entities)
	})
	t.Run("within one that is replaced", func(t *testing.T) {
		t.Parallel()
		m := acceptedMessage(t, `"quote":{"text":"a","text":"b"},"text":"x","quote":{"text":"c"} , "quote" : {"text":"d","text":"e"},"text":"y"`)
		require.Equal(t, "e", m.ReplyTo.Quote)
		require.Equal(t, "y", m.Text)
	})
	t.Run("written differently", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, "last", acceptedMessage(t, `"text":"first","\u0074ext":"last"`).Text)
	})
	t.Run("also when it is null", func(t *testing.T) {
		t.Parallel()
		cs := accepted(t, `{"update_id":31,"message":{`+head+`},"message":null}`)
		require.Equal(t, ingest.KindUnknown, cs.Update.Kind)
		require.Empty(t, cs.Messages)
	})
	t.Run("also when the first one is wrong", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, int64(31), accepted(t, `{"update_id":"x","update_id":31}`).Update.UpdateID)
	})
	t.Run("in unknown fields as well", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, "Two.", acceptedMessage(t, `"later":{"a":1,"a":{"b":1,"b":2}},"text":"Two."`).Text)
		cs := accepted(t, `{"update_id":31,"seed_swapped":{"chat":{"id":1}},"seed_swapped":{"chat":{"id":2,"id":3}}}`)
		require.Equal(t, content.ChatID(3), cs.Update.ChatID)
	})
	t.Run("many", func(t *testing.T) {
		t.Parallel()
		var body strings.Builder
		for i := range 5000 {
			body.WriteString(`"text":"` + strconv.Itoa(i) + `","n` + strconv.Itoa(i) + `":1,`)
		}
		require.Equal(t, "last", acceptedMessage(t, body.String()+`"text":"last"`).Text)
	})
}

func TestWhatStoredTextCannotHoldBecomesOneReplacementAUnit(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ written, want string }{
		"U+0000":                          {`a\u0000b`, "a\ufffdb"},
		"a high surrogate":                {`a\ud83db`, "a\ufffdb"},
		"a low surrogate":                 {`a\uDE00b`, "a\ufffdb"},
		"two high surrogates":             {`a\ud83d\ud83d\ude00b`, "a\ufffd😀b"},
		"two low surrogates":              {`a\ud83d\ude00\ude00b`, "a😀\ufffdb"},
		"the wrong way round":             {`a\ude00\ud83db`, "a\ufffd\ufffdb"},
		"a high surrogate and a letter":   {`a\ud83d\u0041b`, "a\ufffdAb"},
		"a high surrogate and U+0000":     {`a\ud83d\u0000b`, "a\ufffd\ufffdb"},
		"a high surrogate and an escape":  {`a\ud83d\nb`, "a\ufffd\nb"},
		"a high surrogate at the end":     {`ab\ud83d`, "ab\ufffd"},
		"a pair":                          {`a\uD83D\uDE00b`, "a😀b"},
		"a pair beside U+0000":            {`\u0000\ud83d\ude00`, "\ufffd😀"},
		"an escaped backslash":            {`a\\u0000b`, `a\u0000b`},
		"two escaped backslashes":         {`a\\\\ud83db`, `a\\ud83db`},
		"an escaped backslash and U+0000": {`a\\\u0000b`, "a\\\ufffdb"},
		"an invalid byte":                 {"a\xffb", "a\ufffdb"},
		"a lonely continuation":           {"a\x80b", "a\ufffdb"},
		"a cut character":                 {"a\xf0\x9f\x98b", "a\ufffd\ufffd\ufffdb"},
		"a surrogate as bytes":            {"a\xed\xa0\xbdb", "a\ufffdb"},
		"a pair of surrogates as bytes":   {"a\xed\xa0\xbd\xed\xb8\x80b", "a\ufffd\ufffdb"},
		"the last before the surrogates":  {"a\xed\x9f\xbf\xffb", "a\ud7ff\ufffdb"},
		"U+FFFD itself":                   {"a\ufffdb\u00e9\xff", "a\ufffdbé\ufffd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := acceptedMessage(t, `"text":"`+test.written+`END","entities":[{"type":"bold","offset":`+
				strconv.Itoa(len(utf16.Encode([]rune(test.want))))+`,"length":3}],"author_signature":"`+test.written+`"`)
			require.Equal(t, test.want+"END", m.Text)
			require.Equal(t, test.want, m.AuthorSignature)
			e := m.Entities[0]
			require.Equal(t, "END", string(utf16.Decode(utf16.Encode([]rune(m.Text))[e.Offset:e.Offset+e.Length])))
		})
	}
}

func TestEveryStoredTextIsCleaned(t *testing.T) {
	t.Parallel()
	const odd = `\u0000\ud83d`
	cs := accepted(t, strings.ReplaceAll(`{"update_id":31,"message":{"message_id":7,"date":1789345201,`+
		`"media_group_id":"ODD","business_connection_id":"ODD",`+
		`"chat":{"id":5,"type":"ODD","title":"ODD","username":"ODD","first_name":"ODD","last_name":"ODD"},`+
		`"from":{"id":5,"first_name":"ODD","last_name":"ODD","username":"ODD","language_code":"ODD"},"text":"ODD",`+
		`"entities":[{"type":"ODD","url":"ODD","language":"ODD","custom_emoji_id":"ODD","offset":0,"length":2}],`+
		`"document":{"file_id":"ODD","file_unique_id":"ODD","file_name":"ODD","mime_type":"ODD"},"quote":{"text":"ODD"},`+
		`"forward_origin":{"type":"ODD","sender_user_name":"ODD","author_signature":"ODD","date":1}}}`, "ODD", odd))
	requireStorable(t, cs)
	m := cs.Messages[0]
	for _, text := range []string{
		m.Text, m.MediaGroupID, m.BusinessConnectionID, m.Entities[0].URL, m.Media[0].FileName, m.ReplyTo.Quote,
		m.Forward.OriginType, m.Forward.SenderName, m.Forward.AuthorSignature,
		string(cs.Chats[0].Type), cs.Chats[0].Title, cs.Users[0].LanguageCode,
	} {
		require.Equal(t, "\ufffd\ufffd", text)
	}
}

func TestAnOddNameOfAKindStaysOutOfTheLedger(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]ingest.Kind{
		"seed_swapped":          "seed_swapped",
		"custom_event":          "custom_event",
		strings.Repeat("k", 64): ingest.Kind(strings.Repeat("k", 64)),
		strings.Repeat("k", 65): ingest.KindUnknown,
		"":                      ingest.KindUnknown,
		"Seed":                  ingest.KindUnknown,
		"seed swapped":          ingest.KindUnknown,
		"seed2":                 ingest.KindUnknown,
		`seed\u0000`:            ingest.KindUnknown,
		"семя":                  ingest.KindUnknown,
	} {
		require.Equal(t, want, accepted(t, `{"update_id":31,"`+name+`":{}}`).Update.Kind, name)
	}
	several := accepted(t, `{"update_id":31,"Odd":{},"other":null,"seed_swapped":{},"pots_swapped":{}}`)
	require.Equal(t, ingest.Kind("seed_swapped"), several.Update.Kind, "the first that looks like a name")
}

func TestTheChatOfAnUnknownKindIsBestEffort(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]content.ChatID{
		`{"chat":{"id":-1001894420716}}`:      -1001894420716,
		`{"message":{"chat":{"id":5}}}`:       5,
		`{"user_chat_id":5}`:                  5,
		`{"chat":{"id":6},"user_chat_id":5}`:  6,
		`{"chat":{"id":6.5}}`:                 0,
		`{"chat":{"id":9223372036854775808}}`: 0,
		`{"chat":"here"}`:                     0,
		`{"chat":null}`:                       0,
		`{}`:                                  0,
		`[]`:                                  0,
		`"text"`:                              0,
		`true`:                                0,
		`{"message":{"chat":{"id":5},"text":"\ud83d"},"chat":{"a":1}}`: 5,
	} {
		cs := accepted(t, `{"update_id":31,"seed_swapped":`+value+`}`)
		require.Equal(t, ingest.Kind("seed_swapped"), cs.Update.Kind)
		require.Equal(t, want, cs.Update.ChatID, value)
	}
}

func TestTheIDOfABrokenUpdateIsReadAsFarAsItGoes(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]int64{
		`{"update_id":31,`:                      31,
		`{"update_id":31,"update_id":32,"a":x`:  32,
		`{"a":{"update_id":5},"update_id":31,x`: 31,
		`{"update_id":31.5`:                     0,
		`{"update_id":31,"update_id":"a",`:      0,
		`{"a":x,"update_id":31}`:                0,
		`[{"update_id":31}`:                     0,
		``:                                      0,
	} {
		require.Equal(t, want, botapi.New().UpdateID([]byte(body)), body)
	}
}
