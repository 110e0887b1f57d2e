package listener_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
	normalisetl "github.com/tgfleet/tgfleet/internal/normalise/mtproto"
	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
)

// pages takes pages of history, counts the messages in them, and may be said to have many waiting.
type pages struct {
	// sink reads what they tell.
	sink *sink

	mu        sync.Mutex
	waiting   int
	asked     int
	refuse    int
	envelopes []ingest.Envelope
	seen      map[int]int
}

func (p *pages) Put(_ context.Context, page []ingest.Envelope) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse > 0 {
		p.refuse--
		return errDown
	}
	p.envelopes = append(p.envelopes, page...)
	for _, e := range page {
		answer, err := tg.DecodeMessagesMessages(&bin.Buffer{Buf: slices.Clone(e.Raw)})
		if err != nil {
			continue
		}
		whole, _ := answer.AsModified()
		for _, m := range whole.GetMessages() {
			p.seen[m.GetID()]++
		}
		p.sink.set(func(s *sink) { s.readMessages(whole.GetMessages()) })
	}
	return nil
}

func (p *pages) Waiting(context.Context) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	return p.waiting, nil
}

func (p *pages) set(change func(*pages)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(p)
}

// times returns how often each message was read that was read at all.
func (p *pages) times() map[int]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.seen)
}

// once are the numbers from a to b, each read once.
func once(a, b int) map[int]int {
	times := map[int]int{}
	for ; a <= b; a++ {
		times[a] = 1
	}
	return times
}

func chatOf(chat *datacentre.Chat) content.ChatID {
	if chat.Kind == datacentre.Private {
		return content.ChatID(chat.ID)
	}
	return content.ChatID(-1_000_000_000_000 - chat.ID)
}

func texts(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("old ", i+1)
	}
	return all
}

// withHistory returns a fixture with a listener and an account, in whose channel n messages were written before anybody listened.
func withHistory(t *testing.T, cfg datacentre.Config, n int) (*fixture, *listener, account.Connector, *datacentre.Account, *datacentre.Chat) {
	t.Helper()
	f := setup(t, cfg)
	running := f.start()
	anna := f.user("1")
	channel := f.telegram.AddChat(datacentre.Channel, "Main Channel", anna)
	f.telegram.Lay(channel, texts(n)...)
	c := f.connect(anna)
	f.followed()
	return f, running, c, anna, channel
}

func (f *fixture) backfill(b account.Backfill) account.Backfill {
	f.t.Helper()
	started, err := f.db.Backfills().Start(f.t.Context(), b)
	require.NoError(f.t, err)
	return started
}

// ended waits until b has ended and returns it.
func (f *fixture) ended(b account.Backfill) (now account.Backfill) {
	f.t.Helper()
	f.eventually(func() bool {
		var err error
		now, err = f.db.Backfills().Find(f.t.Context(), b.ID)
		require.NoError(f.t, err)
		return now.Status.Ended()
	}, "the backfill ends")
	return now
}

func TestHistoryIsReadToItsBeginning(t *testing.T) {
	t.Parallel()
	f, _, c, anna, channel := withHistory(t, datacentre.Config{}, 250)
	f.pages.set(func(p *pages) { p.refuse = 1 })
	done := f.ended(f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chatOf(channel)}))
	require.Equal(t, account.BackfillDone, done.Status)
	require.Equal(t, once(1, 250), f.pages.times())
	require.Equal(t, []int{250, 1, 250, 250}, []int{int(done.Top), int(done.Cursor), done.Messages, done.Total})
	for _, e := range f.pages.envelopes {
		require.Equal(t, ingest.Backfill, e.Origin)
		require.Equal(t, ingest.Source{Transport: ingest.MTProto, Account: anna.ID}, e.Source)
		var asked tg.MessagesGetHistoryRequest
		require.NoError(t, asked.Decode(&bin.Buffer{Buf: slices.Clone(e.Request)}))
		require.Equal(t, &tg.InputPeerChannel{ChannelID: channel.ID}, asked.Peer, "the access hash stays with the account")
	}
}

func TestHistoryIsReadAsFarAsItIsWanted(t *testing.T) {
	t.Parallel()
	f, _, c, _, channel := withHistory(t, datacentre.Config{}, 250)
	history := f.telegram.History(channel)
	done := f.ended(f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chatOf(channel), Begin: 241, Floor: 220}))
	require.Equal(t, account.BackfillDone, done.Status)
	require.Equal(t, once(221, 240), f.pages.times())
	require.Equal(t, 1, done.Pages)

	f.pages.set(func(p *pages) { clear(p.seen) })
	since := time.Unix(int64(history[199].Date), 0)
	done = f.ended(f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chatOf(channel), Since: since}))
	require.Equal(t, account.BackfillDone, done.Status)
	require.Equal(t, once(151, 250), f.pages.times(), "a page is kept whole")
}

func TestTheNextListenerGoesOnWhereTheBackfillWasAndKeepsToTheFloodWait(t *testing.T) {
	t.Parallel()
	limit := datacentre.Rate{Calls: 1, Window: 4 * time.Second}
	f, running, c, _, channel := withHistory(t, datacentre.Config{HistoryLimit: limit}, 250)
	b := f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chatOf(channel)})
	f.eventually(func() bool { return f.metric("tgfleet_mtproto_flood_waits_total") > 0 }, "telegram lets it wait")
	running.stop()
	f.start()
	done := f.ended(b)
	require.Equal(t, account.BackfillDone, done.Status)
	require.Equal(t, once(1, 250), f.pages.times())
	require.Zero(t, f.telegram.Early())
}

// The Redis that took over may lack the last pages.
func TestAnotherRedisLetsABackfillGoBack(t *testing.T) {
	t.Parallel()
	f, _, c, _, channel := withHistory(t, datacentre.Config{}, 150)
	b := f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chatOf(channel)})
	require.Equal(t, account.BackfillDone, f.ended(b).Status)
	require.Equal(t, once(1, 150), f.pages.times())
	f.queue.set("redis-2")
	f.eventually(func() bool {
		times := f.pages.times()
		return times[1] == 2 && times[150] == 2
	}, "all of it is read again")
	require.Equal(t, account.BackfillDone, f.ended(b).Status)
}

func TestHistoryThatTelegramRefusesIsGivenUpAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	f, _, c, anna, channel := withHistory(t, datacentre.Config{}, 50)
	gone := f.telegram.AddChat(datacentre.Channel, "Gone", anna)
	f.followed(gone)
	f.telegram.Forbid(gone, anna, "CHANNEL_PRIVATE")
	for chat, reason := range map[content.ChatID]string{
		chatOf(gone): "CHANNEL_PRIVATE", 777000: "telegram's own chat is not read", -1_000_000_099_999: "the account has never been told of the chat",
	} {
		failed := f.ended(f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chat}))
		require.Equal(t, account.BackfillFailed, failed.Status)
		require.Equal(t, reason, failed.Reason)
	}
	require.Zero(t, f.telegram.Calls("messages.getHistory")-1, "nobody asks for what can't be asked for")
	require.Equal(t, account.BackfillDone, f.ended(f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chatOf(channel)})).Status)
}

func TestHistoryWaitsForTheWorkersAndCanBeCancelled(t *testing.T) {
	t.Parallel()
	f, _, c, _, channel := withHistory(t, datacentre.Config{}, 50)
	f.pages.set(func(p *pages) { p.waiting = 64 })
	cancelled := f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chatOf(channel)})
	// What is live comes through meanwhile.
	f.followed(channel)
	f.eventually(func() bool {
		asked := 0
		f.pages.set(func(p *pages) { asked = p.asked })
		return asked >= 2
	}, "it is looked twice whether there is room")
	require.NoError(t, f.db.Backfills().Cancel(t.Context(), cancelled.ID))
	f.pages.set(func(p *pages) { p.waiting = 0 })
	next := f.ended(f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chatOf(channel), Begin: 11}))
	require.Equal(t, account.BackfillDone, next.Status)
	require.Equal(t, once(1, 10), f.pages.times())
}

func TestATakeoutIsOpenAsLongAsItIsNeeded(t *testing.T) {
	t.Parallel()
	f, _, c, anna, channel := withHistory(t, datacentre.Config{}, 150)
	friend := f.telegram.AddPrivate(anna, "Friend")
	f.followed(friend)
	f.telegram.DelayTakeouts(8 * time.Second)
	slow := f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chatOf(channel), Takeout: true})
	quick := f.ended(f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chatOf(friend)}))
	require.Equal(t, account.BackfillDone, quick.Status)
	waiting, err := f.db.Backfills().Find(t.Context(), slow.ID)
	require.NoError(t, err)
	require.Equal(t, account.BackfillWaiting, waiting.Status, "one that has to wait holds up no other")
	f.eventually(func() bool { return f.telegram.Takeouts() == 1 }, "the takeout begins")
	require.Equal(t, account.BackfillDone, f.ended(slow).Status)
	f.eventually(func() bool { return f.telegram.Takeouts() == 0 }, "the takeout ends")
	require.Zero(t, f.telegram.Early())
}

// Nobody has written there since the account is followed: only the dialogs tell how the account names the person.
func TestAQuietPrivateChatIsRead(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{})
	f.start()
	anna := f.user("1")
	friend := f.telegram.AddPrivate(anna, "Friend")
	f.telegram.Lay(friend, texts(20)...)
	c := f.connect(anna)
	f.followed()
	done := f.ended(f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chatOf(friend)}))
	require.Equal(t, account.BackfillDone, done.Status)
	require.Equal(t, 20, done.Messages)
	refused := f.ended(f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: 4242}))
	require.Equal(t, "the account has never been told of the chat", refused.Reason)
}

func TestATakeoutOutlivesAFloodWait(t *testing.T) {
	t.Parallel()
	f, _, c, _, channel := withHistory(t, datacentre.Config{HistoryLimit: datacentre.Rate{Calls: 1, Window: 8 * time.Second}}, 550)
	done := f.ended(f.backfill(account.Backfill{ConnectorID: c.ID, ChatID: chatOf(channel), Takeout: true}))
	require.Equal(t, account.BackfillDone, done.Status)
	require.Positive(t, f.metric("tgfleet_mtproto_flood_waits_total"))
	require.Equal(t, 1, f.telegram.Calls("account.initTakeoutSession"))
}

// archive brings into the archive what the sink has taken, as workers do.
func (f *fixture) archive() {
	f.t.Helper()
	set := normalise.Set{ingest.MTProtoTL: normalisetl.New(), ingest.SealedTL: normalisetl.NewSealed()}
	for _, e := range f.sink.all() {
		changes, err := set.Normalise(e)
		require.NoError(f.t, err)
		_, err = f.db.Archive().Apply(f.t.Context(), content.Batch{Changes: []content.ChangeSet{changes}})
		require.NoError(f.t, err)
	}
}

func TestHolesAreFilled(t *testing.T) {
	t.Parallel()
	f := setup(t, datacentre.Config{DifferenceMost: 20, ChannelDifferenceMost: 20})
	running := f.start()
	anna := f.user("1")
	channel := f.telegram.AddChat(datacentre.Channel, "Main Channel", anna)
	friend := f.telegram.AddPrivate(anna, "Friend")
	f.telegram.Lay(channel, texts(120)...)
	f.telegram.Lay(friend, texts(120)...)
	f.connect(anna)
	f.followed(channel, friend)
	running.stop()
	before := len(f.telegram.History(channel))
	for i := range 150 {
		f.telegram.Post(channel, fmt.Sprint("missed ", i))
		f.telegram.Post(friend, fmt.Sprint("missed ", i))
	}
	f.start()
	f.followed(channel, friend)
	f.archive()
	f.eventually(func() bool {
		holes, err := f.db.Backfills().Holes(t.Context())
		require.NoError(t, err)
		return len(holes) == 2 && !slices.ContainsFunc(holes, func(h account.Hole) bool { return h.Status != account.HoleFilled })
	}, "both holes are filled")
	var wanted []string
	for _, chat := range []*datacentre.Chat{channel, friend} {
		for _, m := range f.telegram.History(chat)[before:] {
			wanted = append(wanted, key("text", chat, m.ID, m.Text))
		}
	}
	require.Empty(t, f.sink.missing(wanted))
	require.Less(t, len(f.pages.times()), 2*(150+30), "no more is read than can be missing")
	f.eventually(func() bool { return f.metric("tgfleet_mtproto_holes_open") == 0 }, "no hole is said to be open")
}

// Telegram says of a channel with much traffic that it moved on, and leaves it to the client to ask.
func TestAChannelThatMovedOnTooFarIsAskedFor(t *testing.T) {
	t.Parallel()
	f, anna, _, channel := following(t)
	f.telegram.SetFaults(datacentre.Faults{Lost: 1})
	missed := f.telegram.Post(channel, "missed")
	f.telegram.SetFaults(datacentre.Faults{})
	change := content.ChangeSet{Update: content.Update{Kind: "update_channel_too_long", Envelope: ingest.Envelope{
		Source: ingest.Source{Transport: ingest.MTProto, Account: anna.ID}, ReceivedAt: time.Now(), Format: ingest.MTProtoTL, Raw: []byte("raw"),
	}}}
	for _, chat := range []content.ChatID{chatOf(channel), -1_000_000_099_999} {
		change.Holes = append(change.Holes, content.Hole{AccountID: anna.ID, ChatID: chat, Reason: content.ChannelTooLong, FoundAt: time.Now()})
	}
	_, err := f.db.Archive().Apply(t.Context(), content.Batch{Changes: []content.ChangeSet{change}})
	require.NoError(t, err)
	f.eventually(func() bool {
		holes, err := f.db.Backfills().Holes(t.Context())
		require.NoError(t, err)
		return !slices.ContainsFunc(holes, func(h account.Hole) bool { return h.Status == account.HoleOpen })
	}, "both holes are closed")
	holes, err := f.db.Backfills().Holes(t.Context())
	require.NoError(t, err)
	for _, h := range holes {
		want := account.HoleGivenUp
		if h.ChatID == chatOf(channel) {
			want = account.HoleFilled
		}
		require.Equal(t, want, h.Status, h.ChatID)
	}
	require.True(t, f.sink.has(key("new", channel, missed.ID, "")))
}
