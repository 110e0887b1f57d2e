package telegram_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/simulator"
	"github.com/tgfleet/tgfleet/internal/telegram"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	secretHalf             = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
	token      seal.Secret = "110201543:" + secretHalf
	hookSecret seal.Secret = "the-secret-of-the-webhook"
)

// setup returns a client of a Telegram with one bot, and a way to see what Telegram knows of its webhook.
func setup(t *testing.T) (client *telegram.Client, info func() webhookInfo) {
	t.Helper()
	fake := simulator.New(simulator.Config{})
	_, err := fake.AddBot(token.Reveal(), "fleet_bot")
	require.NoError(t, err)
	server := httptest.NewServer(fake)
	t.Cleanup(server.Close)
	return telegram.New(server.URL), func() webhookInfo {
		rec := httptest.NewRecorder()
		fake.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/bot"+token.Reveal()+"/getWebhookInfo", http.NoBody))
		var answer struct{ Result webhookInfo }
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &answer))
		return answer.Result
	}
}

type webhookInfo struct {
	URL            string
	AllowedUpdates []ingest.Kind `json:"allowed_updates"`
}

func TestGetMeTellsWhoTheBotIs(t *testing.T) {
	t.Parallel()
	client, _ := setup(t)
	who, err := client.GetMe(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, telegram.Identity{BotID: account.BotID(110201543), Username: "fleet_bot"}, who)
}

func TestWebhookIsSetForEveryKindAndRemoved(t *testing.T) {
	t.Parallel()
	client, info := setup(t)
	hook := telegram.Webhook{URL: "https://bots.example.org/telegram/webhook/x", Secret: hookSecret}
	require.NoError(t, client.SetWebhook(t.Context(), token, hook))
	require.Equal(t, hook.URL, info().URL)
	require.ElementsMatch(t, ingest.Kinds, info().AllowedUpdates)

	require.NoError(t, client.DeleteWebhook(t.Context(), token))
	require.Empty(t, info().URL)
	require.NoError(t, client.DeleteWebhook(t.Context(), token), "removing what is not there changes nothing")
}

func TestRefusalsAreClassified(t *testing.T) {
	t.Parallel()
	client, info := setup(t)
	_, err := client.GetMe(t.Context(), "110201543:another")
	require.Equal(t, fault.Unauthorized, fault.ClassOf(err))
	require.EqualError(t, err, "getMe: the token is wrong or was revoked")

	err = client.SetWebhook(t.Context(), token, telegram.Webhook{URL: "ftp://x", Secret: hookSecret})
	require.Equal(t, fault.Permanent, fault.ClassOf(err))
	require.ErrorContains(t, err, "invalid webhook URL")

	err = client.SetWebhook(t.Context(), token, telegram.Webhook{URL: "https://x.example", Secret: hookSecret})
	require.Equal(t, fault.Throttled, fault.ClassOf(err), "a second call within a second")
	after, _ := fault.After(err)
	require.Equal(t, time.Second, after)
	require.Empty(t, info().URL)

	_, err = client.GetMe(t.Context(), "")
	require.Error(t, err)
}

func TestTroubleOfNetworkAndServerIsTransientAndShowsNoSecret(t *testing.T) {
	t.Parallel()
	echo := func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.String()) }
	refuse := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, strings.ReplaceAll(body, "TOKEN", r.URL.Path))
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		class   fault.Class
	}{
		"the server's own trouble":       {refuse(502, `{"ok":false,"error_code":502,"description":"Bad Gateway"}`), fault.Transient},
		"something else answers":         {refuse(502, `<html>nginx TOKEN</html>`), fault.Transient},
		"something else answers with OK": {echo, fault.Transient},
		"it has nothing to say":          {refuse(200, ``), fault.Transient},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere"+r.URL.Path, http.StatusFound)
		}, fault.Transient},
		"a reason that shows the token": {refuse(400, `{"ok":false,"error_code":400,"description":"bad TOKEN"}`), fault.Permanent},
		"an answer without an end":      {refuse(200, `{"ok":true,"result":"`+strings.Repeat("x", 2<<20)), fault.Transient},
		"an answer of another shape":    {refuse(200, `{"ok":true,"result":[1]}`), fault.Permanent},
		"the connection is cut": {func(http.ResponseWriter, *http.Request) {
			panic(http.ErrAbortHandler)
		}, fault.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(c.handler)
			defer server.Close()
			client := telegram.New(server.URL)
			_, err := client.GetMe(t.Context(), token)
			requireFault(t, err, c.class, server.URL)
			err = client.SetWebhook(t.Context(), token, telegram.Webhook{URL: "https://x.example", Secret: hookSecret})
			requireFault(t, err, c.class, server.URL)
		})
	}
}

func TestNothingFollowsARedirectOrReadsForEver(t *testing.T) {
	t.Parallel()
	var followed atomic.Bool
	var endless atomic.Int64
	ended := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/redirect/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/elsewhere", func(http.ResponseWriter, *http.Request) { followed.Store(true) })
	mux.HandleFunc("/endless/", func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		for endless.Load() < 64<<20 {
			n, err := w.Write(bytes.Repeat([]byte(" "), 1<<16))
			if err != nil {
				return
			}
			endless.Add(int64(n))
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	_, err := telegram.New(server.URL+"/redirect").GetMe(t.Context(), token)
	require.Equal(t, fault.Transient, fault.ClassOf(err))
	require.False(t, followed.Load())
	_, err = telegram.New(server.URL+"/endless").GetMe(t.Context(), token)
	require.Equal(t, fault.Transient, fault.ClassOf(err))
	<-ended
	require.Less(t, endless.Load(), int64(64<<20))
}

func requireFault(t *testing.T, err error, class fault.Class, url string) {
	t.Helper()
	require.Error(t, err)
	require.Equal(t, class, fault.ClassOf(err), "%v", err)
	require.NotContains(t, err.Error(), secretHalf)
	require.NotContains(t, err.Error(), hookSecret.Reveal())
	require.NotContains(t, err.Error(), url)
	require.Less(t, len(err.Error()), 300)
}

func TestUnreachableServerIsTransient(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	_, err = telegram.New(url).GetMe(t.Context(), token)
	requireFault(t, err, fault.Transient, url)

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = telegram.New(url).GetMe(ended, token)
	require.ErrorIs(t, err, context.Canceled)
}
