package mtproto

import (
	"cmp"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// container is any of the objects that bring updates, in one shape.
type container struct {
	// kind is empty for a push, whose updates name it.
	kind ingest.Kind
	// updates are pushed, or a difference's other updates; messages are snapshots that no update of their own brings.
	updates  []tg.UpdateClass
	messages []tg.MessageClass
	users    []tg.UserClass
	chats    []tg.ChatClass
	// pushedAt is when Telegram pushed the container: that of everything in it. Zero for answers.
	pushedAt time.Time
	// notBefore is a time, by Telegram's clock, before which the container was not made; zero where nothing tells.
	notBefore time.Time
	// pts is where the answer leaves the account, or, when ofChannel is set, the channel that it is about.
	pts       int
	ofChannel bool
	seq       int
	// tooLong is why the answer left something out; empty when it did not.
	tooLong content.HoleReason

	// fromPts and asked are told by the request: the place that the answer starts from, and the chat that was asked about.
	fromPts int
	asked   content.ChatID
}

// ofPush returns what Telegram pushed.
func ofPush(u tg.UpdatesClass) *container {
	switch u := u.(type) {
	case *tg.Updates:
		return pushed(u.Updates, u.Users, u.Chats, u.Date, u.Seq)
	case *tg.UpdatesCombined:
		return pushed(u.Updates, u.Users, u.Chats, u.Date, u.Seq)
	case *tg.UpdateShort:
		return pushed([]tg.UpdateClass{u.Update}, nil, nil, u.Date, 0)
	case *tg.UpdateShortMessage:
		m := &tg.Message{
			Out: u.Out, Mentioned: u.Mentioned, MediaUnread: u.MediaUnread, Silent: u.Silent, ID: u.ID,
			PeerID: &tg.PeerUser{UserID: u.UserID}, FwdFrom: u.FwdFrom, ViaBotID: u.ViaBotID, ReplyTo: u.ReplyTo, Date: u.Date, Message: u.Message,
			Entities: u.Entities, TTLPeriod: u.TTLPeriod,
		}
		return shortMessage("update_short_message", m, u.Pts, u.PtsCount)
	case *tg.UpdateShortChatMessage:
		m := &tg.Message{
			Out: u.Out, Mentioned: u.Mentioned, MediaUnread: u.MediaUnread, Silent: u.Silent, ID: u.ID,
			FromID: &tg.PeerUser{UserID: u.FromID}, PeerID: &tg.PeerChat{ChatID: u.ChatID}, FwdFrom: u.FwdFrom, ViaBotID: u.ViaBotID,
			ReplyTo: u.ReplyTo, Date: u.Date, Message: u.Message, Entities: u.Entities, TTLPeriod: u.TTLPeriod,
		}
		return shortMessage("update_short_chat_message", m, u.Pts, u.PtsCount)
	case *tg.UpdateShortSentMessage:
		// It answers a call of the account's own and does not say in which chat; the message itself comes by difference.
		return &container{kind: "update_short_sent_message", pushedAt: timeOf(u.Date), notBefore: timeOf(u.Date), pts: u.Pts}
	default:
		return &container{kind: "updates_too_long"}
	}
}

func pushed(updates []tg.UpdateClass, users []tg.UserClass, chats []tg.ChatClass, date, seq int) *container {
	return &container{updates: updates, users: users, chats: chats, pushedAt: timeOf(date), notBefore: timeOf(date), seq: seq}
}

// shortMessage returns the message of a short push as the push that it is short for.
func shortMessage(kind ingest.Kind, m *tg.Message, pts, count int) *container {
	m.SetFlags()
	c := pushed([]tg.UpdateClass{&tg.UpdateNewMessage{Message: m, Pts: pts, PtsCount: count}}, nil, nil, m.Date, 0)
	c.kind = kind
	return c
}

// ofDifference returns the answer to updates.getDifference.
func ofDifference(d tg.UpdatesDifferenceClass) *container {
	c := &container{kind: "difference"}
	switch d := d.(type) {
	case *tg.UpdatesDifference:
		c.messages, c.updates, c.users, c.chats = d.NewMessages, d.OtherUpdates, d.Users, d.Chats
		c.pts, c.seq, c.notBefore = d.State.Pts, d.State.Seq, timeOf(d.State.Date)
	case *tg.UpdatesDifferenceSlice:
		c.messages, c.updates, c.users, c.chats = d.NewMessages, d.OtherUpdates, d.Users, d.Chats
		c.pts, c.seq, c.notBefore = d.IntermediateState.Pts, d.IntermediateState.Seq, timeOf(d.IntermediateState.Date)
	case *tg.UpdatesDifferenceEmpty:
		c.seq, c.notBefore = d.Seq, timeOf(d.Date)
	case *tg.UpdatesDifferenceTooLong:
		c.kind, c.tooLong, c.pts = "difference_too_long", content.DifferenceTooLong, d.Pts
	}
	return c
}

// ofChannelDifference returns the answer to updates.getChannelDifference.
func ofChannelDifference(d tg.UpdatesChannelDifferenceClass) *container {
	c := &container{kind: "channel_difference", ofChannel: true}
	switch d := d.(type) {
	case *tg.UpdatesChannelDifference:
		c.messages, c.updates, c.users, c.chats, c.pts = d.NewMessages, d.OtherUpdates, d.Users, d.Chats, d.Pts
	case *tg.UpdatesChannelDifferenceEmpty:
		c.pts = d.Pts
	case *tg.UpdatesChannelDifferenceTooLong:
		c.kind, c.tooLong = "channel_difference_too_long", content.ChannelDifferenceTooLong
		c.messages, c.users, c.chats = d.Messages, d.Users, d.Chats
		if dialog, is := d.Dialog.(*tg.Dialog); is {
			c.pts, c.asked = dialog.Pts, chatOf(dialog.Peer)
		}
	}
	c.notBefore = newestOf(c.messages)
	return c
}

// ofHistory returns the answer to messages.getHistory.
func ofHistory(m tg.MessagesMessagesClass) *container {
	c := &container{kind: "history"}
	switch m := m.(type) {
	case *tg.MessagesMessages:
		c.messages, c.users, c.chats = m.Messages, m.Users, m.Chats
	case *tg.MessagesMessagesSlice:
		c.messages, c.users, c.chats = m.Messages, m.Users, m.Chats
	case *tg.MessagesChannelMessages:
		c.messages, c.users, c.chats, c.pts, c.ofChannel = m.Messages, m.Users, m.Chats, m.Pts, true
	}
	c.notBefore = newestOf(c.messages)
	return c
}

// newestOf returns the newest date that messages tell: whoever sent them together can't have done so before it.
func newestOf(messages []tg.MessageClass) time.Time {
	newest := 0
	for _, m := range messages {
		switch m := m.(type) {
		case *tg.Message:
			newest = max(newest, m.Date, m.EditDate)
		case *tg.MessageService:
			newest = max(newest, m.Date)
		}
	}
	return timeOf(newest)
}

// updateID returns the number by which the ledger orders the container: the pts of its first update that has one, else its qts, else the
// place where the container leaves the account or channel, else its seq.
func (c *container) updateID() int64 {
	qts := 0
	for _, u := range c.updates {
		if pts := ptsOf(u); pts != 0 {
			return int64(pts)
		}
		if with, has := u.(interface{ GetQts() int }); has && qts == 0 {
			qts = with.GetQts()
		}
	}
	return int64(cmp.Or(qts, c.pts, c.seq))
}

// ptsOf returns the pts that u tells; 0 when it tells none.
func ptsOf(u tg.UpdateClass) int {
	switch u := u.(type) {
	case interface{ GetPts() int }:
		return u.GetPts()
	case interface{ GetPts() (int, bool) }:
		pts, _ := u.GetPts()
		return pts
	default:
		return 0
	}
}

// ptsOf returns the place as of which m is told beside the updates. It is known for the messages of the numbering that the container is about:
// such a snapshot is at least as new as every push up to that place, and loses only to those behind it.
func (c *container) ptsOf(m tg.MessageClass) int {
	if _, inChannel := peerOf(m).(*tg.PeerChannel); inChannel != c.ofChannel {
		return 0
	}
	return c.pts
}

// name returns the kind under which the container stands in the ledger: of a push with one update that update's own name, otherwise
// the container's.
func (c *container) name() ingest.Kind {
	switch {
	case c.kind != "":
		return c.kind
	case len(c.updates) == 1:
		return snake(c.updates[0].TypeName())
	default:
		return "updates"
	}
}

// snake returns Telegram's name of an update in the style of the Bot API's names. The names are those of the layer's schema: a closed set.
func snake(name string) ingest.Kind {
	out := make([]byte, 0, len(name)+8)
	for i := range len(name) {
		c := name[i]
		if 'A' <= c && c <= 'Z' {
			if i > 0 {
				out = append(out, '_')
			}
			c += 'a' - 'A'
		}
		out = append(out, c)
	}
	return ingest.Kind(out)
}
