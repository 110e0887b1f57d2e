package datacentre

import (
	"context"
	"slices"
	"time"

	"github.com/gotd/td/proto"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgtest"
)

// sendWithin bounds a push: a client that does not read loses it.
const sendWithin = time.Second

// update returns what happened to m as an update with its place.
func (c *Chat) update(kind happeningKind, m *Message, pts int) tg.UpdateClass {
	if c.Kind == Private {
		switch kind {
		case posted:
			return &tg.UpdateNewMessage{Message: c.tl(m), Pts: pts, PtsCount: 1}
		case edited:
			return &tg.UpdateEditMessage{Message: c.tl(m), Pts: pts, PtsCount: 1}
		default:
			return &tg.UpdateDeleteMessages{Messages: []int{m.ID}, Pts: pts, PtsCount: 1}
		}
	}
	switch kind {
	case posted:
		return &tg.UpdateNewChannelMessage{Message: c.tl(m), Pts: pts, PtsCount: 1}
	case edited:
		return &tg.UpdateEditChannelMessage{Message: c.tl(m), Pts: pts, PtsCount: 1}
	default:
		return &tg.UpdateDeleteChannelMessages{ChannelID: c.ID, Messages: []int{m.ID}, Pts: pts, PtsCount: 1}
	}
}

// push tells every member of chat, as far as the faults let it. A push that is held comes after the next one that is not; the last one that is held
// is lost.
func (s *Server) push(chat *Chat, kind happeningKind, m *Message, pts int) {
	for _, member := range chat.members {
		users, chats := chat.people(member)
		container := &tg.Updates{
			Updates: []tg.UpdateClass{chat.update(kind, m, pts)}, Users: users, Chats: chats, Date: s.now(),
		}
		r := s.random.Float64()
		if r < s.faults.Lost {
			continue
		}
		if r < s.faults.Lost+s.faults.Reordered && member.held == nil {
			member.held = container
			continue
		}
		s.send(member, container)
		if r < s.faults.Lost+s.faults.Reordered+s.faults.Repeated {
			s.send(member, container)
		}
		if held := member.held; held != nil {
			member.held = nil
			s.send(member, held)
		}
	}
}

// send sends u to the sessions of account, and forgets those that are gone.
func (s *Server) send(account *Account, u tg.UpdatesClass) {
	account.sessions = slices.DeleteFunc(account.sessions, func(session tgtest.Session) bool {
		ctx, cancel := context.WithTimeout(s.serving, sendWithin)
		defer cancel()
		return s.mtproto.Send(ctx, session, proto.MessageFromServer, u) != nil
	})
}
