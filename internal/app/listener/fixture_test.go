package listener_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
	"github.com/tgfleet/tgfleet/internal/source/mtproto"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within is how long a test waits for what must happen, on a machine with much else to do.
const within = 2 * time.Minute

// fixture is a Telegram, a database and a sink, for as many listeners as a test starts.
type fixture struct {
	t        *testing.T
	telegram *datacentre.Server
	// addr is where listeners reach telegram.
	addr  string
	db    *store.DB
	ring  *seal.Ring
	sink  *sink
	pages *pages
	queue *queue
	log   *testkit.Buffer
	// registry is that of the listener that was started last.
	registry *prometheus.Registry
}

func setup(t *testing.T, cfg datacentre.Config) *fixture {
	t.Helper()
	f := &fixture{t: t, sink: newSink(), queue: &queue{id: "redis-1"}, log: &testkit.Buffer{}}
	f.pages = &pages{sink: f.sink, seen: map[int]int{}}
	var err error
	f.telegram, err = datacentre.New(cfg)
	require.NoError(t, err)
	require.NoError(t, f.telegram.Start(t.Context()))
	t.Cleanup(f.telegram.Stop)
	f.addr = f.telegram.Addr()
	f.db, err = store.Open(t.Context(), seal.Secret("sqlite:"+filepath.Join(t.TempDir(), "fleet.db")), store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.db.Close()) })
	require.NoError(t, f.db.Migrate(t.Context()))
	key, err := seal.Generate("test")
	require.NoError(t, err)
	f.ring, err = seal.ParseRing(key.Private())
	require.NoError(t, err)
	return f
}

// following returns a fixture with a listener that follows an account, of which anna has a channel.
func following(t *testing.T) (f *fixture, anna *datacentre.Account, c account.Connector, channel *datacentre.Chat) {
	t.Helper()
	f = setup(t, datacentre.Config{})
	f.start()
	anna = f.user("1")
	channel = f.telegram.AddChat(datacentre.Channel, "Main Channel", anna)
	c = f.connect(anna)
	f.followed(channel)
	return f, anna, c, channel
}

// listener is a running listener; stop ends it as SIGTERM does.
type listener struct {
	stop  func()
	ended chan struct{}
}

// start runs a listener until it is stopped, or the test ends.
func (f *fixture) start() *listener {
	f.t.Helper()
	f.registry = prometheus.NewRegistry()
	l, err := mtproto.New(mtproto.Config{
		Connectors: f.db.Connectors(), Sessions: f.db.Sessions(), SignIns: f.db.SignIns(), States: f.db.UpdateStates(),
		Hashes: f.db.AccessHashes(), Backfills: f.db.Backfills(), FloodWaits: f.db.FloodWaits(), Leases: f.db.Leases(), Queue: f.queue,
		Sealer: f.ring, Sink: f.sink, Pages: f.pages,
		Telegram: mtproto.Telegram{AppID: 1, AppHash: "0123456789abcdef0123456789abcdef", Server: &mtproto.Server{
			DC: datacentre.DC, Addr: f.addr, PublicKeys: f.telegram.PublicKey(),
		}},
		Log: obs.NewLogger(f.log, slog.LevelDebug, "text"), Registerer: f.registry,
		Beat: obs.NewHealth().Loop("accounts", time.Minute),
	})
	require.NoError(f.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	running := &listener{ended: make(chan struct{})}
	go func() {
		defer close(running.ended)
		_ = l.Run(ctx)
	}()
	running.stop = func() {
		cancel()
		<-running.ended
	}
	f.t.Cleanup(running.stop)
	return running
}

// add makes a connector without a session.
func (f *fixture) add(label string, kind account.ConnectorKind) account.Connector {
	f.t.Helper()
	c := account.Connector{ID: "c-" + label, Label: label, Kind: kind, Status: account.New, Device: account.Device{Model: "test"}}
	require.NoError(f.t, f.db.Connectors().Create(f.t.Context(), c))
	return c
}

// connect adds a connector for an account and signs it in, with the listeners that run.
func (f *fixture) connect(a *datacentre.Account) account.Connector {
	f.t.Helper()
	c := f.add(a.FirstName, account.UserAccount)
	f.begin(c, account.ByCode, func(s *account.SignIn) { s.SealedPhone = f.sealed(a.Phone) })
	f.wait(c, account.CodeWanted)
	f.give(c, account.CodeWanted, func(s *account.SignIn) { s.Step, s.SealedCode = account.CodeGiven, f.sealed(a.Code) })
	f.wait(c, account.Done)
	f.waitStatus(c, account.Connected)
	return c
}

func (f *fixture) user(name string) *datacentre.Account {
	return f.telegram.AddAccount(datacentre.Account{FirstName: name, Phone: "49151000" + name, Code: "12345"})
}

func (f *fixture) sealed(text string) string {
	f.t.Helper()
	sealed, err := f.ring.Seal(seal.PurposeSignIn, []byte(text))
	require.NoError(f.t, err)
	return sealed
}

func (f *fixture) begin(c account.Connector, method account.SignInMethod, with func(*account.SignIn)) {
	f.t.Helper()
	begin := account.SignIn{ConnectorID: c.ID, Method: method, Step: account.Begun}
	with(&begin)
	_, err := f.db.SignIns().Begin(f.t.Context(), begin)
	require.NoError(f.t, err)
}

func (f *fixture) give(c account.Connector, from account.SignInStep, change func(*account.SignIn)) {
	f.t.Helper()
	now, err := f.db.SignIns().Find(f.t.Context(), c.ID)
	require.NoError(f.t, err)
	require.NoError(f.t, f.db.SignIns().Give(f.t.Context(), c.ID, now.Attempt, from, change))
}

// wait waits until the sign-in has come to step, and returns it.
func (f *fixture) wait(c account.Connector, step account.SignInStep) (now account.SignIn) {
	f.t.Helper()
	f.eventually(func() bool {
		var err error
		now, err = f.db.SignIns().Find(f.t.Context(), c.ID)
		require.NoError(f.t, err)
		return now.Step == step
	}, "the sign-in comes to "+string(step))
	return now
}

func (f *fixture) waitStatus(c account.Connector, status account.ConnectorStatus) account.Connector {
	f.t.Helper()
	var now account.Connector
	f.eventually(func() bool {
		var err error
		now, err = f.db.Connectors().Find(f.t.Context(), c.ID)
		require.NoError(f.t, err)
		return now.Status == status
	}, c.Label+" is "+string(status))
	return now
}

// metric returns the sum of a metric's series, as the listener that was started last tells them.
func (f *fixture) metric(name string) (sum float64) {
	f.t.Helper()
	families, err := f.registry.Gather()
	require.NoError(f.t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, series := range family.GetMetric() {
			sum += series.GetCounter().GetValue() + series.GetGauge().GetValue()
		}
	}
	return sum
}

// stands reports whether the connectors of the listener that was started last are in that state, all of them.
func (f *fixture) stands(state string) bool {
	f.t.Helper()
	families, err := f.registry.Gather()
	require.NoError(f.t, err)
	for _, family := range families {
		if family.GetName() != "tgfleet_mtproto_clients" {
			continue
		}
		for _, series := range family.GetMetric() {
			if (series.GetLabel()[0].GetValue() == state) != (series.GetGauge().GetValue() > 0) {
				return false
			}
		}
	}
	return true
}

func (f *fixture) eventually(happened func() bool, what string) {
	f.t.Helper()
	if !testkit.Until(within, happened) {
		f.t.Fatalf("in vain: %s\n%s", what, f.log.String())
	}
}

// followed waits until the account's updates are followed: a post to each of its chats comes through. Nothing is posted before it is known from
// where on they are followed, because that would be history.
func (f *fixture) followed(chats ...*datacentre.Chat) {
	f.t.Helper()
	f.eventually(func() bool {
		connectors, err := f.db.Connectors().List(f.t.Context())
		require.NoError(f.t, err)
		for _, c := range connectors {
			_, known, err := f.db.UpdateStates().Load(f.t.Context(), c.ID)
			require.NoError(f.t, err)
			if c.Status == account.Connected && !known {
				return false
			}
		}
		return true
	}, "the state is known")
	for _, chat := range chats {
		f.eventually(func() bool {
			m := f.telegram.Post(chat, "are you there?")
			tick := time.NewTimer(100 * time.Millisecond)
			defer tick.Stop()
			<-tick.C
			return f.sink.has(key("new", chat, m.ID, ""))
		}, "posts of "+chat.Title+" come through")
	}
}

// happenings are what the server knows to have happened, as keys of what a client has to know: that a message was there, its last text, its end.
func happenings(telegram *datacentre.Server, chats ...*datacentre.Chat) []string {
	var all []string
	for _, chat := range chats {
		for _, m := range telegram.History(chat) {
			if m.Deleted {
				all = append(all, key("gone", chat, m.ID, ""))
				continue
			}
			all = append(all, key("new", chat, m.ID, ""), key("text", chat, m.ID, m.Text))
		}
	}
	return all
}

func key(what string, chat *datacentre.Chat, id int, text string) string {
	if chat.Kind == datacentre.Private {
		return fmt.Sprint(what, " private ", id, " ", text)
	}
	return fmt.Sprint(what, " ", chat.ID, " ", id, " ", text)
}

// sink takes envelopes and remembers what they tell. It can be down, and it refuses a share of what it is offered.
type sink struct {
	mu        sync.Mutex
	down      bool
	refuse    float64
	random    *rand.Rand
	told      map[string]bool
	envelopes []ingest.Envelope
}

func newSink() *sink { return &sink{told: map[string]bool{}, random: rand.New(rand.NewPCG(1, 1))} }

var errDown = fault.As(fault.Transient, errors.New("the sink takes nothing now"))

func (s *sink) Accept(_ context.Context, e ingest.Envelope) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down || s.random.Float64() < s.refuse {
		return errDown
	}
	s.envelopes = append(s.envelopes, e)
	if e.Format == ingest.MTProtoTL {
		s.read(e)
	}
	return nil
}

func (s *sink) set(change func(*sink)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *sink) has(k string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.told[k]
}

// missing returns those of wanted that no envelope told.
func (s *sink) missing(wanted []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(wanted), func(k string) bool { return s.told[k] })
}

func (s *sink) all() []ingest.Envelope {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.envelopes)
}

func (s *sink) read(e ingest.Envelope) {
	if u, err := tg.DecodeUpdates(&bin.Buffer{Buf: bytes.Clone(e.Raw)}); err == nil {
		if u, ok := u.(*tg.Updates); ok {
			s.readUpdates(u.Updates)
		}
		return
	}
	if d, err := tg.DecodeUpdatesDifference(&bin.Buffer{Buf: bytes.Clone(e.Raw)}); err == nil {
		switch d := d.(type) {
		case *tg.UpdatesDifference:
			s.readMessages(d.NewMessages)
			s.readUpdates(d.OtherUpdates)
		case *tg.UpdatesDifferenceSlice:
			s.readMessages(d.NewMessages)
			s.readUpdates(d.OtherUpdates)
		}
		return
	}
	if d, err := tg.DecodeUpdatesChannelDifference(&bin.Buffer{Buf: bytes.Clone(e.Raw)}); err == nil {
		switch d := d.(type) {
		case *tg.UpdatesChannelDifference:
			s.readMessages(d.NewMessages)
			s.readUpdates(d.OtherUpdates)
		case *tg.UpdatesChannelDifferenceTooLong:
			s.readMessages(d.Messages)
		}
	}
}

func (s *sink) readMessages(messages []tg.MessageClass) {
	for _, m := range messages {
		s.readMessage(m)
	}
}

func (s *sink) readMessage(m tg.MessageClass) {
	message, ok := m.(*tg.Message)
	if !ok {
		return
	}
	where := "private"
	if c, ok := message.PeerID.(*tg.PeerChannel); ok {
		where = fmt.Sprint(c.ChannelID)
	}
	s.told[fmt.Sprint("new ", where, " ", message.ID, " ")] = true
	s.told[fmt.Sprint("text ", where, " ", message.ID, " ", message.Message)] = true
}

func (s *sink) readUpdates(updates []tg.UpdateClass) {
	for _, u := range updates {
		switch u := u.(type) {
		case *tg.UpdateNewMessage:
			s.readMessage(u.Message)
		case *tg.UpdateEditMessage:
			s.readMessage(u.Message)
		case *tg.UpdateNewChannelMessage:
			s.readMessage(u.Message)
		case *tg.UpdateEditChannelMessage:
			s.readMessage(u.Message)
		case *tg.UpdateDeleteMessages:
			for _, id := range u.Messages {
				s.told[fmt.Sprint("gone private ", id, " ")] = true
			}
		case *tg.UpdateDeleteChannelMessages:
			for _, id := range u.Messages {
				s.told[fmt.Sprint("gone ", u.ChannelID, " ", id, " ")] = true
			}
		}
	}
}

// queue names the Redis that takes the updates.
type queue struct {
	mu sync.Mutex
	id string
}

func (q *queue) ReplicationID(context.Context) (string, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.id, nil
}

// set lets another Redis take over.
func (q *queue) set(id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.id = id
}

// tokenOf returns what a QR code shows: the last part of a tg://login URL, in base64.
func tokenOf(t *testing.T, url seal.Secret) []byte {
	t.Helper()
	_, encoded, found := strings.Cut(url.Reveal(), "token=")
	require.True(t, found)
	token, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
	require.NoError(t, err)
	return token
}
