package mtproto

import (
	"testing"

	"github.com/gotd/td/telegram/updates"
	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
)

const channel = 5

func newState() *state {
	return &state{channels: map[int64]channelState{}, users: map[int64]int64{}, changed: map[int64]bool{}}
}

func (s *state) requirePlace(t *testing.T, pts int) {
	t.Helper()
	got, _, err := s.GetChannelPts(t.Context(), 1, channel)
	require.NoError(t, err)
	require.Equal(t, pts, got)
}

func TestAChannelThatIsAccessibleAgainGoesOnFromWhereItWas(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(s *state){
		"with a push":          func(*state) {},
		"with a dropped push":  func(s *state) { require.True(t, s.missed(channel, 90, 0)) },
		"among the dialogs":    func(s *state) { s.follow(account.ChannelState{ChannelID: channel, Pts: 90}) },
		"with its access hash": func(s *state) { require.NoError(t, s.SetChannelAccessHash(t.Context(), 1, channel, 7)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newState()
			s.follow(account.ChannelState{ChannelID: channel, Pts: 50})
			s.requirePlace(t, 50)
			s.forbid(channel)
			require.Empty(t, s.followed(), "nobody asks for it by itself")
			again(s)
			s.requirePlace(t, 50)
		})
	}
}

func TestWhatWasDroppedOfAChannelThatTheManagerFollowsIsTheManagersToAskFor(t *testing.T) {
	t.Parallel()
	s := newState()
	require.True(t, s.missed(channel, 0, 7), "nobody follows it")
	s.requirePlace(t, 1)
	require.NoError(t, s.SetChannelPts(t.Context(), 1, channel, 60))
	require.False(t, s.missed(channel, 40, 0))
	s.requirePlace(t, 60)
}

func TestAChannelThatTheAccountHasJoinedIsAskedWhereItStands(t *testing.T) {
	t.Parallel()
	joined := []tg.UpdateClass{&tg.UpdateChannel{ChannelID: channel}}
	beside := []tg.ChatClass{&tg.Channel{ID: channel, AccessHash: 7}}
	s := newState()
	s.note(joined, nil)
	_, found := s.unplaced()
	require.False(t, found, "nobody could ask without the access hash")
	s.note(joined, beside)
	id, found := s.unplaced()
	require.True(t, found)
	require.EqualValues(t, channel, id)
	s.place(channel, 0, 0)
	_, found = s.unplaced()
	require.False(t, found, "it was asked, and there is nothing to follow")
	s.note(joined, beside)
	_, found = s.unplaced()
	require.True(t, found, "it has moved again")
	s.place(channel, 50, 500)
	_, found = s.unplaced()
	require.False(t, found)
	s.requirePlace(t, 50)
	require.Equal(t, 501, s.channels[channel].FollowedFrom)
}

func TestAChannelThatBeganWithAnUpdateIsAskedFromWhereItIsFollowedForCertain(t *testing.T) {
	t.Parallel()
	s := newState()
	require.NoError(t, s.SetChannelAccessHash(t.Context(), 1, channel, 7))
	_, found := s.unplaced()
	require.False(t, found, "the account only knows of it")
	require.NoError(t, s.SetChannelPts(t.Context(), 1, channel, 40))
	_, found = s.unplaced()
	require.True(t, found)
	s.place(channel, 50, 500)
	s.requirePlace(t, 40)
	require.Equal(t, 501, s.channels[channel].FollowedFrom)
}

func TestFromWhereOnUpdatesAreFollowedDoesNotChange(t *testing.T) {
	t.Parallel()
	s := newState()
	s.followCommon(updates.State{Pts: 1, Qts: 2, Date: 3, Seq: 4}, 5)
	require.NoError(t, s.SetState(t.Context(), 1, updates.State{Pts: 11, Qts: 12, Date: 13, Seq: 14}))
	require.Equal(t, account.UpdateState{Pts: 11, Qts: 12, Date: 13, Seq: 14, FollowedFrom: 6}, s.common)
	s.follow(account.ChannelState{ChannelID: channel, Pts: 50, FollowedFrom: 500})
	s.follow(account.ChannelState{ChannelID: channel, Pts: 60, FollowedFrom: 600})
	require.Equal(t, 500, s.channels[channel].FollowedFrom)
}
