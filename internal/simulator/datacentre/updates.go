package datacentre

import (
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"
)

// differenceTogether is how many happenings are told at once: the rest comes with the next difference.
const differenceTogether = 100

// newestTogether is how many messages come with a difference that is too long.
const newestTogether = 10

// errNoPlace is Telegram's answer to a difference from nowhere (https://core.telegram.org/method/updates.getDifference#possible-errors).
var errNoPlace = tgerr.New(400, "PERSISTENT_TIMESTAMP_EMPTY")

func (s *Server) state(pts int) tg.UpdatesState {
	return tg.UpdatesState{Pts: pts, Qts: 1, Seq: 1, Date: s.now()}
}

// told is what happened in one sequence, as a difference tells it: what is new as messages, in their last form, the rest as updates.
type told struct {
	messages []tg.MessageClass
	updates  []tg.UpdateClass
	users    []tg.UserClass
	chats    []tg.ChatClass
	// to is who is told.
	to *Account
}

// tell adds the happenings of q that come after the place pts, which belong to chats by chatOf.
func (t *told) tell(q *sequence, pts int, happenings []happening, chatOf func(*Message) *Chat) {
	fresh, met := map[int]bool{}, map[int64]bool{}
	for _, h := range happenings {
		pts++
		m := q.messages[h.id]
		chat := chatOf(m)
		if !met[chat.ID] {
			met[chat.ID] = true
			users, chats := chat.people(t.to)
			t.users, t.chats = append(t.users, users...), append(t.chats, chats...)
		}
		switch {
		case h.kind == deleted:
			t.updates = append(t.updates, chat.update(deleted, m, pts))
		case m.Deleted:
			// What is gone is not told of; its end is.
		case h.kind == posted:
			fresh[m.ID] = true
			t.messages = append(t.messages, chat.tl(m))
		case !fresh[m.ID]:
			t.updates = append(t.updates, chat.update(edited, m, pts))
		}
	}
}

func (s *Server) difference(a *Account, r *tg.UpdatesGetDifferenceRequest) (tg.UpdatesDifferenceClass, error) {
	if r.Pts < firstPts {
		return nil, errNoPlace
	}
	q := &a.sequence
	happened, from := q.after(r.Pts)
	if len(happened) == 0 {
		return &tg.UpdatesDifferenceEmpty{Date: s.now(), Seq: 1}, nil
	}
	if most := s.cfg.DifferenceMost; most > 0 && len(happened) > most {
		return &tg.UpdatesDifferenceTooLong{Pts: q.pts}, nil
	}
	now := happened[:min(len(happened), differenceTogether)]
	t := told{to: a}
	t.tell(q, from, now, s.privateOf(a))
	state := s.state(from + len(now))
	if len(now) < len(happened) {
		return &tg.UpdatesDifferenceSlice{
			NewMessages: t.messages, OtherUpdates: t.updates, Users: t.users, Chats: t.chats, IntermediateState: state,
		}, nil
	}
	return &tg.UpdatesDifference{NewMessages: t.messages, OtherUpdates: t.updates, Users: t.users, Chats: t.chats, State: state}, nil
}

// privateOf finds the private chat of a that a message is in.
func (s *Server) privateOf(a *Account) func(*Message) *Chat {
	return func(m *Message) *Chat {
		for _, c := range s.chats {
			if c.owner == a && c.ID == m.ChatID {
				return c
			}
		}
		return nil
	}
}

func (s *Server) channelDifference(a *Account, r *tg.UpdatesGetChannelDifferenceRequest) (tg.UpdatesChannelDifferenceClass, error) {
	chat, err := s.channelOf(a, r.Channel)
	if err != nil {
		return nil, err
	}
	if r.Pts < firstPts || r.Limit < 1 {
		return nil, errNoPlace
	}
	q := &chat.sequence
	happened, from := q.after(r.Pts)
	if len(happened) == 0 {
		return &tg.UpdatesChannelDifferenceEmpty{Final: true, Pts: from}, nil
	}
	users, chats := chat.people(a)
	if most := s.cfg.ChannelDifferenceMost; most > 0 && len(happened) > most {
		newest := []tg.MessageClass{}
		there := s.newestFirst(chat)
		for _, m := range there[:min(len(there), newestTogether)] {
			newest = append(newest, chat.tl(m))
		}
		// Nobody promises that what is told beside the dialog is the newest and nothing else.
		if len(there) > newestTogether {
			newest = append(newest, chat.tl(there[len(there)-1]))
		}
		return &tg.UpdatesChannelDifferenceTooLong{
			Final: true, Dialog: dialog(chat), Messages: newest, Users: users, Chats: chats,
		}, nil
	}
	now := happened[:min(len(happened), r.Limit, differenceTogether)]
	t := told{to: a}
	t.tell(q, from, now, func(*Message) *Chat { return chat })
	pts := from + len(now)
	return &tg.UpdatesChannelDifference{
		Final: len(now) == len(happened), Pts: pts, NewMessages: t.messages, OtherUpdates: t.updates, Users: users, Chats: chats,
	}, nil
}

// channelOf returns the channel that an account names, if it may see it.
func (s *Server) channelOf(a *Account, named tg.InputChannelClass) (*Chat, error) {
	input, ok := named.(*tg.InputChannel)
	if !ok || input.AccessHash != a.AccessHash(input.ChannelID) {
		return nil, tgerr.New(400, "CHANNEL_INVALID")
	}
	chat := s.channel(input.ChannelID)
	if chat == nil {
		return nil, tgerr.New(400, "CHANNEL_INVALID")
	}
	if kind, forbidden := chat.forbidden[a]; forbidden {
		chat.refusals++
		return nil, tgerr.New(400, kind)
	}
	if !chat.isMember(a) {
		return nil, tgerr.New(400, "CHANNEL_PRIVATE")
	}
	return chat, nil
}

// dialog returns chat as a list of dialogs shows it.
func dialog(chat *Chat) *tg.Dialog {
	q := chat.sequenceOf()
	d := &tg.Dialog{Peer: &tg.PeerUser{UserID: chat.ID}, TopMessage: q.maxID}
	if chat.Kind != Private {
		d.Peer = &tg.PeerChannel{ChannelID: chat.ID}
		d.SetPts(q.pts)
	}
	return d
}

// dialogs returns the account's dialogs behind offset, by the id of the chat, as many as limit.
func (s *Server) dialogs(a *Account, r *tg.MessagesGetDialogsRequest) tg.MessagesDialogsClass {
	var after int64
	switch peer := r.OffsetPeer.(type) {
	case *tg.InputPeerChannel:
		after = peer.ChannelID
	case *tg.InputPeerUser:
		after = peer.UserID
	}
	page := &tg.MessagesDialogsSlice{}
	for _, chat := range s.chats {
		if !chat.isMember(a) {
			continue
		}
		page.Count++
		if chat.ID <= after || len(page.Dialogs) == r.Limit {
			continue
		}
		users, chats := chat.people(a)
		page.Dialogs = append(page.Dialogs, dialog(chat))
		page.Users, page.Chats = append(page.Users, users...), append(page.Chats, chats...)
		page.Messages = append(page.Messages, top(chat)...)
	}
	return page
}

// top returns the newest message of chat, if it is there.
func top(chat *Chat) []tg.MessageClass {
	q := chat.sequenceOf()
	if m := q.messages[q.maxID]; m != nil && !m.Deleted && m.ChatID == chat.ID {
		return []tg.MessageClass{chat.tl(m)}
	}
	return nil
}
