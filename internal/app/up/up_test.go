package up_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/app/up"
	"github.com/tgfleet/tgfleet/internal/config"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within is how long a test waits for what must happen, on a machine with much else to do.
const within = 2 * time.Minute

// fixture is a folder for fleets in one process, one after the other, and a look into their database.
type fixture struct {
	t   *testing.T
	dir string
	env map[string]string
	db  *store.DB
	// out and log are what the last fleet said to people, and what it logged.
	out, log *testkit.Buffer
}

func setup(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, dir: t.TempDir()}
	path := "sqlite:" + filepath.Join(f.dir, "tgfleet.db")
	key, err := seal.Generate("test")
	require.NoError(t, err)
	f.env = map[string]string{"DATABASE_URL": path, "SECRET_KEYS": key.Private().Reveal(), "LOG_LEVEL": "info"}
	f.db, err = store.Open(t.Context(), seal.Secret(path), store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.db.Close()) })
	require.NoError(t, f.db.Migrate(t.Context()))
	return f
}

// start runs a fleet until it is stopped, as Ctrl-C does; stop returns what Run did.
func (f *fixture) start(opts up.Options) (stop func() error) {
	f.t.Helper()
	end, ended := f.run(opts)
	f.t.Cleanup(end)
	return func() error {
		end()
		return <-ended
	}
}

// run runs a fleet until it ends by itself, or is ended; ended tells what Run returned.
func (f *fixture) run(opts up.Options) (end func(), ended <-chan error) {
	f.t.Helper()
	f.env["HTTP_ADDR"] = freeAddr(f.t)
	cfg, err := config.LoadUp(func(name string) (string, bool) {
		text, set := f.env[name]
		return text, set
	})
	require.NoError(f.t, err)
	f.out, f.log = &testkit.Buffer{}, &testkit.Buffer{}
	opts.DataDir, opts.Out, opts.Program = f.dir, f.out, "tgfleet"
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.t.Context()))
	said, gone := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(gone)
		said <- up.Run(ctx, cfg, opts, obs.NewLogger(f.log, slog.LevelInfo, "text"))
	}()
	return func() {
		cancel()
		<-gone
	}, said
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().String()
}

func (f *fixture) eventually(happened func() bool, what string) {
	f.t.Helper()
	if !testkit.Until(within, happened) {
		f.t.Fatalf("in vain: %s\n%s", what, f.log.String())
	}
}

// updates returns how many updates the ledger has.
func (f *fixture) updates() int {
	f.t.Helper()
	rows, _, err := f.db.Ledger().Tail(f.t.Context(), store.Cursor{}, 1_000_000, store.LedgerFilter{})
	require.NoError(f.t, err)
	return len(rows)
}

// has tells whether the ledger has an update of a source; an empty kind is any.
func (f *fixture) has(of ingest.Source, kind ingest.Kind) bool {
	f.t.Helper()
	rows, _, err := f.db.Ledger().Tail(f.t.Context(), store.Cursor{}, 1, store.LedgerFilter{Source: of, Kind: kind})
	require.NoError(f.t, err)
	return len(rows) > 0
}

// messages returns the messages of a channel or supergroup that is the number id at Telegram's.
func (f *fixture) messages(id int64) []store.Message {
	f.t.Helper()
	chat := content.ChatID(-1_000_000_000_000 - id)
	page, err := f.db.Messages().List(f.t.Context(), store.MessageFilter{ChatID: chat}, store.MessagePlace{}, 100_000)
	require.NoError(f.t, err)
	return page.Messages
}

func (f *fixture) connector(label string) account.Connector {
	f.t.Helper()
	c, err := f.db.Connectors().Find(f.t.Context(), label)
	require.NoError(f.t, err)
	return c
}

var drained = regexp.MustCompile(`Drained\. Received (\d+) updates, refused \d+; committed (\d+), of them (\d+) repeats; \d+ new messages, 0 dead letters\.`)

// farewell returns the counts that the last fleet said good-bye with.
func (f *fixture) farewell() (received, committed, repeats int) {
	f.t.Helper()
	said := drained.FindStringSubmatch(f.out.String())
	require.NotNil(f.t, said, f.out.String())
	_, err := fmt.Sscan(said[1]+" "+said[2]+" "+said[3], &received, &committed, &repeats)
	require.NoError(f.t, err)
	return received, committed, repeats
}

// Every start has a data centre of its own, which knows nothing of the one before.
func TestTheSimulatedAccountIsConnectedAtEveryStart(t *testing.T) {
	t.Parallel()
	f := setup(t)
	var before account.Connector
	lastMessage, rows := int64(0), 0
	for range 2 {
		stop := f.start(up.Options{Simulate: true, Rate: 20})
		var newest store.Message
		f.eventually(func() bool {
			const channel, group = 1001, 1002
			posts, talk := f.messages(channel), f.messages(group)
			if len(posts) == 0 || len(talk) == 0 {
				return false
			}
			newest = posts[0]
			return !newest.Date.IsZero() && int64(newest.Key.MessageID) > lastMessage+5
		}, "posts in the account's chats")
		f.eventually(func() bool {
			return f.has(ingest.Source{Transport: ingest.BotAPI, Account: 7_000_000_001}, "")
		}, "updates of a bot")
		require.WithinDuration(t, time.Now(), newest.Date, within)
		lastMessage = int64(newest.Key.MessageID)
		now := f.connector("demo")
		require.Equal(t, account.Connected, now.Status)
		if before.ID != "" {
			require.Equal(t, before.ID, now.ID)
			require.Equal(t, before.AccountID, now.AccountID)
		}
		before = now
		require.NoError(t, stop())

		all := f.updates()
		received, committed, repeats := f.farewell()
		require.Equal(t, received, committed)
		require.Equal(t, all-rows, committed-repeats, "whatever came is counted, however it came")
		rows = all
	}
}

// What is edited and deleted in the simulated account's chats comes too.
func TestTheSimulatedAccountHasEditsAndDeletions(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := f.start(up.Options{Simulate: true, Rate: 40})
	f.eventually(func() bool {
		c, err := f.db.Connectors().Find(t.Context(), "demo")
		return err == nil && c.AccountID != 0 && f.has(c.Source(), "update_new_channel_message") &&
			f.has(c.Source(), "update_edit_channel_message") && f.has(c.Source(), "update_delete_channel_messages")
	}, "posts, edits and deletions")
	require.NoError(t, stop())
}

// A simulated Telegram knows no session of the real one's, and would end them.
func TestARealAccountIsKeptFromTheSimulatedTelegram(t *testing.T) {
	t.Parallel()
	f := setup(t)
	c := account.Connector{ID: "c1", Label: "harbour-desk", Kind: account.UserAccount, Status: account.New}
	require.NoError(t, f.db.Connectors().Create(t.Context(), c))
	held, taken, err := f.db.Leases().Acquire(t.Context(), "connector:c1", "test", time.Minute)
	require.NoError(t, err)
	require.True(t, taken)
	_, err = f.db.SignIns().Begin(t.Context(), account.SignIn{ConnectorID: "c1", Method: account.ByQR, Step: account.Begun})
	require.NoError(t, err)
	version, err := f.db.Sessions().Save(t.Context(), held, "c1", account.Session{Sealed: "sealed"}, 1)
	require.NoError(t, err)
	require.NoError(t, f.db.Connectors().SignedIn(t.Context(), held, "c1", account.Identity{AccountID: 5, SessionVersion: version}))

	end, ended := f.run(up.Options{Simulate: true, Rate: 1})
	t.Cleanup(end)
	f.eventually(func() bool { return len(ended) > 0 }, "the fleet ends by itself")
	require.ErrorContains(t, <-ended, `--simulate: the database has the account "harbour-desk"`)
	require.Equal(t, account.Connected, f.connector("harbour-desk").Status)
}

func TestAccountsAreConnectedWhenItIsSaidAsWhichApplication(t *testing.T) {
	t.Parallel()
	f := setup(t)
	telegram, err := datacentre.New(datacentre.Config{})
	require.NoError(t, err)
	require.NoError(t, telegram.Start(t.Context()))
	t.Cleanup(telegram.Stop)
	telegram.AddAccount(datacentre.Account{FirstName: "bot", Token: "42:abc"})
	key := filepath.Join(f.dir, "dc.pem")
	require.NoError(t, os.WriteFile(key, telegram.PublicKey(), 0o600))
	f.env["TELEGRAM_API_ID"], f.env["TELEGRAM_API_HASH"] = "1", "0123456789abcdef0123456789abcdef"
	f.env["TELEGRAM_DC"], f.env["TELEGRAM_DC_KEY"] = fmt.Sprintf("%d=%s", datacentre.DC, telegram.Addr()), key

	ring, err := seal.ParseRing(seal.Secret(f.env["SECRET_KEYS"]))
	require.NoError(t, err)
	token, err := ring.Seal(seal.PurposeSignIn, []byte("42:abc"))
	require.NoError(t, err)
	c := account.Connector{ID: "c1", Label: "news-bot", Kind: account.BotAccount, Status: account.New}
	require.NoError(t, f.db.Connectors().Create(t.Context(), c))
	_, err = f.db.SignIns().Begin(t.Context(), account.SignIn{
		ConnectorID: c.ID, Method: account.ByToken, Step: account.Begun, SealedToken: token,
	})
	require.NoError(t, err)

	stop := f.start(up.Options{})
	f.eventually(func() bool { return f.connector("news-bot").Status == account.Connected }, "the account is connected")
	require.NoError(t, stop())
}

func TestWithoutAnApplicationNoAccountsAreConnectedAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	f := setup(t)
	stop := f.start(up.Options{})
	f.eventually(func() bool { return regexp.MustCompile("tgfleet is up").MatchString(f.out.String()) }, "the fleet is up")
	require.NoError(t, stop())
	require.Contains(t, f.log.String(), "no accounts are connected: TELEGRAM_API_ID and TELEGRAM_API_HASH are not set")
}
