package webhook_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/source/webhook"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "correct-horse_battery"

// front is a webhook over a list of bots and a sink that the test scripts.
type front struct {
	*webhook.Handler
	mu       sync.Mutex
	bots     []account.Bot
	listErr  error
	sinkErr  error
	accepted []ingest.Envelope
}

func (f *front) List(context.Context) ([]account.Bot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bots, f.listErr
}

func (f *front) Accept(_ context.Context, env ingest.Envelope) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sinkErr == nil {
		f.accepted = append(f.accepted, env)
	}
	return f.sinkErr
}

func newFront(change func(*webhook.Config)) *front {
	f := &front{bots: []account.Bot{
		{ID: "x7Qa", BotID: 42, SecretHash: sha256.Sum256([]byte(secret))},
		{ID: "b2", BotID: 43, SecretHash: sha256.Sum256([]byte("another"))},
	}}
	cfg := webhook.Config{
		Bots: f, Sink: f, Log: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		Beat: obs.NewHealth().Loop("bots", time.Minute),
	}
	if change != nil {
		change(&cfg)
	}
	f.Handler = webhook.New(cfg)
	return f
}

// setup returns a front whose bots are loaded.
func setup(t testing.TB, change func(*webhook.Config)) *front {
	t.Helper()
	f := newFront(change)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	require.Eventually(t, func() bool { return f.Ready(ctx) == nil }, 5*time.Second, time.Millisecond)
	return f
}

func post(path, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set(webhook.SecretHeader, secret)
	return r
}

func (f *front) answer(r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w.Result()
}

func TestAnswersInTheOrderOfTheContract(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("x", 1<<20+1)
	for name, c := range map[string]struct {
		request func() *http.Request
		status  int
	}{
		"not POST, though all else is wrong too": {func() *http.Request {
			return httptest.NewRequest(http.MethodGet, "/telegram/webhook/nobody", nil)
		}, 405},
		"unknown bot, though the body is too large": {func() *http.Request { return post("/telegram/webhook/nobody", huge) }, 404},
		"no bot at all":           {func() *http.Request { return post("/telegram/webhook/", "{}") }, 404},
		"a doubled slash":         {func() *http.Request { return post("/telegram/webhook//x7Qa", "{}") }, 404},
		"a trailing slash":        {func() *http.Request { return post("/telegram/webhook/x7Qa/", "{}") }, 404},
		"the id in other letters": {func() *http.Request { return post("/telegram/webhook/X7QA", "{}") }, 404},
		"secret of another bot":   {func() *http.Request { return post("/telegram/webhook/b2", "{}") }, 401},
		"missing secret, large body": {func() *http.Request {
			r := post("/telegram/webhook/x7Qa", huge)
			r.Header.Del(webhook.SecretHeader)
			return r
		}, 401},
		"empty secret": {func() *http.Request {
			r := post("/telegram/webhook/x7Qa", "{}")
			r.Header.Set(webhook.SecretHeader, "")
			return r
		}, 401},
		"a prefix of the secret": {func() *http.Request {
			r := post("/telegram/webhook/x7Qa", "{}")
			r.Header.Set(webhook.SecretHeader, secret[:5])
			return r
		}, 401},
		"body over the bound": {func() *http.Request { return post("/telegram/webhook/x7Qa", huge) }, 413},
		"body over the bound, its length untold": {func() *http.Request {
			r := httptest.NewRequest(http.MethodPost, "/telegram/webhook/x7Qa", io.MultiReader(strings.NewReader(huge)))
			r.Header.Set(webhook.SecretHeader, secret)
			return r
		}, 413},
		"an update": {func() *http.Request { return post("/telegram/webhook/x7Qa", `{"update_id":1}`) }, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, nil)
			response := f.answer(c.request())
			require.Equal(t, c.status, response.StatusCode)
			if c.status != http.StatusOK {
				require.Empty(t, f.accepted, "what is not answered with 200 is not taken")
			}
			if c.status == http.StatusMethodNotAllowed {
				require.Equal(t, http.MethodPost, response.Header.Get("Allow"))
			}
		})
	}
}

func TestWhateverTheBodyHoldsIsTakenAsItIs(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty":             "",
		"not JSON":          "<html>",
		"not an object":     "[1,2]",
		"without update_id": `{"message":{}}`,
		"U+0000":            `{"update_id":1,"message":{"text":"a\u0000b"}}`,
		"raw zero byte":     "{\"update_id\":1}\x00",
		"lone surrogate":    `{"update_id":1,"message":{"text":"\ud800"}}`,
		"deep":              strings.Repeat("[", 2000) + strings.Repeat("]", 2000),
		"duplicate keys":    `{"update_id":1,"update_id":2}`,
		"large id":          `{"update_id":9007199254740993}`,
		"unknown kind":      `{"update_id":1,"telepathy":{}}`,
		"just the bound":    strings.Repeat("x", 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, nil)
			before := time.Now()
			require.Equal(t, http.StatusOK, f.answer(post("/telegram/webhook/x7Qa", body)).StatusCode)
			require.Len(t, f.accepted, 1)
			env := f.accepted[0]
			require.True(t, bytes.Equal([]byte(body), env.Raw), "exact bytes")
			require.Equal(t, "botapi:42", env.Source.String())
			require.Equal(t, ingest.Live, env.Origin)
			require.Equal(t, ingest.BotAPIJSON, env.Format)
			require.WithinRange(t, env.ReceivedAt, before, time.Now())
		})
	}
}

func TestUntoldLengthIsReadWhole(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	body := strings.Repeat("chunk ", 10_000)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/telegram/webhook/x7Qa",
		io.MultiReader(strings.NewReader(body)))
	require.NoError(t, err)
	r.Header.Set(webhook.SecretHeader, secret)
	response, err := server.Client().Do(r)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, body, string(f.accepted[0].Raw))
}

func TestNothingDurableMeansTryAgainSoon(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	f.sinkErr = errors.New("neither store")
	response := f.answer(post("/telegram/webhook/x7Qa", `{"update_id":1}`))
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
	require.Equal(t, "2", response.Header.Get("Retry-After"))
}

func TestBodyThatBreaksOffIsNotTaken(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	r := post("/telegram/webhook/x7Qa", `{"update_id":`)
	r.ContentLength = 100
	require.Equal(t, http.StatusServiceUnavailable, f.answer(r).StatusCode)
	require.Empty(t, f.accepted)
}

func TestBotsAreUnknownOnlyOnceTheyAreLoaded(t *testing.T) {
	t.Parallel()
	f := newFront(nil)
	response := f.answer(post("/telegram/webhook/x7Qa", "{}"))
	require.Equal(t, http.StatusServiceUnavailable, response.StatusCode, "a known bot must not see 404 while we start")
	require.Equal(t, "2", response.Header.Get("Retry-After"))
	require.ErrorContains(t, f.Ready(t.Context()), "not been loaded")
}

func TestListOfBotsIsRefreshedAndKeptWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFront(nil)
		f.listErr = errors.New("database is away")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		synctest.Wait()
		require.Error(t, f.Ready(ctx))

		later := func(change func()) {
			f.mu.Lock()
			change()
			f.mu.Unlock()
			<-time.After(3 * time.Second)
			synctest.Wait()
		}
		later(func() { f.listErr = nil })
		require.NoError(t, f.Ready(ctx))
		require.Equal(t, http.StatusOK, f.answer(post("/telegram/webhook/x7Qa", "{}")).StatusCode)

		later(func() { f.bots, f.listErr = nil, errors.New("database is away") })
		require.Equal(t, http.StatusOK, f.answer(post("/telegram/webhook/x7Qa", "{}")).StatusCode, "a stale list is kept")

		later(func() { f.listErr = nil })
		require.Equal(t, http.StatusNotFound, f.answer(post("/telegram/webhook/x7Qa", "{}")).StatusCode, "removed bots are unknown")
		cancel()
		require.NoError(t, <-done)
	})
}

func TestFenceAdmitsByThePeerOrByWhatTrustedProxiesSay(t *testing.T) {
	t.Parallel()
	telegram := []netip.Prefix{netip.MustParsePrefix("149.154.160.0/20"), netip.MustParsePrefix("2001:db8::/32")}
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	for name, c := range map[string]struct {
		peer, forwarded string
		status          int
	}{
		"Telegram itself":                 {"149.154.167.1:443", "", 200},
		"IPv6":                            {"[2001:db8::1]:443", "", 200},
		"IPv4 in IPv6":                    {"[::ffff:149.154.167.1]:443", "", 200},
		"a stranger":                      {"203.0.113.9:443", "", 401},
		"a stranger who claims":           {"203.0.113.9:443", "149.154.167.1", 401},
		"through a proxy":                 {"10.0.0.1:1", "149.154.167.1", 200},
		"through two proxies":             {"10.0.0.1:1", "149.154.167.1, 10.0.0.2", 200},
		"a stranger through a proxy":      {"10.0.0.1:1", "203.0.113.9", 401},
		"a claim before the proxy's word": {"10.0.0.1:1", "149.154.167.1, 203.0.113.9", 401},
		"nonsense from a proxy":           {"10.0.0.1:1", "unknown", 401},
		"the proxy itself":                {"10.0.0.1:1", "", 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := setup(t, func(cfg *webhook.Config) { cfg.AllowedNets, cfg.TrustedProxies = telegram, proxies })
			r := post("/telegram/webhook/x7Qa", "{}")
			r.RemoteAddr = c.peer
			if c.forwarded != "" {
				r.Header.Set("X-Forwarded-For", c.forwarded)
			}
			require.Equal(t, c.status, f.answer(r).StatusCode)
		})
	}
}
