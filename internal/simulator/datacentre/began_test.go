package datacentre_test

import (
	"context"
	"testing"
	"time"

	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
)

// A client that was told where a channel stood by a server that is gone asks the one that took its place.
func TestAServerThatBeganLaterGoesOnWhereAnEarlierOneEnded(t *testing.T) {
	t.Parallel()
	now := time.Now()
	began := func(at time.Time) (*datacentre.Server, *datacentre.Account, *datacentre.Chat) {
		s := start(t, datacentre.Config{Began: at})
		bot := s.AddAccount(datacentre.Account{ID: 7, FirstName: "bot", Token: "42:abc"})
		channel := s.AddChat(datacentre.Channel, "Main Channel", bot)
		return s, bot, channel
	}
	earlier, before, channel := began(now.Add(-10 * time.Second))
	var last datacentre.Message
	for range 20 {
		last = earlier.Post(channel, "harbour at dawn")
	}
	later, after, same := began(now)
	require.Equal(t, before.ID, after.ID)
	require.Equal(t, channel.ID, same.ID)
	first := later.Post(same, "harbour at noon")
	require.Greater(t, first.ID, last.ID, "no message has the id of another")
	require.WithinDuration(t, now, time.Unix(int64(first.Date), 0), within)

	asking(t, later, func(ctx context.Context, api *tg.Client) error {
		ask := &tg.UpdatesGetChannelDifferenceRequest{
			Channel: &tg.InputChannel{ChannelID: same.ID, AccessHash: after.AccessHash(same.ID)}, Filter: &tg.ChannelMessagesFilterEmpty{},
			Pts: last.ID, Limit: 10,
		}
		answer, err := api.UpdatesGetChannelDifference(ctx, ask)
		require.NoError(t, err)
		difference, ok := answer.(*tg.UpdatesChannelDifference)
		require.True(t, ok, "%T", answer)
		require.Len(t, difference.NewMessages, 1)
		require.Greater(t, difference.Pts, last.ID)

		ask.Pts = difference.Pts
		answer, err = api.UpdatesGetChannelDifference(ctx, ask)
		require.IsType(t, &tg.UpdatesChannelDifferenceEmpty{}, answer)
		return err
	})
}
