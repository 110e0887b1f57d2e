package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator"
)

// webhookURL asks Telegram where it posts a bot's updates.
func (tg *telegram) webhookURL(token string) string {
	tg.t.Helper()
	type info struct {
		Result struct {
			URL string `json:"url"`
		} `json:"result"`
	}
	var got info
	require.NoError(tg.t, json.Unmarshal([]byte(tg.call(token, "getWebhookInfo", nil).body), &got))
	return got.Result.URL
}

// TestBotIsAddedMovedAndRemoved takes a bot through its whole life with the fleet.
func TestBotIsAddedMovedAndRemoved(t *testing.T) {
	t.Parallel()
	// Telegram takes one setWebhook a second; its seconds are short here.
	tg := startTelegram(t, simulator.Config{Seed: 5, Clock: newFastClock(50)})
	token := tg.addBots(1)[0]
	f := newFleet(t)
	f.startAPI()
	f.startWorker()
	env := f.env.with(environment{"BOT_API_URL": tg.url, "PUBLIC_URL": f.api.url})

	added := run(t, command{program: "tgfleet", args: []string{"bot", "add", "--token", "-", "--json"}, env: env, stdin: token + "\n"})
	require.Zero(t, added.code, added.stderr)
	bot := decodeOne[botLine](t, added.stdout)
	require.Equal(t, people[0].username, bot.Username, "Telegram told its name")
	require.Equal(t, int64(7100000001), bot.BotID)
	require.Equal(t, "webhook", bot.Delivery)
	require.Equal(t, "/telegram/webhook/"+bot.ID, bot.WebhookPath)
	require.GreaterOrEqual(t, len(bot.Secret), 32)
	require.Equal(t, f.api.url+bot.WebhookPath, tg.webhookURL(token))
	f.receives(tg, 1)

	list := decodeOne[[]botLine](t, tool(t, env, "bot", "list", "--json"))
	require.Len(t, list, 1)
	require.WithinDuration(t, time.Now(), list[0].CreatedAt, time.Hour)
	list[0].CreatedAt, bot.Secret = bot.CreatedAt, ""
	require.Equal(t, bot, list[0], "the secret is told once only")
	require.NotContains(t, tool(t, env, "bot", "list"), token)
	require.Contains(t, refuse(t, env, "bot", "add", "--token", token), "7100000001", "it is there already")
	f.receives(tg, 2)

	moved := decodeOne[struct{ ID, URL string }](t, tool(t, env.with(environment{"PUBLIC_URL": f.api.url + "/"}), "bot", "set-webhook", "@harbour_bot", "--json"))
	require.Equal(t, struct{ ID, URL string }{bot.ID, f.api.url + bot.WebhookPath}, moved)
	f.receives(tg, 3)
	require.Equal(t, http.StatusUnauthorized, f.send(f.botWith(bot, decodeOne[botLine](t, added.stdout).Secret), hello(99)), "the old secret")

	require.Equal(t, map[string]string{"removed": bot.ID},
		decodeOne[map[string]string](t, tool(t, env, "bot", "remove", "7100000001", "--json")))
	require.Empty(t, tg.webhookURL(token))
	require.Equal(t, "[]\n", tool(t, env, "bot", "list", "--json"))
	eventually(t, startWithin, func(context.Context) error {
		if status := f.send(f.botWith(bot, "any"), hello(100)); status != http.StatusNotFound {
			return fmt.Errorf("the api still knows the bot: %d", status)
		}
		return nil
	})
	require.Equal(t, 3, f.db.count("SELECT count(*) FROM updates"), "what it received stays")
}

// botWith returns the bot of a line with a secret.
func (f *fleet) botWith(line botLine, secret string) bot {
	return bot{ID: line.ID, BotID: line.BotID, WebhookPath: line.WebhookPath, Secret: secret}
}

// receives posts a message to the first bot, and waits until the fleet has so many updates in all.
func (f *fleet) receives(tg *telegram, updates int) {
	f.t.Helper()
	_, err := tg.PostMessage(7100000001, 4242, "good morning")
	require.NoError(f.t, err)
	tg.delivered(time.Minute)
	f.settled(time.Minute)
	require.Equal(f.t, updates, f.db.count("SELECT count(*) FROM updates"))
}

// TestPolledBotIsAddedAndMovedToAWebhook has a worker ask for a bot's updates, until Telegram is told to post them.
func TestPolledBotIsAddedAndMovedToAWebhook(t *testing.T) {
	t.Parallel()
	tg := startTelegram(t, simulator.Config{Seed: 6})
	token := tg.addBots(1)[0]
	f := newFleet(t)
	f.env = f.env.with(environment{"BOT_API_URL": tg.url})
	f.startAPI()
	f.startWorker()
	tool(t, f.env, "bot", "add", "--token", token, "--polling")
	require.Equal(t, "polling", decodeOne[[]botLine](t, f.tool("bot", "list", "--json"))[0].Delivery)
	f.receives(tg, 1)

	tool(t, f.env.with(environment{"PUBLIC_URL": f.api.url}), "bot", "set-webhook", people[0].username)
	require.Equal(t, "webhook", decodeOne[[]botLine](t, f.tool("bot", "list", "--json"))[0].Delivery)
	f.receives(tg, 2)
	require.Equal(t, 1, f.api.metrics().sum("tgfleet_webhook_requests_total", `status="200"`))
}

func TestBotCommandsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	tg := startTelegram(t, simulator.Config{})
	f := newFleet(t)
	env := f.env.with(environment{"BOT_API_URL": tg.url})
	require.Contains(t, refuse(t, env, "bot", "add"), "--token")
	require.Contains(t, refuse(t, env, "bot", "add", "--token", "swordfish"), "looks like 123456:")
	require.NotContains(t, refuse(t, env, "bot", "add", "--token", "swordfish"), "swordfish")
	refuse(t, env, "bot", "add", "--token", people[0].token) // a token that Telegram does not know
	refuse(t, env, "bot", "remove", "@nobody")
	refuse(t, env, "bot", "remove", "@nobody", "--no-telegram")
	require.Contains(t, refuse(t, env, "bot", "set-webhook", "@nobody"), "PUBLIC_URL")
	delete(env, "SECRET_KEYS")
	require.Contains(t, refuse(t, env, "bot", "add", "--token", people[0].token, "--no-telegram"), "SECRET_KEYS")
	require.Equal(t, "[]\n", tool(t, env, "bot", "list", "--json"))
}
