package polling_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/source/polling"
	"github.com/tgfleet/tgfleet/internal/source/sourcetest"
)

// FuzzAnswers takes whatever stands in the place of an answer to getUpdates, and holds the updates to the bytes as they came.
func FuzzAnswers(f *testing.F) {
	fixtures, err := filepath.Glob("../../normalise/botapi/testdata/*/*.json")
	require.NoError(f, err)
	require.NotEmpty(f, fixtures)
	for _, fixture := range fixtures {
		body, err := os.ReadFile(fixture)
		require.NoError(f, err)
		f.Add(http.StatusOK, []byte(`{"ok":true,"result":[`+string(body)+`]}`))
	}
	whole := bytes.Join(sourcetest.BotAPIUpdates(8), []byte(","))
	f.Add(http.StatusOK, []byte(`{"ok":true,"result":[`+string(whole)+`]}`))
	f.Add(http.StatusOK, []byte(`{"ok":true,"result":[{"update_id":1,"UPDATE_ID":9},{"Update_Id":2},null,5,"x",[{"update_id":3}]]}`))
	f.Add(http.StatusConflict, []byte(`{"ok":false,"error_code":409,"description":"Conflict: a webhook is set"}`))
	f.Add(http.StatusTooManyRequests, []byte(`{"ok":false,"error_code":429,"parameters":{"retry_after":9223372036854775807}}`))
	f.Add(http.StatusBadGateway, []byte("<html>nginx</html>"))
	f.Fuzz(func(t *testing.T, status int, text []byte) {
		before := bytes.Clone(text)
		updates, err := polling.Split(status, text)
		require.Equal(t, before, text)
		if err != nil {
			require.Empty(t, updates)
			return
		}
		rest := text
		for _, u := range updates {
			require.True(t, json.Valid(u.Raw))
			at := bytes.Index(rest, u.Raw)
			require.NotEqual(t, -1, at, "an update is bytes of the answer, in their order")
			rest = rest[at+len(u.Raw):]
			require.Equal(t, exactID(u.Raw), u.ID, "%q", u.Raw)
		}
	})
}

// exactID returns the number under the name update_id, read one token after the other.
func exactID(raw []byte) (id int64) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return 0
	}
	for dec.More() {
		name, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil {
			return 0
		}
		if name == "update_id" {
			id = 0
			if number := json.Number(value); len(value) > 0 && value[0] != '"' {
				id, _ = number.Int64()
			}
		}
	}
	return id
}
