package event

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// The events below have ids that are derived from what the update shows, and not from who received it, wherever several accounts see
// the same change. What one account alone is told is told apart by the update itself.

type chatData struct {
	ChatID content.ChatID `json:"chat_id"`
	Type   string         `json:"type"`
	// ProfileHash tells two states of the chat apart.
	ProfileHash string `json:"profile_hash"`
	Origin      string `json:"origin"`
}

// OfChatUpdated returns the event that c was seen as it is, in update.
func OfChatUpdated(c *content.Chat, update *content.Update) Event {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %t", c.Type, c.Title, c.Username, c.IsForum))
	hash := hex.EncodeToString(sum[:16])
	return of(ChatUpdated, fact{
		subject: "chats/" + number(c.ID), detail: hash, at: update.Envelope.ReceivedAt,
		data: chatData{ChatID: c.ID, Type: string(c.Type), ProfileHash: hash, Origin: update.Envelope.Origin.String()},
	}, &update.Envelope)
}

type memberData struct {
	ChatID    content.ChatID `json:"chat_id"`
	UserID    content.UserID `json:"user_id"`
	ActorID   content.UserID `json:"actor_id,omitempty"`
	OldStatus string         `json:"old_status"`
	Status    string         `json:"status"`
	IsMember  bool           `json:"is_member"`
	Date      int64          `json:"date"`
	Origin    string         `json:"origin"`
}

// OfMemberChanged returns the event that m tells of, in an update of env's source and origin.
func OfMemberChanged(m *content.Membership, env *ingest.Envelope) Event {
	return of(MemberChanged, fact{
		subject: "chats/" + number(m.ChatID) + "/members/" + number(m.UserID),
		detail:  number(m.Date.Unix()) + "/" + m.OldStatus + "/" + m.Status,
		at:      m.Date,
		data: memberData{
			ChatID: m.ChatID, UserID: m.UserID, ActorID: m.ActorID, OldStatus: m.OldStatus, Status: m.Status, IsMember: m.IsMember,
			Date: m.Date.Unix(), Origin: env.Origin.String(),
		},
	}, env)
}

type reactionData struct {
	Scope     content.Scope     `json:"scope"`
	ChatID    content.ChatID    `json:"chat_id"`
	MessageID content.MessageID `json:"message_id"`
	// ActorID is left out when the actors are anonymous; TotalCount is there then.
	ActorID    int64  `json:"actor_id,omitempty"`
	TotalCount *int64 `json:"total_count,omitempty"`
	Date       int64  `json:"date"`
	Origin     string `json:"origin"`
}

// OfReactionChanged returns the event that r tells of, in an update of env's source and origin.
func OfReactionChanged(r *content.Reaction, env *ingest.Envelope) Event {
	return of(ReactionChanged, fact{
		subject: Subject(r.Key), detail: number(r.ActorID) + "/" + number(r.Date.Unix()) + "/" + string(r.Reactions), at: r.Date,
		data: reactionData{
			Scope: r.Key.Scope, ChatID: r.Key.ChatID, MessageID: r.Key.MessageID, ActorID: r.ActorID, Date: r.Date.Unix(),
			Origin: env.Origin.String(),
		},
	}, env)
}

// OfReactionsCounted returns the event that r tells of, in an update of env's source and origin.
func OfReactionsCounted(r *content.ReactionCount, env *ingest.Envelope) Event {
	return of(ReactionChanged, fact{
		subject: Subject(r.Key), detail: "count/" + number(r.Date.Unix()) + "/" + string(r.Reactions), at: r.Date,
		data: reactionData{
			Scope: r.Key.Scope, ChatID: r.Key.ChatID, MessageID: r.Key.MessageID, TotalCount: &r.TotalCount, Date: r.Date.Unix(),
			Origin: env.Origin.String(),
		},
	}, env)
}

type pollData struct {
	PollID string `json:"poll_id"`
	// VoterID is there when the event tells of one voter's answer; the others only otherwise.
	VoterID         int64  `json:"voter_id,omitempty"`
	IsClosed        *bool  `json:"is_closed,omitempty"`
	TotalVoterCount *int64 `json:"total_voter_count,omitempty"`
	Origin          string `json:"origin"`
}

// OfPollUpdated returns the event that p tells of, in an update of env's source and origin. Telegram tells no time of it.
func OfPollUpdated(p *content.Poll, env *ingest.Envelope) Event {
	return of(PollUpdated, fact{
		subject: PollSubject(p.ID),
		detail:  strconv.FormatBool(p.IsClosed) + "/" + number(p.TotalVoterCount) + "/" + string(p.Options),
		at:      env.ReceivedAt,
		data:    pollData{PollID: p.ID, IsClosed: &p.IsClosed, TotalVoterCount: &p.TotalVoterCount, Origin: env.Origin.String()},
	}, env)
}

// OfPollAnswered returns the event that a tells of, in update.
func OfPollAnswered(a *content.PollAnswer, update *content.Update) Event {
	return of(PollUpdated, fact{
		subject: PollSubject(a.PollID), detail: nameOf(update), at: update.Envelope.ReceivedAt,
		data: pollData{PollID: a.PollID, VoterID: a.VoterID, Origin: update.Envelope.Origin.String()},
	}, &update.Envelope)
}

// PollSubject returns the subject of events about the poll with this id.
func PollSubject(id string) string { return "polls/" + id }

type interactionData struct {
	Kind      ingest.Kind       `json:"kind"`
	UpdateID  int64             `json:"update_id"`
	FromID    content.UserID    `json:"from_id,omitempty"`
	ChatID    content.ChatID    `json:"chat_id,omitempty"`
	MessageID content.MessageID `json:"message_id,omitempty"`
	Date      int64             `json:"date"`
	Origin    string            `json:"origin"`
}

// OfInteractionReceived returns the event that i tells of, in update.
func OfInteractionReceived(i *content.Interaction, update *content.Update) Event {
	return of(InteractionReceived, fact{
		subject: "interactions/" + nameOf(update), at: i.Date,
		data: interactionData{
			Kind: i.Kind, UpdateID: update.UpdateID, FromID: i.FromID, ChatID: i.Key.ChatID, MessageID: i.Key.MessageID,
			Date: i.Date.Unix(), Origin: update.Envelope.Origin.String(),
		},
	}, &update.Envelope)
}

type businessData struct {
	BusinessConnectionID string         `json:"business_connection_id"`
	UserID               content.UserID `json:"user_id"`
	IsEnabled            bool           `json:"is_enabled"`
	Date                 int64          `json:"date"`
	Origin               string         `json:"origin"`
}

// OfBusinessChanged returns the event that c tells of, in update.
func OfBusinessChanged(c *content.BusinessConnection, update *content.Update) Event {
	return of(BusinessChanged, fact{
		subject: "business_connections/" + c.ID, detail: nameOf(update), at: update.Envelope.ReceivedAt,
		data: businessData{
			BusinessConnectionID: c.ID, UserID: c.UserID, IsEnabled: c.IsEnabled, Date: c.Date.Unix(),
			Origin: update.Envelope.Origin.String(),
		},
	}, &update.Envelope)
}

type migrationData struct {
	ChatID           content.ChatID `json:"chat_id"`
	MigratedToChatID content.ChatID `json:"migrated_to_chat_id"`
	Date             int64          `json:"date"`
	Origin           string         `json:"origin"`
}

// OfChatMigrated returns the event that a tells of, in an update of env's source and origin.
func OfChatMigrated(a *content.ChatAlias, env *ingest.Envelope) Event {
	return of(ChatMigrated, fact{
		subject: "chats/" + number(a.ChatID), detail: number(a.MigratedToChatID), at: a.Date,
		data: migrationData{
			ChatID: a.ChatID, MigratedToChatID: a.MigratedToChatID, Date: a.Date.Unix(), Origin: env.Origin.String(),
		},
	}, env)
}

// nameOf names an update, whenever it came and however often.
func nameOf(u *content.Update) string {
	return u.Envelope.Source.String() + "/" + number(u.UpdateID) + "/" + hex.EncodeToString(u.Hash[:])
}

func number[N ~int64](n N) string { return strconv.FormatInt(int64(n), 10) }
