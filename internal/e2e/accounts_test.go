//go:build !race

package e2e_test

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
)

const (
	accountEvents = 1500
	// handedOver is longer than the 90 s after which the accounts of a listener that was killed are taken by another.
	handedOver = 4 * time.Minute
)

// accounts is a fleet that listens to accounts of a Telegram of the test's own.
type accounts struct {
	*fleet
	telegram  *datacentre.Server
	listeners []*server
}

func newAccounts(t *testing.T, cfg datacentre.Config) *accounts {
	t.Helper()
	telegram, err := datacentre.New(cfg)
	require.NoError(t, err)
	require.NoError(t, telegram.Start(t.Context()))
	t.Cleanup(telegram.Stop)
	key := filepath.Join(t.TempDir(), "dc.pem")
	require.NoError(t, os.WriteFile(key, telegram.PublicKey(), 0o600))
	a := &accounts{fleet: newFleet(t), telegram: telegram}
	a.env = a.env.with(environment{
		"TELEGRAM_API_ID": "1", "TELEGRAM_API_HASH": "0123456789abcdef0123456789abcdef",
		"TELEGRAM_DC": fmt.Sprint(datacentre.DC, "=", telegram.Addr()), "TELEGRAM_DC_KEY": key,
	})
	return a
}

func (a *accounts) startListener() *server {
	a.t.Helper()
	l := serve(a.t, command{program: "mtproto-listener", env: a.env}, "METRICS_ADDR", "")
	a.listeners = append(a.listeners, l)
	return l
}

// signIn adds a connector and signs it in, as an operator does, and returns when it is known from where on its updates are followed: what
// is posted before that is history.
func (a *accounts) signIn(of *datacentre.Account) {
	a.t.Helper()
	a.tool("connector", "add", "--label", of.FirstName)
	got := run(a.t, command{
		program: "tgfleet", args: []string{"connector", "login", of.FirstName, "--phone", "+" + of.Phone}, env: a.env, stdin: of.Code + "\n",
	})
	require.Zero(a.t, got.code, got.stderr)
	require.Contains(a.t, got.stdout, "Signed in")
	eventually(a.t, startWithin, func(context.Context) error {
		known := "SELECT count(*) FROM update_states JOIN connectors ON id = connector_id WHERE channel_id = 0 AND label = '" + of.FirstName + "'"
		if a.db.count(known) == 0 {
			return errors.New("the account's place is not known")
		}
		return nil
	})
}

// archived is a message as the archive has it.
type archived struct {
	text string
	gone bool
}

// messages returns the archive's messages of chat, by id.
func (a *accounts) messages(chat *datacentre.Chat) map[int]archived {
	a.t.Helper()
	id := chat.ID
	if chat.Kind != datacentre.Private {
		id = -1_000_000_000_000 - chat.ID
	}
	all := map[int]archived{}
	a.db.each(fmt.Sprintf("SELECT message_id, coalesce(text, ''), deleted_at IS NOT NULL FROM messages WHERE chat_id = %d", id),
		func(rows *sql.Rows) error {
			var id int
			var m archived
			err := rows.Scan(&id, &m.text, &m.gone)
			all[id] = m
			return err
		})
	return all
}

// isKnownToBeGone tells whether the archive knows the end of a message whose chat Telegram did not name.
func (a *accounts) isKnownToBeGone(of *datacentre.Account, id int) bool {
	a.t.Helper()
	return a.db.count(fmt.Sprintf("SELECT count(*) FROM chatless_deletions WHERE scope = %d AND message_id = %d", of.ID, id)) == 1
}

// followed waits until posts to each chat come through to the archive.
func (a *accounts) followed(within time.Duration, chats ...*datacentre.Chat) {
	a.t.Helper()
	for _, chat := range chats {
		last, posted := 0, time.Time{}
		eventually(a.t, within, func(context.Context) error {
			if _, there := a.messages(chat)[last]; there {
				return nil
			}
			if time.Since(posted) > 2*time.Second {
				last, posted = a.telegram.Post(chat, "are you there?").ID, time.Now()
			}
			return fmt.Errorf("no post to %s has come through", chat.Title)
		})
	}
}

// TestNoUpdateOfAnAccountIsLost lets two accounts be followed by two listeners while pushes get lost and come late, connections drop, Redis is away
// twice, one listener is killed and one restarted, and then holds the archive against Telegram's own history.
func TestNoUpdateOfAnAccountIsLost(t *testing.T) {
	t.Parallel()
	a := newAccounts(t, datacentre.Config{Seed: 1})
	anna := a.telegram.AddAccount(datacentre.Account{FirstName: "anna", Phone: "4915100000001", Code: "12345"})
	bert := a.telegram.AddAccount(datacentre.Account{FirstName: "bert", Phone: "4915100000002", Code: "54321"})
	chats := []*datacentre.Chat{
		a.telegram.AddChat(datacentre.Channel, "Main Channel", anna, bert),
		a.telegram.AddChat(datacentre.Supergroup, "Chat Group", anna, bert),
		a.telegram.AddChat(datacentre.Channel, "Anna's Channel", anna),
		a.telegram.AddChat(datacentre.Channel, "Bert's Channel", bert),
		a.telegram.AddPrivate(anna, "Friend"),
	}
	a.startWorker()
	a.startWorker()
	killed, restarted := a.startListener(), a.startListener()
	a.signIn(anna)
	a.signIn(bert)
	a.followed(startWithin, chats...)

	random := rand.New(rand.NewPCG(1, 2))
	a.telegram.SetFaults(datacentre.Faults{Lost: 0.15, Reordered: 0.1, Repeated: 0.05})
	pace := time.NewTicker(5 * time.Millisecond)
	defer pace.Stop()
	for i := range accountEvents {
		happenIn(a.telegram, random, chats[random.IntN(len(chats))])
		<-pace.C
		switch i {
		case 200, 900:
			require.NoError(t, a.redis.Kill())
		case 350, 1050:
			require.NoError(t, a.redis.Restart(t.Context()))
		case 450, 1200:
			a.telegram.Kick()
		case 600:
			restarted.signal(syscall.SIGTERM)
			require.Zero(t, restarted.exit(drainTimeout+drainSlack))
			a.startListener()
		case 750:
			killed.kill()
		}
	}
	a.telegram.SetFaults(datacentre.Faults{})
	a.followed(handedOver, chats...)
	a.settled(startWithin)

	for _, chat := range chats {
		a.requireWhole(anna, chat)
	}
	require.Zero(t, a.telegram.Overlaps(), "no moment with two holders")
	for _, l := range a.listeners {
		require.NotContains(t, strings.ToLower(l.stderr()), "are you there", "no text in a log")
	}
}

// requireWhole waits until the archive has what the chat's history has, which of is an account that sees it, and requires that it has no more.
func (a *accounts) requireWhole(of *datacentre.Account, chat *datacentre.Chat) {
	a.t.Helper()
	unseen := 0
	eventually(a.t, startWithin, func(context.Context) error {
		there := a.messages(chat)
		unseen = 0
		for _, m := range a.telegram.History(chat) {
			got, found := there[m.ID]
			switch {
			case !found && m.Deleted && chat.Kind == datacentre.Private && a.isKnownToBeGone(of, m.ID):
				// Telegram names no chat with such an end, and what was never seen is in none.
				unseen++
			case !found && m.Deleted:
				return fmt.Errorf("%s: the end of %d is missing", chat.Title, m.ID)
			case !found:
				return fmt.Errorf("%s: %d is missing", chat.Title, m.ID)
			case got.gone != m.Deleted:
				return fmt.Errorf("%s: %d is gone: %t, want %t", chat.Title, m.ID, got.gone, m.Deleted)
			case !m.Deleted && got.text != m.Text:
				return fmt.Errorf("%s: %d is not in its last form", chat.Title, m.ID)
			}
		}
		return nil
	})
	require.Len(a.t, a.messages(chat), len(a.telegram.History(chat))-unseen, "%s: each message once", chat.Title)
}

// TestHistoryIsReadAndHolesAreFilledOverKills kills the listener that reads history, and the worker; more is written while nobody holds the account than
// Telegram tells in a difference.
func TestHistoryIsReadAndHolesAreFilledOverKills(t *testing.T) {
	t.Parallel()
	a := newAccounts(t, datacentre.Config{Seed: 1, DifferenceMost: 100, ChannelDifferenceMost: 100})
	anna := a.telegram.AddAccount(datacentre.Account{FirstName: "anna", Phone: "4915100000001", Code: "12345"})
	channel, friend := a.telegram.AddChat(datacentre.Channel, "Main Channel", anna), a.telegram.AddPrivate(anna, "Friend")
	old := make([]string, 900)
	for i := range old {
		old[i] = fmt.Sprint("written before anybody listened, ", i)
	}
	a.telegram.Lay(channel, old...)
	worker := a.startWorker()
	a.startListener()
	a.startListener()
	a.signIn(anna)
	a.followed(startWithin, channel, friend)

	a.tool("backfill", "start", "anna", "--chat", fmt.Sprint(-1_000_000_000_000-channel.ID))
	eventually(t, startWithin, func(context.Context) error {
		if n := a.db.count("SELECT coalesce(sum(pages), 0) FROM backfills"); n < 2 {
			return fmt.Errorf("%d pages are read", n)
		}
		return nil
	})
	a.holder().kill()
	worker.kill()
	for i := range 300 {
		a.telegram.Post(channel, fmt.Sprint("nobody is there, ", i))
		a.telegram.Post(friend, fmt.Sprint("nobody is there, ", i))
	}
	a.startWorker()
	a.followed(handedOver, channel, friend)

	got := run(t, command{program: "tgfleet", args: []string{"backfill", "watch", "1"}, env: a.env})
	require.Zero(t, got.code, got.stderr)
	require.Contains(t, got.stdout, "Done: ")
	eventually(t, handedOver, func(context.Context) error {
		if open, filled := a.holes("open"), a.holes("filled"); open != 0 || filled != 2 {
			return fmt.Errorf("%d holes are open, %d filled", open, filled)
		}
		return nil
	})
	a.settled(startWithin)
	a.requireWhole(anna, channel)
	a.requireWhole(anna, friend)
	require.Zero(t, a.telegram.Overlaps(), "no moment with two holders")

	var coverage []struct {
		ChatID                    int64 `json:"chat_id"`
		Covered, Missing, Unknown int
	}
	require.NoError(t, json.Unmarshal([]byte(a.tool("backfill", "coverage", "--json")), &coverage))
	require.Len(t, coverage, 2)
	for _, c := range coverage {
		require.GreaterOrEqual(t, c.Covered, 300)
		if c.ChatID != 0 {
			// The account's own first message, which is from before, is the login code.
			require.Zero(t, c.Missing)
		}
		require.Zero(t, c.Unknown)
	}
}

// TestARedisThatLosesItsDataCostsNoUpdateOfAnAccount empties Redis of updates that were accepted, soon after the account has signed in, and starts it
// again, as when a server takes over that lacks the last writes.
func TestARedisThatLosesItsDataCostsNoUpdateOfAnAccount(t *testing.T) {
	t.Parallel()
	a := newAccounts(t, datacentre.Config{Seed: 1})
	anna := a.telegram.AddAccount(datacentre.Account{FirstName: "anna", Phone: "4915100000001", Code: "12345"})
	channel, friend := a.telegram.AddChat(datacentre.Channel, "Main Channel", anna), a.telegram.AddPrivate(anna, "Friend")
	worker := a.startWorker()
	listener := a.startListener()
	a.signIn(anna)
	a.followed(startWithin, channel, friend)
	a.settled(startWithin)
	worker.signal(syscall.SIGTERM)
	require.Zero(t, worker.exit(drainTimeout+drainSlack))

	const posts = 50
	before := a.number(listener, "tgfleet_mtproto_envelopes_total")
	for i := range posts {
		a.telegram.Post(channel, fmt.Sprint("accepted and lost, ", i))
		a.telegram.Post(friend, fmt.Sprint("accepted and lost, ", i))
	}
	eventually(t, startWithin, func(context.Context) error {
		if now := a.number(listener, "tgfleet_mtproto_envelopes_total"); now < before+2*posts {
			return fmt.Errorf("%v of %d updates are accepted", now-before, 2*posts)
		}
		return nil
	})
	a.flushRedis()
	require.NoError(t, a.redis.Kill())
	require.NoError(t, a.redis.Restart(t.Context()))
	require.Zero(t, a.db.count("SELECT count(*) FROM spool"), "nothing else has them")

	a.startWorker()
	a.requireWhole(anna, channel)
	a.requireWhole(anna, friend)
	require.Equal(t, "1", a.metric(listener, "tgfleet_mtproto_rewinds_total"))
}

// flushRedis removes all that Redis has.
func (a *accounts) flushRedis() {
	a.t.Helper()
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(a.t.Context(), "tcp", a.redis.Addr())
	require.NoError(a.t, err)
	defer func() { require.NoError(a.t, conn.Close()) }()
	_, err = conn.Write([]byte("FLUSHALL\r\n"))
	require.NoError(a.t, err)
	answer, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(a.t, err)
	require.Equal(a.t, "+OK\r\n", answer)
}

// number returns what a listener tells of a series that has a number.
func (a *accounts) number(l *server, series string) (value float64) {
	a.t.Helper()
	eventually(a.t, startWithin, func(context.Context) error {
		var err error
		value, err = strconv.ParseFloat(a.metric(l, series), 64)
		return err
	})
	return value
}

func (a *accounts) holes(status string) int {
	return a.db.count("SELECT count(*) FROM holes WHERE status = '" + status + "'")
}

// TestAFrozenListenerHarmsNothing freezes the holder of an account for longer than its lease runs, and wakes it once another listener has taken over.
func TestAFrozenListenerHarmsNothing(t *testing.T) {
	t.Parallel()
	a := newAccounts(t, datacentre.Config{Seed: 1})
	anna := a.telegram.AddAccount(datacentre.Account{FirstName: "anna", Phone: "4915100000001", Code: "12345"})
	channel := a.telegram.AddChat(datacentre.Channel, "Main Channel", anna)
	a.startWorker()
	a.startListener()
	a.startListener()
	a.signIn(anna)
	a.followed(startWithin, channel)

	frozen := a.holder()
	frozen.signal(syscall.SIGSTOP)
	a.followed(handedOver, channel)
	require.NotSame(t, frozen, a.holder())
	frozen.signal(syscall.SIGCONT)
	eventually(t, startWithin, func(context.Context) error {
		if a.metric(frozen, `tgfleet_mtproto_leases_total{result="lost"}`) != "1" {
			return errors.New("the one that was frozen does not know yet that its lease is lost")
		}
		return nil
	})
	a.followed(startWithin, channel)
	require.Zero(t, a.telegram.Overlaps(), "no moment with two holders")
}

// holder returns the listener that is connected.
func (a *accounts) holder() (holder *server) {
	a.t.Helper()
	eventually(a.t, startWithin, func(context.Context) error {
		for _, l := range a.listeners {
			if a.metric(l, `tgfleet_mtproto_clients{state="connected"}`) == "1" {
				holder = l
				return nil
			}
		}
		return errors.New("nobody is connected")
	})
	return holder
}

// metric returns what a listener tells of a series; empty when it does not answer.
func (a *accounts) metric(l *server, series string) string {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), time.Second)
	defer cancel()
	got, err := get(ctx, l.url+"/metrics")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(got.body) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// happenIn lets one thing happen: mostly posts, then edits, then deletions.
func happenIn(telegram *datacentre.Server, random *rand.Rand, chat *datacentre.Chat) {
	history := telegram.History(chat)
	what := random.IntN(100)
	if what < 60 || len(history) == 0 {
		telegram.Post(chat, fmt.Sprint("post ", random.Uint32()))
		return
	}
	m := history[random.IntN(len(history))]
	if what < 85 {
		telegram.Edit(chat, m.ID, fmt.Sprint("edit ", random.Uint32()))
		return
	}
	telegram.Delete(chat, m.ID)
}
