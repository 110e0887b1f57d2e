package e2e_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The lines that the tool prints with --json, with all their fields.
type (
	keyLine struct {
		ID      string `json:"id"`
		Private string `json:"private"`
		Public  string `json:"public"`
	}
	botLine struct {
		ID          string    `json:"id"`
		BotID       int64     `json:"bot_id"`
		Username    string    `json:"username"`
		Delivery    string    `json:"delivery"`
		WebhookPath string    `json:"webhook_path"`
		CreatedAt   time.Time `json:"created_at"`
		Secret      string    `json:"secret"`
	}
	updateLine struct {
		ReceivedAt time.Time       `json:"received_at"`
		Source     string          `json:"source"`
		UpdateID   int64           `json:"update_id"`
		Kind       string          `json:"kind"`
		ChatID     int64           `json:"chat_id"`
		Origin     string          `json:"origin"`
		SizeBytes  int             `json:"size_bytes"`
		Payload    json.RawMessage `json:"payload"`
	}
)

// decode reads text as JSON values, one after the other, with no field that T does not know.
func decode[T any](t testing.TB, text string) []T {
	t.Helper()
	var values []T
	decoder := json.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.DisallowUnknownFields()
	for decoder.More() {
		var value T
		require.NoError(t, decoder.Decode(&value), text)
		values = append(values, value)
	}
	return values
}

// decodeOne reads text as one JSON value.
func decodeOne[T any](t testing.TB, text string) T {
	t.Helper()
	values := decode[T](t, text)
	require.Len(t, values, 1, text)
	return values[0]
}

// refuse runs a command of the tool that must fail, and returns what it says about it: in one line, and nothing on standard output.
func refuse(t testing.TB, env environment, args ...string) string {
	t.Helper()
	got := run(t, command{program: "tgfleet", args: args, env: env})
	require.Equal(t, 1, got.code, "tgfleet %s: %s", strings.Join(args, " "), got.stdout)
	require.Empty(t, got.stdout)
	require.True(t, strings.HasPrefix(got.stderr, "tgfleet: "), got.stderr)
	require.Equal(t, 1, strings.Count(got.stderr, "\n"), got.stderr)
	for _, bot := range people {
		require.NotContains(t, got.stderr, bot.token)
	}
	return got.stderr
}

func TestKeysAreNewEachTimeAndFitForUse(t *testing.T) {
	t.Parallel()
	key := decodeOne[keyLine](t, tool(t, nil, "keys", "generate", "--id", "spring", "--json"))
	require.Equal(t, "spring", key.ID)
	require.Regexp(t, `^spring:[A-Za-z0-9+/]{43}=$`, key.Private)
	require.Regexp(t, `^spring:[A-Za-z0-9+/]{43}=$`, key.Public)
	require.NotEqual(t, key.Private, key.Public)
	require.NotEqual(t, generateKeys(t), generateKeys(t))
	refuse(t, nil, "keys", "generate", "--id", "not a name")
}

func TestMigrateMayRunAgainAndAtOnce(t *testing.T) {
	t.Parallel()
	env := environment{"DATABASE_URL": postgres.Database(t)}
	first, second := start(t, command{program: "tgfleet", args: []string{"migrate"}, env: env}),
		start(t, command{program: "tgfleet", args: []string{"migrate"}, env: env})
	require.Zero(t, first.exit(commandWithin), first.stderr())
	require.Zero(t, second.exit(commandWithin), second.stderr())
	require.Equal(t, "The schema is up to date.\n", tool(t, env, "migrate"))
	require.JSONEq(t, `{"up_to_date":true}`, tool(t, env, "migrate", "--json"))
	require.Contains(t, refuse(t, nil, "migrate"), "DATABASE_URL is not set")
}
