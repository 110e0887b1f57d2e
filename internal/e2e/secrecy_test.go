package e2e_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// requireSecrecy fails when one of the children has printed a bot's token or secret, a key, or something that people wrote.
func requireSecrecy(t testing.TB, tg *telegram, env environment, bots []bot, children ...*child) {
	t.Helper()
	secrets := map[string]bool{}
	for _, b := range bots {
		_, half, _ := strings.Cut(b.token, ":")
		secrets[half], secrets[b.Secret] = true, true
	}
	for key := range strings.SplitSeq(env["SECRET_KEYS"], ",") {
		_, half, _ := strings.Cut(key, ":")
		secrets[half] = true
	}
	delete(secrets, "")
	texts := writings(t, tg)
	for _, c := range children {
		log := c.stdout() + c.stderr()
		for secret := range secrets {
			require.NotContains(t, log, secret, c.name)
		}
		for text := range texts {
			if strings.Contains(log, text) {
				t.Fatalf("%s has printed %q", c.name, text)
			}
		}
	}
}

// writings returns what people wrote, and their phone numbers. What is so short that it may stand in any log is left out.
func writings(t testing.TB, tg *telegram) map[string]bool {
	t.Helper()
	const short = 8
	texts := map[string]bool{}
	for _, u := range tg.Oracle().Updates() {
		if u.ID == 0 {
			continue
		}
		var update any
		require.NoError(t, json.Unmarshal(u.Raw, &update))
		gather(update, func(name, text string) {
			switch name {
			case "text", "caption", "question", "query", "phone_number", "title", "first_name":
				if len(text) >= short {
					texts[text] = true
				}
			}
		})
	}
	require.NotEmpty(t, texts)
	return texts
}

// gather calls found for every text in a JSON value, with the name of the member that it belongs to.
func gather(value any, found func(name, text string)) {
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			if text, isText := member.(string); isText {
				found(name, text)
			}
			gather(member, found)
		}
	case []any:
		for _, item := range value {
			gather(item, found)
		}
	}
}
