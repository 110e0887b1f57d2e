package datacentre_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
)

// busy returns what is in a Main Channel and a Chat Group after the traffic of a seed.
func busy(t *testing.T, seed uint64) [2][]datacentre.Message {
	t.Helper()
	s, err := datacentre.New(datacentre.Config{Seed: seed})
	require.NoError(t, err)
	account := s.AddAccount(datacentre.Account{FirstName: "demo", Token: "42:abc"})
	channel := s.AddChat(datacentre.Channel, "Main Channel", account)
	group := s.AddChat(datacentre.Supergroup, "Chat Group", account)
	require.NoError(t, s.Traffic(t.Context(), datacentre.TrafficConfig{Limit: 300}, channel, group))
	return [2][]datacentre.Message{s.History(channel), s.History(group)}
}

func TestTrafficIsTheSameForTheSameSeed(t *testing.T) {
	t.Parallel()
	first := busy(t, 1)
	require.Equal(t, first, busy(t, 1))
	require.NotEqual(t, first, busy(t, 2))
	var edits, deletions, happened int
	for _, history := range first {
		require.Greater(t, len(history), 50, "every chat is written into")
		happened += len(history)
		for _, m := range history {
			edits += m.Edits
			if m.Deleted {
				deletions++
			}
		}
	}
	require.Greater(t, edits, 10)
	require.Greater(t, deletions, 10)
	require.Equal(t, 300, happened+edits+deletions, "whatever happened counts once")
}

func TestTrafficEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s, err := datacentre.New(datacentre.Config{})
	require.NoError(t, err)
	chat := s.AddChat(datacentre.Channel, "Main Channel")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Traffic(ctx, datacentre.TrafficConfig{Rate: 0.001}, chat) }()
	require.Eventually(t, func() bool { return len(s.History(chat)) > 0 }, within, time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
	require.Error(t, s.Traffic(t.Context(), datacentre.TrafficConfig{}), "no chats")
}
