package storetest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
)

// object is a JSON object.
type object = map[string]any

// history is what happens in a few chats, told by updates to two accounts. The ids of all that it tells of are made of its number, so that
// histories of different numbers share nothing.
type history struct {
	number int64
	steps  []step
}

// GoString is what rapid prints of h; the test prints its updates.
func (h history) GoString() string {
	return fmt.Sprintf("history %d of %d updates", h.number, len(h.steps))
}

// step is one update of a history, and how it comes. The small numbers choose among few things, so that steps often speak of the same.
type step struct {
	// what is an index of kinds.
	what                                             int
	bot, chat, message, user, text, second, document int

	flag bool
	// later puts the update after a week of silence, when Telegram goes on with other update ids: here with smaller ones.
	later    bool
	receipts []receipt
}

// receipt is one arrival of an update: an envelope of its own. It is delivered at least once.
type receipt struct {
	// delay is an index of delays.
	delay      int
	deliveries []place
	rereadings []rereading
}

// rereading is a receipt as a replay reads it from the ledger: some time after it has been applied, with the same normaliser or a newer one.
type rereading struct {
	newer bool
	after place
}

// place is where a delivery stands among those of its history: rounds follow each other, and in each several writers apply one batch at
// the same time.
type place struct{ round, writer, order int }

const rounds, writers = 3, 3

// delays are those of Telegram's repeats: within the day, into the next one, and long enough for the version of what has no date.
var delays = []time.Duration{0, time.Hour, 13 * time.Hour, 30 * time.Hour, 4 * 24 * time.Hour}

// drawHistories draws some 15 histories. Like their steps, they are several lists: without a lower bound rapid makes lists of half of
// the upper bound and of five at most, and with one it could not make them shorter when it looks for a smaller failure.
func drawHistories(t *rapid.T) (all []history) {
	for range 4 {
		for _, steps := range rapid.SliceOfN(someSteps, 0, 9).Draw(t, "some") {
			all = append(all, history{number: int64(len(all) + 1), steps: steps})
		}
	}
	return all
}

// someSteps makes some 7 of them.
var someSteps = rapid.Custom(func(t *rapid.T) []step {
	steps := rapid.SliceOfN(rapid.Custom(drawStep), 0, 7)
	return append(steps.Draw(t, "first"), steps.Draw(t, "then")...)
})

func drawStep(t *rapid.T) step {
	below := func(n int, label string) int { return rapid.IntRange(0, n-1).Draw(t, label) }
	s := step{
		what: below(len(kinds), "kind"), bot: below(2, "bot"), chat: below(len(chatTypes), "chat"), message: below(3, "message"),
		user: below(3, "user"), text: below(3, "text"), second: below(4, "second"), document: below(3, "document"),
		flag: rapid.Bool().Draw(t, "flag"), later: below(6, "later") > 4,
	}
	s.receipts = append([]receipt{drawReceipt(t)}, sometimes(t, drawReceipt, "again")...)
	return s
}

func drawReceipt(t *rapid.T) receipt {
	return receipt{
		delay:      rapid.IntRange(0, len(delays)-1).Draw(t, "delay"),
		deliveries: rapid.SliceOfN(rapid.Custom(drawPlace), 1, 2).Draw(t, "deliveries"),
		rereadings: sometimes(t, func(t *rapid.T) rereading {
			return rereading{newer: rapid.Bool().Draw(t, "newer"), after: drawPlace(t)}
		}, "reread"),
	}
}

// sometimes draws one of four times.
func sometimes[T any](t *rapid.T, draw func(t *rapid.T) T, label string) []T {
	if rapid.IntRange(0, 3).Draw(t, label) < 3 {
		return nil
	}
	return []T{draw(t)}
}

func drawPlace(t *rapid.T) place {
	return place{
		round: rapid.IntRange(0, rounds-1).Draw(t, "round"), writer: rapid.IntRange(0, writers-1).Draw(t, "writer"),
		order: rapid.IntRange(0, 31).Draw(t, "order"),
	}
}

// delivery is an update on its way to the archive.
type delivery struct {
	content.ChangeSet
	place place
}

// String says what is delivered, and where.
func (d *delivery) String() string {
	u := &d.Update
	return fmt.Sprintf("round %d, writer %d, number %d: %s of %s, at %s, read by %d: %s", d.place.round, d.place.writer, d.place.order,
		u.Envelope.Origin, u.Envelope.Source, u.Envelope.ReceivedAt.Format(time.DateTime), u.NormaliserVersion, u.Envelope.Raw)
}

// told returns the updates of h once and in order, and as they are delivered.
func (h *history) told(t require.TestingT) (once []content.ChangeSet, deliveries []*delivery) {
	for i := range h.steps {
		came := map[time.Duration]bool{}
		for _, a := range h.steps[i].receipts {
			change := h.read(t, i, delays[a.delay])
			if !came[delays[a.delay]] {
				once = append(once, change)
			}
			came[delays[a.delay]] = true
			first := a.deliveries[0].round
			for _, p := range a.deliveries {
				first = min(first, p.round)
				deliveries = append(deliveries, &delivery{change, p})
			}
			for _, r := range a.rereadings {
				again := h.read(t, i, delays[a.delay])
				again.Update.Envelope.Origin = ingest.Replay
				if r.newer {
					readBetter(&again)
					once = append(once, again)
				}
				r.after.round += first + 1
				deliveries = append(deliveries, &delivery{again, r.after})
			}
		}
	}
	return once, deliveries
}

// read returns what the normaliser makes of step i when it comes late by delay.
func (h *history) read(t require.TestingT, i int, delay time.Duration) content.ChangeSet {
	s := scene{&h.steps[i], h.number * 1_000_000}
	id, at := s.base+int64(500+i), received
	if s.later {
		id, at = s.base+int64(i), received.AddDate(0, 0, 8)
	}
	kind := kinds[s.what]
	field, body := kind.body(&s)
	raw, err := json.Marshal(object{"update_id": id, field: body})
	require.NoError(t, err)
	change := read(t, someBot+10*h.number+int64(s.bot), at.Add(delay), string(raw))
	if kind.table == deletions {
		s.goneSomewhere(&change)
	}
	return change
}

// read returns what the normaliser makes of the update that account receives.
func read(t require.TestingT, account int64, at time.Time, raw string) content.ChangeSet {
	change, err := botapi.New().Normalise(ingest.Envelope{
		Source: ingest.Source{Transport: ingest.BotAPI, Account: account}, ReceivedAt: at,
		Origin: ingest.Live, Format: ingest.BotAPIJSON, Raw: []byte(raw),
	})
	require.NoError(t, err, raw)
	return change
}

// readBetter makes of change what a newer normaliser could have read: another text, other names, fewer files. The text may be one that
// another update shows.
func readBetter(change *content.ChangeSet) {
	const better = normalise.Version + 1
	newer := func(v *content.Version) {
		if *v != "" {
			*v = (*v)[:len(*v)-2] + content.Version([]byte{byte(better >> 8), byte(better)})
		}
	}
	next := strings.NewReplacer("text 0", "text 1", "text 1", "text 2", "text 2", "text 0")
	nextJSON := func(text content.JSON) content.JSON { return content.JSON(next.Replace(string(text))) }
	change.Update.NormaliserVersion = better
	for i := range change.Chats {
		newer(&change.Chats[i].Version)
		change.Chats[i].Title += " indeed"
	}
	for i := range change.Users {
		u := &change.Users[i]
		newer(&u.Version)
		newer(&u.LanguageVersion)
		u.FirstName += " indeed"
	}
	for i := range change.Messages {
		m := &change.Messages[i]
		newer(&m.Version)
		m.NormaliserVersion, m.Text, m.Media = better, next.Replace(m.Text), m.Media[:len(m.Media)/2]
	}
	for i := range change.Memberships {
		newer(&change.Memberships[i].Version)
		change.Memberships[i].Status = "restricted"
	}
	for i := range change.Reactions {
		newer(&change.Reactions[i].Version)
		change.Reactions[i].Reactions = nextJSON(change.Reactions[i].Reactions)
	}
	for i := range change.ReactionCounts {
		newer(&change.ReactionCounts[i].Version)
		change.ReactionCounts[i].TotalCount++
	}
	for i := range change.Polls {
		newer(&change.Polls[i].Version)
		change.Polls[i].Question = next.Replace(change.Polls[i].Question)
	}
	for i := range change.PollAnswers {
		newer(&change.PollAnswers[i].Version)
		change.PollAnswers[i].OptionIDs = "[7]"
	}
	for i := range change.Interactions {
		newer(&change.Interactions[i].Version)
		change.Interactions[i].Data = next.Replace(change.Interactions[i].Data)
	}
	for i := range change.BusinessConnections {
		newer(&change.BusinessConnections[i].Version)
		change.BusinessConnections[i].Rest = `{"rights":{}}`
	}
	for i := range change.ChatBoosts {
		newer(&change.ChatBoosts[i].Version)
		change.ChatBoosts[i].Rest = `{"indeed":true}`
	}
}
