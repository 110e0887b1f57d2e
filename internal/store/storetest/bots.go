package storetest

import (
	"crypto/sha256"
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/store"
)

// Bots checks the repository of the bots.
func Bots(t *testing.T, open Open) {
	behaviours{
		"bots come back as they were added, in the order of their ids": botsAreListed,
		"a bot is added once":                               botIsAddedOnce,
		"every name of a bot finds it":                      botIsFound,
		"a name of no bot is not found, and is named":       botIsNotFound,
		"a token in place of a name is not repeated":        botTokenIsNotRepeated,
		"a username of two bots is refused":                 botIsAmbiguous,
		"a removed bot is gone, and the others stay":        botIsRemoved,
		"a bot goes over to a webhook with a new secret":    botGoesOverToAWebhook,
		"of two that remove a bot, one is told that it did": botIsRemovedOnce,
	}.check(t, open)
}

func bot(id string, botID account.BotID, username string) account.Bot {
	return account.Bot{
		ID: id, BotID: botID, Username: username, Delivery: account.Polling,
		SecretHash: sha256.Sum256([]byte(id)), SealedToken: "v1.k." + id, CreatedAt: received,
	}
}

func addBots(t *testing.T, b *store.Bots, bots ...account.Bot) {
	t.Helper()
	for _, bot := range bots {
		require.NoError(t, b.Add(t.Context(), bot))
	}
}

func botsAreListed(t *testing.T, db *store.DB) {
	b := db.Bots()
	none, err := b.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, none)

	first, second := bot("zz", 7_000_000_001, "first_bot"), bot("aa", 7_000_000_002, "")
	second.Delivery = account.Webhook
	addBots(t, b, second, first)
	listed, err := b.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []account.Bot{first, second}, listed)
}

func botIsAddedOnce(t *testing.T, db *store.DB) {
	b := db.Bots()
	first := bot("opaque", 42, "first_bot")
	addBots(t, b, first)
	err := b.Add(t.Context(), bot("another", 42, "other_bot"))
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
	require.ErrorContains(t, err, "42")
	require.ErrorContains(t, err, "opaque")

	err = b.Add(t.Context(), bot("opaque", 43, "other_bot"))
	require.Equal(t, fault.Permanent, fault.ClassOf(err), "an opaque id is taken once, too")

	listed, err := b.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []account.Bot{first}, listed)
}

func botIsFound(t *testing.T, db *store.DB) {
	b := db.Bots()
	want := bot("opaque", 42, "Good_Bot")
	addBots(t, b, bot("else", 43, "Other_Bot"), want, bot("nameless", 44, ""))
	for _, ref := range []string{"opaque", "42", "Good_Bot", "good_bot", "@GOOD_BOT"} {
		found, err := b.Find(t.Context(), ref)
		require.NoError(t, err, ref)
		require.Equal(t, want, found, ref)
	}
}

func botIsNotFound(t *testing.T, db *store.DB) {
	b := db.Bots()
	addBots(t, b, bot("opaque", 42, ""), bot("other", 43, "other_bot"))
	for _, ref := range []string{"", "@", "nobody", "@opaque", "@42", "99", "other_bo_", "%"} {
		_, err := b.Find(t.Context(), ref)
		require.Equal(t, fault.NotFound, fault.ClassOf(err), ref)
		require.ErrorContains(t, err, `"`+ref+`"`)
		_, err = b.Remove(t.Context(), ref)
		require.Equal(t, fault.NotFound, fault.ClassOf(err), ref)
	}
	listed, err := b.List(t.Context())
	require.NoError(t, err)
	require.Len(t, listed, 2)
}

func botTokenIsNotRepeated(t *testing.T, db *store.DB) {
	_, err := db.Bots().Find(t.Context(), "42:AAH-secret")
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
	require.NotContains(t, err.Error(), "secret")
}

func botIsAmbiguous(t *testing.T, db *store.DB) {
	b := db.Bots()
	addBots(t, b, bot("one", 42, "moved_bot"), bot("two", 43, "Moved_Bot"))
	_, err := b.Remove(t.Context(), "@moved_bot")
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
	require.ErrorContains(t, err, "one")
	require.ErrorContains(t, err, "two")
	listed, err := b.List(t.Context())
	require.NoError(t, err)
	require.Len(t, listed, 2)
}

func botIsRemoved(t *testing.T, db *store.DB) {
	b := db.Bots()
	first, second := bot("opaque", 42, "first_bot"), bot("other", 43, "second_bot")
	addBots(t, b, first, second)
	removed, err := b.Remove(t.Context(), "@first_bot")
	require.NoError(t, err)
	require.Equal(t, first, removed)
	listed, err := b.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []account.Bot{second}, listed)
	addBots(t, b, first)
}

func botGoesOverToAWebhook(t *testing.T, db *store.DB) {
	b := db.Bots()
	first, second := bot("opaque", 42, "first_bot"), bot("other", 43, "second_bot")
	addBots(t, b, first, second)
	hash := sha256.Sum256([]byte("another secret"))
	require.NoError(t, b.ServeWebhook(t.Context(), "opaque", hash))
	first.Delivery, first.SecretHash = account.Webhook, hash
	listed, err := b.List(t.Context())
	require.NoError(t, err)
	require.Equal(t, []account.Bot{first, second}, listed)

	err = b.ServeWebhook(t.Context(), "nobody", hash)
	require.Equal(t, fault.NotFound, fault.ClassOf(err))
	require.ErrorContains(t, err, "nobody")
}

func botIsRemovedOnce(t *testing.T, db *store.DB) {
	b := db.Bots()
	const bots, callers = 20, 4
	for id := account.BotID(1); id <= bots; id++ {
		addBots(t, b, bot(fmt.Sprintf("opaque-%d", id), id, ""))
	}
	var removed atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	for range callers {
		group.Go(func() error {
			for id := 1; id <= bots; id++ {
				_, err := b.Remove(ctx, strconv.Itoa(id))
				if err == nil {
					removed.Add(1)
				} else if fault.ClassOf(err) != fault.NotFound {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.EqualValues(t, bots, removed.Load())
}
