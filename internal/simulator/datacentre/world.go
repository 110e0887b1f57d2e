package datacentre

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgtest"
)

// firstDate is the date at which a history begins that is to be the same every time; each happening comes a second after the one before.
const firstDate = 1_790_000_000

// placesPerSecond is how many places in a sequence a history that begins later is ahead, for each second.
const placesPerSecond = 10

// Account is somebody who can sign in. Its fields are set before the server knows it and never change.
type Account struct {
	ID        int64
	FirstName string
	Username  string
	// Phone, Code and Password are what a user signs in with; Password is empty without two-step verification. Banned refuses the phone, and
	// Unregistered the code: nobody has an account with this phone yet.
	Phone, Code, Password string
	Banned, Unregistered  bool
	// Token is a bot's.
	Token string

	// sequence is of the account's private chats and groups together.
	sequence sequence
	// sessions are those to push to, newest last.
	sessions []tgtest.Session
	// held is a push that waits for the next one, to come after it.
	held tg.UpdatesClass
	// history counts the account's calls for history.
	history window
}

// ChatKind is what kind of chat a chat is.
type ChatKind int

// The kinds of chats.
const (
	Channel ChatKind = iota + 1
	Supergroup
	// Private is the chat of one account with somebody who has none.
	Private
)

// Chat is a chat with all that ever happened in it.
type Chat struct {
	ID    int64
	Kind  ChatKind
	Title string
	// owner is the account of a private chat.
	owner    *Account
	members  []*Account
	sequence sequence
	// forbidden is why Telegram refuses the chat to an account, and refusals how often it had to.
	forbidden map[*Account]string
	refusals  int
}

// Message is a message as it is now.
type Message struct {
	ID       int
	ChatID   int64
	From     int64
	Text     string
	Date     int
	EditDate int
	Edits    int
	Deleted  bool
}

// sequence is what happened in one of Telegram's sequences, each happening with its place.
type sequence struct {
	pts      int
	maxID    int
	messages map[int]*Message
	log      []happening
	// first is the place before the first of log.
	first int
}

// happening is one place in a sequence.
type happening struct {
	kind happeningKind
	id   int
}

type happeningKind int

const (
	posted happeningKind = iota
	edited
	deleted
)

// firstPts is the place in a sequence before anything happened: Telegram never says 0.
const firstPts = 1

func (s *Server) newSequence() sequence {
	q := sequence{pts: firstPts, first: firstPts, messages: map[int]*Message{}}
	if began := s.cfg.Began; !began.IsZero() {
		q.first = max(firstPts, placesPerSecond*int(began.Unix()-firstDate))
		q.pts, q.maxID = q.first, q.first
	}
	return q
}

// add notes what happened and returns its place.
func (q *sequence) add(kind happeningKind, id int) int {
	q.log = append(q.log, happening{kind, id})
	q.pts++
	return q.pts
}

// after returns what happened after the place pts, and that place: nothing happened before the first.
func (q *sequence) after(pts int) (happened []happening, from int) {
	from = max(pts, q.first)
	return q.log[min(from-q.first, len(q.log)):], from
}

// AddAccount makes a known to the server and gives it an id, unless it has one.
func (s *Server) AddAccount(a Account) *Account {
	s.mu.Lock()
	defer s.mu.Unlock()
	added := a
	if added.ID == 0 {
		s.nextID++
		added.ID = s.nextID
	}
	added.sequence = s.newSequence()
	s.accounts = append(s.accounts, &added)
	return &added
}

// AddChat makes a channel or a supergroup with these members.
func (s *Server) AddChat(kind ChatKind, title string, members ...*Account) *Chat {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	chat := &Chat{ID: s.nextID, Kind: kind, Title: title, members: members, sequence: s.newSequence(), forbidden: map[*Account]string{}}
	s.chats = append(s.chats, chat)
	return chat
}

// AddPrivate makes a private chat of account with somebody of that name.
func (s *Server) AddPrivate(of *Account, title string) *Chat {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nextID++
	return s.addPrivate(of, s.nextID, title)
}

func (s *Server) addPrivate(of *Account, id int64, title string) *Chat {
	chat := &Chat{ID: id, Kind: Private, Title: title, owner: of, members: []*Account{of}}
	s.chats = append(s.chats, chat)
	return chat
}

// sequenceOf returns the sequence that a chat's messages are numbered in.
func (c *Chat) sequenceOf() *sequence {
	if c.Kind == Private {
		return &c.owner.sequence
	}
	return &c.sequence
}

// Post lets somebody write into chat.
func (s *Server) Post(chat *Chat, text string) Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.post(chat, text)
}

func (s *Server) post(chat *Chat, text string) Message {
	m, pts := s.write(chat, text)
	s.push(chat, posted, m, pts)
	return *m
}

// write adds a message to chat and returns it with its place.
func (s *Server) write(chat *Chat, text string) (m *Message, pts int) {
	q := chat.sequenceOf()
	q.maxID++
	m = &Message{ID: q.maxID, ChatID: chat.ID, Text: text, Date: s.tick()}
	if chat.Kind == Private {
		m.From = chat.ID
	}
	q.messages[m.ID] = m
	return m, q.add(posted, m.ID)
}

// Edit changes a message's text. It does nothing to a message that is deleted, or was never there.
func (s *Server) Edit(chat *Chat, id int, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := chat.sequenceOf()
	m := q.messages[id]
	if m == nil || m.Deleted {
		return
	}
	m.Text, m.EditDate = text, s.tick()
	m.Edits++
	s.push(chat, edited, m, q.add(edited, id))
}

// Delete deletes a message for everybody.
func (s *Server) Delete(chat *Chat, id int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := chat.sequenceOf()
	m := q.messages[id]
	if m == nil || m.Deleted {
		return
	}
	m.Deleted = true
	s.tick()
	s.push(chat, deleted, m, q.add(deleted, id))
}

// History returns every message that was ever in chat, as it is now, in the order of their ids.
func (s *Server) History(chat *Chat) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Message
	for _, m := range chat.sequenceOf().messages {
		if m.ChatID == chat.ID {
			all = append(all, *m)
		}
	}
	slices.SortFunc(all, func(a, b Message) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Forbid lets Telegram refuse chat to account from now on, with a kind of error: CHANNEL_PRIVATE and the like.
func (s *Server) Forbid(chat *Chat, account *Account, kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	chat.members = slices.DeleteFunc(slices.Clone(chat.members), func(m *Account) bool { return m == account })
	chat.forbidden[account] = kind
}

// Refusals returns how often chat was asked for by accounts that it is forbidden to.
func (s *Server) Refusals(chat *Chat) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return chat.refusals
}

// tick lets time pass for one happening, and returns its date.
func (s *Server) tick() int {
	s.clock++
	return s.now()
}

// now returns the time in the server's world.
func (s *Server) now() int {
	if s.cfg.Began.IsZero() {
		return firstDate + s.clock
	}
	return int(time.Now().Unix())
}

// channel returns the channel or supergroup with that id.
func (s *Server) channel(id int64) *Chat {
	at := slices.IndexFunc(s.chats, func(c *Chat) bool { return c.ID == id && c.Kind != Private })
	if at < 0 {
		return nil
	}
	return s.chats[at]
}

func (c *Chat) isMember(a *Account) bool { return slices.Contains(c.members, a) }

// AccessHash is what the account names a channel or a user with; it is good for no other account.
func (a *Account) AccessHash(id int64) int64 { return a.ID<<32 ^ id*7919 }

// tl returns the message as Telegram writes it.
func (c *Chat) tl(m *Message) *tg.Message {
	out := &tg.Message{ID: m.ID, Message: m.Text, Date: m.Date, PeerID: &tg.PeerUser{UserID: c.ID}}
	if c.Kind != Private {
		out.PeerID = &tg.PeerChannel{ChannelID: c.ID}
	}
	if c.Kind == Channel {
		out.Post = true
	}
	if m.From != 0 {
		out.SetFromID(&tg.PeerUser{UserID: m.From})
	}
	if m.EditDate != 0 {
		out.SetEditDate(m.EditDate)
	}
	return out
}

// people returns the chat, or the person of a private one, as Telegram tells an account of them beside messages.
func (c *Chat) people(of *Account) (users []tg.UserClass, chats []tg.ChatClass) {
	if c.Kind == Private {
		user := &tg.User{ID: c.ID, FirstName: c.Title}
		user.SetAccessHash(of.AccessHash(c.ID))
		return []tg.UserClass{user}, nil
	}
	channel := &tg.Channel{
		ID: c.ID, Title: c.Title, Date: firstDate, Photo: &tg.ChatPhotoEmpty{}, Broadcast: c.Kind == Channel, Megagroup: c.Kind == Supergroup,
	}
	channel.SetAccessHash(of.AccessHash(c.ID))
	return nil, []tg.ChatClass{channel}
}

// self returns the account as Telegram tells it of itself.
func (a *Account) self() *tg.User {
	u := &tg.User{ID: a.ID, Self: true, Bot: a.Token != "", FirstName: a.FirstName}
	u.SetAccessHash(a.AccessHash(a.ID))
	if a.Username != "" {
		u.SetUsername(a.Username)
	}
	return u
}

// sortedIDs returns the ids of messages in their order.
func sortedIDs(messages map[int]*Message) []int { return slices.Sorted(maps.Keys(messages)) }
