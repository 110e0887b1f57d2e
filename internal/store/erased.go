package store

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// erasedSet is who was erased. It is made once and then only read.
type erasedSet struct {
	// rows and last are how many records it was made of, and the newest of them.
	rows, last int64
	subjects   []erased
	polls      map[string]bool
	// until is the latest of theirs.
	until time.Time
}

// erased is a subject that was erased: what was received or sent until then is written no more.
type erased struct {
	Subject
	until time.Time
	// named finds the subject in JSON, and tl is how TL names it.
	named *regexp.Regexp
	tl    []byte
}

// isIn tells whether raw, JSON or TL, names the subject.
func (s *erased) isIn(raw []byte) bool { return s.named.Match(raw) || bytes.Contains(raw, s.tl) }

// withoutErased returns batch without what it tells of subjects that were erased later; batch itself stays as it is. It is the first to read
// in a transaction that writes, so that Erase, which locks the table, comes before the whole of it or after.
func (w *writer) withoutErased(ctx context.Context, batch *content.Batch) (*content.Batch, error) {
	set, err := w.erased(ctx)
	if err != nil || set.rows == 0 {
		return batch, err
	}
	kept := *batch
	kept.Changes = slices.Clone(batch.Changes)
	for i := range kept.Changes {
		set.filter(&kept.Changes[i])
	}
	kept.DeadLetters = without(batch.DeadLetters, func(d *ingest.DeadLetter) bool {
		return slices.ContainsFunc(set.subjects, func(s erased) bool {
			return !d.Envelope.ReceivedAt.After(s.until) && s.isIn(d.Envelope.Raw)
		})
	})
	return &kept, nil
}

// erased returns who was erased, as the transaction sees it. The records are read only when there are others than before.
func (w *writer) erased(ctx context.Context) (*erasedSet, error) {
	now := &erasedSet{polls: map[string]bool{}}
	err := w.conn.QueryRowContext(ctx, "SELECT count(*), coalesce(max(id), 0) FROM erasures").Scan(&now.rows, &now.last)
	if err != nil {
		return nil, classify(err)
	}
	if now.rows == 0 {
		return now, nil
	}
	if known := w.known.Load(); known != nil && known.rows == now.rows && known.last == now.last {
		return known, nil
	}
	rows, err := w.conn.QueryContext(ctx, "SELECT subject, subject_id, erased_at FROM erasures ORDER BY id")
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close() //nolint:errcheck // Err has what there is to know
	for rows.Next() {
		var kind, id string
		var until instant
		if err := rows.Scan(&kind, &id, &until); err != nil {
			return nil, classify(err)
		}
		if err := now.add(kind, id, until.Time); err != nil {
			return nil, err
		}
	}
	if err := rows.Err(); err != nil {
		return nil, classify(err)
	}
	w.known.Store(now)
	return now, nil
}

func (e *erasedSet) add(kind, id string, until time.Time) error {
	if kind == pollSubject {
		e.polls[id] = true
		return nil
	}
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return fault.As(fault.Permanent, fmt.Errorf("record of an erased %s: its id is no number", kind))
	}
	e.subjects = append(e.subjects, erased{
		Subject: Subject{Kind: SubjectKind(kind), ID: number}, until: until, named: regexp.MustCompile(namingExpression([]int64{number}, nil)),
		tl: tlOf(number),
	})
	if until.After(e.until) {
		e.until = until
	}
	return nil
}

// filter takes out of change what it tells of those who were erased.
func (e *erasedSet) filter(change *content.ChangeSet) {
	raw, at := change.Update.Envelope.Raw, told(change)
	if !at.After(e.until) {
		for i := range e.subjects {
			if s := &e.subjects[i]; !at.After(s.until) && s.isIn(raw) {
				s.leave(change)
			}
		}
	}
	// What comes of a poll later has no date, and does not say whose it is.
	polls := without(change.Polls, func(p *content.Poll) bool { return e.polls[p.ID] })
	answers := without(change.PollAnswers, func(a *content.PollAnswer) bool { return e.polls[a.PollID] })
	if len(polls) < len(change.Polls) || len(answers) < len(change.PollAnswers) {
		change.Polls, change.PollAnswers = polls, answers
		change.Update.Envelope.Raw, change.Update.Envelope.Request = nil, nil
	}
}

// told returns when the earliest of what change tells happened, or when it was received if that was earlier.
func told(change *content.ChangeSet) time.Time {
	at := change.Update.Envelope.ReceivedAt
	for i := range change.Messages {
		at = earliest(at, change.Messages[i].Date)
	}
	for i := range change.Memberships {
		at = earliest(at, change.Memberships[i].Date)
	}
	for i := range change.Reactions {
		at = earliest(at, change.Reactions[i].Date)
	}
	for i := range change.ReactionCounts {
		at = earliest(at, change.ReactionCounts[i].Date)
	}
	for i := range change.Interactions {
		at = earliest(at, change.Interactions[i].Date)
	}
	return at
}

// user returns the user that s is; 0 for a chat.
func (s *erased) user() content.UserID {
	if s.Kind == UserSubject {
		return content.UserID(s.ID)
	}
	return 0
}

// leave takes out of change what it tells of s, and the bytes that name it.
func (s *erased) leave(change *content.ChangeSet) {
	user, chat := s.user(), content.ChatID(s.ID)
	is := func(id content.UserID) bool { return id != 0 && id == user }
	in := func(key *content.MessageKey) bool { return key.ChatID == chat }

	change.Update.Envelope.Raw, change.Update.Envelope.Request = nil, nil
	if change.Update.ChatID == chat {
		change.Update.ChatID = 0
	}
	said := len(change.Messages)
	change.Messages = without(change.Messages, func(m *content.Message) bool {
		return in(&m.Key) || is(m.FromID) || m.SenderChatID == chat || is(m.Forward.FromID) || m.Forward.ChatID == chat
	})
	for i := range change.Messages {
		m := &change.Messages[i]
		m.ReplyTo.Quote, m.Content, m.Rest = "", s.unnamed(m.Content), s.unnamed(m.Rest)
	}
	if len(change.Messages) < said {
		change.Polls = nil
	}
	change.Chats = without(change.Chats, func(c *content.Chat) bool { return c.ID == chat })
	change.Users = without(change.Users, func(u *content.User) bool { return is(u.ID) })
	change.Deletions = without(change.Deletions, func(d *content.Deletion) bool { return in(&d.Key) })
	change.Memberships = without(change.Memberships, func(m *content.Membership) bool { return m.ChatID == chat || is(m.UserID) })
	for i := range change.Memberships {
		m := &change.Memberships[i]
		if m.Rest = s.unnamed(m.Rest); is(m.ActorID) {
			m.ActorID = 0
		}
	}
	change.Reactions = without(change.Reactions, func(r *content.Reaction) bool { return in(&r.Key) || r.ActorID == s.ID })
	change.ReactionCounts = without(change.ReactionCounts, func(r *content.ReactionCount) bool { return in(&r.Key) })
	change.PollAnswers = without(change.PollAnswers, func(a *content.PollAnswer) bool { return a.VoterID == s.ID })
	change.Interactions = without(change.Interactions, func(i *content.Interaction) bool { return in(&i.Key) || is(i.FromID) })
	for i := range change.Interactions {
		change.Interactions[i].Rest = s.unnamed(change.Interactions[i].Rest)
	}
	change.BusinessConnections = without(change.BusinessConnections, func(c *content.BusinessConnection) bool {
		return is(c.UserID) || c.UserChatID == chat
	})
	change.Holes = without(change.Holes, func(h *content.Hole) bool { return h.ChatID == chat })
	change.AccessHashes = without(change.AccessHashes, func(h *content.AccessHash) bool { return h.Peer == chat })
	change.ChatBoosts = without(change.ChatBoosts, func(b *content.ChatBoost) bool { return b.ChatID == chat || is(b.UserID) })
}

// unnamed returns text, or none when it names s.
func (s *erased) unnamed(text content.JSON) content.JSON {
	if s.named.MatchString(string(text)) {
		return ""
	}
	return text
}

// without returns a copy of rows without those that are gone.
func without[T any](rows []T, gone func(*T) bool) []T {
	var kept []T
	for i := range rows {
		if !gone(&rows[i]) {
			kept = append(kept, rows[i])
		}
	}
	return kept
}
