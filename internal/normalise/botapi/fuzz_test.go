package botapi_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
)

func FuzzNormalise(f *testing.F) {
	fixtures, err := filepath.Glob("testdata/*/*.json")
	require.NoError(f, err)
	for _, fixture := range fixtures {
		body, err := os.ReadFile(fixture)
		require.NoError(f, err)
		f.Add(body)
	}
	for _, body := range []string{
		"", "\ufeff{}", "[]", `{"update_id":1,"update_id":2}`,
		messageUpdate(`"text":"\u0000\ud83d\ude00\udead"`), messageUpdate("\"text\":\"\xed\xa0\x80\xff\""),
		messageUpdate(`"text":"a","text":{"a":1,"a":[{"b":1,"b":2}]}`),
		`{"update_id":9223372036854775808}`, strings.Repeat("[", 20_000),
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := strings.Clone(string(body))
		n := botapi.New()
		cs, err := n.Normalise(envelope(body))
		require.Equal(t, before, string(body), "the envelope is read only")
		again, errAgain := n.Normalise(envelope(body))
		require.Equal(t, cs, again)
		require.Equal(t, err, errAgain)
		if err != nil {
			var r *normalise.Rejected
			require.ErrorAs(t, err, &r)
			require.Equal(t, fault.Permanent, fault.ClassOf(err))
			require.Contains(t, []string{
				normalise.NotJSON, normalise.NotObject, normalise.TooDeep, normalise.NoUpdateID, normalise.Malformed,
			}, r.Class)
			require.Zero(t, cs)
			return
		}
		require.Positive(t, cs.Update.UpdateID)
		require.NotEmpty(t, cs.Update.Kind)
		require.Equal(t, ingest.HashOf(body), cs.Update.Hash)
		for _, m := range cs.Messages {
			require.Equal(t, cs.Update.ChatID, m.Key.ChatID)
			require.Positive(t, m.Key.MessageID)
			require.NotEmpty(t, m.Version)
			require.NotEmpty(t, m.Kind)
			require.False(t, m.Date.IsZero())
		}
		requireStorable(t, cs)
	})
}

// requireStorable checks that both databases take every text in cs.
func requireStorable(t *testing.T, cs content.ChangeSet) {
	t.Helper()
	for _, v := range []any{cs.Update.Kind, cs.Chats, cs.Users, cs.Messages} {
		eachText(reflect.ValueOf(v), func(text string) {
			require.True(t, utf8.ValidString(text), "%q", text)
			require.NotContains(t, text, "\x00")
		})
	}
}

// eachText calls visit for every string in v but versions, which are bytes to the databases.
func eachText(v reflect.Value, visit func(string)) {
	if v.Type() == reflect.TypeFor[content.Version]() {
		return
	}
	if v.Kind() == reflect.String {
		visit(v.String())
	}
	if v.Kind() == reflect.Slice {
		for i := range v.Len() {
			eachText(v.Index(i), visit)
		}
	}
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				eachText(v.Field(i), visit)
			}
		}
	}
}
