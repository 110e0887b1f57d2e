package datacentre_test

import (
	"context"
	"testing"
	"time"

	"github.com/gotd/td/crypto"
	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const within = time.Minute

func start(t *testing.T, cfg datacentre.Config) *datacentre.Server {
	t.Helper()
	s, err := datacentre.New(cfg)
	require.NoError(t, err)
	require.NoError(t, s.Start(t.Context()))
	t.Cleanup(s.Stop)
	return s
}

// signedIn returns the stored session of a bot that has signed in and gone again.
func signedIn(t *testing.T, s *datacentre.Server) *session.StorageMemory {
	t.Helper()
	stored := &session.StorageMemory{}
	run(t, s, stored, func(ctx context.Context, c *telegram.Client) error {
		_, err := c.Auth().Bot(ctx, "42:abc")
		return err
	})
	return stored
}

// run is a client with a session while do runs.
func run(t *testing.T, s *datacentre.Server, stored session.Storage, do func(ctx context.Context, c *telegram.Client) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	c := client(t, s, stored)
	require.NoError(t, c.Run(ctx, func(ctx context.Context) error { return do(ctx, c) }))
}

func client(t *testing.T, s *datacentre.Server, stored session.Storage) *telegram.Client {
	t.Helper()
	keys, err := crypto.ParseRSAPublicKeys(s.PublicKey())
	require.NoError(t, err)
	return telegram.NewClient(1, "hash", telegram.Options{
		PublicKeys: []telegram.PublicKey{{RSA: keys[0]}}, DC: datacentre.DC, SessionStorage: stored, NoUpdates: true,
		DCList:   dcs.List{Options: []tg.DCOption{s.Option()}},
		Resolver: dcs.Plain(dcs.PlainOptions{}),
	})
}

func TestTwoConnectionsWithOneKeyEndTheSession(t *testing.T) {
	t.Parallel()
	s := start(t, datacentre.Config{})
	s.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	stored := signedIn(t, s)
	var alone, second, first error
	var before, after int
	run(t, s, stored, func(ctx context.Context, c *telegram.Client) error {
		_, alone = c.API().UpdatesGetState(ctx)
		before = s.Overlaps()
		other := client(t, s, stored)
		ended := other.Run(ctx, func(ctx context.Context) error {
			_, second = other.API().UpdatesGetState(ctx)
			return nil
		})
		after = s.Overlaps()
		_, first = c.API().UpdatesGetState(ctx)
		return ended
	})
	require.NoError(t, alone)
	require.Zero(t, before)
	require.Equal(t, 1, after)
	require.True(t, tgerr.Is(second, "AUTH_KEY_DUPLICATED"), "%v", second)
	require.True(t, tgerr.IsCode(first, 406), "%v", first)
}

func TestOneConnectionAfterAnotherIsNoOverlap(t *testing.T) {
	t.Parallel()
	s := start(t, datacentre.Config{})
	s.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	stored := signedIn(t, s)
	for range 20 {
		run(t, s, stored, func(ctx context.Context, c *telegram.Client) error {
			_, err := c.API().UpdatesGetState(ctx)
			return err
		})
	}
	require.Zero(t, s.Overlaps())
	require.Equal(t, 21, s.Connections())
}

func TestWhoeverAsksDuringAFloodWaitIsCounted(t *testing.T) {
	t.Parallel()
	s := start(t, datacentre.Config{})
	s.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	s.Flood("updates.getState", time.Hour)
	var told [3]error
	var early [3]int
	var other error
	run(t, s, signedIn(t, s), func(ctx context.Context, c *telegram.Client) error {
		for i := range told {
			_, told[i] = c.API().UpdatesGetState(ctx)
			early[i] = s.Early()
		}
		_, other = c.API().UpdatesGetDifference(ctx, &tg.UpdatesGetDifferenceRequest{Pts: 1})
		return nil
	})
	for _, err := range told {
		wait, ok := tgerr.AsFloodWait(err)
		require.True(t, ok, "%v", err)
		require.Greater(t, wait, 59*time.Minute)
	}
	require.Equal(t, [3]int{0, 1, 2}, early)
	require.NoError(t, other, "other methods go on")
}

func TestAnAccessHashIsGoodForOneAccount(t *testing.T) {
	t.Parallel()
	s := start(t, datacentre.Config{})
	bot := s.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	other := s.AddAccount(datacentre.Account{FirstName: "other", Token: "43:abc"})
	chat := s.AddChat(datacentre.Channel, "Main Channel", bot, other)
	s.Post(chat, "harbour at dawn")
	var own, foreign error
	run(t, s, signedIn(t, s), func(ctx context.Context, c *telegram.Client) error {
		ask := func(of *datacentre.Account) error {
			_, err := c.API().UpdatesGetChannelDifference(ctx, &tg.UpdatesGetChannelDifferenceRequest{
				Channel: &tg.InputChannel{ChannelID: chat.ID, AccessHash: of.AccessHash(chat.ID)}, Filter: &tg.ChannelMessagesFilterEmpty{},
				Pts: 1, Limit: 10,
			})
			return err
		}
		own, foreign = ask(bot), ask(other)
		return nil
	})
	require.NoError(t, own)
	require.True(t, tgerr.Is(foreign, "CHANNEL_INVALID"), "%v", foreign)
}
