package botapi_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
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
		messageUpdate(`"text":"\u0000"`), messageUpdate(`"contact":{"first_name":"\u0000"}`),
		`{"update_id":1,"":{}}`, `{"update_id":1,"` + strings.Repeat("k", 65) + `":{}}`, `{"update_id":9223372036854775808}`, strings.Repeat("[", 20_000),
		messageUpdate(`"contact":{"note":"\\u0000 \u0000","note\ud83d":1e400},"photo":[{"file_unique_id":"a","width":2147483647}]`),
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
			require.Zero(t, cs)
			requireRejection(t, err, body)
			return
		}
		require.Positive(t, cs.Update.UpdateID)
		require.Equal(t, cs.Update.UpdateID, n.UpdateID(body))
		require.Regexp(t, "^[a-z_]{1,64}$", cs.Update.Kind)
		require.Equal(t, ingest.HashOf(body), cs.Update.Hash)
		for _, m := range cs.Messages {
			require.Equal(t, cs.Update.ChatID, m.Key.ChatID)
			require.Positive(t, m.Key.MessageID)
			require.Len(t, m.Version, versionSizeBytes)
			require.NotEmpty(t, m.Kind)
			require.False(t, m.Date.IsZero())
		}
		requireStorable(t, cs)
		requireSameContent(t, cs, body)
	})
}

// versionSizeBytes is the length of every version but the empty one; only of equal lengths are versions ordered by their fields.
const versionSizeBytes = 35

// requireRejection checks that err is for good and tells nothing of body: each word of it is one of ours or the name of a field, each
// number an offset, an index or a width.
func requireRejection(t *testing.T, err error, body []byte) {
	t.Helper()
	var r *normalise.Rejected
	require.ErrorAs(t, err, &r)
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
	require.Contains(t, []string{
		normalise.NotJSON, normalise.NotObject, normalise.TooDeep, normalise.NoUpdateID, normalise.Malformed,
	}, r.Class)
	require.True(t, r.UpdateID == 0 || strings.Contains(string(body), strconv.FormatInt(r.UpdateID, 10)))
	for _, word := range strings.FieldsFunc(err.Error(), func(c rune) bool { return strings.ContainsRune(" :,/", c) }) {
		if number, err := strconv.Atoi(word); err == nil {
			require.LessOrEqual(t, number, max(len(body), 10_000))
			continue
		}
		require.True(t, ourWords[word], "%q in %q", word, err)
	}
}

var ourWords = func() map[string]bool {
	words := map[string]bool{}
	for _, name := range append(botapi.FieldNames(), strings.Fields(`
		normalise not_json not_object too_deep no_update_id malformed wrong syntax the text ends too early at offset nested deeper than
		a an JSON null string number boolean object array where integer of bits belongs is missing want positive or as
		id chat date status user users actor poll voter connection boost counts numbers`)...) {
		words[name] = true
	}
	return words
}()

// requireStorable checks that both databases take everything in cs.
func requireStorable(t *testing.T, cs content.ChangeSet) {
	t.Helper()
	// The envelope's bytes are bytes to the databases as well.
	cs.Update.Envelope = ingest.Envelope{}
	each(reflect.ValueOf(cs), func(v reflect.Value) {
		switch value := v.Interface().(type) {
		case content.Version:
			require.True(t, value == "" || len(value) == versionSizeBytes, "a version of %d bytes", len(value))
		case time.Time:
			require.True(t, value.IsZero() || 1970 <= value.Year() && value.Year() <= 9999)
		case content.JSON:
			requireText(t, string(value))
			requireJSON(t, value)
		default:
			if v.Kind() == reflect.String {
				requireText(t, v.String())
			}
		}
	})
	for i := range cs.Messages {
		for _, file := range cs.Messages[i].Media {
			require.GreaterOrEqual(t, int64(min(file.Width, file.Height)), int64(math.MinInt32))
			require.LessOrEqual(t, int64(max(file.Width, file.Height)), int64(math.MaxInt32))
		}
	}
}

func requireText(t *testing.T, text string) {
	t.Helper()
	require.True(t, utf8.ValidString(text), "%q", text)
	require.NotContains(t, text, "\x00")
}

// requireJSON checks that the text is JSON whose strings stored text can hold: PostgreSQL refuses others, however they are written.
func requireJSON(t *testing.T, text content.JSON) {
	t.Helper()
	if text == "" {
		return
	}
	require.True(t, json.Valid([]byte(text)), "%q", text)
	var value any
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	require.NoError(t, dec.Decode(&value))
	var look func(any)
	look = func(v any) {
		switch v := v.(type) {
		case string:
			requireText(t, v)
		case []any:
			for _, item := range v {
				look(item)
			}
		case map[string]any:
			for name, item := range v {
				requireText(t, name)
				look(item)
			}
		}
	}
	look(value)
}

// each calls visit for every value in v that is no container of others.
func each(v reflect.Value, visit func(reflect.Value)) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		visit(v)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			each(v.Index(i), visit)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				each(v.Field(i), visit)
			}
		}
	default:
		visit(v)
	}
}

// requireSameContent writes the update in another way, which takes it through repair, and checks that it says the same.
func requireSameContent(t *testing.T, cs content.ChangeSet, body []byte) {
	t.Helper()
	rest, ok := bytes.CutPrefix(body, []byte("{"))
	if !ok {
		return
	}
	other, err := botapi.New().Normalise(envelope(append([]byte(`{"Z1":0,"Z1":0,`), rest...)))
	require.NoError(t, err)
	require.Equal(t, string(render(t, cs)), string(render(t, other)))
	for i := range cs.Messages {
		require.Equal(t, cs.Messages[i].ContentHash(), other.Messages[i].ContentHash())
	}
}
