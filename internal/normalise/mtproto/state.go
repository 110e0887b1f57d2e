package mtproto

import (
	"cmp"
	"strconv"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/content"
)

// apply adds what u tells. Whatever has no case here is passed over.
func (b *builder) apply(u tg.UpdateClass) {
	switch u := u.(type) {
	case *tg.UpdateNewMessage:
		b.message(u.Message, occasion{pts: u.Pts})
	case *tg.UpdateNewChannelMessage:
		b.message(u.Message, occasion{pts: u.Pts})
	case *tg.UpdateEditMessage:
		b.message(u.Message, occasion{pts: u.Pts, edit: true})
	case *tg.UpdateEditChannelMessage:
		b.message(u.Message, occasion{pts: u.Pts, edit: true})
	case *tg.UpdateDeleteChannelMessages:
		b.deletions(&tg.PeerChannel{ChannelID: u.ChannelID}, u.Messages)
	case *tg.UpdateDeleteMessages:
		b.deletions(nil, u.Messages)
	case *tg.UpdateChannelTooLong:
		pts, _ := u.GetPts()
		b.changes.Holes = append(b.changes.Holes, content.Hole{
			AccountID: b.account(), ChatID: content.ChatOfChannel(u.ChannelID), Reason: content.ChannelTooLong, ToPts: pts, FoundAt: b.at(),
		})
	case *tg.UpdateMessagePoll:
		if poll, told := u.GetPoll(); told {
			b.poll(&poll, &u.Results)
		}
	case *tg.UpdateMessagePollVote:
		b.pollVote(u)
	case *tg.UpdateMessageReactions:
		b.reactions(b.key(u.Peer, u.MsgID), &u.Reactions)
	case *tg.UpdateBotMessageReaction:
		b.botReaction(u)
	case *tg.UpdateBotMessageReactions:
		date := timeOf(u.Date)
		b.reactionCount(b.key(u.Peer, u.MsgID), u.Reactions, content.NewVersion(b.stamp(date, int64(u.Qts))), date)
	default:
		b.member(u)
	}
}

// deletions adds that messages are gone: of the channel in, or, where Telegram names no chat, of the private chats and basic groups of the
// account, which number their messages together.
func (b *builder) deletions(in tg.PeerClass, ids []int) {
	for _, id := range ids {
		if id <= 0 {
			b.reject("a message without an id")
		}
		key := content.MessageKey{Scope: content.Scope(b.account()), MessageID: content.MessageID(id)}
		if in != nil {
			key = b.key(in, id)
		}
		b.changes.Deletions = append(b.changes.Deletions, content.Deletion{Key: key, DeletedAt: b.at()})
	}
}

func (b *builder) pollVote(u *tg.UpdateMessagePollVote) {
	if len(u.Positions) != len(u.Options) || !isPeer(u.Peer) {
		return
	}
	options := make([]int, 0, len(u.Positions))
	options = append(options, u.Positions...)
	b.changes.PollAnswers = append(b.changes.PollAnswers, content.PollAnswer{
		PollID: decimal(u.PollID), VoterID: int64(chatOf(u.Peer)), Version: content.NewVersion(b.stamp(timeOf(0), int64(u.Qts))),
		OptionIDs: jsonOf(options),
	})
}

// reaction is a ReactionType, its fields in the Bot API's order.
type reaction struct {
	Type          string `json:"type"`
	Emoji         string `json:"emoji,omitempty"`
	CustomEmojiID string `json:"custom_emoji_id,omitempty"`
}

// reactionCount is a ReactionCount, its fields in the Bot API's order.
type reactionCount struct {
	Type       reaction `json:"type"`
	TotalCount int      `json:"total_count"`
}

// reactionOf returns r in the Bot API's words; not for one that it does not know.
func reactionOf(r tg.ReactionClass) (reaction, bool) {
	switch r := r.(type) {
	case *tg.ReactionEmoji:
		return reaction{Type: "emoji", Emoji: clean(r.Emoticon)}, true
	case *tg.ReactionCustomEmoji:
		return reaction{Type: "custom_emoji", CustomEmojiID: decimal(r.DocumentID)}, true
	case *tg.ReactionPaid:
		return reaction{Type: "paid"}, true
	default:
		return reaction{}, false
	}
}

// reactions adds how a message is reacted to, as a push tells it.
func (b *builder) reactions(key content.MessageKey, r *tg.MessageReactions) {
	if r.CanSeeList {
		b.recentReactions(key, r)
		return
	}
	b.reactionCount(key, r.Results, content.NewVersion(b.stamp(b.container.pushedAt, b.update.UpdateID)), b.at())
}

// embeddedReactions adds how a message is reacted to, as the message itself tells it. The count is as new as the container, but it is dated as the
// message is: events are named by date and count, and a message that is read again with the same count is no event.
func (b *builder) embeddedReactions(key content.MessageKey, r *tg.MessageReactions, date int) {
	if r.CanSeeList {
		b.recentReactions(key, r)
		return
	}
	if len(r.Results) > 0 {
		b.reactionCount(key, r.Results, b.peersVersion, timeOf(date))
	}
}

// recentReactions adds what those whose names are told have chosen. The list names only some, and nobody whose reaction was taken back.
func (b *builder) recentReactions(key content.MessageKey, r *tg.MessageReactions) {
	type actor struct {
		date   int
		chosen []reaction
	}
	actors := map[content.ChatID]*actor{}
	var order []content.ChatID
	for i := range r.RecentReactions {
		one := &r.RecentReactions[i]
		chosen, known := reactionOf(one.Reaction)
		if !known || !isPeer(one.PeerID) || one.Date <= 0 {
			continue
		}
		id := chatOf(one.PeerID)
		if actors[id] == nil {
			actors[id] = &actor{}
			order = append(order, id)
		}
		actors[id].date = max(actors[id].date, one.Date)
		actors[id].chosen = append(actors[id].chosen, chosen)
	}
	for _, id := range order {
		date := timeOf(actors[id].date)
		b.changes.Reactions = append(b.changes.Reactions, content.Reaction{
			Key: key, ActorID: int64(id), Version: content.NewVersion(b.stamp(date, b.update.UpdateID)), Date: date,
			Reactions: jsonOf(actors[id].chosen),
		})
	}
}

func (b *builder) reactionCount(key content.MessageKey, counts []tg.ReactionCount, version content.Version, date time.Time) {
	out := content.ReactionCount{Key: key, Version: version, Date: date}
	list := make([]reactionCount, 0, len(counts))
	for i := range counts {
		if chosen, known := reactionOf(counts[i].Reaction); known {
			list = append(list, reactionCount{Type: chosen, TotalCount: counts[i].Count})
			out.TotalCount += int64(counts[i].Count)
		}
	}
	out.Reactions = jsonOf(list)
	b.changes.ReactionCounts = append(b.changes.ReactionCounts, out)
}

func (b *builder) botReaction(u *tg.UpdateBotMessageReaction) {
	chosen := make([]reaction, 0, len(u.NewReactions))
	for _, r := range u.NewReactions {
		if one, known := reactionOf(r); known {
			chosen = append(chosen, one)
		}
	}
	if !isPeer(u.Actor) {
		b.reject("a reaction of nobody")
	}
	date := timeOf(u.Date)
	b.changes.Reactions = append(b.changes.Reactions, content.Reaction{
		Key: b.key(u.Peer, u.MsgID), ActorID: int64(chatOf(u.Actor)), Version: content.NewVersion(b.stamp(date, int64(u.Qts))), Date: date,
		Reactions: jsonOf(chosen),
	})
}

// decimal writes an id as the Bot API does where it is a string; none is the empty text.
func decimal(id int64) string {
	if id == 0 {
		return ""
	}
	return strconv.FormatInt(id, 10)
}

// member adds what u tells of who is in a chat.
func (b *builder) member(u tg.UpdateClass) {
	switch u := u.(type) {
	case *tg.UpdateChannelParticipant:
		b.membership(content.Membership{
			ChatID: content.ChatOfChannel(u.ChannelID), UserID: content.UserID(u.UserID), ActorID: content.UserID(u.ActorID), Date: timeOf(u.Date),
		}, ofChannelParticipant(u.PrevParticipant), ofChannelParticipant(u.NewParticipant), u.Qts)
	case *tg.UpdateChatParticipant:
		b.membership(content.Membership{
			ChatID: content.ChatID(-u.ChatID), UserID: content.UserID(u.UserID), ActorID: content.UserID(u.ActorID), Date: timeOf(u.Date),
		}, ofChatParticipant(u.PrevParticipant), ofChatParticipant(u.NewParticipant), u.Qts)
	case *tg.UpdateChatParticipantAdd:
		b.membership(content.Membership{
			ChatID: content.ChatID(-u.ChatID), UserID: content.UserID(u.UserID), ActorID: content.UserID(u.InviterID), Date: timeOf(u.Date),
		}, standing{}, standing{status: "member", present: true}, u.Version)
	case *tg.UpdateChatParticipantDelete:
		b.membership(content.Membership{ChatID: content.ChatID(-u.ChatID), UserID: content.UserID(u.UserID), Date: b.container.pushedAt},
			standing{}, left, u.Version)
	case *tg.UpdateChatParticipantAdmin:
		now := standing{status: "member", present: true}
		if u.IsAdmin {
			now.status = "administrator"
		}
		b.membership(content.Membership{ChatID: content.ChatID(-u.ChatID), UserID: content.UserID(u.UserID), Date: b.container.pushedAt},
			standing{}, now, u.Version)
	case *tg.UpdateChatParticipants:
		b.participants(u)
	case *tg.UpdateBotStopped:
		now := standing{status: "member", present: true}
		if u.Stopped {
			now = standing{status: "kicked"}
		}
		b.membership(content.Membership{
			ChatID: content.ChatID(u.UserID), UserID: content.UserID(b.account()), ActorID: content.UserID(u.UserID), Date: timeOf(u.Date),
		}, standing{}, now, u.Qts)
	}
}

// membership adds m, which the user had as before and has as now. Without a date of its own it is older than all that has one.
func (b *builder) membership(m content.Membership, before, now standing, sequence int) {
	if m.UserID <= 0 {
		b.reject("a member without an id")
	}
	m.Version = content.NewVersion(b.stamp(m.Date, int64(sequence)))
	m.OldStatus, m.Status, m.IsMember, m.UntilDate = before.status, now.status, now.present, now.until
	if m.Date.IsZero() {
		m.Date = b.at()
	}
	b.changes.Memberships = append(b.changes.Memberships, m)
}

// participants adds who is in a basic group. Its founder has no date of joining: that of the group is the one.
func (b *builder) participants(u *tg.UpdateChatParticipants) {
	list, is := u.Participants.(*tg.ChatParticipants)
	if !is {
		return
	}
	chat := content.ChatID(-list.ChatID)
	founded := 0
	if c, known := b.chatAt[chat].(*tg.Chat); known {
		founded = c.Date
	}
	for _, p := range list.Participants {
		joined := founded
		if dated, has := p.(interface{ GetDate() int }); has {
			joined = cmp.Or(dated.GetDate(), founded)
		}
		b.membership(content.Membership{ChatID: chat, UserID: content.UserID(p.GetUserID()), Date: timeOf(joined)},
			standing{}, ofChatParticipant(p), list.Version)
	}
}

// standing is what somebody is in a chat, in the Bot API's words. The zero one is not told.
type standing struct {
	status  string
	present bool
	until   time.Time
}

var left = standing{status: "left"}

func ofChatParticipant(p tg.ChatParticipantClass) standing {
	switch p.(type) {
	case *tg.ChatParticipantCreator:
		return standing{status: "creator", present: true}
	case *tg.ChatParticipantAdmin:
		return standing{status: "administrator", present: true}
	case *tg.ChatParticipant:
		return standing{status: "member", present: true}
	default:
		return left
	}
}

func ofChannelParticipant(p tg.ChannelParticipantClass) standing {
	switch p := p.(type) {
	case *tg.ChannelParticipantCreator:
		return standing{status: "creator", present: true}
	case *tg.ChannelParticipantAdmin:
		return standing{status: "administrator", present: true}
	case *tg.ChannelParticipant:
		return standing{status: "member", present: true, until: timeOf(p.SubscriptionUntilDate)}
	case *tg.ChannelParticipantSelf:
		return standing{status: "member", present: true, until: timeOf(p.SubscriptionUntilDate)}
	case *tg.ChannelParticipantBanned:
		until := timeOf(p.BannedRights.UntilDate)
		// Telegram writes "for ever" as the last second of 32 bits; the Bot API leaves it out.
		if p.BannedRights.UntilDate == 1<<31-1 {
			until = time.Time{}
		}
		if p.BannedRights.ViewMessages {
			return standing{status: "kicked", until: until}
		}
		return standing{status: "restricted", present: !p.Left, until: until}
	default:
		return left
	}
}
