package botapi

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// state adds what u tells beside messages, and returns its kind and the chat that it is about; the kind is empty when u tells nothing of it.
func (b *builder) state(u *update) (kind ingest.Kind, about content.ChatID) {
	switch {
	case u.BusinessConnection != nil:
		return kindBusinessConnection, b.businessConnection(u.BusinessConnection)
	case u.MessageReaction != nil:
		return kindMessageReaction, b.reaction(u.MessageReaction)
	case u.MessageReactionCount != nil:
		return kindMessageReactionCount, b.reactionCount(u.MessageReactionCount)
	case u.Poll != nil:
		b.poll(u.Poll, "")
		return kindPoll, 0
	case u.PollAnswer != nil:
		return kindPollAnswer, b.pollAnswer(u.PollAnswer)
	case u.MyChatMember != nil:
		return kindMyChatMember, b.membership(u.MyChatMember)
	case u.ChatMember != nil:
		return kindChatMember, b.membership(u.ChatMember)
	case u.ChatBoost != nil:
		return kindChatBoost, b.boost(u.ChatBoost)
	case u.RemovedChatBoost != nil:
		return kindRemovedChatBoost, b.removedBoost(u.RemovedChatBoost)
	}
	kind, i := u.interaction()
	if i == nil {
		return "", 0
	}
	return kind, b.interaction(kind, i)
}

// interaction returns the interaction that u tells of and its kind; nil for every other update.
func (u *update) interaction() (ingest.Kind, *interaction) {
	for _, candidate := range []struct {
		kind ingest.Kind
		of   *interaction
	}{
		{kindInlineQuery, u.InlineQuery},
		{kindChosenInlineResult, u.ChosenInlineResult},
		{kindCallbackQuery, u.CallbackQuery},
		{kindShippingQuery, u.ShippingQuery},
		{kindPreCheckoutQuery, u.PreCheckoutQuery},
		{kindPurchasedPaidMedia, u.PurchasedPaidMedia},
		{kindChatJoinRequest, u.ChatJoinRequest},
		{kindManagedBot, u.ManagedBot},
		{kindSubscription, u.Subscription},
		{kindStoppedMessageGeneration, u.StoppedMessageGeneration},
	} {
		if candidate.of != nil {
			return candidate.kind, candidate.of
		}
	}
	return "", nil
}

func (b *builder) membership(m *memberUpdated) content.ChatID {
	date := b.date(m.Date, "/date")
	b.version = content.NewVersion(b.dated(date))
	if m.NewChatMember.Status == "" {
		b.reject("/new_chat_member/status", "a status")
	}
	if m.NewChatMember.User == nil {
		b.reject("/new_chat_member/user", "a user")
	}
	chat := b.chat(&m.Chat, "/chat")
	now := &m.NewChatMember
	b.changes.Memberships = []content.Membership{{
		ChatID: chat, UserID: b.user(now.User, "/new_chat_member/user"), Version: b.version,
		Status: now.Status, OldStatus: m.OldChatMember.Status, IsMember: now.present(),
		Date: date, UntilDate: b.time(now.UntilDate, "/new_chat_member/until_date"),
		ActorID: b.user(m.From, "/from"), Rest: m.rest(),
	}}
	return chat
}

// rest returns what m tells beyond its fields: of the change itself, and, under its name, of the member as it is now.
func (m *memberUpdated) rest() content.JSON {
	change, member := textOf(m.Rest), textOf(m.NewChatMember.Rest)
	if member == "" {
		return change
	}
	member = `{"new_chat_member":` + member
	if change == "" {
		return member + "}"
	}
	return member + "," + change[1:]
}

// present tells whether m is in the chat; of a restricted member Telegram says it in a field of its own.
func (m *chatMember) present() bool {
	switch m.Status {
	case "left", "kicked":
		return false
	case "restricted":
		return m.IsMember
	default:
		return true
	}
}

func (b *builder) reaction(r *reactionUpdated) content.ChatID {
	date := b.date(r.Date, "/date")
	b.version = content.NewVersion(b.dated(date))
	actor := int64(cmp.Or(content.ChatID(b.user(r.User, "/user")), b.chat(r.ActorChat, "/actor_chat")))
	if actor == 0 {
		b.reject("/user", "a user, or a chat as the actor")
	}
	key := b.keyIn(&r.Chat, r.MessageID)
	b.changes.Reactions = []content.Reaction{{
		Key: key, ActorID: actor, Version: b.version, Date: date, Reactions: b.array(r.NewReaction, "/new_reaction"),
	}}
	return key.ChatID
}

func (b *builder) reactionCount(r *reactionCountUpdated) content.ChatID {
	date := b.date(r.Date, "/date")
	b.version = content.NewVersion(b.dated(date))
	key := b.keyIn(&r.Chat, r.MessageID)
	count := content.ReactionCount{Key: key, Version: b.version, Date: date, Reactions: b.array(r.Reactions, "/reactions")}
	var each []struct {
		TotalCount int32 `json:"total_count"`
	}
	if count.Reactions != "" && json.Unmarshal(r.Reactions, &each) != nil {
		b.reject("/reactions", "an array of counts")
	}
	for _, one := range each {
		count.TotalCount += int64(one.TotalCount)
	}
	b.changes.ReactionCounts = []content.ReactionCount{count}
	return key.ChatID
}

// keyIn names a message of a chat that is named beside it.
func (b *builder) keyIn(c *chat, id int64) content.MessageKey {
	if id <= 0 {
		b.reject("/message_id", "a positive number")
	}
	return content.MessageKey{Scope: b.scopeOf(c), ChatID: b.chat(c, "/chat"), MessageID: content.MessageID(id)}
}

// poll adds p as it stands. A closed poll never opens again, whatever came first.
func (b *builder) poll(p *poll, path string) {
	stamp := b.undated()
	stamp.Edit = p.IsClosed
	if p.ID == "" {
		b.reject(path+"/id", "the id of a poll")
	}
	b.changes.Polls = []content.Poll{{
		ID: p.ID, Version: content.NewVersion(stamp), Question: p.Question, Type: p.Type, IsClosed: p.IsClosed, IsAnonymous: p.IsAnonymous,
		AllowsMultipleAnswers: p.AllowsMultipleAnswers, TotalVoterCount: int64(p.TotalVoterCount),
		CloseDate: b.time(p.CloseDate, path+"/close_date"), Options: b.array(p.Options, path+"/options"), Rest: textOf(p.Rest),
	}}
}

func (b *builder) pollAnswer(a *pollAnswer) content.ChatID {
	b.version = content.NewVersion(b.undated())
	if a.PollID == "" {
		b.reject("/poll_id", "the id of a poll")
	}
	chat := b.chat(a.VoterChat, "/voter_chat")
	voter := int64(cmp.Or(chat, content.ChatID(b.user(a.User, "/user"))))
	if voter == 0 {
		b.reject("/user", "a user, or a chat as the voter")
	}
	b.changes.PollAnswers = []content.PollAnswer{{
		PollID: a.PollID, VoterID: voter, Version: b.version, OptionIDs: b.array(a.OptionIDs, "/option_ids"), Rest: textOf(a.Rest),
	}}
	return chat
}

func (b *builder) interaction(kind ingest.Kind, i *interaction) content.ChatID {
	date := b.time(i.Date, "/date")
	b.version = content.NewVersion(b.dated(date))
	if date.IsZero() {
		date = b.update.Envelope.ReceivedAt
	}
	out := content.Interaction{
		Kind: kind, Version: b.version, ID: cmp.Or(i.ID, i.ResultID), InlineMessageID: i.InlineMessageID, Date: date, Rest: textOf(i.Rest),
		Data: cmp.Or(i.ButtonData, i.Query, i.InvoicePayload, i.PaidMediaPayload),
	}
	out.FromID = cmp.Or(b.user(i.From, "/from"), b.user(i.User, "/user"))
	switch {
	case i.Message != nil:
		m := i.Message
		out.Key = content.MessageKey{
			Scope: b.scopeAmong(&m.Chat, m.BusinessConnectionID, m.EphemeralMessageID), ChatID: b.chat(&m.Chat, "/message/chat"),
			MessageID: content.MessageID(cmp.Or(m.EphemeralMessageID, m.MessageID)),
		}
	case i.Chat != nil:
		out.Key.ChatID = b.chat(i.Chat, "/chat")
	}
	b.changes.Interactions = []content.Interaction{out}
	return out.Key.ChatID
}

func (b *builder) businessConnection(c *businessConnection) content.ChatID {
	date := b.date(c.Date, "/date")
	// The date is that of the connection and not of the change.
	stamp := b.dated(date)
	stamp.Undated = b.update.Envelope.ReceivedAt
	b.version = content.NewVersion(stamp)
	if c.ID == "" {
		b.reject("/id", "the id of a connection")
	}
	b.changes.BusinessConnections = []content.BusinessConnection{{
		ID: c.ID, Version: b.version, UserID: b.user(c.User, "/user"), UserChatID: content.ChatID(c.UserChatID), Date: date,
		IsEnabled: c.IsEnabled, Rest: textOf(c.Rest),
	}}
	return content.ChatID(c.UserChatID)
}

func (b *builder) boost(u *boostUpdated) content.ChatID {
	added := b.date(u.Boost.AddDate, "/boost/add_date")
	// A boost that is prolonged keeps its add_date.
	stamp := b.dated(added)
	stamp.Undated = b.update.Envelope.ReceivedAt
	b.version = content.NewVersion(stamp)
	if u.Boost.BoostID == "" {
		b.reject("/boost/boost_id", "the id of a boost")
	}
	chat := b.chat(&u.Chat, "/chat")
	b.changes.ChatBoosts = []content.ChatBoost{{
		ChatID: chat, BoostID: u.Boost.BoostID, Version: b.version, AddDate: added,
		ExpirationDate: b.time(u.Boost.ExpirationDate, "/boost/expiration_date"), SourceType: u.Boost.Source.Source,
		UserID: b.user(u.Boost.Source.User, "/boost/source/user"), Rest: textOf(u.Boost.Source.Rest),
	}}
	return chat
}

func (b *builder) removedBoost(u *boostRemoved) content.ChatID {
	removed := b.date(u.RemoveDate, "/remove_date")
	b.version = content.NewVersion(b.dated(removed))
	if u.BoostID == "" {
		b.reject("/boost_id", "the id of a boost")
	}
	chat := b.chat(&u.Chat, "/chat")
	b.changes.ChatBoosts = []content.ChatBoost{{ChatID: chat, BoostID: u.BoostID, RemovedAt: removed}}
	return chat
}

// dated is the stamp of what an update shows as of date; without one it counts as undated.
func (b *builder) dated(date time.Time) content.Stamp {
	if date.IsZero() {
		return b.undated()
	}
	s := b.origin()
	s.Date = date
	return s
}

// date is time for a date that must be there.
func (b *builder) date(seconds int64, path string) time.Time {
	if seconds == 0 {
		b.reject(path, "a date")
	}
	return b.time(seconds, path)
}

// array returns the text of an array; a missing one is empty.
func (b *builder) array(v jsontext.Value, path string) content.JSON {
	switch {
	case len(v) == 0 || v.Kind() == 'n':
		return "[]"
	case v.Kind() != '[':
		b.reject(path, "an array")
	}
	return textOf(v)
}

// restOf returns the text of the members that no field takes. They may be anything, so they are left out when a database could not hold them
// as JSON, and never stop an update.
func restOf(v jsontext.Value) content.JSON {
	if len(v) == 0 || !ordinary(v) {
		return ""
	}
	return textOf(v)
}

// deepest and longestNumber are far beyond what Telegram sends, and within what a database takes.
const (
	deepest       = 64
	longestNumber = 100
)

// ordinary tells whether v is neither deep nor has numbers that are out of the common.
func ordinary(v jsontext.Value) bool {
	tokens := jsontext.NewDecoder(bytes.NewReader(v))
	for {
		token, err := tokens.ReadToken()
		switch {
		case errors.Is(err, io.EOF):
			return true
		case err != nil || tokens.StackDepth() > deepest:
			return false
		}
		if token.Kind() == '0' {
			if text := token.String(); len(text) > longestNumber || strings.ContainsAny(text, "eE") {
				return false
			}
		}
	}
}

// textOf returns v as its shortest text, which is the same however it was written; an object without members is none.
func textOf(v jsontext.Value) content.JSON {
	if len(v) == 0 || string(v) == "{}" {
		return ""
	}
	short := v.Clone()
	if short.Format() != nil {
		return ""
	}
	return content.JSON(short)
}
