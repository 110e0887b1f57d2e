package datacentre

import (
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"
)

const (
	getHistory = "messages.getHistory"
	// historyTogether is how many messages Telegram answers at once, however many are asked for.
	historyTogether = 100
	// takeoutTimes is how many times as often an account may ask in a takeout.
	takeoutTimes = 4
)

// Rate is how often an account may call a method in each of the windows that follow one another. The zero Rate has no limit.
type Rate struct {
	Calls  int
	Window time.Duration
}

// window is how often an account has called in the window that began last.
type window struct {
	begun time.Time
	calls int
	// told tells whether somebody was refused in it, who knows when it ends.
	told bool
}

// errPeerInvalid is Telegram's answer to a peer that the account does not have
// (https://core.telegram.org/method/messages.getHistory#possible-errors).
var errPeerInvalid = tgerr.New(400, "PEER_ID_INVALID")

// floodWait is Telegram's refusal of a call that has to wait until then.
func floodWait(kind string, until time.Time) error {
	return tgerr.New(420, kind+strconv.Itoa(max(int(math.Ceil(time.Until(until).Seconds())), 1)))
}

// overHistory counts a call for history by a, and refuses it when there were too many in this window. Who was refused once should have known.
func (s *Server) overHistory(a *Account, takeout bool) error {
	most := s.cfg.HistoryLimit.Calls
	if most == 0 {
		return nil
	}
	if takeout {
		most *= takeoutTimes
	}
	w := &a.history
	if now := time.Now(); now.Sub(w.begun) >= s.cfg.HistoryLimit.Window {
		*w = window{begun: now}
	}
	w.calls++
	if w.calls <= most {
		return nil
	}
	if w.told {
		s.early++
	}
	w.told = true
	return floodWait("FLOOD_WAIT_", w.begun.Add(s.cfg.HistoryLimit.Window))
}

// Lay writes messages into chat that nobody is told of, as if they had been written while nobody was there. Each has its place in the sequence.
func (s *Server) Lay(chat *Chat, texts ...string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	laid := make([]Message, 0, len(texts))
	for _, text := range texts {
		m, _ := s.write(chat, text)
		laid = append(laid, *m)
	}
	return laid
}

// Join makes account a member of chat, or makes it one again, and tells it so.
func (s *Server) Join(chat *Chat, account *Account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(chat.forbidden, account)
	if !chat.isMember(account) {
		chat.members = append(slices.Clone(chat.members), account)
	}
	users, chats := chat.people(account)
	s.send(account, &tg.Updates{
		Updates: []tg.UpdateClass{&tg.UpdateChannel{ChannelID: chat.ID}}, Users: users, Chats: chats, Date: s.now(),
	})
}

// chatOf returns the chat that an account names, if it may see it.
func (s *Server) chatOf(a *Account, named tg.InputPeerClass) (*Chat, error) {
	switch peer := named.(type) {
	case *tg.InputPeerChannel:
		if peer.AccessHash != a.AccessHash(peer.ChannelID) || s.channel(peer.ChannelID) == nil {
			return nil, errPeerInvalid
		}
		return s.channelOf(a, &tg.InputChannel{ChannelID: peer.ChannelID, AccessHash: peer.AccessHash})
	case *tg.InputPeerUser:
		at := slices.IndexFunc(s.chats, func(c *Chat) bool { return c.owner == a && c.ID == peer.UserID })
		if at < 0 || peer.AccessHash != a.AccessHash(peer.UserID) {
			return nil, errPeerInvalid
		}
		return s.chats[at], nil
	default:
		return nil, errPeerInvalid
	}
}

// history answers messages.getHistory: the offsets choose where the page begins, add_offset moves it, max_id and min_id take away from it
// (https://core.telegram.org/api/offsets).
func (s *Server) history(a *Account, r *tg.MessagesGetHistoryRequest) (tg.MessagesMessagesClass, error) {
	chat, err := s.chatOf(a, r.Peer)
	if err != nil {
		return nil, err
	}
	all := s.newestFirst(chat)
	begin := slices.IndexFunc(all, func(m *Message) bool {
		return (r.OffsetID == 0 || m.ID < r.OffsetID) && (r.OffsetDate == 0 || m.Date < r.OffsetDate)
	})
	if begin < 0 {
		begin = len(all)
	}
	begin += r.AddOffset
	end := begin + min(max(r.Limit, 0), historyTogether)
	begin, end = min(max(begin, 0), len(all)), min(max(end, 0), len(all))
	messages := []tg.MessageClass{}
	for _, m := range all[begin:end] {
		if (r.MaxID == 0 || m.ID < r.MaxID) && m.ID > r.MinID {
			messages = append(messages, chat.tl(m))
		}
	}
	users, chats := chat.people(a)
	switch {
	case chat.Kind != Private:
		return &tg.MessagesChannelMessages{Pts: chat.sequence.pts, Count: len(all), Messages: messages, Users: users, Chats: chats}, nil
	case len(messages) < len(all):
		return &tg.MessagesMessagesSlice{Count: len(all), Messages: messages, Users: users, Chats: chats}, nil
	default:
		return &tg.MessagesMessages{Messages: messages, Users: users, Chats: chats}, nil
	}
}

// newestFirst returns the messages of chat that are there.
func (s *Server) newestFirst(chat *Chat) (there []*Message) {
	q := chat.sequenceOf()
	for _, id := range slices.Backward(sortedIDs(q.messages)) {
		if m := q.messages[id]; !m.Deleted && m.ChatID == chat.ID {
			there = append(there, m)
		}
	}
	return there
}

// peerDialogs returns the dialogs that are asked for by their peers.
func (s *Server) peerDialogs(a *Account, r *tg.MessagesGetPeerDialogsRequest) (*tg.MessagesPeerDialogs, error) {
	found := &tg.MessagesPeerDialogs{State: s.state(a.sequence.pts)}
	for _, named := range r.Peers {
		peer, ok := named.(*tg.InputDialogPeer)
		if !ok {
			return nil, errPeerInvalid
		}
		chat, err := s.chatOf(a, peer.Peer)
		if err != nil {
			return nil, err
		}
		users, chats := chat.people(a)
		found.Dialogs = append(found.Dialogs, dialog(chat))
		found.Users, found.Chats = append(found.Users, users...), append(found.Chats, chats...)
		found.Messages = append(found.Messages, top(chat)...)
	}
	return found, nil
}

// Takeouts returns how many takeouts are open.
func (s *Server) Takeouts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.takeouts)
}

// DelayTakeouts lets every takeout wait for d before it may begin.
func (s *Server) DelayTakeouts(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeoutsFrom = time.Now().Add(d)
}

// beginTakeout answers account.initTakeoutSession.
func (s *Server) beginTakeout(a *Account) (*tg.AccountTakeout, error) {
	if time.Now().Before(s.takeoutsFrom) {
		return nil, floodWait("TAKEOUT_INIT_DELAY_", s.takeoutsFrom)
	}
	s.nextID++
	s.takeouts[s.nextID] = a
	return &tg.AccountTakeout{ID: s.nextID}, nil
}

// inTakeout answers a call that is wrapped in one of the account's takeouts (https://core.telegram.org/api/takeout).
func (s *Server) inTakeout(a *Account, b *bin.Buffer) (bin.Encoder, error) {
	if err := b.ConsumeID(tg.InvokeWithTakeoutRequestTypeID); err != nil {
		return nil, err
	}
	takeout, err := b.Long()
	if err != nil {
		return nil, err
	}
	id, err := b.PeekID()
	if err != nil {
		return nil, err
	}
	if s.takeouts[takeout] != a {
		return nil, tgerr.New(400, "TAKEOUT_INVALID")
	}
	if id == tg.AccountFinishTakeoutSessionRequestTypeID {
		s.calls["account.finishTakeoutSession"]++
		delete(s.takeouts, takeout)
		return &tg.BoolTrue{}, nil
	}
	return s.call(a, id, b, true)
}
