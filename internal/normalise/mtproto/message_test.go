package mtproto_test

import (
	"testing"

	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

func messageOf(t testing.TB, m tg.MessageClass) content.Message {
	t.Helper()
	return one(t, normalised(t, push(t, updates(newPost(m)))))
}

func TestWhoSentAMessage(t *testing.T) {
	t.Parallel()
	me, them := &tg.PeerChannel{ChannelID: channel}, &tg.PeerChannel{ChannelID: 9}
	for name, test := range map[string]struct {
		m      tg.MessageClass
		from   content.UserID
		sender content.ChatID
	}{
		"a user":                  {text("a"), 5839201744, 0},
		"a channel":               {post(func(m *tg.Message) { m.Message = "a" }), 0, chatID(channel)},
		"an author with a name":   {post(func(m *tg.Message) { m.Message, m.FromID = "a", &tg.PeerUser{UserID: 77} }), 77, chatID(channel)},
		"an anonymous leader":     {said(func(m *tg.Message) { m.Message, m.FromID = "a", me }), 1087968824, chatID(channel)},
		"one who is not named":    {said(func(m *tg.Message) { m.Message, m.FromID = "a", nil }), 1087968824, chatID(channel)},
		"another channel":         {said(func(m *tg.Message) { m.Message, m.FromID = "a", them }), 136817688, chatID(9)},
		"the linked channel":      {linked(), 777000, chatID(9)},
		"the other side":          {inPrivate(5, func(*tg.Message) {}), 77, 0},
		"the account itself":      {inPrivate(5, func(m *tg.Message) { m.Out = true }), account, 0},
		"somebody in saved words": {inPrivate(5, func(m *tg.Message) { m.FromID = &tg.PeerUser{UserID: 78} }), 78, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := messageOf(t, test.m)
			require.Equal(t, test.from, m.FromID)
			require.Equal(t, test.sender, m.SenderChatID)
		})
	}
}

// linked returns a post that Telegram itself copied into the discussion group.
func linked() *tg.Message {
	return said(func(m *tg.Message) {
		m.Message, m.FromID = "a", &tg.PeerChannel{ChannelID: 9}
		m.SetFwdFrom(tg.MessageFwdHeader{
			Date: sent - 9, FromID: &tg.PeerChannel{ChannelID: 9}, ChannelPost: 4, PostAuthor: "Ann",
			SavedFromPeer: &tg.PeerChannel{ChannelID: 9}, SavedFromMsgID: 4,
		})
	})
}

func TestWhereAMessageComesFrom(t *testing.T) {
	t.Parallel()
	forwarded := func(h tg.MessageFwdHeader) *tg.Message {
		h.Date = sent - 9
		return said(func(m *tg.Message) { m.Message = "a"; m.SetFwdFrom(h) })
	}
	for name, test := range map[string]struct {
		m    tg.MessageClass
		want content.Forward
	}{
		"nowhere": {text("a"), content.Forward{}},
		"a user":  {forwarded(tg.MessageFwdHeader{FromID: &tg.PeerUser{UserID: 77}}), content.Forward{OriginType: "user", FromID: 77, Date: at(sent - 9)}},
		"a name":  {forwarded(tg.MessageFwdHeader{FromName: "Hidden"}), content.Forward{OriginType: "hidden_user", SenderName: "Hidden", Date: at(sent - 9)}},
		"a channel": {
			forwarded(tg.MessageFwdHeader{FromID: &tg.PeerChannel{ChannelID: 9}, ChannelPost: 4, PostAuthor: "Ann"}),
			content.Forward{OriginType: "channel", ChatID: chatID(9), MessageID: 4, AuthorSignature: "Ann", Date: at(sent - 9)},
		},
		"a leader": {
			forwarded(tg.MessageFwdHeader{FromID: &tg.PeerChannel{ChannelID: 9}, PostAuthor: "Boss"}),
			content.Forward{OriginType: "chat", ChatID: chatID(9), AuthorSignature: "Boss", Date: at(sent - 9)},
		},
		"another messenger": {forwarded(tg.MessageFwdHeader{Imported: true, FromName: "Ann"}), content.Forward{}},
		"the linked channel": {
			linked(),
			content.Forward{OriginType: "channel", ChatID: chatID(9), MessageID: 4, AuthorSignature: "Ann", Date: at(sent - 9), IsAutomatic: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, messageOf(t, test.m).Forward)
		})
	}
}

func TestWhatAMessageAnswers(t *testing.T) {
	t.Parallel()
	type answered struct {
		reply  content.Reply
		thread content.MessageID
		topic  bool
	}
	to := func(h tg.MessageReplyHeader) *tg.Message {
		h.SetFlags()
		return said(func(m *tg.Message) { m.Message = "a"; m.SetReplyTo(&h) })
	}
	for name, test := range map[string]struct {
		m    tg.MessageClass
		want answered
	}{
		"nothing":              {text("a"), answered{}},
		"a message":            {to(tg.MessageReplyHeader{ReplyToMsgID: 7}), answered{reply: content.Reply{MessageID: 7}, thread: 7}},
		"within a thread":      {to(tg.MessageReplyHeader{ReplyToMsgID: 7, ReplyToTopID: 3}), answered{reply: content.Reply{MessageID: 7}, thread: 3}},
		"in a topic":           {to(tg.MessageReplyHeader{ReplyToMsgID: 3, ForumTopic: true}), answered{reply: content.Reply{MessageID: 3}, thread: 3, topic: true}},
		"a message in a topic": {to(tg.MessageReplyHeader{ReplyToMsgID: 7, ReplyToTopID: 3, ForumTopic: true}), answered{reply: content.Reply{MessageID: 7}, thread: 3, topic: true}},
		"a quote":              {to(tg.MessageReplyHeader{ReplyToMsgID: 7, Quote: true, QuoteText: "part"}), answered{reply: content.Reply{MessageID: 7, Quote: "part"}, thread: 7}},
		"a message elsewhere":  {to(tg.MessageReplyHeader{ReplyToMsgID: 7, ReplyToPeerID: &tg.PeerChannel{ChannelID: 9}}), answered{reply: content.Reply{ChatID: chatID(9), MessageID: 7}}},
		"a story": {said(func(m *tg.Message) {
			m.Message = "a"
			m.SetReplyTo(&tg.MessageReplyStoryHeader{Peer: &tg.PeerUser{UserID: 77}, StoryID: 3})
		}), answered{}},
		"in a private chat":     {inPrivate(9, func(m *tg.Message) { h := &tg.MessageReplyHeader{ReplyToMsgID: 7}; h.SetFlags(); m.SetReplyTo(h) }), answered{reply: content.Reply{MessageID: 7}}},
		"what was pinned":       {&tg.MessageService{ID: 42, PeerID: &tg.PeerChannel{ChannelID: channel}, Date: sent, Action: &tg.MessageActionPinMessage{}, ReplyTo: &tg.MessageReplyHeader{ReplyToMsgID: 7}}, answered{}},
		"a topic that it opens": {happened(&tg.MessageActionTopicCreate{Title: "A"}), answered{thread: 42, topic: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := messageOf(t, test.m)
			require.Equal(t, test.want, answered{m.ReplyTo, m.ThreadID, m.IsTopicMessage})
		})
	}
}

func TestOtherFieldsOfAMessage(t *testing.T) {
	t.Parallel()
	m := messageOf(t, post(func(m *tg.Message) {
		m.Message, m.ViaBotID, m.PostAuthor, m.GroupedID, m.EditDate = "a", 78, "Ann", -5, sent+60
	}))
	require.Equal(t, content.UserID(78), m.ViaBotID)
	require.Equal(t, "Ann", m.AuthorSignature)
	require.Equal(t, "-5", m.MediaGroupID)
	require.Equal(t, at(sent), m.Date)
	require.Equal(t, at(sent+60), m.EditDate)
	hidden := messageOf(t, post(func(m *tg.Message) { m.Message, m.EditDate, m.EditHide = "a", sent+60, true }))
	require.Zero(t, hidden.EditDate)

	video := one(t, normalised(t, push(t, updates(newPost(withMedia(document("video/mp4",
		&tg.DocumentAttributeVideo{Duration: 2.6, W: 640, H: 360}, &tg.DocumentAttributeFilename{FileName: "a.mp4"}), "")))))).Media[0]
	require.Equal(t, content.Media{
		Kind: "video", FileUniqueID: documentID, FileName: "a.mp4", MIMEType: "video/mp4", SizeBytes: 12266, Width: 640, Height: 360, Duration: 3e9,
	}, video)
	require.Equal(t, content.Media{Kind: "photo", FileUniqueID: photoID, SizeBytes: 200_000, Width: 1280, Height: 960},
		messageOf(t, withMedia(photoMedia(), "")).Media[0])
}

func TestMigrationJoinsTheTwoChats(t *testing.T) {
	t.Parallel()
	want := []content.ChatAlias{{ChatID: -group, MigratedToChatID: chatID(channel), Date: at(sent)}}
	old := &tg.MessageService{
		ID: 8, PeerID: &tg.PeerChat{ChatID: group}, FromID: &tg.PeerUser{UserID: 77}, Date: sent, Action: &tg.MessageActionChatMigrateTo{ChannelID: channel},
	}
	require.Equal(t, want, normalised(t, push(t, updates(&tg.UpdateNewMessage{Message: old}))).ChatAliases)
	require.Equal(t, want, normalised(t, push(t, updates(newPost(happened(&tg.MessageActionChannelMigrateFrom{ChatID: group}))))).ChatAliases)
}

func TestContentNamesWhatHappened(t *testing.T) {
	t.Parallel()
	for want, action := range map[content.JSON]tg.MessageActionClass{
		`"Tom & <Ann>"`: &tg.MessageActionChatEditTitle{Title: "Tom & <Ann>"},
		`[{"first_name":"Marisol","id":77,"is_bot":false,"last_name":"Okonkwo","username":"marisol_ok"},{"id":78}]`: &tg.MessageActionChatAddUser{Users: []int64{77, 78}},
		`-4321`: &tg.MessageActionChannelMigrateFrom{ChatID: group},
		`[{"file_size":200000,"file_unique_id":"` + photoID + `","height":960,"width":1280}]`: &tg.MessageActionChatEditPhoto{Photo: photo()},
		``: &tg.MessageActionGroupCall{Call: &tg.InputGroupCall{ID: 1}},
	} {
		cs := normalised(t, push(t, withPeers([]tg.UserClass{fullUser()}, nil, newPost(happened(action)))))
		require.Equal(t, want, one(t, cs).Content)
	}
	created := normalised(t, push(t, withPeers(nil, []tg.ChatClass{fullChannel()}, newPost(happened(&tg.MessageActionChannelCreate{Title: "A"})))))
	require.Equal(t, content.MessageKind("channel_chat_created"), one(t, created).Kind)
	pinned := messageOf(t, &tg.MessageService{
		ID: 42, PeerID: &tg.PeerChannel{ChannelID: channel}, Date: sent, Action: &tg.MessageActionPinMessage{}, ReplyTo: &tg.MessageReplyHeader{ReplyToMsgID: 7},
	})
	require.Equal(t, content.JSON(`{"chat":{"id":-1001894420716},"date":0,"message_id":7}`), pinned.Content)
}

// TestTheNewerSnapshotHasTheGreaterVersion lists tellings of one message from the oldest to the newest.
func TestTheNewerSnapshotHasTheGreaterVersion(t *testing.T) {
	t.Parallel()
	edited := func(words string, date int) *tg.Message {
		return said(func(m *tg.Message) { m.Message, m.EditDate = words, date })
	}
	edit := func(m *tg.Message, pts int) ingest.Envelope {
		return push(t, updates(&tg.UpdateEditChannelMessage{Message: m, Pts: pts, PtsCount: 1}))
	}
	inDifference := func(m *tg.Message, pts int) ingest.Envelope {
		return answer(t, ingest.Difference, channelRequest(), &tg.UpdatesChannelDifference{Pts: pts, NewMessages: []tg.MessageClass{m}})
	}
	hidden := edited("third", sent+70)
	hidden.EditHide = true
	hidden.SetFlags()
	steps := []struct {
		name string
		env  ingest.Envelope
	}{
		{"a page of history without a place", push(t, &tg.MessagesMessages{Messages: []tg.MessageClass{text("first")}})},
		{"the push", push(t, updates(newPost(text("first"))))},
		{"an edit that tells no date", edit(text("first!"), 101)},
		{"the first edit", edit(edited("second", sent+60), 102)},
		{"the second edit of the same second", edit(edited("third", sent+60), 103)},
		{"a difference up to a third of that second", inDifference(edited("fourth", sent+60), 104)},
		{"an edit of that second behind the difference", edit(edited("fifth", sent+60), 105)},
		{"an edit that is hidden", edit(hidden, 106)},
	}
	last := content.Version("")
	for _, step := range steps {
		version := one(t, normalised(t, step.env)).Version
		require.Greater(t, version, last, step.name)
		last = version
	}
}

func TestOneSnapshotInTwoContainersIsOneVersion(t *testing.T) {
	t.Parallel()
	m := &tg.UpdateEditChannelMessage{Message: said(func(m *tg.Message) { m.Message, m.EditDate = "a", sent+60 }), Pts: 100, PtsCount: 1}
	live := one(t, normalised(t, push(t, withPeers([]tg.UserClass{fullUser()}, nil, m))))
	asked := one(t, normalised(t, answer(t, ingest.Difference, channelRequest(), &tg.UpdatesChannelDifference{Pts: 200, OtherUpdates: []tg.UpdateClass{m}})))
	require.Equal(t, live, asked)
}

func TestTextThatNobodyCanStoreIsReplaced(t *testing.T) {
	t.Parallel()
	m := messageOf(t, said(func(m *tg.Message) {
		m.Message, m.Entities = "a\x00b\xff\xfe", []tg.MessageEntityClass{&tg.MessageEntityBold{Offset: 2, Length: 1}}
	}))
	require.Equal(t, "a\ufffdb\ufffd\ufffd", m.Text)
}

func TestWhatIsNobodysNumberingIsPassedOver(t *testing.T) {
	t.Parallel()
	cs := normalised(t, push(t, updates(
		&tg.UpdateNewScheduledMessage{Message: text("later")},
		&tg.UpdateQuickReplyMessage{Message: text("quick")},
		&tg.UpdateBotNewBusinessMessage{ConnectionID: "c", Message: text("business")},
		newPost(&tg.MessageEmpty{ID: 42}),
	)))
	require.Empty(t, cs.Messages)
}
