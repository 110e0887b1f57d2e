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
const sendWithin = 5 * time.Second

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

// push tells every member of chat, as far as the faults let it.
func (s *Server) push(chat *Chat, kind happeningKind, m *Message, pts int) {
	users, chats := chat.people()
	container := &tg.Updates{
		Updates: []tg.UpdateClass{chat.update(kind, m, pts)}, Users: users, Chats: chats, Date: firstDate + s.clock,
	}
	for _, member := range chat.members {
		switch r := s.random.Float64(); {
		case r < s.faults.Lost:
		case r < s.faults.Lost+s.faults.Reordered && member.held == nil:
			member.held = container
		case r < s.faults.Lost+s.faults.Reordered+s.faults.Repeated:
			s.send(member, container)
			s.send(member, container)
		default:
			s.send(member, container)
			if held := member.held; held != nil {
				member.held = nil
				s.send(member, held)
			}
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

// Push sends u to account as it is, whatever the faults.
func (s *Server) Push(account *Account, u tg.UpdatesClass) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.send(account, u)
}
