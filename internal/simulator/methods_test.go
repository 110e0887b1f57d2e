package simulator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/simulator"
)

func chatID(id int64) content.ChatID { return content.ChatID(id) }

func TestAddressesThatAreNoMethodOfAKnownBotAreRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/bot" + token + "/getMe", http.StatusOK},
		{http.MethodPost, "/bot" + token + "/GETME", http.StatusOK},
		{http.MethodGet, "/bot7000000001:other/getMe", http.StatusUnauthorized},
		{http.MethodGet, "/bot/getMe", http.StatusUnauthorized},
		{http.MethodGet, "/bot" + token + "/getMoney", http.StatusNotFound},
		{http.MethodGet, "/bot" + token, http.StatusNotFound},
		{http.MethodGet, "/", http.StatusNotFound},
		{http.MethodDelete, "/bot" + token + "/getMe", http.StatusMethodNotAllowed},
	} {
		got := f.serve(t, httptest.NewRequestWithContext(t.Context(), c.method, c.path, http.NoBody))
		require.Equal(t, c.status, got.Status, "%s %s", c.method, c.path)
		require.Equal(t, !got.OK, got.Description != "")
	}
}

func TestTokensOfAnotherFormAreRefusedWithoutRepeatingThem(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, wrong := range []string{"", "hush", "0123:hush", "123:", "123:hush/", "12345678901234567:hush", token} {
		_, err := f.AddBot(wrong, "other_bot")
		require.Error(t, err, wrong)
		require.NotContains(t, err.Error(), "hush")
	}
}

func TestGetMeTellsTheBot(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var me map[string]any
	require.NoError(t, json.Unmarshal(f.call(t, "getMe", nil).Result, &me))
	require.InDelta(t, 7000000001, me["id"], 0)
	require.Equal(t, true, me["is_bot"])
	require.Equal(t, "test_bot", me["username"])
}

func TestParametersComeInFourForms(t *testing.T) {
	t.Parallel()
	const address = "http://127.0.0.1:3002/telegram/webhook/x"
	form := values("url", address, "max_connections", "7", "allowed_updates", `["message","poll"]`)

	query := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/bot"+token+"/setWebhook?"+form.Encode(), http.NoBody)

	urlEncoded := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/bot"+token+"/setWebhook", strings.NewReader(form.Encode()))
	urlEncoded.Header.Set("Content-Type", "application/x-www-form-urlencoded")

	var parts bytes.Buffer
	writer := multipart.NewWriter(&parts)
	for name := range form {
		require.NoError(t, writer.WriteField(name, form.Get(name)))
	}
	require.NoError(t, writer.Close())
	multi := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/bot"+token+"/setWebhook", &parts)
	multi.Header.Set("Content-Type", writer.FormDataContentType())

	body := fmt.Sprintf(`{"url":%q,"max_connections":7,"allowed_updates":["message","poll"]}`, address)
	asJSON := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/bot"+token+"/setWebhook", strings.NewReader(body))
	asJSON.Header.Set("Content-Type", "application/json; charset=utf-8")

	for name, request := range map[string]*http.Request{"query": query, "form": urlEncoded, "multipart": multi, "json": asJSON} {
		f := setup(t)
		got := f.serve(t, request)
		require.True(t, got.OK, name)
		info := f.webhookInfo(t)
		require.Equal(t, address, info["url"], name)
		require.InDelta(t, 7, info["max_connections"], 0, name)
		require.Equal(t, []any{"message", "poll"}, info["allowed_updates"], name)
		require.Equal(t, "127.0.0.1", info["ip_address"], name)
	}
}

func TestEmptyBodyOfAnyFormHasNoParameters(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for _, form := range []string{"application/json", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/bot"+token+"/getMe", http.NoBody)
		r.Header.Set("Content-Type", form)
		require.True(t, f.serve(t, r).OK, form)
	}
}

func TestBodiesThatCannotBeReadAreRefused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	for body, status := range map[string]int{
		"{":                                     http.StatusBadRequest,
		`{"url":"` + strings.Repeat("x", 2<<20): http.StatusRequestEntityTooLarge,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/bot"+token+"/setWebhook", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		require.Equal(t, status, f.serve(t, r).Status)
	}
}

func TestSetWebhookChecksItsParameters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, url, secret string
		ok                bool
	}{
		{"longest secret", "https://a.test", strings.Repeat("aZ9_-", 51) + "x", true},
		{"no secret", "https://a.test", "", true},
		{"plain http, as a local server takes it", "http://127.0.0.1:3002/x", "", true},
		{"secret too long", "https://a.test", strings.Repeat("a", 257), false},
		{"secret of other characters", "https://a.test", "a+b", false},
		{"secret with a line break", "https://a.test", "ab\n", false},
		{"no host", "https:///x", "", false},
		{"another scheme", "ftp://a.test", "", false},
	} {
		f := setup(t)
		got := f.call(t, "setWebhook", values("url", c.url, "secret_token", c.secret))
		require.Equal(t, c.ok, got.OK, c.name)
		if !c.ok {
			require.Equal(t, http.StatusBadRequest, got.Status)
			require.Empty(t, f.webhookInfo(t)["url"])
		}
	}
}

func TestMaxConnectionsIsMovedIntoItsRange(t *testing.T) {
	t.Parallel()
	for asked, want := range map[string]float64{"": 40, "1": 1, "100": 100, "0": 1, "-3": 1, "101": 100, "many": 1} {
		f := setup(t)
		f.setWebhook(t, "max_connections", asked)
		require.InDelta(t, want, f.webhookInfo(t)["max_connections"], 0, asked)
	}
}

func TestSetWebhookWorksOnceASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		f.setWebhook(t)
		got := f.call(t, "setWebhook", values("url", "https://other.test"))
		require.Equal(t, http.StatusTooManyRequests, got.Status)
		require.Equal(t, "Too Many Requests: retry after 1", got.Description)
		require.Equal(t, 1, got.Parameters.RetryAfter)
		require.Equal(t, "1", got.Header.Get("Retry-After"))
		require.Equal(t, "https://fleet.test/hook", f.webhookInfo(t)["url"])
		require.True(t, f.call(t, "deleteWebhook", nil).OK, "removing one is never held up")

		pass(t, time.Second)
		require.True(t, f.call(t, "setWebhook", values("url", "https://other.test")).OK)
		require.Equal(t, "https://other.test", f.webhookInfo(t)["url"], "one webhook a bot")
	})
}

func TestWebhookMethodsSayWhatTheyFound(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		for _, step := range []struct{ method, url, says string }{
			{"deleteWebhook", "", "Webhook is already deleted"},
			{"setWebhook", "https://a.test", "Webhook was set"},
			{"setWebhook", "https://a.test", "Webhook is already set"},
			{"setWebhook", "https://b.test", "Webhook was set"},
			{"setWebhook", "", "Webhook was deleted"},
			{"setWebhook", "", "Webhook is already deleted"},
		} {
			pass(t, time.Second)
			got := f.call(t, step.method, values("url", step.url))
			require.Equal(t, step.says, got.Description)
			require.JSONEq(t, "true", string(got.Result))
		}
	})
}

func TestAllowedUpdatesStickAndAreNotRetroactive(t *testing.T) {
	t.Parallel()
	f := setup(t)
	post := func(kind ingest.Kind) simulator.Outcome {
		u, err := f.Post(f.bot, kind, []byte(`{"chat":{"id":1}}`))
		require.NoError(t, err)
		return u.Outcome
	}
	for _, kind := range ingest.Kinds {
		optIn := kind == "chat_member" || kind == "message_reaction" || kind == "message_reaction_count"
		require.Equal(t, optIn, post(kind) == simulator.Filtered, kind)
	}
	require.Equal(t, simulator.Pending, post("kind_of_tomorrow"), "the default lets new kinds through")
	pending := len(f.updates(t))

	f.updates(t, "allowed_updates", `["chat_member"]`)
	require.Len(t, f.updates(t), pending, "what was there stays")
	require.Equal(t, simulator.Filtered, post("message"))
	require.Equal(t, simulator.Filtered, post("kind_of_tomorrow"))
	require.Equal(t, simulator.Pending, post("chat_member"))

	f.updates(t)
	f.setWebhook(t)
	require.Equal(t, simulator.Filtered, post("message"), "leaving it out keeps the last list")
	require.Equal(t, []any{"chat_member"}, f.webhookInfo(t)["allowed_updates"])

	f.call(t, "deleteWebhook", nil)
	f.updates(t, "allowed_updates", `[]`)
	require.Equal(t, simulator.Pending, post("message"), "an empty list is the default")
	require.Equal(t, simulator.Filtered, post("chat_member"))
	require.NotContains(t, f.webhookInfo(t), "allowed_updates")
}

func TestDropPendingUpdatesDropsThem(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"setWebhook", "deleteWebhook"} {
		f := setup(t)
		dropped := f.say(t, chatA, "one")
		require.True(t, f.call(t, method, values("url", "https://a.test", "drop_pending_updates", "true")).OK)
		require.Equal(t, simulator.Dropped, f.about(t, dropped).Outcome)
		require.InDelta(t, 0, f.webhookInfo(t)["pending_update_count"], 0)
		require.NoError(t, f.WaitDelivered(t.Context()))
	}
}

func TestSendMessageAnswersWithTheMessage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := setup(t)
		first := f.say(t, chatA, "hello")
		var heard struct {
			Message struct {
				ID int64 `json:"message_id"`
			} `json:"message"`
		}
		require.NoError(t, json.Unmarshal(first.Raw, &heard))
		got := f.call(t, "sendMessage", values("chat_id", strconv.Itoa(chatA), "text", "hi 👋"))
		var sent struct {
			ID   int64  `json:"message_id"`
			Text string `json:"text"`
			From struct{ ID int64 }
			Chat struct{ ID int64 }
			Date int64
		}
		require.NoError(t, json.Unmarshal(got.Result, &sent))
		require.Equal(t, heard.Message.ID+1, sent.ID, "one numbering for both directions")
		require.Equal(t, "hi 👋", sent.Text)
		require.EqualValues(t, f.bot, sent.From.ID)
		require.EqualValues(t, chatA, sent.Chat.ID)
		require.Equal(t, time.Now().Unix(), sent.Date)
	})
}

func TestSendMessageRefusesWhatTelegramRefuses(t *testing.T) {
	t.Parallel()
	f := setup(t)
	f.say(t, chatA, "hello")
	for _, c := range []struct{ chat, text, why string }{
		{"", "x", "Bad Request: chat_id is empty"},
		{"77", "x", "Bad Request: chat not found"},
		{"@nobody", "x", "Bad Request: chat not found"},
		{strconv.Itoa(chatA), " ", "Bad Request: message text is empty"},
		{strconv.Itoa(chatA), strings.Repeat("👋", 2049), "Bad Request: message is too long"},
	} {
		got := f.call(t, "sendMessage", values("chat_id", c.chat, "text", c.text))
		require.Equal(t, http.StatusBadRequest, got.Status)
		require.Equal(t, c.why, got.Description)
	}
}

func TestSendingHasItsLimits(t *testing.T) {
	t.Parallel()
	const group = -4_000_000_001
	send := func(t *testing.T, f *fixture, chat int64) reply {
		t.Helper()
		return f.call(t, "sendMessage", values("chat_id", strconv.FormatInt(chat, 10), "text", "x"))
	}
	t.Run("one a second in a chat", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := setup(t)
			f.say(t, chatA, "hello")
			require.True(t, send(t, f, chatA).OK)
			refused := send(t, f, chatA)
			require.Equal(t, http.StatusTooManyRequests, refused.Status)
			require.Equal(t, 1, refused.Parameters.RetryAfter)
			pass(t, time.Second)
			require.True(t, send(t, f, chatA).OK)
		})
	})
	t.Run("twenty a minute in a group", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := setup(t)
			f.say(t, group, "hello")
			for range 20 {
				require.True(t, send(t, f, group).OK)
				pass(t, time.Second)
			}
			refused := send(t, f, group)
			require.Equal(t, http.StatusTooManyRequests, refused.Status)
			require.Equal(t, 40, refused.Parameters.RetryAfter)
			pass(t, 40*time.Second)
			require.True(t, send(t, f, group).OK)
		})
	})
	t.Run("thirty a second over all", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := setup(t)
			for chat := range int64(31) {
				f.say(t, chat+1, "hello")
				require.Equal(t, chat < 30, send(t, f, chat+1).OK)
			}
			pass(t, time.Second)
			require.True(t, send(t, f, 31).OK)
		})
	})
}

// pass lets d go by in the bubble.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	<-time.After(d)
	synctest.Wait()
}
