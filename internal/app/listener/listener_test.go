package listener_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
)

func TestPushesComeThroughAsTheyAre(t *testing.T) {
	t.Parallel()
	f, anna, c, channel := following(t)
	m := f.telegram.Post(channel, "harbour at dawn")
	f.eventually(func() bool { return f.sink.has(key("text", channel, m.ID, "harbour at dawn")) }, "the post comes through")
	for _, e := range f.sink.all() {
		require.Equal(t, ingest.Source{Transport: ingest.MTProto, Account: anna.ID}, e.Source)
		require.EqualValues(t, tg.Layer, e.Layer)
		require.Equal(t, e.Origin == ingest.Difference, e.Request != nil)
	}
	f.eventually(func() bool { return !f.waitStatus(c, account.Connected).LastUpdateAt.IsZero() }, "the last update's time is told")
}

// TestNothingIsLost lets everything happen at once: pushes that are lost, late and repeated, connections that drop, a sink that refuses one in ten and
// is down twice, and a listener that is stopped and started.
func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			f := setup(t, datacentre.Config{Seed: seed})
			running := f.start()
			anna := f.user("1")
			chats := []*datacentre.Chat{
				f.telegram.AddChat(datacentre.Channel, "Main Channel", anna),
				f.telegram.AddChat(datacentre.Supergroup, "Chat Group", anna),
				f.telegram.AddPrivate(anna, "Friend"),
			}
			f.connect(anna)
			f.followed(chats...)
			random := rand.New(rand.NewPCG(seed, 7))
			f.telegram.SetFaults(datacentre.Faults{Lost: 0.15, Reordered: 0.1, Repeated: 0.05})
			f.sink.set(func(s *sink) { s.refuse = 0.1 })
			pace := time.NewTicker(time.Millisecond)
			defer pace.Stop()
			for i := range 1500 {
				happen(f.telegram, random, chats)
				<-pace.C
				switch i {
				case 300, 900:
					f.sink.set(func(s *sink) { s.down = true })
				case 600, 1100:
					f.sink.set(func(s *sink) { s.down = false })
				case 450, 1000:
					f.telegram.Kick()
				case 700:
					running.stop()
					for range 40 {
						happen(f.telegram, random, chats)
					}
					f.start()
				}
			}
			f.telegram.SetFaults(datacentre.Faults{})
			f.sink.set(func(s *sink) { s.refuse = 0 })
			// The last pushes may have been lost: what comes after them shows the gap.
			f.followed(chats...)
			wanted := happenings(f.telegram, chats...)
			require.Greater(t, len(wanted), 900)
			f.eventually(func() bool { return len(f.sink.missing(wanted)) == 0 }, "everything comes through")
			require.Zero(t, f.telegram.Overlaps())
		})
	}
}

// happen lets one thing happen in one of chats: mostly posts, then edits, then deletions.
func happen(telegram *datacentre.Server, random *rand.Rand, chats []*datacentre.Chat) {
	chat := chats[random.IntN(len(chats))]
	history := telegram.History(chat)
	what := random.IntN(100)
	if what < 60 || len(history) == 0 {
		telegram.Post(chat, fmt.Sprint("post ", random.Uint32()))
		return
	}
	m := history[random.IntN(len(history))]
	if what < 85 {
		telegram.Edit(chat, m.ID, fmt.Sprint("edit ", random.Uint32()))
		return
	}
	telegram.Delete(chat, m.ID)
}

func TestAnAccountMovesWhenItsListenerStops(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	first := f.start()
	anna := f.user("1")
	channel := f.telegram.AddChat(datacentre.Channel, "Main Channel", anna)
	f.connect(anna)
	f.followed(channel)
	f.start()
	first.stop()
	began := time.Now()
	f.followed(channel)
	require.Less(t, time.Since(began), 15*time.Second, "three times the promised 5 s")
	require.Zero(t, f.telegram.Overlaps())
}

func TestARefusedAccountNeedsSomebody(t *testing.T) {
	t.Parallel()
	for kind, status := range map[string]account.ConnectorStatus{
		"AUTH_KEY_UNREGISTERED": account.NeedsLogin, "SESSION_REVOKED": account.NeedsLogin, "USER_DEACTIVATED_BAN": account.NeedsLogin,
		"AUTH_KEY_DUPLICATED": account.Quarantined,
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f, anna, c, _ := following(t)
			before, _, err := f.db.Sessions().Load(t.Context(), c.ID)
			require.NoError(t, err)
			f.telegram.Refuse(anna, kind)
			f.telegram.Kick()
			require.Equal(t, kind, f.waitStatus(c, status).LastError)
			after, _, err := f.db.Sessions().Load(t.Context(), c.ID)
			require.NoError(t, err)
			require.Equal(t, before, after, "the session is kept")
		})
	}
}

func TestAForgottenKeyIsNotReplaced(t *testing.T) {
	t.Parallel()
	f, _, c, _ := following(t)
	before, _, err := f.db.Sessions().Load(t.Context(), c.ID)
	require.NoError(t, err)
	f.telegram.ForgetKeys()
	require.NoError(t, f.telegram.Start(t.Context()))
	f.waitStatus(c, account.NeedsLogin)
	after, _, err := f.db.Sessions().Load(t.Context(), c.ID)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestAForbiddenChannelIsLeftAloneAndOthersGoOn(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"CHANNEL_PRIVATE", "CHANNEL_INVALID", "USER_BANNED_IN_CHANNEL"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f, anna, c, open := following(t)
			closed := f.telegram.AddChat(datacentre.Channel, "Closed Channel", anna)
			f.followed(closed)
			f.telegram.Forbid(closed, anna, kind)
			f.telegram.Kick()
			f.eventually(func() bool {
				channels, err := f.db.UpdateStates().Channels(t.Context(), c.ID)
				require.NoError(t, err)
				return slices.ContainsFunc(channels, func(s account.ChannelState) bool {
					return s.ChannelID == closed.ID && !s.Inaccessible.IsZero()
				})
			}, "the channel is known to be forbidden")
			f.followed(open)
			refused := f.telegram.Refusals(closed)
			f.telegram.Kick()
			f.followed(open)
			require.Equal(t, refused, f.telegram.Refusals(closed), "it is not asked for any more, not after a reconnect either")
		})
	}
}

func TestAFloodWaitDelaysItsMethodAlone(t *testing.T) {
	t.Parallel()
	f, anna, _, channel := following(t)
	friend := f.telegram.AddPrivate(anna, "Friend")
	f.followed(friend)
	f.telegram.Flood("updates.getDifference", 15*time.Second)
	lose := func(chat *datacentre.Chat) string {
		f.telegram.SetFaults(datacentre.Faults{Lost: 1})
		m := f.telegram.Post(chat, "lost")
		f.telegram.SetFaults(datacentre.Faults{})
		f.followed(chat)
		return key("new", chat, m.ID, "")
	}
	ofFriend, ofChannel := lose(friend), lose(channel)
	f.eventually(func() bool { return f.sink.has(ofChannel) }, "the channel's gap is filled")
	require.False(t, f.sink.has(ofFriend), "while the other one still waits")
	f.eventually(func() bool { return f.sink.has(ofFriend) }, "the account's gap is filled after the wait")
	require.Zero(t, f.telegram.Early(), "nobody asked before the wait was over")
}

func TestAnotherRedisLetsTheAccountGoBack(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	running := f.start()
	anna := f.user("1")
	channel := f.telegram.AddChat(datacentre.Channel, "Main Channel", anna)
	c := f.connect(anna)
	f.followed(channel)
	running.stop()
	l, ok, err := f.db.Leases().Acquire(t.Context(), "connector:"+c.ID, "test", time.Minute)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, f.db.UpdateStates().Checkpoint(t.Context(), l, c.ID))
	require.NoError(t, f.db.Leases().Release(t.Context(), l))
	running = f.start()
	f.followed(channel)
	m := f.telegram.Post(channel, "in the redis that is gone")
	f.eventually(func() bool { return f.sink.has(key("new", channel, m.ID, "")) }, "the post comes through")
	running.stop()
	f.sink.set(func(s *sink) { clear(s.told) })
	f.queue.set("redis-2")
	f.start()
	f.eventually(func() bool { return f.sink.has(key("new", channel, m.ID, "")) }, "the post comes again")
}
