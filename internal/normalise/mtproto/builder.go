package mtproto

import (
	"time"
	"unicode/utf8"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
)

// builder gathers what one container says.
type builder struct {
	update    *content.Update
	container *container
	changes   content.ChangeSet
	// peersVersion is that of the users and chats beside the updates.
	peersVersion content.Version
	// userAt and chatAt find the container's users and chats.
	userAt map[int64]*tg.User
	chatAt map[content.ChatID]tg.ChatClass
	// wrong is the first thing that can't be.
	wrong string
}

// reject remembers the first thing that can't be.
func (b *builder) reject(wrong string) {
	if b.wrong == "" {
		b.wrong = wrong
	}
}

func (b *builder) account() int64 { return b.update.Envelope.Source.Account }

// stamp is what all stamps of one container share. A date of zero says that Telegram tells none: such a snapshot is older than all that is dated,
// so that no clock of ours can overrule Telegram's, and among its like the later received one is newer.
func (b *builder) stamp(date time.Time, sequence int64) content.Stamp {
	s := content.Stamp{
		Date: date, Source: b.update.Envelope.Source, Sequence: sequence, Hash: b.update.Hash, Normaliser: normalise.Version,
	}
	if date.IsZero() {
		s.Undated = b.update.Envelope.ReceivedAt
	}
	return s
}

// at returns when something happened of which the update tells no date: when Telegram pushed it, else when it came.
func (b *builder) at() time.Time {
	if b.container.pushedAt.IsZero() {
		return b.update.Envelope.ReceivedAt
	}
	return b.container.pushedAt
}

// about returns the one chat that everything in the container is about; 0 when it is about several, or about none.
func (b *builder) about() content.ChatID {
	if b.container.asked != 0 {
		return b.container.asked
	}
	var one content.ChatID
	for _, u := range b.container.updates {
		chat := aboutOf(u)
		if chat == 0 || one != 0 && chat != one {
			return 0
		}
		one = chat
	}
	for _, m := range b.container.messages {
		chat := chatOf(peerOf(m))
		if chat == 0 || one != 0 && chat != one {
			return 0
		}
		one = chat
	}
	return one
}

// aboutOf returns the chat that u is about; 0 when it says none.
func aboutOf(u tg.UpdateClass) content.ChatID {
	switch u := u.(type) {
	case *tg.UpdateChatParticipants:
		return content.ChatID(-u.Participants.GetChatID())
	case *tg.UpdateBotStopped:
		return content.ChatID(u.UserID)
	case *tg.UpdateMessagePollVote:
		// Its peer is the voter.
		return 0
	case interface{ GetMessage() tg.MessageClass }:
		return chatOf(peerOf(u.GetMessage()))
	case interface{ GetChannelID() int64 }:
		return content.ChatOfChannel(u.GetChannelID())
	case interface{ GetChatID() int64 }:
		return content.ChatID(-u.GetChatID())
	case interface{ GetPeer() tg.PeerClass }:
		return chatOf(u.GetPeer())
	case interface{ GetPeer() (tg.PeerClass, bool) }:
		peer, _ := u.GetPeer()
		return chatOf(peer)
	default:
		return 0
	}
}

// peers adds the users and chats that the container brings, and the access hashes that it tells its account.
//
// Constructors marked min, and those of channels that the account may no longer see, leave out fields that the archive keeps, and a snapshot
// of the archive is a whole one: they add none, so that they never overwrite what they do not carry
// (https://core.telegram.org/api/min). Hashes of min constructors are good for nothing.
func (b *builder) peers() {
	c := b.container
	b.peersVersion = content.NewVersion(b.stamp(c.notBefore, b.update.UpdateID))
	b.userAt = make(map[int64]*tg.User, len(c.users))
	for _, u := range c.users {
		user, is := u.(*tg.User)
		if !is || b.userAt[user.ID] != nil {
			continue
		}
		if !isID(user.ID) {
			b.reject("a user without an id")
		}
		b.userAt[user.ID] = user
		if user.Min {
			continue
		}
		b.changes.Users = append(b.changes.Users, b.user(user))
		b.accessHash(content.ChatID(user.ID), user.AccessHash)
	}
	b.chatAt = make(map[content.ChatID]tg.ChatClass, len(c.chats))
	for _, chat := range c.chats {
		b.chat(chat)
	}
}

func (b *builder) user(u *tg.User) content.User {
	out := content.User{
		ID: content.UserID(u.ID), Version: b.peersVersion, IsBot: u.Bot, FirstName: clean(u.FirstName), LastName: clean(u.LastName),
		Username: username(u.Username, u.Usernames), IsPremium: u.Premium,
	}
	if u.LangCode != "" {
		out.LanguageVersion, out.LanguageCode = b.peersVersion, clean(u.LangCode)
	}
	return out
}

// username returns the name by which somebody is found: with several, Telegram leaves the field of the one empty, and the first that
// is active counts.
func username(one string, several []tg.Username) string {
	if one != "" {
		return clean(one)
	}
	for i := range several {
		if several[i].Active {
			return clean(several[i].Username)
		}
	}
	return ""
}

func (b *builder) chat(chat tg.ChatClass) {
	out := content.Chat{Version: b.peersVersion}
	var hash int64
	var whole bool
	switch c := chat.(type) {
	case *tg.Chat:
		out.ID, out.Type, out.Title = content.ChatID(-c.ID), content.Group, clean(c.Title)
		whole = isID(c.ID)
	case *tg.ChatForbidden:
		out.ID, out.Type, out.Title = content.ChatID(-c.ID), content.Group, clean(c.Title)
		whole = isID(c.ID)
	case *tg.Channel:
		out.ID, out.Type, out.Title = content.ChatOfChannel(c.ID), channelType(c), clean(c.Title)
		out.Username, out.IsForum = username(c.Username, c.Usernames), c.Forum
		whole = isID(c.ID)
		if c.Min {
			b.know(out.ID, chat)
			return
		}
		hash = c.AccessHash
	case *tg.ChannelForbidden:
		b.know(content.ChatOfChannel(c.ID), chat)
		b.accessHash(content.ChatOfChannel(c.ID), c.AccessHash)
		return
	default:
		return
	}
	if !whole {
		b.reject("a chat without an id")
	}
	if !b.know(out.ID, chat) {
		return
	}
	b.changes.Chats = append(b.changes.Chats, out)
	b.accessHash(out.ID, hash)
}

// know keeps chat for what the messages need of it, and tells whether it was not known yet.
func (b *builder) know(id content.ChatID, chat tg.ChatClass) bool {
	if b.chatAt[id] != nil {
		return false
	}
	b.chatAt[id] = chat
	return true
}

func channelType(c *tg.Channel) content.ChatType {
	if c.Broadcast {
		return content.Channel
	}
	return content.Supergroup
}

func (b *builder) accessHash(peer content.ChatID, hash int64) {
	if hash == 0 {
		return
	}
	b.changes.AccessHashes = append(b.changes.AccessHashes, content.AccessHash{
		AccountID: b.account(), Peer: peer, Hash: hash, Version: b.peersVersion,
	})
}

// privateChat adds the chat with the user that p names, where p names one that the container brings.
func (b *builder) privateChat(p tg.PeerClass) {
	peer, is := p.(*tg.PeerUser)
	if !is {
		return
	}
	u := b.userAt[peer.UserID]
	id := content.ChatID(peer.UserID)
	if u == nil || u.Min || b.chatAt[id] != nil {
		return
	}
	b.chatAt[id] = &tg.ChatEmpty{ID: u.ID}
	b.changes.Chats = append(b.changes.Chats, content.Chat{
		ID: id, Version: b.peersVersion, Type: content.Private, Username: username(u.Username, u.Usernames),
		FirstName: clean(u.FirstName), LastName: clean(u.LastName),
	})
}

// holes adds what the container says to be missing from it.
func (b *builder) holes() {
	c := b.container
	if c.tooLong == "" {
		return
	}
	hole := content.Hole{
		AccountID: b.account(), ChatID: c.asked, Reason: c.tooLong, FromPts: c.fromPts, ToPts: c.pts, FoundAt: b.at(),
	}
	if c.tooLong == content.ChannelDifferenceTooLong && hole.ChatID == 0 {
		b.reject("the channel is not told")
	}
	for i := range b.changes.Messages {
		if id := b.changes.Messages[i].Key.MessageID; hole.BelowMessageID == 0 || id < hole.BelowMessageID {
			hole.BelowMessageID = id
		}
	}
	b.changes.Holes = append(b.changes.Holes, hole)
}

// key names the message of this id in the chat that p names.
func (b *builder) key(p tg.PeerClass, id int) content.MessageKey {
	if !isPeer(p) {
		b.reject("a message without a chat")
	}
	if id <= 0 {
		b.reject("a message without an id")
	}
	t := content.Private
	switch p.(type) {
	case *tg.PeerChat:
		t = content.Group
	case *tg.PeerChannel:
		t = content.Supergroup
	}
	return content.MessageKey{Scope: content.ScopeOf(t, b.account()), ChatID: chatOf(p), MessageID: content.MessageID(id)}
}

// hashOf returns the hash of an object's own bytes, which are the same in whatever container it comes.
func (b *builder) hashOf(object bin.Encoder) ingest.Hash {
	var own bin.Buffer
	if object.Encode(&own) != nil {
		return b.update.Hash
	}
	return ingest.HashOf(own.Buf)
}

// timeOf returns the time that seconds of Unix time mean, and the zero time where Telegram tells none.
func timeOf(seconds int) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}

// clean returns text as stored text can hold it: U+0000 and every byte that is no UTF-8 are U+FFFD, so that the offsets of entities stay right.
func clean(text string) string {
	ok := utf8.ValidString(text)
	for i := 0; ok && i < len(text); i++ {
		ok = text[i] != 0
	}
	if ok {
		return text
	}
	out := make([]rune, 0, len(text))
	for _, r := range text {
		if r == 0 {
			r = utf8.RuneError
		}
		out = append(out, r)
	}
	return string(out)
}
