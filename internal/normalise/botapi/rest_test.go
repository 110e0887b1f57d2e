package botapi_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
)

// TestWhatHasNoColumnIsKeptAsJSON also shows which of it is left out, because a database could refuse it and the update with it.
func TestWhatHasNoColumnIsKeptAsJSON(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		members string
		want    content.JSON
	}{
		"nothing":            {"", ""},
		"documented":         {`,"effect_id":"51", "reply_markup":{"inline_keyboard": []}`, `{"effect_id":"51","reply_markup":{"inline_keyboard":[]}}`},
		"of tomorrow":        {`,"hologram":{"depth":3}`, `{"hologram":{"depth":3}}`},
		"U+0000":             {`,"hologram":"a\u0000b"`, "{\"hologram\":\"a\ufffdb\"}"},
		"a huge number":      {`,"hologram":1e400000`, ""},
		"a tiny number":      {`,"hologram":-1E-400000`, ""},
		"too many digits":    {`,"hologram":1` + strings.Repeat("0", 200000), ""},
		"nested very deeply": {`,"hologram":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cs := accepted(t, fmt.Sprintf(
				`{"update_id":1,"message":{"message_id":2,"date":3,"chat":{"id":4,"type":"private"},"text":"hi"%s}}`, c.members))
			require.Equal(t, c.want, cs.Messages[0].Rest)
			require.Equal(t, "hi", cs.Messages[0].Text)
		})
	}
}
