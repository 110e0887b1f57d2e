package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/simulator"
)

// telegram is the simulated Telegram of one test: it runs in the test's own process, which no kill of ours touches.
type telegram struct {
	*simulator.Server
	t testing.TB
	// url is its Bot API.
	url string
}

// startTelegram starts a Telegram that records what it sends, until the end of the test.
func startTelegram(t testing.TB, cfg simulator.Config) *telegram {
	t.Helper()
	cfg.Record = true
	tg := &telegram{Server: simulator.New(cfg), t: t}
	ctx, cancel := context.WithCancel(context.Background())
	delivered := make(chan error, 1)
	go func() { delivered <- tg.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-delivered)
	})
	api := httptest.NewServer(tg.Server)
	t.Cleanup(api.Close)
	tg.url = api.URL
	return tg
}

// people are the bots' usernames. Their tokens are no real bot's, and secret enough to be looked for in logs.
var people = []struct{ token, username string }{
	{"7100000001:e2e-token-of-the-harbour-bot", "harbour_bot"},
	{"7100000002:e2e-token-of-the-market-bot", "market_bot"},
	{"7100000003:e2e-token-of-the-club-bot", "club_bot"},
}

// addBots makes the first n of them known to Telegram and returns their tokens.
func (tg *telegram) addBots(n int) []string {
	tg.t.Helper()
	var tokens []string
	for _, bot := range people[:n] {
		_, err := tg.AddBot(bot.token, bot.username)
		require.NoError(tg.t, err)
		tokens = append(tokens, bot.token)
	}
	return tokens
}

// call calls a method of the Bot API.
func (tg *telegram) call(token, method string, params url.Values) answer {
	tg.t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
		tg.url+"/bot"+token+"/"+method, strings.NewReader(params.Encode()))
	require.NoError(tg.t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	got, err := do(request)
	require.NoError(tg.t, err)
	return got
}

// post tells Telegram to post b's updates to the front. Kinds names the kinds of updates; none means Telegram's default.
func (tg *telegram) post(b bot, front string, kinds []ingest.Kind) {
	tg.t.Helper()
	params := url.Values{"url": {front + b.WebhookPath}, "secret_token": {b.Secret}, "max_connections": {"40"}}
	if kinds != nil {
		var names []string
		for _, kind := range kinds {
			names = append(names, `"`+string(kind)+`"`)
		}
		params.Set("allowed_updates", "["+strings.Join(names, ",")+"]")
	}
	got := tg.call(b.token, "setWebhook", params)
	require.Equal(tg.t, http.StatusOK, got.status, got.body)
}

// talk is what people say to the bots, in the background.
type talk struct {
	t     testing.TB
	stop  context.CancelFunc
	ended chan struct{}
	err   error // written before ended is closed
}

// talk lets people talk to the bots until cfg's limit, the end of the talk or that of the test.
func (tg *telegram) talk(cfg simulator.TrafficConfig) *talk {
	tg.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	said := &talk{t: tg.t, stop: cancel, ended: make(chan struct{})}
	go func() {
		defer close(said.ended)
		said.err = tg.Traffic(ctx, cfg)
	}()
	tg.t.Cleanup(said.end)
	return said
}

// wait waits until everything is said.
func (s *talk) wait() {
	s.t.Helper()
	<-s.ended
	require.NoError(s.t, s.err)
}

// end lets nobody say anything more.
func (s *talk) end() {
	s.t.Helper()
	s.stop()
	s.wait()
}

// delivered waits until nothing is pending at Telegram any more.
func (tg *telegram) delivered(within time.Duration) {
	tg.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	require.NoError(tg.t, tg.WaitDelivered(ctx), "%+v", tg.Oracle().Counts())
}

// reached waits until count, one of the sums of what has happened, is at least n.
func (tg *telegram) reached(within time.Duration, n int, count func(simulator.Counts) int) {
	tg.t.Helper()
	eventually(tg.t, within, func(context.Context) error {
		if counts := tg.Oracle().Counts(); count(counts) < n {
			return fmt.Errorf("%d of %d: %+v", count(counts), n, counts)
		}
		return nil
	})
}

func acknowledged(c simulator.Counts) int { return c.Acknowledged }

// fastClock runs faster than the real one, so that Telegram's pauses between its tries take less of a test's time.
type fastClock struct {
	began  time.Time
	factor int
}

func newFastClock(factor int) fastClock { return fastClock{began: time.Now(), factor: factor} }

func (c fastClock) Now() time.Time {
	return c.began.Add(time.Since(c.began) * time.Duration(c.factor))
}

func (c fastClock) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d/time.Duration(c.factor), f).Stop
}
