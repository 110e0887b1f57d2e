package mtproto_test

import (
	"testing"
	"time"

	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

func at(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

func fullUser() *tg.User {
	u := &tg.User{ID: 77, AccessHash: 901, FirstName: "Marisol", LastName: "Okonkwo", Username: "marisol_ok", Premium: true}
	u.SetFlags()
	return u
}

func fullChannel() *tg.Channel {
	c := &tg.Channel{ID: channel, AccessHash: 902, Title: "Allotment", Username: "allotment", Broadcast: true, Photo: &tg.ChatPhotoEmpty{}, Date: sent}
	c.SetFlags()
	return c
}

func withPeers(users []tg.UserClass, chats []tg.ChatClass, list ...tg.UpdateClass) *tg.Updates {
	u := updates(list...)
	u.Users, u.Chats = users, chats
	return u
}

func TestPeersAreSnapshotsOfTheContainersDate(t *testing.T) {
	t.Parallel()
	collected := &tg.User{ID: 79, FirstName: "C", LangCode: "es", Usernames: []tg.Username{{Username: "sold"}, {Username: "mine", Active: true}}}
	collected.SetFlags()
	forum := &tg.Channel{ID: 5, AccessHash: 903, Title: "Forum", Megagroup: true, Forum: true, Photo: &tg.ChatPhotoEmpty{}}
	forum.SetFlags()
	cs := normalised(t, push(t, withPeers(
		[]tg.UserClass{fullUser(), &tg.UserEmpty{ID: 80}, collected, fullUser()},
		[]tg.ChatClass{fullChannel(), forum, &tg.Chat{ID: group, Title: "Garden", Photo: &tg.ChatPhotoEmpty{}}, &tg.ChatEmpty{ID: 6}, &tg.ChatForbidden{ID: 7, Title: "Gone"}},
		&tg.UpdateNewMessage{Message: inPrivate(5, func(*tg.Message) {}), Pts: 9},
	)))
	require.Len(t, cs.Users, 2)
	version := cs.Users[0].Version
	require.Equal(t, content.User{ID: 77, Version: version, FirstName: "Marisol", LastName: "Okonkwo", Username: "marisol_ok", IsPremium: true}, cs.Users[0])
	require.Equal(t, content.User{ID: 79, Version: version, FirstName: "C", Username: "mine", LanguageVersion: version, LanguageCode: "es"}, cs.Users[1])
	require.Equal(t, []content.Chat{
		{ID: chatID(channel), Version: version, Type: content.Channel, Title: "Allotment", Username: "allotment"},
		{ID: chatID(5), Version: version, Type: content.Supergroup, Title: "Forum", IsForum: true},
		{ID: -group, Version: version, Type: content.Group, Title: "Garden"},
		{ID: -7, Version: version, Type: content.Group, Title: "Gone"},
		{ID: 77, Version: version, Type: content.Private, FirstName: "Marisol", LastName: "Okonkwo", Username: "marisol_ok"},
	}, cs.Chats)
	require.Equal(t, []content.AccessHash{
		{AccountID: account, Peer: 77, Hash: 901, Version: version},
		{AccountID: account, Peer: chatID(channel), Hash: 902, Version: version},
		{AccountID: account, Peer: chatID(5), Hash: 903, Version: version},
	}, cs.AccessHashes)

	later := withPeers([]tg.UserClass{fullUser()}, nil)
	later.Date++
	require.Greater(t, normalised(t, push(t, later)).Users[0].Version, version)
}

func TestPeersThatLeaveFieldsOutOverwriteNothing(t *testing.T) {
	t.Parallel()
	user, chat := fullUser(), fullChannel()
	user.Min, chat.Min = true, true
	forbidden := &tg.ChannelForbidden{ID: 5, AccessHash: 903, Title: "Gone", Broadcast: true}
	cs := normalised(t, push(t, withPeers([]tg.UserClass{user}, []tg.ChatClass{chat, forbidden},
		&tg.UpdateNewMessage{Message: inPrivate(5, func(*tg.Message) {}), Pts: 9})))
	require.Empty(t, cs.Users)
	require.Empty(t, cs.Chats)
	require.Len(t, cs.AccessHashes, 1)
	require.Equal(t, chatID(5), cs.AccessHashes[0].Peer, "the hash of a channel that is closed to the account is its own; those of min peers are not")
}

func TestHolesSayWhatIsMissing(t *testing.T) {
	t.Parallel()
	tooLong := &tg.UpdateChannelTooLong{ChannelID: channel}
	tooLong.SetPts(500)
	require.Equal(t, []content.Hole{{AccountID: account, ChatID: chatID(channel), Reason: content.ChannelTooLong, ToPts: 500, FoundAt: at(sent + 1)}},
		normalised(t, push(t, updates(tooLong))).Holes)

	difference := answer(t, ingest.Difference, &tg.UpdatesGetDifferenceRequest{Pts: 7, Date: sent}, &tg.UpdatesDifferenceTooLong{Pts: 900})
	require.Equal(t, []content.Hole{{AccountID: account, Reason: content.DifferenceTooLong, FromPts: 7, ToPts: 900, FoundAt: receivedAt}},
		normalised(t, difference).Holes)

	dialog := &tg.Dialog{Peer: &tg.PeerChannel{ChannelID: channel}, TopMessage: 60, NotifySettings: tg.PeerNotifySettings{}}
	dialog.SetPts(800)
	newest := []tg.MessageClass{
		said(func(m *tg.Message) { m.ID, m.Message = 60, "new" }), said(func(m *tg.Message) { m.ID, m.Message = 58, "less" }), &tg.MessageEmpty{ID: 57},
	}
	channelTooLong := &tg.UpdatesChannelDifferenceTooLong{Dialog: dialog, Messages: newest}
	want := content.Hole{
		AccountID: account, ChatID: chatID(channel), Reason: content.ChannelDifferenceTooLong, FromPts: 90, ToPts: 800, BelowMessageID: 58, FoundAt: receivedAt,
	}
	cs := normalised(t, answer(t, ingest.Difference, channelRequest(), channelTooLong))
	require.Equal(t, []content.Hole{want}, cs.Holes)
	require.Len(t, cs.Messages, 2)

	want.FromPts = 0
	require.Equal(t, []content.Hole{want}, normalised(t, push(t, channelTooLong)).Holes, "without its request the dialog names the channel")
}

func TestAnonymousReactionsAreCounted(t *testing.T) {
	t.Parallel()
	reactions := tg.MessageReactions{Results: []tg.ReactionCount{
		{Reaction: &tg.ReactionEmoji{Emoticon: "👍"}, Count: 3}, {Reaction: &tg.ReactionCustomEmoji{DocumentID: 5}, Count: 2}, {Reaction: &tg.ReactionPaid{}, Count: 1},
	}}
	reactions.Results[0].SetChosenOrder(1)
	const list = `[{"type":{"type":"emoji","emoji":"👍"},"total_count":3},{"type":{"type":"custom_emoji","custom_emoji_id":"5"},"total_count":2},` +
		`{"type":{"type":"paid"},"total_count":1}]`
	key := content.MessageKey{ChatID: chatID(channel), MessageID: 42}
	bot := fromBot(t, `{"update_id":1,"message_reaction_count":{"chat":{"id":-1001894420716,"type":"channel"},"message_id":42,"date":1789345202,"reactions":`+list+`}}`)

	for name, test := range map[string]struct {
		update tg.UpdateClass
		date   int64
	}{
		"to an account":    {&tg.UpdateMessageReactions{Peer: &tg.PeerChannel{ChannelID: channel}, MsgID: 42, Reactions: reactions}, sent + 1},
		"to a bot":         {&tg.UpdateBotMessageReactions{Peer: &tg.PeerChannel{ChannelID: channel}, MsgID: 42, Date: sent + 1, Reactions: reactions.Results}, sent + 1},
		"within a message": {newPost(post(func(m *tg.Message) { m.Message = "a"; m.SetReactions(reactions) })), sent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			counts := normalised(t, push(t, updates(test.update))).ReactionCounts
			require.Len(t, counts, 1)
			require.Equal(t, content.ReactionCount{Key: key, Version: counts[0].Version, Date: at(test.date), TotalCount: 6, Reactions: bot.ReactionCounts[0].Reactions}, counts[0])
		})
	}
	m := newPost(post(func(m *tg.Message) { m.Message = "a"; m.SetReactions(reactions) }))
	early, late := normalised(t, push(t, updates(m))), normalised(t, push(t, &tg.Updates{Updates: []tg.UpdateClass{m}, Date: sent + 500}))
	require.Equal(t, early.ReactionCounts[0].Date, late.ReactionCounts[0].Date, "the same count again is no event")
	require.Less(t, early.ReactionCounts[0].Version, late.ReactionCounts[0].Version, "but it is the newer snapshot")
}

func TestReactionsWithNamesAreThoseOfTheirActors(t *testing.T) {
	t.Parallel()
	key := content.MessageKey{ChatID: chatID(channel), MessageID: 42}
	recent := tg.MessageReactions{CanSeeList: true, Results: []tg.ReactionCount{{Reaction: &tg.ReactionEmoji{Emoticon: "👍"}, Count: 2}}}
	recent.SetRecentReactions([]tg.MessagePeerReaction{
		{PeerID: &tg.PeerUser{UserID: 77}, Date: sent + 5, Reaction: &tg.ReactionEmoji{Emoticon: "👍"}},
		{PeerID: &tg.PeerChannel{ChannelID: channel}, Date: sent + 6, Reaction: &tg.ReactionEmoji{Emoticon: "👎"}},
		{PeerID: &tg.PeerUser{UserID: 77}, Date: sent + 7, Reaction: &tg.ReactionCustomEmoji{DocumentID: 5}},
	})
	cs := normalised(t, push(t, updates(&tg.UpdateMessageReactions{Peer: &tg.PeerChannel{ChannelID: channel}, MsgID: 42, Reactions: recent})))
	require.Empty(t, cs.ReactionCounts)
	require.Len(t, cs.Reactions, 2)
	require.Equal(t, content.Reaction{
		Key: key, ActorID: 77, Version: cs.Reactions[0].Version, Date: at(sent + 7),
		Reactions: `[{"type":"emoji","emoji":"👍"},{"type":"custom_emoji","custom_emoji_id":"5"}]`,
	}, cs.Reactions[0])
	require.Equal(t, int64(chatID(channel)), cs.Reactions[1].ActorID)

	cs = normalised(t, push(t, updates(&tg.UpdateBotMessageReaction{
		Peer: &tg.PeerChannel{ChannelID: channel}, MsgID: 42, Date: sent + 5, Actor: &tg.PeerUser{UserID: 77}, Qts: 4,
		OldReactions: []tg.ReactionClass{&tg.ReactionEmoji{Emoticon: "👍"}},
	})))
	require.Equal(t, []content.Reaction{{Key: key, ActorID: 77, Version: cs.Reactions[0].Version, Date: at(sent + 5), Reactions: "[]"}}, cs.Reactions)
}

func TestMembershipsAreInTheBotAPIsWords(t *testing.T) {
	t.Parallel()
	banned := func(left bool, rights tg.ChatBannedRights) *tg.ChannelParticipantBanned {
		return &tg.ChannelParticipantBanned{Left: left, Peer: &tg.PeerUser{UserID: 77}, BannedRights: rights}
	}
	inChannel := func(before, after tg.ChannelParticipantClass) *tg.UpdateChannelParticipant {
		u := &tg.UpdateChannelParticipant{ChannelID: channel, Date: sent, ActorID: 78, UserID: 77, Qts: 3}
		if before != nil {
			u.SetPrevParticipant(before)
		}
		if after != nil {
			u.SetNewParticipant(after)
		}
		return u
	}
	inGroup := func(after tg.ChatParticipantClass) *tg.UpdateChatParticipant {
		u := &tg.UpdateChatParticipant{ChatID: group, Date: sent, ActorID: 78, UserID: 77, Qts: 3}
		u.SetPrevParticipant(&tg.ChatParticipant{UserID: 77, Date: sent})
		if after != nil {
			u.SetNewParticipant(after)
		}
		return u
	}
	of := func(chat content.ChatID, actor content.UserID, old, status string, present bool, date int64) content.Membership {
		return content.Membership{ChatID: chat, UserID: 77, ActorID: actor, OldStatus: old, Status: status, IsMember: present, Date: at(date)}
	}
	until := func(m content.Membership, date int64) content.Membership {
		m.UntilDate = at(date)
		return m
	}
	for name, test := range map[string]struct {
		update tg.UpdateClass
		want   content.Membership
	}{
		"joins":               {inChannel(nil, &tg.ChannelParticipant{UserID: 77, Date: sent}), of(chatID(channel), 78, "left", "member", true, sent)},
		"leaves":              {inChannel(&tg.ChannelParticipantSelf{UserID: 77}, nil), of(chatID(channel), 78, "member", "left", false, sent)},
		"is left":             {inChannel(&tg.ChannelParticipantCreator{UserID: 77}, &tg.ChannelParticipantLeft{Peer: &tg.PeerUser{UserID: 77}}), of(chatID(channel), 78, "creator", "left", false, sent)},
		"promoted":            {inChannel(nil, &tg.ChannelParticipantAdmin{UserID: 77}), of(chatID(channel), 78, "left", "administrator", true, sent)},
		"kicked":              {inChannel(nil, banned(true, tg.ChatBannedRights{ViewMessages: true, UntilDate: 1<<31 - 1})), of(chatID(channel), 78, "left", "kicked", false, sent)},
		"restricted":          {inChannel(nil, banned(false, tg.ChatBannedRights{SendMedia: true, UntilDate: sent + 60})), until(of(chatID(channel), 78, "left", "restricted", true, sent), sent+60)},
		"restricted and away": {inChannel(nil, banned(true, tg.ChatBannedRights{SendMedia: true})), of(chatID(channel), 78, "left", "restricted", false, sent)},
		"leads a group":       {inGroup(&tg.ChatParticipantAdmin{UserID: 77}), of(-group, 78, "member", "administrator", true, sent)},
		"leaves a group":      {inGroup(nil), of(-group, 78, "member", "left", false, sent)},
		"was added":           {&tg.UpdateChatParticipantAdd{ChatID: group, UserID: 77, InviterID: 78, Date: sent, Version: 2}, of(-group, 78, "", "member", true, sent)},
		"was removed":         {&tg.UpdateChatParticipantDelete{ChatID: group, UserID: 77, Version: 3}, of(-group, 0, "", "left", false, sent+1)},
		"was made a leader":   {&tg.UpdateChatParticipantAdmin{ChatID: group, UserID: 77, IsAdmin: true, Version: 4}, of(-group, 0, "", "administrator", true, sent+1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := normalised(t, push(t, updates(test.update))).Memberships
			require.Len(t, got, 1)
			require.NotEmpty(t, got[0].Version)
			test.want.Version = got[0].Version
			require.Equal(t, test.want, got[0])
		})
	}
	stopped := normalised(t, push(t, updates(&tg.UpdateBotStopped{UserID: 77, Date: sent, Stopped: true, Qts: 4}))).Memberships
	require.Equal(t, []content.Membership{{
		ChatID: 77, UserID: account, ActorID: 77, Version: stopped[0].Version, Status: "kicked", Date: at(sent),
	}}, stopped)
}

func TestWhoIsInABasicGroup(t *testing.T) {
	t.Parallel()
	cs := normalised(t, push(t, withPeers(nil, []tg.ChatClass{&tg.Chat{ID: group, Title: "Garden", Photo: &tg.ChatPhotoEmpty{}, Date: sent - 1000}},
		&tg.UpdateChatParticipants{Participants: &tg.ChatParticipants{ChatID: group, Version: 3, Participants: []tg.ChatParticipantClass{
			&tg.ChatParticipantCreator{UserID: 77}, &tg.ChatParticipant{UserID: 78, Date: sent - 10},
		}}})))
	require.Len(t, cs.Memberships, 2)
	require.Equal(t, "creator", cs.Memberships[0].Status)
	require.Equal(t, at(sent-1000), cs.Memberships[0].Date)
	require.Equal(t, "member", cs.Memberships[1].Status)
	require.Equal(t, at(sent-10), cs.Memberships[1].Date)
	require.Equal(t, content.ChatID(-group), cs.Update.ChatID)
}

func TestPollsAreShownByThoseWhoMaySeeTheVotes(t *testing.T) {
	t.Parallel()
	media := poll()
	bot := fromBot(t, `{"update_id":1,"poll":{"id":"99","question":"Tea?","options":[{"text":"yes","voter_count":1}],"total_voter_count":1,`+
		`"is_closed":false,"is_anonymous":true,"type":"regular","allows_multiple_answers":false}}`).Polls[0]
	told := &tg.UpdateMessagePoll{PollID: 99, Results: media.Results}
	told.SetPoll(media.Poll)
	for name, update := range map[string]tg.UpdateClass{"in a message": newPost(withMedia(media, "")), "by itself": told} {
		polls := normalised(t, push(t, updates(update))).Polls
		require.Len(t, polls, 1, name)
		bot.Version = polls[0].Version
		require.Equal(t, bot, polls[0], name)
	}

	hidden := poll()
	hidden.Results.Results = nil
	cs := normalised(t, push(t, updates(newPost(withMedia(hidden, "")))))
	require.Empty(t, cs.Polls, "an account that is not told the votes does not take them away")
	require.Equal(t, content.MessageKind("poll"), one(t, cs).Kind)

	closed := poll()
	closed.Poll.Closed = true
	require.Greater(t, normalised(t, push(t, updates(newPost(withMedia(closed, ""))))).Polls[0].Version, bot.Version, "a closed poll never opens again")

	require.Empty(t, normalised(t, push(t, updates(&tg.UpdateMessagePoll{PollID: 99, Results: media.Results}))).Polls, "votes without the question are no poll")
}

func TestVotesWithNamesAreAnswers(t *testing.T) {
	t.Parallel()
	vote := func(options [][]byte, positions ...int) []content.PollAnswer {
		return normalised(t, push(t, updates(&tg.UpdateMessagePollVote{
			PollID: 99, Peer: &tg.PeerUser{UserID: 77}, Options: options, Positions: positions, Qts: 3,
		}))).PollAnswers
	}
	answers := vote([][]byte{[]byte("0"), []byte("2")}, 0, 2)
	require.Equal(t, []content.PollAnswer{{PollID: "99", VoterID: 77, Version: answers[0].Version, OptionIDs: "[0,2]"}}, answers)
	require.Equal(t, content.JSON("[]"), vote(nil)[0].OptionIDs)
	require.Empty(t, vote([][]byte{[]byte("0")}), "which options they are is not told")
}
