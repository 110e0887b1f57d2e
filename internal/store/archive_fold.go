package store

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/event"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// folded is a batch as rows, but for the ledger's: one a key for each table, sorted by key. One statement may not write a key twice, and
// transactions that lock rows in one order never wait for each other in a circle.
type folded struct {
	messages []*messageRow
	// chatless are the deletions of messages that are named by their number alone, sorted by it.
	chatless    []*deletion
	files       []*fileRow
	revisions   []*snapshot
	deadLetters []*letterRow
	chats       []*content.Chat
	users       []*userRow
	state       stateRows
}

// updateRow is a row of the ledger. Of the times when one update came, the first one counts; of what normalisers
// made of it, the newest one's word.
type updateRow struct {
	day     string
	source  string
	hash    ingest.Hash
	arrived *ingest.Envelope
	read    *content.Update
}

// snapshot is a message as one update shows it.
type snapshot struct {
	*content.Message
	hash     content.ContentHash
	env      *ingest.Envelope
	source   string
	entities string
	// announces says that the update is new, so that events follow from what it shows.
	announces bool
}

// messageRow is a message: its newest snapshot of the batch makes the row, and the oldest one of a new update the event of its creation.
type messageRow struct {
	// newest is of the empty version when the batch shows only that the message was deleted.
	newest *snapshot
	// first is nil when no new update of the batch shows the message.
	first *snapshot
	// deletedAt is the zero time when the batch tells of no deletion.
	deletedAt time.Time
	// deletion is the first of the new updates that tell of one, nil when none does.
	deletion *deletion
}

// deletion is a message's end as one update tells it.
type deletion struct {
	*content.Deletion
	env    *ingest.Envelope
	source string
	// announces says that the update is new.
	announces bool
}

// mediaRow is one file of a message.
type mediaRow struct {
	key     content.MessageKey
	ordinal int
	media   *content.Media
}

// fileRow is a file as one account knows it, with the snapshot that tells.
type fileRow struct {
	media *content.Media
	in    *snapshot
}

// userRow is a user's two groups of columns, each from its newest snapshot. language is nil when none tells it.
type userRow struct {
	id                content.UserID
	profile, language *content.User
}

func (u *userRow) languageVersion() content.Version {
	if u.language == nil {
		return ""
	}
	return u.language.LanguageVersion
}

func (u *userRow) languageCode() string {
	if u.language == nil {
		return ""
	}
	return u.language.LanguageCode
}

// letterRow is a dead letter with its key.
type letterRow struct {
	*ingest.DeadLetter
	source string
	hash   ingest.Hash
}

// eventRow is an event of the outbox, and when the update came that it follows from.
type eventRow struct {
	event.Event
	source     string
	receivedAt time.Time
}

// foldUpdates returns the rows of the ledger, one a key, sorted by key.
func foldUpdates(batch *content.Batch) []*updateRow {
	rows := make([]*updateRow, len(batch.Changes))
	for i := range batch.Changes {
		rows[i] = newUpdateRow(&batch.Changes[i].Update)
	}
	return distinct(rows, compareUpdates, mergeUpdates)
}

// fold returns batch as rows, but for the ledger's. Of the updates only those in fresh, which is sorted, are new to the ledger.
func fold(batch *content.Batch, fresh []*updateRow) *folded {
	f := &folded{}
	for i := range batch.Changes {
		change := &batch.Changes[i]
		row := newUpdateRow(&change.Update)
		_, announces := slices.BinarySearchFunc(fresh, row, compareUpdates)
		for j := range change.Chats {
			f.chats = append(f.chats, &change.Chats[j])
		}
		for j := range change.Users {
			f.users = append(f.users, newUserRow(&change.Users[j]))
		}
		for j := range change.Messages {
			f.addSnapshot(newSnapshot(&change.Messages[j], row, announces))
		}
		for j := range change.Deletions {
			d := &deletion{Deletion: &change.Deletions[j], env: row.arrived, source: row.source, announces: announces}
			if isChatless(d.Deletion) {
				f.chatless = append(f.chatless, d)
				continue
			}
			f.messages = append(f.messages, newStub(d.Deletion, d))
		}
		f.state.add(change, row, announces)
	}
	for i := range batch.DeadLetters {
		f.deadLetters = append(f.deadLetters, newLetterRow(&batch.DeadLetters[i]))
	}
	f.messages = distinct(f.messages, compareMessages, mergeMessages)
	f.chatless = distinct(f.chatless, compareDeletions, earlierDeletion)
	f.files = distinct(f.files, compareFiles, newerFile)
	f.revisions = distinct(f.revisions, compareRevisions, mergeRevisions)
	f.deadLetters = distinct(f.deadLetters, compareDeadLetters, firstDeadLetter)
	f.chats = distinct(f.chats, compareChats, newerChat)
	f.users = distinct(f.users, compareUsers, mergeUsers)
	f.state.fold()
	return f
}

func (f *folded) addSnapshot(s *snapshot) {
	row := &messageRow{newest: s}
	if s.announces {
		row.first = s
	}
	f.messages = append(f.messages, row)
	f.revisions = append(f.revisions, s)
	for i := range s.Media {
		if media := &s.Media[i]; media.FileID != "" && media.FileUniqueID != "" {
			f.files = append(f.files, &fileRow{media: media, in: s})
		}
	}
}

// distinct sorts rows by key and merges those of one key, in the order of the batch.
func distinct[T any](rows []T, compare func(a, b T) int, merge func(kept, next T) T) []T {
	slices.SortStableFunc(rows, compare)
	kept := rows[:0]
	for _, row := range rows {
		if last := len(kept) - 1; last >= 0 && compare(kept[last], row) == 0 {
			kept[last] = merge(kept[last], row)
			continue
		}
		kept = append(kept, row)
	}
	return kept
}

func newUpdateRow(u *content.Update) *updateRow {
	return &updateRow{
		day: u.Envelope.ReceivedAt.UTC().Format(time.DateOnly), source: u.Envelope.Source.String(), hash: u.Hash,
		arrived: &u.Envelope, read: u,
	}
}

func compareUpdates(a, b *updateRow) int {
	return cmp.Or(strings.Compare(a.day, b.day), strings.Compare(a.source, b.source), cmp.Compare(a.read.UpdateID, b.read.UpdateID),
		bytes.Compare(a.hash[:], b.hash[:]))
}

// mergeUpdates agrees with the conditions of updatesTable.
func mergeUpdates(kept, next *updateRow) *updateRow {
	merged := *kept
	if arrival := next.arrived.ReceivedAt.Compare(kept.arrived.ReceivedAt); arrival < 0 ||
		arrival == 0 && next.arrived.Origin < kept.arrived.Origin {
		merged.arrived = next.arrived
	}
	if next.read.NormaliserVersion > kept.read.NormaliserVersion {
		merged.read = next.read
	}
	return &merged
}

func newSnapshot(m *content.Message, update *updateRow, announces bool) *snapshot {
	s := &snapshot{Message: m, hash: m.ContentHash(), env: update.arrived, source: update.source, announces: announces}
	if len(m.Entities) > 0 {
		b, err := json.Marshal(m.Entities)
		if err != nil {
			panic(fmt.Sprintf("store: strings and numbers always marshal: %v", err))
		}
		s.entities = string(b)
	}
	return s
}

// newStub returns the row of a message of which only its deletion is known; told is how an update tells of it, nil when none does.
func newStub(d *content.Deletion, told *deletion) *messageRow {
	row := &messageRow{
		newest:    &snapshot{Message: &content.Message{Key: d.Key, BusinessConnectionID: d.BusinessConnectionID}},
		deletedAt: d.DeletedAt,
	}
	if told != nil && told.announces {
		row.deletion = told
	}
	return row
}

// producedAt is when Telegram produced the snapshot.
func (s *snapshot) producedAt() time.Time {
	if s.EditDate.After(s.Date) {
		return s.EditDate
	}
	return s.Date
}

func compareKeys(a, b content.MessageKey) int {
	return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.ChatID, b.ChatID), cmp.Compare(a.MessageID, b.MessageID))
}

func compareMessages(a, b *messageRow) int { return compareKeys(a.newest.Key, b.newest.Key) }

func mergeMessages(kept, next *messageRow) *messageRow {
	merged := *kept
	if next.newest.Version > kept.newest.Version {
		merged.newest = next.newest
	}
	if kept.first == nil || next.first != nil && next.first.Version < kept.first.Version {
		merged.first = next.first
	}
	merged.deletedAt = earliest(kept.deletedAt, next.deletedAt)
	if kept.deletion == nil || next.deletion != nil && next.deletion.DeletedAt.Before(kept.deletion.DeletedAt) {
		merged.deletion = next.deletion
	}
	return &merged
}

func compareRevisions(a, b *snapshot) int {
	return cmp.Or(compareKeys(a.Key, b.Key), bytes.Compare(a.hash[:], b.hash[:]))
}

// mergeRevisions keeps the older snapshot, and that any of the two announces it.
func mergeRevisions(kept, next *snapshot) *snapshot {
	older, other := kept, next
	if next.Version < kept.Version {
		older, other = next, kept
	}
	if other.announces && !older.announces {
		merged := *older
		merged.announces = true
		return &merged
	}
	return older
}

func compareFiles(a, b *fileRow) int {
	return cmp.Or(strings.Compare(a.media.FileUniqueID, b.media.FileUniqueID), strings.Compare(a.in.source, b.in.source))
}

func newerFile(kept, next *fileRow) *fileRow {
	if next.in.Version > kept.in.Version {
		return next
	}
	return kept
}

func newLetterRow(d *ingest.DeadLetter) *letterRow {
	return &letterRow{DeadLetter: d, source: d.Envelope.Source.String(), hash: ingest.HashOf(d.Envelope.Raw)}
}

func compareDeadLetters(a, b *letterRow) int {
	return cmp.Or(strings.Compare(a.source, b.source), bytes.Compare(a.hash[:], b.hash[:]))
}

func firstDeadLetter(kept, _ *letterRow) *letterRow { return kept }

func compareChats(a, b *content.Chat) int { return cmp.Compare(a.ID, b.ID) }

func newerChat(kept, next *content.Chat) *content.Chat {
	if next.Version > kept.Version {
		return next
	}
	return kept
}

func newUserRow(u *content.User) *userRow {
	row := &userRow{id: u.ID, profile: u}
	if u.LanguageVersion != "" {
		row.language = u
	}
	return row
}

func compareUsers(a, b *userRow) int { return cmp.Compare(a.id, b.id) }

func mergeUsers(kept, next *userRow) *userRow {
	merged := *kept
	if next.profile.Version > kept.profile.Version {
		merged.profile = next.profile
	}
	if next.language != nil && (kept.language == nil || next.language.LanguageVersion > kept.language.LanguageVersion) {
		merged.language = next.language
	}
	return &merged
}

// deletionsOf returns the deletions of which new updates tell.
func deletionsOf(rows *folded) (deleted []*deletion) {
	for _, row := range rows.messages {
		if row.deletion != nil {
			deleted = append(deleted, row.deletion)
		}
	}
	for _, d := range rows.chatless {
		if d.announces {
			deleted = append(deleted, d)
		}
	}
	return deleted
}

// mediaOf returns the files of the messages in rows.
func mediaOf(rows []*messageRow) []*mediaRow {
	var files []*mediaRow
	for _, row := range rows {
		for i := range row.newest.Media {
			files = append(files, &mediaRow{key: row.newest.Key, ordinal: i, media: &row.newest.Media[i]})
		}
	}
	return files
}

// eventsOf returns the events of the messages that are announced, of their contents, and of the messages that were deleted.
func eventsOf(created []*messageRow, deleted []*deletion, revised []*snapshot) []*eventRow {
	rows := make([]*eventRow, 0, len(created)+len(deleted)+len(revised))
	for _, row := range created {
		rows = append(rows, newEventRow(event.OfMessageCreated(row.first.Message, row.first.env), row.first.source, row.first.env))
	}
	for _, s := range revised {
		rows = append(rows, newEventRow(event.OfMessageRevised(s.Message, s.hash, s.env), s.source, s.env))
	}
	for _, d := range deleted {
		rows = append(rows, newEventRow(event.OfMessageDeleted(d.Deletion, d.env), d.source, d.env))
	}
	return rows
}

// newEventRow returns the row of e, which follows from the update in env; source is e.Source as text.
func newEventRow(e event.Event, source string, env *ingest.Envelope) *eventRow {
	return &eventRow{Event: e, source: source, receivedAt: env.ReceivedAt}
}

func compareEvents(a, b *eventRow) int { return strings.Compare(a.ID, b.ID) }

func firstEvent(kept, _ *eventRow) *eventRow { return kept }

// checkTimes refuses times that one of the databases can't hold or can't order: on SQLite a year has four digits.
func checkTimes(batch *content.Batch) error {
	for i := range batch.Changes {
		change := &batch.Changes[i]
		if !holds(change.Update.Envelope.ReceivedAt) {
			return fmt.Errorf("update %d: time of receipt outside of the years 1 to 9999", change.Update.UpdateID)
		}
		for at := range timesOf(change) {
			if !holds(at) {
				return fmt.Errorf("update %d: a date outside of the years 1 to 9999", change.Update.UpdateID)
			}
		}
	}
	for i := range batch.DeadLetters {
		if d := &batch.DeadLetters[i]; !holds(d.Envelope.ReceivedAt) || !holds(d.DiedAt) {
			return fmt.Errorf("dead letter of update %d: time outside of the years 1 to 9999", d.UpdateID)
		}
	}
	return nil
}

// timesOf yields the times that change tells.
func timesOf(change *content.ChangeSet) iter.Seq[time.Time] {
	return func(yield func(time.Time) bool) {
		all := func(times ...time.Time) bool {
			return !slices.ContainsFunc(times, func(t time.Time) bool { return !yield(t) })
		}
		for i := range change.Messages {
			if m := &change.Messages[i]; !all(m.Date, m.EditDate, m.Forward.Date) {
				return
			}
		}
		for i := range change.Deletions {
			if !all(change.Deletions[i].DeletedAt) {
				return
			}
		}
		for i := range change.Memberships {
			if m := &change.Memberships[i]; !all(m.Date, m.UntilDate) {
				return
			}
		}
		for i := range change.Reactions {
			if !all(change.Reactions[i].Date) {
				return
			}
		}
		for i := range change.ReactionCounts {
			if !all(change.ReactionCounts[i].Date) {
				return
			}
		}
		for i := range change.Polls {
			if !all(change.Polls[i].CloseDate) {
				return
			}
		}
		for i := range change.Interactions {
			if !all(change.Interactions[i].Date) {
				return
			}
		}
		for i := range change.BusinessConnections {
			if !all(change.BusinessConnections[i].Date) {
				return
			}
		}
		for i := range change.ChatBoosts {
			if b := &change.ChatBoosts[i]; !all(b.AddDate, b.ExpirationDate, b.RemovedAt) {
				return
			}
		}
		for i := range change.ChatAliases {
			if !all(change.ChatAliases[i].Date) {
				return
			}
		}
		for i := range change.Holes {
			if !all(change.Holes[i].FoundAt) {
				return
			}
		}
	}
}

func holds(t time.Time) bool {
	const first, end = -62135596800, 253402300800
	return t.Unix() >= first && t.Unix() < end
}
