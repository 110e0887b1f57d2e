// Package mtproto receives the updates of user and bot accounts over MTProto, as clients of its own, and loses none of them. Over any number of
// listeners one at a time works for an account, under a lease; accounts are spread evenly over the listeners that live.
//
// Telegram is the write-ahead log. Every container that Telegram pushes and every difference that it answers goes raw into the sink, and only
// when the sink has it durable does gotd's update manager see it. The manager finds gaps and asks for differences; what it
// hands out is thrown away. So no place in a sequence (pts) is ever stored ahead of the updates before it, and whatever the
// manager loses on its way to a handler was safe already. What the sink does not take in time is dropped before the manager, whose
// sequence then has a gap, which it asks Telegram to fill.
//
// The package reads no content, with one exception: what Telegram's own account sends, which holds login codes, is sealed
// before it leaves.
package mtproto

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lease"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// Connectors is where connectors are kept. Writes under a lease that is lost return a fault.NotFound error and change nothing.
type Connectors interface {
	List(ctx context.Context) ([]account.Connector, error)
	Find(ctx context.Context, id string) (account.Connector, error)
	SetStatus(ctx context.Context, lease account.Lease, id string, status account.ConnectorStatus, lastError string) error
	// SignedIn returns a fault.Permanent error when the connector was another account before, or another connector is that account.
	SignedIn(ctx context.Context, lease account.Lease, id string, as account.Identity) error
	Touched(ctx context.Context, lease account.Lease, id string, at time.Time) error
}

// SignIns is where it is kept how far sign-ins have come.
type SignIns interface {
	Find(ctx context.Context, connectorID string) (account.SignIn, error)
	// Advance stores the listener's turn.
	Advance(ctx context.Context, lease account.Lease, signIn account.SignIn) error
}

// Sessions is where the sealed sessions of connectors are kept.
type Sessions interface {
	// Load returns the session to connect with, and false when there is none.
	Load(ctx context.Context, connectorID string) (account.Session, bool, error)
	// LoadPending returns the session that the sign-in attempt has made, and false when it has made none.
	LoadPending(ctx context.Context, connectorID string, attempt int64) (account.Session, bool, error)
	// Save never replaces an authorised session by another one, but for a sign-in, which attempt names.
	Save(ctx context.Context, lease account.Lease, connectorID string, session account.Session, attempt int64) (version int64, err error)
}

// States is where it is kept how far Telegram's updates have been taken. Writes under a lease that is lost return a fault.NotFound
// error and change nothing.
type States interface {
	Load(ctx context.Context, connectorID string) (account.UpdateState, bool, error)
	Channels(ctx context.Context, connectorID string) ([]account.ChannelState, error)
	Save(
		ctx context.Context, lease account.Lease, connectorID string, state *account.UpdateState, channels []account.ChannelState,
	) error
	Checkpoint(ctx context.Context, lease account.Lease, connectorID string) error
	// Rewind puts the state back to what it was by ago, as far as checkpoints reach.
	Rewind(ctx context.Context, lease account.Lease, connectorID string, by time.Duration) (bool, error)
	QueueID(ctx context.Context, connectorID string) (string, error)
	SetQueueID(ctx context.Context, lease account.Lease, connectorID, id string) error
}

// Backfills is where it is kept what history is to be read, and how far it was. Writes under a lease that is lost return a fault.NotFound error
// and change nothing.
type Backfills interface {
	// Due returns the connector's backfills that have not ended, the next one first.
	Due(ctx context.Context, connectorID string) ([]account.Backfill, error)
	// Advance returns a fault.Permanent error when the backfill has ended, because somebody has cancelled it.
	Advance(ctx context.Context, lease account.Lease, backfill account.Backfill) error
	// Unplanned returns the open holes of an account for which nothing is planned.
	Unplanned(ctx context.Context, accountID int64) ([]account.Hole, error)
	// Plan stores the backfills that fill a hole; with none it closes the hole with status.
	Plan(ctx context.Context, lease account.Lease, hole account.Hole, status account.HoleStatus, fills []account.Backfill) error
	// Rewind lets the connector's backfills go back to where they were by ago at least.
	Rewind(ctx context.Context, lease account.Lease, connectorID string, by time.Duration) error
	// OpenHoles counts the open holes of all accounts.
	OpenHoles(ctx context.Context) (int64, error)
}

// FloodWaits is where it is kept until when Telegram lets a connector wait.
type FloodWaits interface {
	Load(ctx context.Context, connectorID string) (map[string]time.Time, error)
	Save(ctx context.Context, lease account.Lease, connectorID, method string, until time.Time) error
}

// Pages takes pages of history, by a way of their own: they must not delay what is live.
type Pages interface {
	// Put returns nil once the page is durable.
	Put(ctx context.Context, page []ingest.Envelope) error
	// Waiting returns how many pages wait for workers.
	Waiting(ctx context.Context) (int, error)
}

// AccessHashes knows what an account has been told of users and channels.
type AccessHashes interface {
	Find(ctx context.Context, accountID int64, peer content.ChatID) (int64, bool, error)
}

// Leases is where leases are kept.
type Leases interface {
	lease.Leases
	// Live returns the leases that run and whose names begin with prefix.
	Live(ctx context.Context, prefix string) ([]account.Lease, error)
}

// Queue tells which Redis takes the updates: its id changes when another one takes over, which may lack the last that were put.
type Queue interface {
	ReplicationID(ctx context.Context) (string, error)
}

// Sealer seals and opens what is stored.
type Sealer interface {
	Seal(purpose string, plain []byte) (string, error)
	Open(purpose, sealed string) (seal.Secret, error)
}

// Config is what a Listener is made of. Every field must be set.
type Config struct {
	Connectors Connectors
	Sessions   Sessions
	SignIns    SignIns
	States     States
	Backfills  Backfills
	FloodWaits FloodWaits
	Hashes     AccessHashes
	Leases     Leases
	Queue      Queue
	Sealer     Sealer
	Sink       ingest.Sink
	Pages      Pages
	Telegram   Telegram
	Log        *slog.Logger
	Registerer prometheus.Registerer
	// Beat ticks while the list of connectors is kept fresh, every second or so.
	Beat *obs.Beat
}

// Telegram says as which application the listener connects, and where.
type Telegram struct {
	// AppID and AppHash are the application's, from https://my.telegram.org.
	AppID   int
	AppHash seal.Secret
	// Server is another server than Telegram's own; nil for Telegram's.
	Server *Server
}

// Server is a server that speaks MTProto and is not Telegram's.
type Server struct {
	DC   int
	Addr string
	// PublicKeys is the server's RSA keys, in PEM.
	PublicKeys []byte
}

const (
	// refreshEvery is how long a change of the connectors, of the listeners or of a lease goes unnoticed.
	refreshEvery  = time.Second
	refreshWithin = 5 * time.Second
	// presence is how long a listener that is gone without a word counts as live.
	presence = 15 * time.Second
	// presencePrefix begins the names of the leases by which listeners are known to live.
	presencePrefix = "listener:"
)

// terms are the terms of an account's lease. Telegram may go on holding the socket of a process that was killed, and ends the session of an
// account that connects a second time: so the next holder waits for 90 s after the last renewal, and the last one is gone long before.
var terms = lease.Terms{TTL: 90 * time.Second, RenewEvery: 10 * time.Second, StopAfter: 20 * time.Second}

// Listener holds the sessions of its share of the connectors.
type Listener struct {
	cfg     Config
	dial    *dialer
	owner   string
	metrics *metrics
	redis   takingRedis
}

// New returns a listener with a name of its own among all that ever share its leases.
func New(cfg Config) (*Listener, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("name the listener: %w", err)
	}
	dial, err := newDialer(cfg.Telegram)
	if err != nil {
		return nil, err
	}
	return &Listener{
		cfg: cfg, dial: dial, owner: host + "-" + rand.Text(), metrics: newMetrics(cfg.Registerer), redis: takingRedis{queue: cfg.Queue},
	}, nil
}
