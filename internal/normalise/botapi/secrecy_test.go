package botapi_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
)

// TestNoRejectionQuotesTheUpdate breaks fixtures in every place with values that are easy to find again.
func TestNoRejectionQuotesTheUpdate(t *testing.T) {
	t.Parallel()
	fixtures, err := filepath.Glob("testdata/*/ordinary.json")
	require.NoError(t, err)
	for _, name := range []string{
		"text", "entities", "animation", "live_photo", "paid_media", "forward_user", "forward_channel", "via_bot", "quote",
		"reply_elsewhere", "new_chat_members", "left_chat_member", "topic", "anonymous_admin", "pinned_message", "ephemeral",
	} {
		fixtures = append(fixtures, "testdata/message/"+name+".json")
	}
	for _, fixture := range fixtures {
		t.Run(fixture, func(t *testing.T) {
			t.Parallel()
			body, err := os.ReadFile(fixture)
			require.NoError(t, err)
			var document any
			require.NoError(t, json.Unmarshal(body, &document))
			rejections := 0
			try := func(body []byte) {
				if _, err := botapi.New().Normalise(envelope(body)); err != nil {
					rejections++
					require.NotRegexp(t, `boathouse|5550100|\.25`, err.Error())
				}
			}
			for _, value := range []string{
				`"meet me at the boathouse"`, `44205550100`, `442055501004420555010044205550100`, `5550100.25`, `-5550100`,
				`{"boathouse":["boathouse"]}`, `["boathouse",5550100]`,
			} {
				spoil(document, json.RawMessage(value), func() {
					spoiled, err := json.Marshal(document)
					require.NoError(t, err)
					try(spoiled)
				})
				// The same value where none belongs.
				for i := 0; i < len(body); i += 1 + len(body)/32 {
					try([]byte(string(body[:i]) + value + string(body[i:])))
				}
			}
			require.Positive(t, rejections)
		})
	}
}

// spoil puts value in the place of each member and element within v in turn, calls visit, and restores it.
func spoil(v any, value json.RawMessage, visit func()) {
	switch container := v.(type) {
	case map[string]any:
		for name, old := range container {
			container[name] = value
			visit()
			container[name] = old
			spoil(old, value, visit)
		}
	case []any:
		for i, old := range container {
			container[i] = value
			visit()
			container[i] = old
			spoil(old, value, visit)
		}
	}
}
