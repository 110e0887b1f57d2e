package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/event"
)

// What updates tell of beside messages has a table each. A row is its newest snapshot; the events follow from every new snapshot, whether
// or not it is the newest, and what tells them apart from repeats is their id alone. Boosts leave none.

// stateTable is one of those tables. T is a pointer to a snapshot.
type stateTable[T any] struct {
	*table[T]
	// compare orders by key, and merge makes one row of two snapshots of one key, as the groups of the table do.
	compare func(a, b T) int
	merge   func(kept, next T) T
}

// fold returns the rows of one table, one a key, sorted by key.
func (s *stateTable[T]) fold(rows []T) []T { return distinct(rows, s.compare, s.merge) }

// newestOf keeps the snapshot of the higher version.
func newestOf[T any](version func(T) content.Version) func(kept, next T) T {
	return func(kept, next T) T {
		if version(next) > version(kept) {
			return next
		}
		return kept
	}
}

// interactionRow is an interaction with the update that tells of it, which names it.
type interactionRow struct {
	*content.Interaction
	update *updateRow
}

// stateRows are the rows of the tables of this file.
type stateRows struct {
	memberships         []*content.Membership
	reactions           []*content.Reaction
	reactionCounts      []*content.ReactionCount
	polls               []*content.Poll
	pollAnswers         []*content.PollAnswer
	interactions        []interactionRow
	businessConnections []*content.BusinessConnection
	chatBoosts          []*content.ChatBoost
	chatAliases         []*content.ChatAlias
	holes               []*content.Hole
	accessHashes        []*content.AccessHash
	events              []*eventRow
}

// add adds what change tells, and, when its update is new to the ledger, the events that follow.
func (r *stateRows) add(change *content.ChangeSet, update *updateRow, announces bool) {
	r.memberships = appendPointers(r.memberships, change.Memberships)
	r.reactions = appendPointers(r.reactions, change.Reactions)
	r.reactionCounts = appendPointers(r.reactionCounts, change.ReactionCounts)
	r.polls = appendPointers(r.polls, change.Polls)
	r.pollAnswers = appendPointers(r.pollAnswers, change.PollAnswers)
	r.businessConnections = appendPointers(r.businessConnections, change.BusinessConnections)
	r.chatBoosts = appendPointers(r.chatBoosts, change.ChatBoosts)
	r.chatAliases = appendPointers(r.chatAliases, change.ChatAliases)
	r.holes = appendPointers(r.holes, change.Holes)
	r.accessHashes = appendPointers(r.accessHashes, change.AccessHashes)
	for i := range change.Interactions {
		r.interactions = append(r.interactions, interactionRow{&change.Interactions[i], update})
	}
	if announces {
		r.announce(change, update)
	}
}

func (r *stateRows) announce(change *content.ChangeSet, update *updateRow) {
	env := &change.Update.Envelope
	tell := func(e event.Event) { r.events = append(r.events, newEventRow(e, update.source, env)) }
	for i := range change.Chats {
		// A private chat is its user, whose name changes nothing between them.
		if c := &change.Chats[i]; c.Type != content.Private {
			tell(event.OfChatUpdated(c, &change.Update))
		}
	}
	for i := range change.Memberships {
		tell(event.OfMemberChanged(&change.Memberships[i], env))
	}
	for i := range change.Reactions {
		tell(event.OfReactionChanged(&change.Reactions[i], env))
	}
	for i := range change.ReactionCounts {
		tell(event.OfReactionsCounted(&change.ReactionCounts[i], env))
	}
	for i := range change.Polls {
		tell(event.OfPollUpdated(&change.Polls[i], env))
	}
	for i := range change.PollAnswers {
		tell(event.OfPollAnswered(&change.PollAnswers[i], &change.Update))
	}
	for i := range change.Interactions {
		tell(event.OfInteractionReceived(&change.Interactions[i], &change.Update))
	}
	for i := range change.BusinessConnections {
		tell(event.OfBusinessChanged(&change.BusinessConnections[i], &change.Update))
	}
	for i := range change.ChatAliases {
		tell(event.OfChatMigrated(&change.ChatAliases[i], env))
	}
}

func appendPointers[T any](to []*T, from []T) []*T {
	for i := range from {
		to = append(to, &from[i])
	}
	return to
}

// fold leaves one row a key.
func (r *stateRows) fold() {
	r.memberships = membershipsTable.fold(r.memberships)
	r.reactions = reactionsTable.fold(r.reactions)
	r.reactionCounts = reactionCountsTable.fold(r.reactionCounts)
	r.polls = pollsTable.fold(r.polls)
	r.pollAnswers = pollAnswersTable.fold(r.pollAnswers)
	r.interactions = interactionsTable.fold(r.interactions)
	r.businessConnections = businessConnectionsTable.fold(r.businessConnections)
	r.chatBoosts = chatBoostsTable.fold(r.chatBoosts)
	r.chatAliases = chatAliasesTable.fold(r.chatAliases)
	r.holes = holesTable.fold(r.holes)
	r.accessHashes = accessHashesTable.fold(r.accessHashes)
}

// stateStatements write the rows of the tables of this file.
type stateStatements struct {
	memberships         statement[*content.Membership]
	reactions           statement[*content.Reaction]
	reactionCounts      statement[*content.ReactionCount]
	polls               statement[*content.Poll]
	pollAnswers         statement[*content.PollAnswer]
	interactions        statement[interactionRow]
	businessConnections statement[*content.BusinessConnection]
	chatBoosts          statement[*content.ChatBoost]
	chatAliases         statement[*content.ChatAlias]
	holes               statement[*content.Hole]
	accessHashes        statement[*content.AccessHash]
}

func newStateStatements(d dialect) stateStatements {
	return stateStatements{
		memberships: membershipsTable.upsert(d), reactions: reactionsTable.upsert(d), reactionCounts: reactionCountsTable.upsert(d),
		polls: pollsTable.upsert(d), pollAnswers: pollAnswersTable.upsert(d), interactions: interactionsTable.upsert(d),
		businessConnections: businessConnectionsTable.upsert(d), chatBoosts: chatBoostsTable.upsert(d), chatAliases: chatAliasesTable.upsert(d),
		holes: holesTable.upsert(d), accessHashes: accessHashesTable.upsert(d),
	}
}

// writeState writes rows, in the order of the tables in which all transactions take them.
func (w *writer) writeState(ctx context.Context, rows *stateRows) error {
	for _, write := range []func() (int, error){
		func() (int, error) { return w.state.memberships.exec(ctx, w.conn, rows.memberships) },
		func() (int, error) { return w.state.reactions.exec(ctx, w.conn, rows.reactions) },
		func() (int, error) { return w.state.reactionCounts.exec(ctx, w.conn, rows.reactionCounts) },
		func() (int, error) { return w.state.polls.exec(ctx, w.conn, rows.polls) },
		func() (int, error) { return w.state.pollAnswers.exec(ctx, w.conn, rows.pollAnswers) },
		func() (int, error) { return w.state.interactions.exec(ctx, w.conn, rows.interactions) },
		func() (int, error) { return w.state.businessConnections.exec(ctx, w.conn, rows.businessConnections) },
		func() (int, error) { return w.state.chatBoosts.exec(ctx, w.conn, rows.chatBoosts) },
		func() (int, error) { return w.state.chatAliases.exec(ctx, w.conn, rows.chatAliases) },
		func() (int, error) { return w.state.holes.exec(ctx, w.conn, rows.holes) },
		func() (int, error) { return w.state.accessHashes.exec(ctx, w.conn, rows.accessHashes) },
	} {
		if _, err := write(); err != nil {
			return err
		}
	}
	return nil
}

var membershipsTable = stateTable[*content.Membership]{
	table: &table[*content.Membership]{
		name: "memberships",
		key:  []string{"chat_id", "user_id"},
		columns: []column[*content.Membership]{
			{"chat_id", ofNumber, func(m *content.Membership) any { return int64(m.ChatID) }},
			{"user_id", ofNumber, func(m *content.Membership) any { return int64(m.UserID) }},
			{"version", ofBytes, func(m *content.Membership) any { return versionBytes(m.Version) }},
			{"status", ofText, func(m *content.Membership) any { return m.Status }},
			{"is_member", ofFlag, func(m *content.Membership) any { return m.IsMember }},
			{"date", ofTime, func(m *content.Membership) any { return m.Date }},
			{"until_date", ofTime, func(m *content.Membership) any { return timeOrNull(m.UntilDate) }},
			{"actor_id", ofNumber, func(m *content.Membership) any { return numberOrNull(m.ActorID) }},
			{"rest", ofJSON, func(m *content.Membership) any { return textOrNull(string(m.Rest)) }},
		},
		groups: []group{newerRow("memberships", "status", "is_member", "date", "until_date", "actor_id", "rest")},
	},
	compare: func(a, b *content.Membership) int {
		return cmp.Or(cmp.Compare(a.ChatID, b.ChatID), cmp.Compare(a.UserID, b.UserID))
	},
	merge: newestOf(func(m *content.Membership) content.Version { return m.Version }),
}

var reactionsTable = stateTable[*content.Reaction]{
	table: &table[*content.Reaction]{
		name: "reactions",
		key:  []string{"scope", "chat_id", "message_id", "actor_id"},
		columns: []column[*content.Reaction]{
			{"scope", ofNumber, func(r *content.Reaction) any { return int64(r.Key.Scope) }},
			{"chat_id", ofNumber, func(r *content.Reaction) any { return int64(r.Key.ChatID) }},
			{"message_id", ofNumber, func(r *content.Reaction) any { return int64(r.Key.MessageID) }},
			{"actor_id", ofNumber, func(r *content.Reaction) any { return r.ActorID }},
			{"version", ofBytes, func(r *content.Reaction) any { return versionBytes(r.Version) }},
			{"date", ofTime, func(r *content.Reaction) any { return r.Date }},
			{"reactions", ofJSON, func(r *content.Reaction) any { return string(r.Reactions) }},
		},
		groups: []group{newerRow("reactions", "date", "reactions")},
	},
	compare: func(a, b *content.Reaction) int {
		return cmp.Or(compareKeys(a.Key, b.Key), cmp.Compare(a.ActorID, b.ActorID))
	},
	merge: newestOf(func(r *content.Reaction) content.Version { return r.Version }),
}

var reactionCountsTable = stateTable[*content.ReactionCount]{
	table: &table[*content.ReactionCount]{
		name: "reaction_counts",
		key:  []string{"scope", "chat_id", "message_id"},
		columns: []column[*content.ReactionCount]{
			{"scope", ofNumber, func(r *content.ReactionCount) any { return int64(r.Key.Scope) }},
			{"chat_id", ofNumber, func(r *content.ReactionCount) any { return int64(r.Key.ChatID) }},
			{"message_id", ofNumber, func(r *content.ReactionCount) any { return int64(r.Key.MessageID) }},
			{"version", ofBytes, func(r *content.ReactionCount) any { return versionBytes(r.Version) }},
			{"date", ofTime, func(r *content.ReactionCount) any { return r.Date }},
			{"total_count", ofNumber, func(r *content.ReactionCount) any { return r.TotalCount }},
			{"reactions", ofJSON, func(r *content.ReactionCount) any { return string(r.Reactions) }},
		},
		groups: []group{newerRow("reaction_counts", "date", "total_count", "reactions")},
	},
	compare: func(a, b *content.ReactionCount) int { return compareKeys(a.Key, b.Key) },
	merge:   newestOf(func(r *content.ReactionCount) content.Version { return r.Version }),
}

var pollsTable = stateTable[*content.Poll]{
	table: &table[*content.Poll]{
		name: "polls",
		key:  []string{"id"},
		columns: []column[*content.Poll]{
			{"id", ofText, func(p *content.Poll) any { return p.ID }},
			{"version", ofBytes, func(p *content.Poll) any { return versionBytes(p.Version) }},
			{"question", ofText, func(p *content.Poll) any { return p.Question }},
			{"type", ofText, func(p *content.Poll) any { return p.Type }},
			{"is_closed", ofFlag, func(p *content.Poll) any { return p.IsClosed }},
			{"is_anonymous", ofFlag, func(p *content.Poll) any { return p.IsAnonymous }},
			{"allows_multiple_answers", ofFlag, func(p *content.Poll) any { return p.AllowsMultipleAnswers }},
			{"total_voter_count", ofNumber, func(p *content.Poll) any { return p.TotalVoterCount }},
			{"close_date", ofTime, func(p *content.Poll) any { return timeOrNull(p.CloseDate) }},
			{"options", ofJSON, func(p *content.Poll) any { return string(p.Options) }},
			{"rest", ofJSON, func(p *content.Poll) any { return textOrNull(string(p.Rest)) }},
		},
		groups: []group{newerRow("polls", "question", "type", "is_closed", "is_anonymous", "allows_multiple_answers", "total_voter_count",
			"close_date", "options", "rest")},
	},
	compare: func(a, b *content.Poll) int { return strings.Compare(a.ID, b.ID) },
	merge:   newestOf(func(p *content.Poll) content.Version { return p.Version }),
}

var pollAnswersTable = stateTable[*content.PollAnswer]{
	table: &table[*content.PollAnswer]{
		name: "poll_answers",
		key:  []string{"poll_id", "voter_id"},
		columns: []column[*content.PollAnswer]{
			{"poll_id", ofText, func(a *content.PollAnswer) any { return a.PollID }},
			{"voter_id", ofNumber, func(a *content.PollAnswer) any { return a.VoterID }},
			{"version", ofBytes, func(a *content.PollAnswer) any { return versionBytes(a.Version) }},
			{"option_ids", ofJSON, func(a *content.PollAnswer) any { return string(a.OptionIDs) }},
			{"rest", ofJSON, func(a *content.PollAnswer) any { return textOrNull(string(a.Rest)) }},
		},
		groups: []group{newerRow("poll_answers", "option_ids", "rest")},
	},
	compare: func(a, b *content.PollAnswer) int {
		return cmp.Or(strings.Compare(a.PollID, b.PollID), cmp.Compare(a.VoterID, b.VoterID))
	},
	merge: newestOf(func(a *content.PollAnswer) content.Version { return a.Version }),
}

var interactionsTable = stateTable[interactionRow]{
	table: &table[interactionRow]{
		name: "interactions",
		key:  []string{"source", "update_id", "hash"},
		columns: []column[interactionRow]{
			{"source", ofText, func(i interactionRow) any { return i.update.source }},
			{"update_id", ofNumber, func(i interactionRow) any { return i.update.read.UpdateID }},
			{"hash", ofBytes, func(i interactionRow) any { return i.update.hash[:] }},
			{"version", ofBytes, func(i interactionRow) any { return versionBytes(i.Version) }},
			{"kind", ofText, func(i interactionRow) any { return string(i.Kind) }},
			{"id", ofText, func(i interactionRow) any { return textOrNull(i.ID) }},
			{"from_id", ofNumber, func(i interactionRow) any { return numberOrNull(i.FromID) }},
			{"scope", ofNumber, func(i interactionRow) any { return int64(i.Key.Scope) }},
			{"chat_id", ofNumber, func(i interactionRow) any { return numberOrNull(i.Key.ChatID) }},
			{"message_id", ofNumber, func(i interactionRow) any { return numberOrNull(i.Key.MessageID) }},
			{"inline_message_id", ofText, func(i interactionRow) any { return textOrNull(i.InlineMessageID) }},
			{"data", ofText, func(i interactionRow) any { return textOrNull(i.Data) }},
			{"date", ofTime, func(i interactionRow) any { return i.Date }},
			{"rest", ofJSON, func(i interactionRow) any { return textOrNull(string(i.Rest)) }},
		},
		groups: []group{
			newerRow("interactions", "kind", "id", "from_id", "scope", "chat_id", "message_id", "inline_message_id", "data", "rest"),
			// Most kinds have no date of their own, and happened when the first of their arrivals came.
			{newer: "excluded.date < interactions.date", columns: []string{"date"}},
		},
	},
	compare: func(a, b interactionRow) int {
		return cmp.Or(strings.Compare(a.update.source, b.update.source), cmp.Compare(a.update.read.UpdateID, b.update.read.UpdateID),
			slices.Compare(a.update.hash[:], b.update.hash[:]))
	},
	merge: mergeInteractions,
}

// mergeInteractions agrees with the groups of interactionsTable.
func mergeInteractions(kept, next interactionRow) interactionRow {
	newest, other := kept, next
	if next.Version > kept.Version {
		newest, other = next, kept
	}
	if other.Date.Before(newest.Date) {
		merged := *newest.Interaction
		merged.Date = other.Date
		newest.Interaction = &merged
	}
	return newest
}

var businessConnectionsTable = stateTable[*content.BusinessConnection]{
	table: &table[*content.BusinessConnection]{
		name: "business_connections",
		key:  []string{"id"},
		columns: []column[*content.BusinessConnection]{
			{"id", ofText, func(c *content.BusinessConnection) any { return c.ID }},
			{"version", ofBytes, func(c *content.BusinessConnection) any { return versionBytes(c.Version) }},
			{"user_id", ofNumber, func(c *content.BusinessConnection) any { return numberOrNull(c.UserID) }},
			{"user_chat_id", ofNumber, func(c *content.BusinessConnection) any { return numberOrNull(c.UserChatID) }},
			{"date", ofTime, func(c *content.BusinessConnection) any { return c.Date }},
			{"is_enabled", ofFlag, func(c *content.BusinessConnection) any { return c.IsEnabled }},
			{"rest", ofJSON, func(c *content.BusinessConnection) any { return textOrNull(string(c.Rest)) }},
		},
		groups: []group{newerRow("business_connections", "user_id", "user_chat_id", "date", "is_enabled", "rest")},
	},
	compare: func(a, b *content.BusinessConnection) int { return strings.Compare(a.ID, b.ID) },
	merge:   newestOf(func(c *content.BusinessConnection) content.Version { return c.Version }),
}

// chatBoostsTable also takes stubs: boosts of which only the removal is known. Their version is the empty one.
var chatBoostsTable = stateTable[*content.ChatBoost]{
	table: &table[*content.ChatBoost]{
		name: "chat_boosts",
		key:  []string{"chat_id", "boost_id"},
		columns: []column[*content.ChatBoost]{
			{"chat_id", ofNumber, func(b *content.ChatBoost) any { return int64(b.ChatID) }},
			{"boost_id", ofText, func(b *content.ChatBoost) any { return b.BoostID }},
			{"version", ofBytes, func(b *content.ChatBoost) any { return versionBytes(b.Version) }},
			{"add_date", ofTime, func(b *content.ChatBoost) any { return timeOrNull(b.AddDate) }},
			{"expiration_date", ofTime, func(b *content.ChatBoost) any { return timeOrNull(b.ExpirationDate) }},
			{"source_type", ofText, func(b *content.ChatBoost) any { return textOrNull(b.SourceType) }},
			{"user_id", ofNumber, func(b *content.ChatBoost) any { return numberOrNull(b.UserID) }},
			{"rest", ofJSON, func(b *content.ChatBoost) any { return textOrNull(string(b.Rest)) }},
			{"removed_at", ofTime, func(b *content.ChatBoost) any { return timeOrNull(b.RemovedAt) }},
		},
		groups: []group{
			newerRow("chat_boosts", "add_date", "expiration_date", "source_type", "user_id", "rest"),
			{
				newer:   "excluded.removed_at < chat_boosts.removed_at OR excluded.removed_at IS NOT NULL AND chat_boosts.removed_at IS NULL",
				columns: []string{"removed_at"},
			},
		},
	},
	compare: func(a, b *content.ChatBoost) int {
		return cmp.Or(cmp.Compare(a.ChatID, b.ChatID), strings.Compare(a.BoostID, b.BoostID))
	},
	merge: mergeBoosts,
}

// mergeBoosts agrees with the groups of chatBoostsTable.
func mergeBoosts(kept, next *content.ChatBoost) *content.ChatBoost {
	merged := *kept
	if next.Version > kept.Version {
		merged = *next
	}
	merged.RemovedAt = earliest(kept.RemovedAt, next.RemovedAt)
	return &merged
}

// earliest returns the earlier of two times; the zero time is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// chatAliasesTable: both chats tell of a migration, one after the other, and the earlier date counts.
var chatAliasesTable = stateTable[*content.ChatAlias]{
	table: &table[*content.ChatAlias]{
		name: "chat_aliases",
		key:  []string{"chat_id", "migrated_to_chat_id"},
		columns: []column[*content.ChatAlias]{
			{"chat_id", ofNumber, func(a *content.ChatAlias) any { return int64(a.ChatID) }},
			{"migrated_to_chat_id", ofNumber, func(a *content.ChatAlias) any { return int64(a.MigratedToChatID) }},
			{"date", ofTime, func(a *content.ChatAlias) any { return a.Date }},
		},
		groups: []group{{newer: "excluded.date < chat_aliases.date", columns: []string{"date"}}},
	},
	compare: func(a, b *content.ChatAlias) int {
		return cmp.Or(cmp.Compare(a.ChatID, b.ChatID), cmp.Compare(a.MigratedToChatID, b.MigratedToChatID))
	},
	merge: func(kept, next *content.ChatAlias) *content.ChatAlias {
		if next.Date.Before(kept.Date) {
			return next
		}
		return kept
	},
}

// newerRow is the group of a table whose rows have one version.
func newerRow(table string, columns ...string) group {
	return group{newer: "excluded.version > " + table + ".version", columns: append([]string{"version"}, columns...)}
}
