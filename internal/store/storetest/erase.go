package storetest

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/store"
)

// Erasures checks the repository for erasing.
func Erasures(t *testing.T, open OpenSQL) {
	rules := map[string]func(t *testing.T, a *archive){
		"a person is in no table any more":                         personIsErased,
		"a chat is in no table any more, under none of its ids":    chatIsErased,
		"what others wrote stays without what is the person's":     othersStay,
		"what comes again does not come back":                      erasedDoesNotReturn,
		"what was on its way is kept out":                          erasedOnTheWay,
		"what is written afterwards is kept":                       writtenAfterwards,
		"a replay reads nothing that was erased":                   replayHonoursErasure,
		"nothing slips in while it is erased":                      erasedWhileWriting,
		"a batch under way is waited for":                          erasureWaits,
		"an erasure that was stopped is finished by the next":      erasureResumes,
		"the receipt counts what went, and is kept with who asked": receiptIsKept,
		"a number that is no id names nobody":                      numbersAreNotNames,
		"what came as TL is found by the bytes of the id":          erasedInTL,
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rules[name](t, openArchive(t, open))
		})
	}
}

const (
	// person is erased, and other is not.
	person content.UserID = 660012345
	other  content.UserID = 660098765
	// village became town.
	village content.ChatID = -660077
	town    content.ChatID = -1006600770000

	// personsWords is in everything that is the person's, othersWords in what stays.
	personsWords = "my own words"
	othersWords  = "somebody else's"
)

// words returns the change set of an update with a message of from in chat, whose raw bytes are like Telegram's. with is more of the message.
func words(id int64, from content.UserID, chat content.ChatID, text, with string) content.ChangeSet {
	raw := fmt.Appendf(nil, `{"update_id":%d,"message":{"message_id":%d,"from":{"id":%d,"first_name":"N"},"chat":{"id": %d},"date":1,"text":%q%s}}`,
		id, id, from, chat, text, with)
	change := update(id)
	change.Update.Envelope.Raw, change.Update.Hash, change.Update.ChatID = raw, ingest.HashOf(raw), chat
	v := version(&change, 0)
	change.Messages = []content.Message{{
		Key: content.MessageKey{Scope: content.ScopeShared, ChatID: chat, MessageID: content.MessageID(id)}, Version: v, Kind: "text",
		NormaliserVersion: 1, FromID: from, Date: sent, Text: text,
	}}
	change.Users = []content.User{{ID: from, Version: v, FirstName: text}}
	change.Chats = []content.Chat{{ID: chat, Version: v, Type: content.Supergroup, Title: "the square"}}
	return change
}

// everywhere returns a history in which the person is in every table.
func everywhere() []content.ChangeSet {
	wrote := words(1, person, someChat, personsWords, "")
	wrote.Messages[0].Media = []content.Media{file(personsWords)}
	asked := words(2, person, someChat, personsWords, `,"poll":{"id":"poll-9"}`)
	asked.Messages[0].Kind, asked.Messages[0].Content = "poll", `{"id":"poll-9","question":"my own words"}`

	stood := words(3, other, someChat, othersWords, "")
	stood.Update.Envelope.Raw = []byte(`{"update_id":3,"poll":{"id":"poll-9","question":"my own words"}}`)
	stood.Update.Hash = ingest.HashOf(stood.Update.Envelope.Raw)
	stood.Messages = nil
	stood.Polls = []content.Poll{{ID: "poll-9", Version: version(&stood, 0), Question: personsWords, Options: "[]"}}

	answered := words(4, other, someChat, othersWords, fmt.Sprintf(`,"reply_to_message":{"from":{"id":%d},"text":"my own words"}`, person))
	answered.Messages[0].ReplyTo = content.Reply{MessageID: 1, Quote: personsWords}
	passedOn := words(5, other, someChat, personsWords, fmt.Sprintf(`,"forward_origin":{"sender_user":{"id":%d}}`, person))
	passedOn.Messages[0].Forward = content.Forward{OriginType: "user", FromID: person}
	passedOn.Users = nil
	added := words(6, other, someChat, othersWords, fmt.Sprintf(`,"new_chat_members":[{"id":%d,"first_name":"my own words"}]`, person))
	added.Messages[0].Content = content.JSON(fmt.Sprintf(`[{"id":%d,"first_name":"my own words"}]`, person))
	added.Memberships = []content.Membership{
		{ChatID: someChat, UserID: person, Version: version(&added, 0), Status: "member", Date: sent, Rest: `{"title":"my own words"}`},
		{ChatID: someChat, UserID: other, Version: version(&added, 0), Status: "member", Date: sent, ActorID: person},
	}
	reacted := words(7, other, someChat, othersWords, fmt.Sprintf(`,"user":{"id":%d}`, person))
	key := content.MessageKey{ChatID: someChat, MessageID: 4}
	reacted.Reactions = []content.Reaction{
		{Key: key, ActorID: int64(person), Version: version(&reacted, 0), Date: sent, Reactions: `["my own words"]`},
		{Key: wrote.Messages[0].Key, ActorID: int64(other), Version: version(&reacted, 0), Date: sent, Reactions: `[]`},
	}
	reacted.PollAnswers = []content.PollAnswer{
		{PollID: "another", VoterID: int64(person), Version: version(&reacted, 0), OptionIDs: "[]"},
		{PollID: "another", VoterID: int64(other), Version: version(&reacted, 0), OptionIDs: "[]"},
	}
	pressed := words(8, other, someChat, othersWords, fmt.Sprintf(`,"callback_query":{"from":{"id":%d}}`, person))
	pressed.Interactions = []content.Interaction{{Kind: "callback_query", Version: version(&pressed, 0), FromID: person, Data: personsWords, Date: sent}}
	pressed.BusinessConnections = []content.BusinessConnection{{ID: "b", Version: version(&pressed, 0), UserID: person, Date: sent}}
	pressed.ChatBoosts = []content.ChatBoost{{ChatID: someChat, BoostID: "x", Version: version(&pressed, 0), UserID: person, AddDate: sent}}
	private := words(9, other, content.ChatID(person), personsWords, "")
	private.Messages[0].Key.Scope = content.Scope(someBot)
	private.Users = nil
	private.AccessHashes = []content.AccessHash{{AccountID: someBot, Peer: content.ChatID(person), Hash: 5, Version: version(&private, 0)}}
	private.Holes = []content.Hole{{AccountID: someBot, ChatID: content.ChatID(person), Reason: content.DifferenceTooLong, FoundAt: sent}}
	return []content.ChangeSet{wrote, asked, stood, answered, passedOn, added, reacted, pressed, private}
}

// trace returns the rows, of all tables but the record, that have one of marks.
func (a *archive) trace(t *testing.T, marks ...string) (rows []string) {
	t.Helper()
	for table := range dumped {
		for _, line := range a.dumpTable(t, table, "*") {
			for _, mark := range marks {
				if strings.Contains(line, mark) || strings.Contains(line, hex.EncodeToString([]byte(mark))) {
					rows = append(rows, table+": "+line)
				}
			}
		}
	}
	return rows
}

func (a *archive) erase(t *testing.T, subject store.Subject) store.Receipt {
	t.Helper()
	receipt, err := a.db.Erasures().Erase(t.Context(), subject, store.Mover{Who: "someone", Reason: "asked for it"}, func(int, int) {})
	require.NoError(t, err)
	return receipt
}

var thePerson = store.Subject{Kind: store.UserSubject, ID: int64(person)}

func personIsErased(t *testing.T, a *archive) {
	a.apply(t, everywhere()...)
	_, err := a.Apply(t.Context(), content.Batch{DeadLetters: []ingest.DeadLetter{
		{Envelope: ingest.Envelope{ReceivedAt: received, Raw: fmt.Appendf(nil, `{"from":{"id":%d},"text":"my own words"`, person)}, DiedAt: received},
		{Envelope: ingest.Envelope{ReceivedAt: received, Raw: fmt.Appendf(nil, `{"from":{"id":%d}`, other)}, DiedAt: received},
	}})
	require.NoError(t, err)
	require.NotEmpty(t, a.trace(t, personsWords))

	a.erase(t, thePerson)
	require.Empty(t, a.trace(t, personsWords, fmt.Sprint(int64(person)), "poll-9"))
	require.Equal(t, 1, a.count(t, "dead_letters"))
}

func chatIsErased(t *testing.T, a *archive) {
	moved := update(20)
	moved.ChatAliases = []content.ChatAlias{{ChatID: village, MigratedToChatID: town, Date: sent}}
	elsewhere := words(12, other, someChat, personsWords, fmt.Sprintf(`,"sender_chat":{"id":%d}`, town))
	elsewhere.Messages[0].SenderChatID = town
	elsewhere.Users = nil
	before := words(11, other, village, personsWords, "")
	before.Users, before.Chats[0].Type = nil, content.Group
	after := words(13, other, town, personsWords, "")
	after.Users = nil
	after.Reactions = []content.Reaction{{Key: after.Messages[0].Key, ActorID: 9, Version: version(&after, 0), Date: sent, Reactions: "[]"}}
	a.apply(t, before, moved, after, elsewhere, words(14, other, someChat, othersWords, ""))

	receipt := a.erase(t, store.Subject{Kind: store.ChatSubject, ID: int64(village)})
	require.Equal(t, []int64{int64(town), int64(village)}, receipt.IDs)
	require.Empty(t, a.trace(t, personsWords))
	for _, line := range a.trace(t, fmt.Sprint(int64(town)), fmt.Sprint(int64(village))) {
		require.Contains(t, line, "chat_aliases: ", "the ids of one chat stay known")
	}
	require.Equal(t, 1, a.count(t, "messages"))
}

func othersStay(t *testing.T, a *archive) {
	a.apply(t, everywhere()...)
	known := a.count(t, "updates")
	a.erase(t, thePerson)
	require.Equal(t, known, a.count(t, "updates"), "every update stays known")
	var texts, quotes, contents, empty, full, whole int
	a.row(t, "SELECT count(*), count(quote), count(content) FROM messages", &texts, &quotes, &contents)
	require.Equal(t, []int{4, 0, 0}, []int{texts, quotes, contents})
	a.row(t, "SELECT count(*) FROM updates WHERE length(payload) = 0", &empty)
	require.Equal(t, known, empty, "each of them names the person, or the poll")
	a.row(t, "SELECT count(*) FROM memberships WHERE actor_id IS NULL", &full)
	require.Equal(t, 1, full)
	a.row(t, "SELECT count(*) FROM reactions", &whole)
	require.Equal(t, 1, whole, "how others reacted to the person is theirs")
	require.Equal(t, 1, a.count(t, "poll_answers"))
	require.Equal(t, 1, a.count(t, "users"))

	a.apply(t, words(30, other, someChat, othersWords, ""))
	a.erase(t, thePerson)
	a.row(t, "SELECT count(*) FROM updates WHERE length(payload) > 0", &full)
	require.Equal(t, 1, full, "which does not name the person")
}

func erasedDoesNotReturn(t *testing.T, a *archive) {
	all := everywhere()
	a.apply(t, all...)
	a.erase(t, thePerson)
	before := a.dump(t)
	again := slices.Clone(all)
	for i := range again {
		again[i].Update.Envelope.ReceivedAt = received.Add(time.Minute)
	}
	require.Zero(t, a.apply(t, again...))
	require.Equal(t, before, a.dump(t))

	// Telegram sends once more what it was not told to have arrived, long after.
	for i := range again {
		again[i].Update.Envelope.ReceivedAt = time.Now().Add(time.Hour)
	}
	a.apply(t, again[0])
	require.Empty(t, a.trace(t, personsWords, fmt.Sprint(int64(person))))
}

func erasedOnTheWay(t *testing.T, a *archive) {
	a.erase(t, thePerson)
	all := everywhere()
	raws := make([]string, len(all))
	for i := range all {
		raws[i] = string(all[i].Update.Envelope.Raw)
	}
	_, err := a.Apply(t.Context(), content.Batch{
		Changes:     slices.DeleteFunc(all, func(c content.ChangeSet) bool { return c.Polls != nil }),
		DeadLetters: []ingest.DeadLetter{{Envelope: ingest.Envelope{ReceivedAt: received, Raw: []byte(raws[0])}, DiedAt: received}},
	})
	require.NoError(t, err)
	require.Empty(t, a.trace(t, personsWords, fmt.Sprint(int64(person))))
	var texts int
	a.row(t, "SELECT count(*) FROM messages WHERE text = '"+strings.ReplaceAll(othersWords, "'", "''")+"'", &texts)
	require.Equal(t, 4, texts, "what others wrote arrives")
	require.Equal(t, raws[0], string(everywhere()[0].Update.Envelope.Raw))
}

func writtenAfterwards(t *testing.T, a *archive) {
	a.erase(t, thePerson)
	change := words(40, person, someChat, personsWords, "")
	change.Update.Envelope.ReceivedAt = time.Now().Add(time.Hour)
	change.Messages[0].Date = change.Update.Envelope.ReceivedAt
	a.apply(t, change)
	require.Len(t, a.trace(t, personsWords), 4, "the update, the message, its revision, the user")
}

func replayHonoursErasure(t *testing.T, a *archive) {
	all := everywhere()
	a.apply(t, append(all, words(30, other, someChat, othersWords, ""))...)
	a.erase(t, thePerson)
	var read []int64
	a.all(t, a.begin(t, store.ReplayRange{}), 3, rereader(2, func(id int64) content.ChangeSet {
		read = append(read, id)
		return words(id, other, someChat, othersWords, "")
	}))
	require.Equal(t, []int64{30}, read)

	// A row of the ledger that was read before it was emptied, and is written after.
	late := words(50, other, someChat, othersWords, "")
	a.apply(t, late)
	a.all(t, a.begin(t, store.ReplayRange{}), 9, func(r *store.LedgerRow) (content.ChangeSet, error) {
		change := words(r.UpdateID, person, someChat, personsWords, "")
		change.Update.Envelope.ReceivedAt = r.ReceivedAt
		return change, nil
	})
	require.Empty(t, a.trace(t, personsWords, fmt.Sprint(int64(person))))
}

func erasedWhileWriting(t *testing.T, a *archive) {
	const writers, batches = 4, 60
	var group errgroup.Group
	started := make(chan struct{}, writers)
	for w := range int64(writers) {
		group.Go(func() error {
			for i := range int64(batches) {
				change := words(1000*w+i+1, person, someChat, personsWords, "")
				if _, err := a.Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{change}}); err != nil {
					return err
				}
				if i == 5 {
					started <- struct{}{}
				}
			}
			return nil
		})
	}
	for range writers {
		<-started
	}
	a.erase(t, thePerson)
	require.NoError(t, group.Wait())
	require.Empty(t, a.trace(t, personsWords, fmt.Sprint(int64(person))))
	require.Equal(t, writers*batches, a.count(t, "updates"))
}

// erasureWaits has a transaction under way that has looked who was erased, as every batch does first, and that writes afterwards.
func erasureWaits(t *testing.T, a *archive) {
	tx, err := a.sql.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	defer tx.Rollback() //nolint:errcheck // it was committed
	var looked int
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT count(*) FROM erasures").Scan(&looked))
	_, err = tx.ExecContext(t.Context(), fmt.Sprintf(
		"INSERT INTO users (id, version, is_bot, first_name, last_name, username, is_premium, language_version, language_code) "+
			"VALUES (%d, '', false, 'my own words', '', '', false, '', '')", person))
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := a.db.Erasures().Erase(t.Context(), thePerson, store.Mover{}, func(int, int) {})
		done <- err
	}()
	// SQLite has one writer at a time, so there only PostgreSQL can show that somebody waits.
	waiting := func() bool {
		var waits bool
		err := a.sql.QueryRowContext(t.Context(), "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database WHERE NOT granted AND datname = current_database())").Scan(&waits)
		return err != nil || waits || len(done) > 0
	}
	require.Eventually(t, waiting, 10*time.Second, time.Millisecond)
	require.NoError(t, tx.Commit())
	require.NoError(t, <-done)
	require.Empty(t, a.trace(t, personsWords))
}

func erasureResumes(t *testing.T, a *archive) {
	all := everywhere()
	a.apply(t, all...)
	for at := 0; ; at++ {
		ctx, stop := context.WithCancel(t.Context())
		steps := 0
		_, err := a.db.Erasures().Erase(ctx, thePerson, store.Mover{}, func(done, of int) {
			if steps = of; done == at {
				stop()
			}
		})
		stop()
		if at == steps {
			break
		}
		require.Error(t, err)
		require.NotEmpty(t, a.trace(t, personsWords), "the updates go last")
	}
	a.erase(t, thePerson)
	require.Empty(t, a.trace(t, personsWords, fmt.Sprint(int64(person)), "poll-9"))
}

func receiptIsKept(t *testing.T, a *archive) {
	a.apply(t, everywhere()...)
	steps := 0
	receipt, err := a.db.Erasures().Erase(t.Context(), thePerson, store.Mover{Who: "someone", Reason: "asked for it"}, func(done, of int) {
		require.Equal(t, steps, done)
		require.LessOrEqual(t, done, of)
		steps++
	})
	require.NoError(t, err)
	require.Greater(t, steps, 5)
	require.Equal(t, thePerson, receipt.Subject)
	require.Equal(t, 9, receipt.Rows["updates"])
	require.Equal(t, 1, receipt.Rows["users"])
	require.Equal(t, 1, receipt.Rows["polls"])
	var who, reason, removed string
	var id int64
	a.row(t, "SELECT id, who, reason, CAST(removed AS text) FROM erasures WHERE subject = 'user'", &id, &who, &reason, &removed)
	require.Equal(t, receipt.ID, id)
	require.Equal(t, []string{"someone", "asked for it"}, []string{who, reason})
	require.Contains(t, removed, "updates")
	require.NotContains(t, removed, personsWords)

	require.Empty(t, a.erase(t, thePerson).Rows, "nothing is left")
}

func numbersAreNotNames(t *testing.T, a *archive) {
	text := fmt.Sprintf("call %d", person)
	change := words(60, other, someChat, text, fmt.Sprintf(`,"edit_date":%d,"x_id":%d9,"y_id":-%d`, person, person, person))
	a.apply(t, change)
	a.erase(t, thePerson)
	require.Len(t, a.trace(t, text), 4, "the update, the message, its revision, the user's name")
}

// inTL returns change with raw bytes that are like TL: what names its id is a number of eight bytes.
func inTL(change content.ChangeSet, bare uint64) content.ChangeSet {
	id := binary.LittleEndian.AppendUint64(nil, bare)
	change.Update.Envelope.Raw = slices.Concat([]byte("\x22\x17\x51\x59"), id, []byte(change.Messages[0].Text))
	change.Update.Hash = ingest.HashOf(change.Update.Envelope.Raw)
	return change
}

func erasedInTL(t *testing.T, a *archive) {
	const channel content.ChatID = -1000000000005
	wrote, posted := inTL(words(1, person, someChat, personsWords, ""), uint64(person)), inTL(words(2, other, channel, personsWords, ""), 5)
	// Nothing else in these rows tells whose they are.
	wrote.Update.ChatID, posted.Update.ChatID = 0, 0
	stays := inTL(words(3, other, someChat, othersWords, ""), uint64(other))
	letter := ingest.DeadLetter{Envelope: wrote.Update.Envelope, DiedAt: received}
	apply := func() {
		_, err := a.Apply(t.Context(), content.Batch{
			Changes: []content.ChangeSet{wrote, posted, stays}, DeadLetters: []ingest.DeadLetter{letter},
		})
		require.NoError(t, err)
	}
	apply()
	a.erase(t, thePerson)
	require.Len(t, a.trace(t, personsWords), 3, "the update of the other channel, its message, and its revision")
	a.erase(t, store.Subject{Kind: store.ChatSubject, ID: int64(channel)})
	require.Empty(t, a.trace(t, personsWords))
	apply()
	require.Empty(t, a.trace(t, personsWords), "nor does it come back")
	require.NotEmpty(t, a.trace(t, othersWords))
}
