package botapi_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestFixturesGiveTheirGoldenChangeSets reads testdata/<kind>/<case>.json and compares with <case>.golden.
func TestFixturesGiveTheirGoldenChangeSets(t *testing.T) {
	t.Parallel()
	fixtures, err := filepath.Glob("testdata/*/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, fixtures)
	for _, fixture := range fixtures {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(fixture, "testdata/"), ".json"), func(t *testing.T) {
			t.Parallel()
			body, err := os.ReadFile(fixture)
			require.NoError(t, err)
			cs, err := botapi.New().Normalise(envelope(body))
			require.NoError(t, err)
			requireComplete(t, cs, body)

			// A repeated name sends the same update through repair, which may change nothing else.
			repaired, err := botapi.New().Normalise(envelope(append([]byte(`{"Z1":0,"Z1":0,`), body[1:]...)))
			require.NoError(t, err)
			require.Equal(t, string(render(t, cs)), string(render(t, repaired)))

			golden := strings.TrimSuffix(fixture, ".json") + ".golden"
			got := render(t, cs)
			if *update {
				require.NoError(t, os.WriteFile(golden, got, 0o600))
				return
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err, "run the test with -update")
			require.Equal(t, string(want), string(got))
		})
	}
}

// requireComplete checks what the golden files leave out.
func requireComplete(t *testing.T, cs content.ChangeSet, body []byte) {
	t.Helper()
	require.Equal(t, envelope(body), cs.Update.Envelope)
	require.Equal(t, ingest.HashOf(body), cs.Update.Hash)
	for _, c := range cs.Chats {
		require.Equal(t, hex.EncodeToString(cs.Update.Hash[:8]), versionHash(c.Version))
	}
}

func TestEveryKindAndContentHasAFixture(t *testing.T) {
	t.Parallel()
	everywhere := []string{
		"text", "entities", "caption", "photo", "video", "animation", "audio", "voice", "video_note", "document", "sticker",
		"live_photo", "paid_media", "album", "reply", "reply_elsewhere", "reply_hidden", "reply_inaccessible", "quote",
		"forward_user", "forward_hidden_user", "forward_chat", "forward_channel", "via_bot", "keyboard",
	}
	inChats := []string{
		"private", "basic_group", "topic", "anonymous_admin", "sent_as_channel", "automatic_forward", "business_connection",
		"unknown_chat_type",
	}
	want := map[ingest.Kind][][]string{
		"message": {
			everywhere, inChats, botapi.Marks(),
			{"edited_before_delivery", "ephemeral", "unknown_content", "date_time", "live_location", "direct_messages_topic"},
			{"thread", "comment", "topic_service", "photo_of_one_size", "photo_without_sizes", "pinned_inaccessible"},
			{"reply_other_topic", "reply_to_ephemeral", "reply_to_story", "reply_to_checklist_task"},
			{"empty_text", "unstorable_text", "no_utf_8", "repeated_names"},
		},
		"edited_message":            {everywhere, inChats, {"without_edit_date", "live_location"}},
		"channel_post":              {everywhere, {"signed", "giveaway"}},
		"edited_channel_post":       {everywhere, {"signed", "without_edit_date"}},
		"business_message":          {{"ordinary", "photo_reply", "sent_by_bot"}},
		"edited_business_message":   {{"ordinary"}},
		"deleted_business_messages": {{"ordinary"}},
		"guest_message":             {{"ordinary", "photo_reply"}},
		"callback_query": {
			{"ordinary", "of_an_inaccessible_message", "of_an_inline_message"},
			{"of_a_business_message", "of_an_ephemeral_message", "of_a_game"},
		},
		"message_reaction": {{"ordinary", "of_a_chat", "taken_back"}},
		"poll_answer":      {{"ordinary", "of_a_chat", "taken_back"}},
		"chat_member":      {{"ordinary", "restricted_by_link"}},
		"unknown_kind":     {{"named_field", "odd_name", "nothing_else", "nulls"}},
		"several_kinds":    {{"message_and_edited_message", "known_and_unknown"}},
	}
	for _, kind := range botapi.Kinds() {
		if want[kind] == nil {
			want[kind] = [][]string{{"ordinary"}}
		}
	}
	require.Len(t, want, 27+2, "the kinds of Bot API 10.3, and what is no kind of it")
	for kind, lists := range want {
		for _, cases := range lists {
			for _, name := range cases {
				require.FileExists(t, filepath.Join("testdata", string(kind), name+".json"))
				require.FileExists(t, filepath.Join("testdata", string(kind), name+".golden"))
			}
		}
	}
}

// render writes cs as JSON for people: fields by name, nothing for what is zero, versions spelled out.
func render(t *testing.T, cs content.ChangeSet) []byte {
	t.Helper()
	var compact, indented bytes.Buffer
	renderValue(&compact, reflect.ValueOf(cs))
	require.NoError(t, json.Indent(&indented, compact.Bytes(), "", "  "))
	return append(indented.Bytes(), '\n')
}

func renderValue(b *bytes.Buffer, v reflect.Value) {
	switch value := v.Interface().(type) {
	case content.Version:
		renderText(b, describeVersion(value))
		return
	case time.Time:
		renderText(b, value.Format(time.RFC3339))
		return
	case time.Duration:
		renderText(b, value.String())
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		renderStruct(b, v)
	case reflect.Slice:
		b.WriteByte('[')
		for i := range v.Len() {
			if i > 0 {
				b.WriteByte(',')
			}
			renderValue(b, v.Index(i))
		}
		b.WriteByte(']')
	case reflect.String:
		renderText(b, v.String())
	default:
		fmt.Fprint(b, v.Interface())
	}
}

func renderStruct(b *bytes.Buffer, v reflect.Value) {
	separator := "{"
	for i := range v.NumField() {
		field := v.Type().Field(i)
		// The envelope is the test's own, and the hash changes with every space of the fixture.
		if v.Field(i).IsZero() || field.Name == "Envelope" || field.Name == "Hash" {
			continue
		}
		fmt.Fprintf(b, "%s%q:", separator, field.Name)
		renderValue(b, v.Field(i))
		separator = ","
	}
	if separator == "{" {
		b.WriteByte('{')
	}
	b.WriteByte('}')
}

func renderText(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s)
	b.Truncate(b.Len() - 1)
}

// describeVersion spells a version out, after the list of bytes in content.Version's documentation; its hash stays out.
func describeVersion(v content.Version) string {
	number := func(from, size int) int64 {
		var word [8]byte
		copy(word[8-size:], v[from:from+size])
		return int64(binary.BigEndian.Uint64(word[:]))
	}
	signed := func(from int) int64 { return int64(uint64(number(from, 8)) ^ 1<<63) }
	text := time.Unix(number(0, 5), 0).UTC().Format(time.RFC3339)
	if number(5, 1) == 1 {
		text += " edit"
	} else {
		text += " original"
	}
	text += " " + ingest.Source{Transport: ingest.Transport(v[6]), Account: signed(7)}.String()
	if threes := number(15, 2); threes != 0 {
		text += fmt.Sprintf(" undated %d", threes)
	}
	return text + fmt.Sprintf(" update %d normaliser %d", signed(17), number(33, 2))
}

func versionHash(v content.Version) string { return hex.EncodeToString([]byte(v[25:33])) }
