package account_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
)

func TestTokenBeginsWithItsBotsID(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]account.BotID{
		"110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw": 110201543, "1:a": 1, "999999999999999999:_-": 999999999999999999,
	} {
		id, ok := account.BotIDOfToken(token)
		require.True(t, ok, token)
		require.Equal(t, want, id)
	}
	for _, token := range []string{"", "1", "1:", ":a", "0:a", "-1:a", "1:a b", "1:a\n", " 1:a", "1:a:b", "9999999999999999999:a"} {
		_, ok := account.BotIDOfToken(token)
		require.False(t, ok, token)
	}
}
