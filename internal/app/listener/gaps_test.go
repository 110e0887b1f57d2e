package listener_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/crypto"
	"github.com/gotd/td/session"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/auth"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/telegram/updates"
	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
)

// While the sink takes nothing, more comes than there is room for. Nothing comes afterwards that would show the gap.
func TestWhatFoundNoRoomIsAskedFor(t *testing.T) {
	t.Parallel()
	f, anna, _, channel := following(t)
	friend := f.telegram.AddPrivate(anna, "Friend")
	f.followed(friend)
	f.sink.set(func(s *sink) { s.down = true })
	chats := []*datacentre.Chat{channel, friend}
	random := rand.New(rand.NewPCG(1, 3))
	for range 2000 {
		happen(f.telegram, random, chats)
	}
	f.eventually(func() bool { return f.metric("tgfleet_mtproto_dropped_total") > 500 }, "there is no room")
	f.sink.set(func(s *sink) { s.down = false })
	wanted := happenings(f.telegram, chats...)
	f.eventually(func() bool { return len(f.sink.missing(wanted)) == 0 }, "everything comes through")
}

// A channel that nobody follows yet has no place in the account's state; its first posts find no room.
func TestAnUnknownChannelWhosePostsFoundNoRoomIsAskedFor(t *testing.T) {
	t.Parallel()
	f, anna, _, channel := following(t)
	f.sink.set(func(s *sink) { s.down = true })
	first := f.telegram.Post(channel, "room")
	for range 999 {
		f.telegram.Post(channel, "no room")
	}
	joined := f.telegram.AddChat(datacentre.Channel, "Joined Channel", anna)
	for range 20 {
		f.telegram.Post(joined, "no room either")
	}
	for range 200 {
		f.telegram.Post(channel, "nor for what comes behind")
	}
	// There is room for 513 to 576 of them.
	f.eventually(func() bool { return f.metric("tgfleet_mtproto_dropped_total") > 1020-513 }, "there is no room")
	f.sink.set(func(s *sink) { s.down = false })
	f.eventually(func() bool { return f.sink.has(key("new", channel, first.ID, "")) }, "there is room again")
	// It comes before anything is asked for, and must not be where the manager begins.
	f.telegram.Post(joined, "room again")
	wanted := happenings(f.telegram, channel, joined)
	f.eventually(func() bool { return len(f.sink.missing(wanted)) == 0 }, "everything comes through")
}

// Telegram does not push again what happened while nobody was connected, and nothing comes afterwards that would show the gap.
func TestWhatHappenedWhileNobodyWasConnectedIsAskedFor(t *testing.T) {
	t.Parallel()
	f, anna, _, channel := following(t)
	friend := f.telegram.AddPrivate(anna, "Friend")
	f.followed(friend)
	chats := []*datacentre.Chat{channel, friend}
	f.telegram.Stop()
	random := rand.New(rand.NewPCG(1, 4))
	for range 100 {
		happen(f.telegram, random, chats)
	}
	require.NoError(t, f.telegram.Start(t.Context()))
	wanted := happenings(f.telegram, chats...)
	f.eventually(func() bool { return len(f.sink.missing(wanted)) == 0 }, "everything comes through")
}

// The account's dialogs tell where each channel stands before the first of its pushes comes, so that it is noticed when that is lost.
func TestTheFirstPostsOfAChannelAreMissedWhenTheyAreLost(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	f.start()
	anna := f.user("1")
	// More channels than fit into one answer of Telegram's.
	var channels []*datacentre.Chat
	for i := range 130 {
		channel := f.telegram.AddChat(datacentre.Channel, fmt.Sprint("Channel ", i), anna)
		f.telegram.Post(channel, "before anybody listened")
		channels = append(channels, channel)
	}
	f.connect(anna)
	f.eventually(func() bool { return strings.Contains(f.log.String(), "client connected") }, "the client connects")
	f.eventually(func() bool {
		states, err := f.db.UpdateStates().Channels(t.Context(), "c-1")
		require.NoError(t, err)
		return len(states) == len(channels)
	}, "every channel has its place")
	f.telegram.SetFaults(datacentre.Faults{Lost: 1})
	lost := map[*datacentre.Chat]int{}
	for _, channel := range channels {
		lost[channel] = f.telegram.Post(channel, "lost").ID
	}
	f.telegram.SetFaults(datacentre.Faults{})
	for _, channel := range channels {
		f.telegram.Post(channel, "not lost")
	}
	f.eventually(func() bool {
		for channel, id := range lost {
			if !f.sink.has(key("new", channel, id, "")) {
				return false
			}
		}
		return true
	}, "the lost posts come")
}

// A channel that is joined later has no place in the dialogs of before.
func TestTheFirstPostsOfAChannelThatWasJoinedAreMissedWhenTheyAreLost(t *testing.T) {
	t.Parallel()
	f, anna, c, _ := following(t)
	joined := f.telegram.AddChat(datacentre.Channel, "Joined Channel")
	old := f.telegram.Lay(joined, "before the account came")
	f.telegram.Join(joined, anna)
	f.eventually(func() bool {
		states, err := f.db.UpdateStates().Channels(t.Context(), c.ID)
		require.NoError(t, err)
		return slices.ContainsFunc(states, func(s account.ChannelState) bool {
			return s.ChannelID == joined.ID && s.FollowedFrom == old[0].ID+1
		})
	}, "the channel has its place")
	f.telegram.SetFaults(datacentre.Faults{Lost: 1})
	lost := f.telegram.Post(joined, "lost")
	f.telegram.SetFaults(datacentre.Faults{})
	f.telegram.Post(joined, "not lost")
	f.eventually(func() bool { return f.sink.has(key("new", joined, lost.ID, "")) }, "the lost post comes")
	require.False(t, f.sink.has(key("new", joined, old[0].ID, "")), "what was before is history")
}

func TestDifferencesThatAreTooLongAreInTheSinkAndTheAccountGoesOn(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{DifferenceMost: 20, ChannelDifferenceMost: 20})
	running := f.start()
	anna := f.user("1")
	channel := f.telegram.AddChat(datacentre.Channel, "Main Channel", anna)
	friend := f.telegram.AddPrivate(anna, "Friend")
	f.connect(anna)
	f.followed(channel, friend)
	running.stop()
	for range 50 {
		f.telegram.Post(channel, "too much")
		f.telegram.Post(friend, "too much")
	}
	f.start()
	f.followed(channel, friend)
	f.eventually(func() bool {
		var common, ofChannel bool
		for _, e := range f.sink.all() {
			if d, err := tg.DecodeUpdatesDifference(&bin.Buffer{Buf: bytes.Clone(e.Raw)}); err == nil {
				_, tooLong := d.(*tg.UpdatesDifferenceTooLong)
				common = common || tooLong
			}
			if d, err := tg.DecodeUpdatesChannelDifference(&bin.Buffer{Buf: bytes.Clone(e.Raw)}); err == nil {
				_, tooLong := d.(*tg.UpdatesChannelDifferenceTooLong)
				ofChannel = ofChannel || tooLong
			}
		}
		return common && ofChannel
	}, "both are in the sink")
}

// A client whose lease is another's finds out before it connects again, not only with its next renewal.
func TestAHolderWithoutItsLeaseConnectsNoMore(t *testing.T) {
	t.Parallel()
	f, _, c, _ := following(t)
	live, err := f.db.Leases().Live(t.Context(), "connector:")
	require.NoError(t, err)
	require.Len(t, live, 1)
	require.NoError(t, f.db.Leases().Release(t.Context(), live[0]))
	_, taken, err := f.db.Leases().Acquire(t.Context(), "connector:"+c.ID, "thief", time.Hour)
	require.NoError(t, err)
	require.True(t, taken)
	connections := f.telegram.Connections()
	f.telegram.Kick()
	f.eventually(func() bool { return strings.Contains(f.log.String(), "its lease is lost") }, "the holder finds out")
	require.Equal(t, connections, f.telegram.Connections())
}

// TestGotdsManagerAloneLoses is the proof that TestNothingIsLost can fail: gotd's update manager by itself loses a good part of the same.
func TestGotdsManagerAloneLoses(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{Seed: 1})
	bot := f.telegram.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	chats := []*datacentre.Chat{f.telegram.AddChat(datacentre.Supergroup, "Chat Group", bot), f.telegram.AddPrivate(bot, "Friend")}
	manager := updates.New(updates.Config{Handler: telegram.UpdateHandlerFunc(func(_ context.Context, u tg.UpdatesClass) error {
		told, ok := u.(*tg.Updates)
		if !ok {
			return nil
		}
		var refused error
		f.sink.set(func(s *sink) {
			if s.down {
				refused = errDown
				return
			}
			s.readUpdates(told.Updates)
		})
		return refused
	})})
	keys, err := crypto.ParseRSAPublicKeys(f.telegram.PublicKey())
	require.NoError(t, err)
	client := telegram.NewClient(1, "hash", telegram.Options{
		PublicKeys: []telegram.PublicKey{{RSA: keys[0]}}, DC: datacentre.DC, DCList: dcs.List{Options: []tg.DCOption{f.telegram.Option()}},
		Resolver: dcs.Plain(dcs.PlainOptions{}), SessionStorage: &session.StorageMemory{}, UpdateHandler: manager,
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = client.Run(ctx, func(ctx context.Context) error {
			if _, err := auth.NewClient(client.API(), nil, 1, "hash").Bot(ctx, "42:abc"); err != nil {
				return err
			}
			return manager.Run(ctx, client.API(), bot.ID, updates.AuthOptions{IsBot: true})
		})
	}()
	defer func() {
		cancel()
		<-ended
	}()
	f.followed(chats...)
	random := rand.New(rand.NewPCG(1, 7))
	f.telegram.SetFaults(datacentre.Faults{Lost: 0.15, Reordered: 0.1})
	for i := range 500 {
		happen(f.telegram, random, chats)
		f.sink.set(func(s *sink) { s.down = i/100%2 == 1 })
	}
	f.telegram.SetFaults(datacentre.Faults{})
	f.sink.set(func(s *sink) { s.down = false })
	f.followed(chats...)
	wanted := happenings(f.telegram, chats...)
	lost := f.sink.missing(wanted)
	t.Logf("of %d facts gotd's manager alone lost %d", len(wanted), len(lost))
	require.NotEmpty(t, lost)
}
