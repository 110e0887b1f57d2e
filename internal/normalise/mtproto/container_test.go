package mtproto_test

import (
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
	"github.com/tgfleet/tgfleet/internal/normalise/mtproto"
)

func text(words string) *tg.Message { return said(func(m *tg.Message) { m.Message = words }) }

// inPrivate returns a message of the private chat with user 77.
func inPrivate(id int, change func(*tg.Message)) *tg.Message {
	m := &tg.Message{ID: id, PeerID: &tg.PeerUser{UserID: 77}, Date: sent, Message: "hello"}
	change(m)
	m.SetFlags()
	return m
}

func channelRequest() *tg.UpdatesGetChannelDifferenceRequest {
	return &tg.UpdatesGetChannelDifferenceRequest{
		Channel: &tg.InputChannel{ChannelID: channel}, Filter: &tg.ChannelMessagesFilterEmpty{}, Pts: 90, Limit: 100,
	}
}

func TestTheLedgerNamesEveryContainer(t *testing.T) {
	t.Parallel()
	typing := &tg.UpdateUserTyping{UserID: 77, Action: &tg.SendMessageTypingAction{}}
	vote := &tg.UpdateMessagePollVote{PollID: 9, Peer: &tg.PeerUser{UserID: 77}, Qts: 31}
	for name, test := range map[string]struct {
		env  ingest.Envelope
		kind ingest.Kind
		id   int64
		chat content.ChatID
	}{
		"one update":    {push(t, updates(newPost(text("a")))), "update_new_channel_message", 100, chatID(channel)},
		"a short one":   {push(t, &tg.UpdateShort{Update: typing, Date: sent}), "update_user_typing", 0, 0},
		"several":       {push(t, updates(typing, newPost(text("a")))), "updates", 100, 0},
		"of one chat":   {push(t, updates(newPost(text("a")), &tg.UpdateChannel{ChannelID: channel})), "updates", 100, chatID(channel)},
		"of two chats":  {push(t, updates(newPost(text("a")), &tg.UpdateChannel{ChannelID: 1})), "updates", 100, 0},
		"with qts":      {push(t, updates(vote)), "update_message_poll_vote", 31, 0},
		"with seq":      {push(t, &tg.UpdatesCombined{Updates: []tg.UpdateClass{typing}, Date: sent, SeqStart: 4, Seq: 4}), "update_user_typing", 4, 0},
		"pts over qts":  {push(t, updates(vote, newPost(text("a")))), "updates", 100, 0},
		"none":          {push(t, updates()), "updates", 0, 0},
		"too long":      {push(t, &tg.UpdatesTooLong{}), "updates_too_long", 0, 0},
		"short message": {push(t, &tg.UpdateShortMessage{ID: 5, UserID: 77, Message: "a", Pts: 9, Date: sent}), "update_short_message", 9, 77},
		"in a group": {
			push(t, &tg.UpdateShortChatMessage{ID: 5, FromID: 77, ChatID: group, Message: "a", Pts: 9, Date: sent}),
			"update_short_chat_message", 9, -group,
		},
		"what it sent itself": {push(t, &tg.UpdateShortSentMessage{ID: 5, Pts: 9, Date: sent}), "update_short_sent_message", 9, 0},
		"difference": {
			answer(t, ingest.Difference, &tg.UpdatesGetDifferenceRequest{Pts: 1, Date: sent},
				&tg.UpdatesDifference{NewMessages: []tg.MessageClass{inPrivate(3, func(*tg.Message) {})}, State: tg.UpdatesState{Pts: 8, Date: sent}}),
			"difference", 8, 77,
		},
		"slice": {
			answer(t, ingest.Difference, &tg.UpdatesGetDifferenceRequest{Pts: 1, Date: sent},
				&tg.UpdatesDifferenceSlice{IntermediateState: tg.UpdatesState{Pts: 8, Date: sent}}), "difference", 8, 0,
		},
		"empty difference": {
			answer(t, ingest.Difference, &tg.UpdatesGetDifferenceRequest{Pts: 1, Date: sent}, &tg.UpdatesDifferenceEmpty{Date: sent, Seq: 6}),
			"difference", 6, 0,
		},
		"difference too long": {
			answer(t, ingest.Difference, &tg.UpdatesGetDifferenceRequest{Pts: 1, Date: sent}, &tg.UpdatesDifferenceTooLong{Pts: 900}),
			"difference_too_long", 900, 0,
		},
		"channel difference": {
			answer(t, ingest.Difference, channelRequest(), &tg.UpdatesChannelDifferenceEmpty{Final: true, Pts: 90}),
			"channel_difference", 90, chatID(channel),
		},
		"history": {
			answer(t, ingest.Backfill, &tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerChannel{ChannelID: channel}, Limit: 100},
				&tg.MessagesChannelMessages{Pts: 120, Messages: []tg.MessageClass{text("a"), &tg.MessageEmpty{ID: 41}}}),
			"history", 120, chatID(channel),
		},
		"history of a private chat": {
			answer(t, ingest.Backfill, &tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerUser{UserID: 77}, Limit: 100},
				&tg.MessagesMessagesSlice{Count: 0}), "history", 0, 77,
		},
		"saved messages": {
			answer(t, ingest.Backfill, &tg.MessagesGetHistoryRequest{Peer: &tg.InputPeerSelf{}, Limit: 100}, &tg.MessagesMessages{}),
			"history", 0, account,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			row := normalised(t, test.env).Update
			require.Equal(t, test.kind, row.Kind)
			require.Equal(t, test.id, row.UpdateID)
			require.Equal(t, test.chat, row.ChatID)
			require.Equal(t, ingest.HashOf(test.env.Raw), row.Hash)
			require.Equal(t, test.env, row.Envelope)
			require.Equal(t, normalise.Version, row.NormaliserVersion)
		})
	}
}

func TestNumberingFollowsTheChat(t *testing.T) {
	t.Parallel()
	inGroup := inPrivate(5, func(m *tg.Message) { m.PeerID = &tg.PeerChat{ChatID: group} })
	for _, account := range []int64{account, other} {
		require.Equal(t, content.MessageKey{ChatID: chatID(channel), MessageID: 42}, one(t, normalised(t, pushTo(t, account, updates(newPost(text("a")))))).Key)
		require.Equal(t, content.MessageKey{Scope: content.Scope(account), ChatID: 77, MessageID: 5},
			one(t, normalised(t, pushTo(t, account, updates(&tg.UpdateNewMessage{Message: inPrivate(5, func(*tg.Message) {})})))).Key)
		require.Equal(t, content.MessageKey{Scope: content.Scope(account), ChatID: -group, MessageID: 5},
			one(t, normalised(t, pushTo(t, account, updates(&tg.UpdateNewMessage{Message: inGroup})))).Key)
	}
}

func TestDeletionsNameTheirChatWhereTelegramDoes(t *testing.T) {
	t.Parallel()
	cs := normalised(t, push(t, updates(
		&tg.UpdateDeleteChannelMessages{ChannelID: channel, Messages: []int{7, 8}, Pts: 5, PtsCount: 2},
		&tg.UpdateDeleteMessages{Messages: []int{9}, Pts: 6, PtsCount: 1},
	)))
	pushedAt := time.Unix(sent+1, 0).UTC()
	require.Equal(t, []content.Deletion{
		{Key: content.MessageKey{ChatID: chatID(channel), MessageID: 7}, DeletedAt: pushedAt},
		{Key: content.MessageKey{ChatID: chatID(channel), MessageID: 8}, DeletedAt: pushedAt},
		{Key: content.MessageKey{Scope: account, MessageID: 9}, DeletedAt: pushedAt},
	}, cs.Deletions)

	cs = normalised(t, answer(t, ingest.Difference, channelRequest(), &tg.UpdatesChannelDifference{
		Pts: 6, OtherUpdates: []tg.UpdateClass{&tg.UpdateDeleteChannelMessages{ChannelID: channel, Messages: []int{7}}},
	}))
	require.Equal(t, receivedAt, cs.Deletions[0].DeletedAt, "a channel's difference has no date")
}

func TestSealedLoginCodesAreARowOfTheLedgerAndNothingElse(t *testing.T) {
	t.Parallel()
	env := push(t, updates(newPost(text("a"))))
	env.Format, env.Raw = ingest.SealedTL, []byte("sealed with a key that nobody here has")
	cs, err := mtproto.NewSealed().Normalise(env)
	require.NoError(t, err)
	require.Equal(t, content.ChangeSet{Update: content.Update{
		Envelope: env, Hash: ingest.HashOf(env.Raw), Kind: "sealed", ChatID: 777000, NormaliserVersion: normalise.Version,
	}}, cs)
}

func TestBytesThatAreNoTLOfTheLayerAreRejected(t *testing.T) {
	t.Parallel()
	whole := push(t, updates(newPost(text("meet me at the boathouse"))))
	hugeVector := binaryOf(tg.UpdatesTypeID, bin.TypeVector, 0x7fffffff)
	for name, test := range map[string]struct {
		change func(*ingest.Envelope)
		want   normalise.Rejected
	}{
		"another layer": {
			func(env *ingest.Envelope) { env.Layer = tg.Layer + 1 },
			normalise.Rejected{Class: normalise.UnknownLayer, Reason: "no decoder for layer 229"},
		},
		"no layer": {func(env *ingest.Envelope) { env.Layer = 0 }, normalise.Rejected{Class: normalise.UnknownLayer, Reason: "no decoder for layer 0"}},
		"no bytes": {func(env *ingest.Envelope) { env.Raw = nil }, normalise.Rejected{Class: normalise.Malformed, Reason: "cut off at offset 0"}},
		"too large": {
			func(env *ingest.Envelope) { env.Raw = make([]byte, 4<<20+1) },
			normalise.Rejected{Class: normalise.Malformed, Reason: "larger than 4194304 bytes"},
		},
		"unknown": {
			func(env *ingest.Envelope) { env.Raw = binaryOf(0xdeadbeef) },
			normalise.Rejected{Class: normalise.Malformed, Reason: "unexpected constructor 0xdeadbeef at offset 0"},
		},
		"bytes left": {
			func(env *ingest.Envelope) { env.Raw = append(binaryOf(tg.UpdatesTooLongTypeID), 1, 2, 3, 4) },
			normalise.Rejected{Class: normalise.Malformed, Reason: "bytes left from offset 4 on"},
		},
		"a huge vector": {
			func(env *ingest.Envelope) { env.Raw = hugeVector },
			normalise.Rejected{Class: normalise.Malformed, Reason: "cut off at offset 12"},
		},
		"a negative length": {
			func(env *ingest.Envelope) { env.Raw = binaryOf(tg.UpdatesTypeID, bin.TypeVector, 0xffffffff) },
			normalise.Rejected{Class: normalise.Malformed, Reason: "negative length at offset 12"},
		},
		"another request": {
			func(env *ingest.Envelope) { env.Request = binaryOf(tg.HelpGetConfigRequestTypeID) },
			normalise.Rejected{Class: normalise.Malformed, Reason: "request: unexpected constructor 0xc4f9186b at offset 0"},
		},
		"a broken request": {
			func(env *ingest.Envelope) { env.Request = binaryOf(tg.MessagesGetHistoryRequestTypeID) },
			normalise.Rejected{Class: normalise.Malformed, Reason: "request: cut off at offset 4"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := whole
			test.change(&env)
			cs, err := mtproto.New().Normalise(env)
			require.Zero(t, cs)
			require.Equal(t, &test.want, err)
			require.Equal(t, fault.Permanent, fault.ClassOf(err))
		})
	}
	for cut := range len(whole.Raw) {
		env := whole
		env.Raw = env.Raw[:cut]
		_, err := mtproto.New().Normalise(env)
		require.Error(t, err)
		require.NotContains(t, err.Error(), "boathouse")
	}
}

func binaryOf(words ...uint32) []byte {
	var b bin.Buffer
	for _, word := range words {
		b.PutUint32(word)
	}
	return b.Buf
}

func TestWhatCannotBeIsRejected(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]tg.MessageClass{
		"no id":     said(func(m *tg.Message) { m.ID = 0 }),
		"no date":   said(func(m *tg.Message) { m.Date = 0 }),
		"no chat":   said(func(m *tg.Message) { m.PeerID = &tg.PeerChannel{} }),
		"an odd id": said(func(m *tg.Message) { m.PeerID = &tg.PeerChannel{ChannelID: -1 << 63} }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := mtproto.New().Normalise(push(t, updates(newPost(m))))
			var rejected *normalise.Rejected
			require.ErrorAs(t, err, &rejected)
			require.Equal(t, normalise.Malformed, rejected.Class)
			require.Equal(t, int64(100), rejected.UpdateID)
		})
	}
}
