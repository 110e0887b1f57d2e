package enrol_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/app/enrol"
	"github.com/tgfleet/tgfleet/internal/seal"
)

type shelf []account.Bot

func (s *shelf) Add(_ context.Context, bot account.Bot) error {
	if len(*s) > 1 {
		return errors.New("full")
	}
	*s = append(*s, bot)
	return nil
}

func setup(t *testing.T) *seal.Ring {
	t.Helper()
	key, err := seal.Generate("k1")
	require.NoError(t, err)
	ring, err := seal.ParseRing(key.Private())
	require.NoError(t, err)
	return ring
}

func TestEnrolledBotIsStoredWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	ring, bots := setup(t), &shelf{}
	const token = "7000000001:SIMULATED-harbour"
	e, err := enrol.Bot(t.Context(), bots, ring, enrol.Newcomer{Token: token, Username: "harbour", Delivery: account.Polling})
	require.NoError(t, err)
	require.Equal(t, shelf{e.Bot}, *bots)
	require.Equal(t, account.BotID(7000000001), e.BotID)
	require.Equal(t, sha256.Sum256([]byte(e.Secret.Reveal())), e.SecretHash)
	require.Regexp(t, `^[A-Za-z0-9_-]{40,256}$`, e.Secret.Reveal(), "what setWebhook takes")
	require.Regexp(t, `^[a-z0-9]{20,}$`, e.ID, "no flag of a command line, and nothing of the token")
	require.Equal(t, "/telegram/webhook/"+e.ID, e.WebhookPath())
	require.NotContains(t, fmt.Sprintf("%+v", e.Bot), "SIMULATED")

	opened, err := ring.Open(seal.PurposeBotToken, e.SealedToken)
	require.NoError(t, err)
	require.Equal(t, token, opened.Reveal())
}

func TestEveryBotHasAnIDAndASecretOfItsOwn(t *testing.T) {
	t.Parallel()
	ring, bots := setup(t), &shelf{}
	one, err := enrol.Bot(t.Context(), bots, ring, enrol.Newcomer{Token: "1:a"})
	require.NoError(t, err)
	two, err := enrol.Bot(t.Context(), bots, ring, enrol.Newcomer{Token: "1:a"})
	require.NoError(t, err)
	require.NotEqual(t, one.ID, two.ID)
	require.NotEqual(t, one.Secret.Reveal(), two.Secret.Reveal())
	_, err = enrol.Bot(t.Context(), bots, ring, enrol.Newcomer{Token: "1:a"})
	require.ErrorContains(t, err, "full", "a bot that is not stored is not enrolled")
}

func TestWhatIsNoTokenIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, token := range []string{"", "hunter2", "hunter2:", ":hunter2", "12:hunter2 ", "0:hunter2", "99999999999999999999:hunter2"} {
		_, err := enrol.BotID(seal.Secret(token))
		require.ErrorContains(t, err, "a bot's token looks like", token)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
