package simulator

import (
	"fmt"

	"github.com/tgfleet/tgfleet/internal/content"
)

// firstPersonID lies past 2^32, as the ids of real people do by now.
const firstPersonID int64 = 7_100_000_000

// chat is a chat that the simulator has messages in.
type chat struct {
	info chatInfo
	// lastMessageID counts in channels and supergroups, where message ids belong to the chat.
	lastMessageID content.MessageID
	members       []*user
}

// chatOf returns the chat with this id, and makes it when it is new. The caller holds mu.
func (s *Server) chatOf(id content.ChatID) *chat {
	if c, known := s.chats[id]; known {
		return c
	}
	number := int64(max(id, -id) % 100_000)
	person := &user{ID: int64(id), FirstName: fmt.Sprintf("Person %d", number), LanguageCode: "en"}
	info := chatInfo{ID: id, Type: content.Private, FirstName: person.FirstName}
	if id < 0 {
		person.ID = firstPersonID + number
		info = chatInfo{ID: id, Type: content.Group, Title: fmt.Sprintf("Group %d", number)}
	}
	if _, isChannel := id.Channel(); isChannel {
		info.Type = content.Supergroup
	}
	return s.addChat(info, person)
}

// addChat makes a chat known. The caller holds mu.
func (s *Server) addChat(info chatInfo, members ...*user) *chat {
	c := &chat{info: info, members: members}
	s.chats[info.ID] = c
	return c
}

func (c *chat) firstMember() *user { return c.members[0] }

// shared says that message ids count for the chat and not for each account.
func (c *chat) shared() bool {
	return content.ScopeOf(c.info.Type, 1) == content.ScopeShared
}

// nextMessageID returns the id of the next message that b sees in c. The caller holds mu.
func (s *Server) nextMessageID(b *bot, c *chat) content.MessageID {
	if c.shared() {
		c.lastMessageID++
		return c.lastMessageID
	}
	b.lastMessageID++
	return b.lastMessageID
}
