package mtproto

import (
	"strconv"

	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/normalise"
)

// The users that the Bot API names as the sender of what a chat says, for the sake of old programs
// (https://core.telegram.org/bots/api#message, sender_chat). The archive's rows name them too, whoever saw the message.
const (
	groupAnonymousBot = 1087968824
	channelBot        = 136817688
)

// occasion is on what account a container tells of a message.
type occasion struct {
	// pts is the place as of which the message is told; 0 where it is not known.
	pts int
	// edit says that it is told because it was edited.
	edit bool
}

// message adds m. There is nothing to say of an empty one.
func (b *builder) message(m tg.MessageClass, on occasion) {
	switch m := m.(type) {
	case *tg.Message:
		b.ordinary(m, on)
	case *tg.MessageService:
		b.service(m, on)
	}
}

// versionOf orders a snapshot of a message among those of all sources.
//
// Its date is that of the last edit: an edit_date makes an edit of any snapshot, also one that is told for the first time. It counts when it
// is hidden, too: edit_hide says that readers are not shown that the message was edited (its keyboard or its reactions changed), and the
// snapshot is as new all the same. An edit that tells no date is placed by when it came.
//
// The sequence is the pts of the update, or, for a snapshot in an answer, the pts as of which the answer speaks. Between two edits within
// one second the later pts wins, however each of them came: a snapshot in a difference is at least as new as every push up to the
// difference's pts. Where none is known it is 0, and such a snapshot loses to the push of the same second.
//
// The hash is that of the message's own bytes and not of the container's, so that one snapshot in two containers of one pts has one version.
// Two versions of one content are harmless: content hashes decide on revisions and events, and the greater version wins in whatever order both come.
func (b *builder) versionOf(date, editDate int, on occasion, own tg.MessageClass) content.Version {
	s := b.stamp(timeOf(date), int64(on.pts))
	s.Hash = b.hashOf(own)
	switch {
	case editDate > 0:
		s.Date, s.Edit = timeOf(editDate), true
	case on.edit:
		s.Edit, s.Undated = true, b.update.Envelope.ReceivedAt
	}
	return content.NewVersion(s)
}

func (b *builder) ordinary(m *tg.Message, on occasion) {
	if m.Date <= 0 {
		b.reject("a message without a date")
	}
	out := content.Message{
		Key:               b.key(m.PeerID, m.ID),
		Version:           b.versionOf(m.Date, m.EditDate, on, m),
		NormaliserVersion: normalise.Version,
		ViaBotID:          content.UserID(m.ViaBotID),
		AuthorSignature:   clean(m.PostAuthor),
		Date:              timeOf(m.Date),
		Forward:           b.forward(m),
	}
	if !m.EditHide {
		out.EditDate = timeOf(m.EditDate)
	}
	if m.GroupedID != 0 {
		out.MediaGroupID = strconv.FormatInt(m.GroupedID, 10)
	}
	b.sender(&out, m.FromID, m.PeerID, m.Post, m.Out)
	b.reply(&out, m.ReplyTo, m.PeerID, m.Post)
	b.privateChat(m.PeerID)

	body := b.body(m)
	out.Kind, out.Content, out.Media = body.kind, body.content, body.files
	if body.captioned {
		out.Text, out.Entities = clean(m.Message), entities(m.Entities)
	}
	b.changes.Messages = append(b.changes.Messages, out)
	if reactions, told := m.GetReactions(); told {
		b.embeddedReactions(out.Key, &reactions, max(m.Date, m.EditDate))
	}
}

// sender says who sent a message: from is nil where it goes without saying.
func (b *builder) sender(out *content.Message, from, peer tg.PeerClass, post, outgoing bool) {
	switch from := from.(type) {
	case *tg.PeerUser:
		out.FromID = content.UserID(from.UserID)
	case *tg.PeerChat, *tg.PeerChannel:
		out.SenderChatID = chatOf(from)
	default:
		if p, private := peer.(*tg.PeerUser); private {
			out.FromID = content.UserID(p.UserID)
			if outgoing {
				out.FromID = content.UserID(b.account())
			}
		} else {
			// A channel speaks for itself, and so does a group whose administrator is anonymous.
			out.SenderChatID = chatOf(peer)
		}
	}
	switch {
	case post:
		out.SenderChatID = out.Key.ChatID
	case out.SenderChatID == 0:
	case out.SenderChatID == out.Key.ChatID:
		out.FromID = groupAnonymousBot
	case out.Forward.IsAutomatic:
		out.FromID = content.TelegramItself
	default:
		out.FromID = channelBot
	}
}

// reply says what a message answers, and which thread it belongs to. In a supergroup an answer opens a thread of its own where it does not
// name one, and what is said in a topic answers the message that opened the topic where it answers no other.
func (b *builder) reply(out *content.Message, to tg.MessageReplyHeaderClass, peer tg.PeerClass, post bool) {
	h, is := to.(*tg.MessageReplyHeader)
	if !is || h.ReplyToScheduled || h.ReplyToEphemeral {
		return
	}
	out.ReplyTo.MessageID = content.MessageID(max(h.ReplyToMsgID, 0))
	if other := chatOf(h.ReplyToPeerID); other != out.Key.ChatID {
		out.ReplyTo.ChatID = other
	}
	if h.Quote {
		out.ReplyTo.Quote = clean(h.QuoteText)
	}
	out.IsTopicMessage = h.ForumTopic
	out.ThreadID = content.MessageID(max(h.ReplyToTopID, 0))
	_, shared := peer.(*tg.PeerChannel)
	if out.ThreadID == 0 && (h.ForumTopic || shared && !post && h.ReplyToPeerID == nil) {
		out.ThreadID = out.ReplyTo.MessageID
	}
}

// forward says where a message comes from. What was imported from another messenger is no forward.
func (b *builder) forward(m *tg.Message) content.Forward {
	h, is := m.GetFwdFrom()
	if !is || h.Imported {
		return content.Forward{}
	}
	f := content.Forward{Date: timeOf(h.Date)}
	switch from := h.FromID.(type) {
	case *tg.PeerUser:
		f.OriginType, f.FromID = "user", content.UserID(from.UserID)
	case *tg.PeerChannel:
		f.OriginType, f.ChatID, f.AuthorSignature = "chat", chatOf(from), clean(h.PostAuthor)
		if h.ChannelPost > 0 {
			f.OriginType, f.MessageID = "channel", content.MessageID(h.ChannelPost)
		}
		f.IsAutomatic = !m.Post && isSame(h.SavedFromPeer, from) && isSame(m.FromID, from)
	case *tg.PeerChat:
		f.OriginType, f.ChatID, f.AuthorSignature = "chat", chatOf(from), clean(h.PostAuthor)
	default:
		f.OriginType, f.SenderName = "hidden_user", clean(h.FromName)
	}
	return f
}

// isSame tells whether p is the channel c.
func isSame(p tg.PeerClass, c *tg.PeerChannel) bool {
	channel, is := p.(*tg.PeerChannel)
	return is && channel.ChannelID == c.ChannelID
}

// entities returns the marked parts of a text in the Bot API's words. Those that the Bot API does not show (numbers of bank cards, marks of
// differences) are left out, so that every source computes one content hash.
func entities(list []tg.MessageEntityClass) []content.Entity {
	var out []content.Entity
	for _, e := range list {
		entity := entityOf(e)
		if entity.Type == "" {
			continue
		}
		if out == nil {
			out = make([]content.Entity, 0, len(list))
		}
		entity.Offset, entity.Length = e.GetOffset(), e.GetLength()
		out = append(out, entity)
	}
	return out
}

func entityOf(e tg.MessageEntityClass) content.Entity {
	switch e := e.(type) {
	case *tg.MessageEntityPre:
		return content.Entity{Type: "pre", Language: clean(e.Language)}
	case *tg.MessageEntityTextURL:
		return content.Entity{Type: "text_link", URL: clean(e.URL)}
	case *tg.MessageEntityMentionName:
		return content.Entity{Type: "text_mention", UserID: content.UserID(e.UserID)}
	case *tg.MessageEntityCustomEmoji:
		return content.Entity{Type: "custom_emoji", CustomEmojiID: strconv.FormatInt(e.DocumentID, 10)}
	case *tg.MessageEntityBlockquote:
		if e.Collapsed {
			return content.Entity{Type: "expandable_blockquote"}
		}
		return content.Entity{Type: "blockquote"}
	case *tg.MessageEntityFormattedDate:
		return content.Entity{Type: "date_time", UnixTime: int64(e.Date), DateTimeFormat: dateTimeFormat(e)}
	default:
		return content.Entity{Type: plainEntities[e.TypeID()]}
	}
}

// plainEntities names the entities that say nothing but their place.
var plainEntities = map[uint32]string{
	tg.MessageEntityMentionTypeID:    "mention",
	tg.MessageEntityHashtagTypeID:    "hashtag",
	tg.MessageEntityCashtagTypeID:    "cashtag",
	tg.MessageEntityBotCommandTypeID: "bot_command",
	tg.MessageEntityURLTypeID:        "url",
	tg.MessageEntityEmailTypeID:      "email",
	tg.MessageEntityPhoneTypeID:      "phone_number",
	tg.MessageEntityBoldTypeID:       "bold",
	tg.MessageEntityItalicTypeID:     "italic",
	tg.MessageEntityUnderlineTypeID:  "underline",
	tg.MessageEntityStrikeTypeID:     "strikethrough",
	tg.MessageEntitySpoilerTypeID:    "spoiler",
	tg.MessageEntityCodeTypeID:       "code",
}

// dateTimeFormat writes how a date is shown: r, or any of w, d or D, t or T in this order
// (https://core.telegram.org/bots/api#date-time-entity-formatting).
func dateTimeFormat(e *tg.MessageEntityFormattedDate) string {
	if e.Relative {
		return "r"
	}
	var format []byte
	for _, part := range []struct {
		shown  bool
		letter byte
	}{
		{e.DayOfWeek, 'w'},
		{e.ShortDate, 'd'},
		{e.LongDate, 'D'},
		{e.ShortTime, 't'},
		{e.LongTime, 'T'},
	} {
		if part.shown {
			format = append(format, part.letter)
		}
	}
	return string(format)
}
