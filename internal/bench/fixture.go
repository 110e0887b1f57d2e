package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/pause"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
	"github.com/tgfleet/tgfleet/internal/source/mtproto"
	"github.com/tgfleet/tgfleet/internal/store"
)

const (
	// readyWithin bounds how long accounts may take to connect, and lookEvery is how often it is looked whether they have.
	readyWithin = 10 * time.Minute
	lookEvery   = 100 * time.Millisecond
	// quietFor is how long everything is left alone before memory is measured: what connecting needed is gone by then.
	quietFor = 3 * time.Second
)

// fixture is a listener with a database and a data centre of its own.
type fixture struct {
	dir      string
	centre   *child
	db       *store.DB
	ring     *seal.Ring
	sink     ingest.Sink
	registry *prometheus.Registry
	stop     context.CancelFunc
	ended    chan error
}

// oneQueue is a queue that no other one ever takes over from.
type oneQueue struct{}

// ReplicationID implements mtproto.Queue.
func (oneQueue) ReplicationID(context.Context) (string, error) { return "bench", nil }

// noPages takes pages of history, of which nobody asks for any.
type noPages struct{}

// Put implements mtproto.Pages.
func (noPages) Put(context.Context, []ingest.Envelope) error { return nil }

// Waiting implements mtproto.Pages.
func (noPages) Waiting(context.Context) (int, error) { return 0, nil }

// open starts a data centre with w in it, and a listener that puts what it takes into sink. begun is called before anybody signs in.
func (b *Listener) open(ctx context.Context, w world, sink ingest.Sink, begun func()) (f *fixture, err error) {
	f = &fixture{sink: sink, registry: prometheus.NewRegistry(), ended: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	if f.centre, err = startChild(b.DataCentre(ctx)); err != nil {
		return f, err
	}
	centre, err := f.centre.do(order{Begin: &w})
	if err != nil {
		return f, err
	}
	if err := f.prepare(ctx); err != nil {
		return f, err
	}
	if err := f.listen(ctx, centre); err != nil {
		return f, err
	}
	begun()
	b.Say(fmt.Sprintf("%d accounts sign in, each with %d channels", w.Accounts, w.Channels))
	if err := f.signIn(ctx, centre.Phones); err != nil {
		return f, err
	}
	err = f.settle(ctx, w)
	return f, err
}

// prepare makes an empty database and a key.
func (f *fixture) prepare(ctx context.Context) (err error) {
	if f.dir, err = os.MkdirTemp("", "tgfleet-bench-"); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	if f.db, err = store.Open(ctx, seal.Secret("sqlite:"+filepath.Join(f.dir, "bench.db")), store.Options{}); err != nil {
		return err
	}
	if err := f.db.Migrate(ctx); err != nil {
		return err
	}
	key, err := seal.Generate("bench")
	if err != nil {
		return err
	}
	f.ring, err = seal.ParseRing(key.Private())
	return err
}

func (f *fixture) listen(ctx context.Context, centre answer) error {
	listener, err := mtproto.New(mtproto.Config{
		Connectors: f.db.Connectors(), Sessions: f.db.Sessions(), SignIns: f.db.SignIns(), States: f.db.UpdateStates(),
		Backfills: f.db.Backfills(), FloodWaits: f.db.FloodWaits(), Hashes: f.db.AccessHashes(), Leases: f.db.Leases(),
		Queue: oneQueue{}, Sealer: f.ring, Sink: f.sink, Pages: noPages{},
		Telegram: mtproto.Telegram{AppID: 1, AppHash: "00000000000000000000000000000000", Server: &mtproto.Server{
			DC: datacentre.DC, Addr: centre.Addr, PublicKeys: centre.PublicKey,
		}},
		Log: slog.New(slog.DiscardHandler), Registerer: f.registry, Beat: obs.NewHealth().Loop("accounts", time.Minute),
	})
	if err != nil {
		return err
	}
	ctx, f.stop = context.WithCancel(ctx)
	go func() { f.ended <- listener.Run(ctx) }()
	return nil
}

// signIn signs an account in for each phone number, all of them side by side.
func (f *fixture) signIn(ctx context.Context, phones []string) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	waiting := map[string]bool{}
	for i, phone := range phones {
		id := fmt.Sprintf("bench-%d", i)
		if err := f.begin(ctx, id, phone); err != nil {
			return err
		}
		waiting[id] = true
	}
	for {
		for id := range waiting {
			done, err := f.turn(ctx, id)
			if err != nil {
				return err
			}
			if done {
				delete(waiting, id)
			}
		}
		if len(waiting) == 0 {
			return nil
		}
		if !pause.For(ctx, lookEvery) {
			return fmt.Errorf("sign %d accounts in, %d of which are not: %w", len(phones), len(waiting), ctx.Err())
		}
	}
}

// begin adds a connector and begins its sign-in.
func (f *fixture) begin(ctx context.Context, id, phone string) error {
	err := f.db.Connectors().Create(ctx, account.Connector{ID: id, Label: id, Kind: account.UserAccount, Status: account.New})
	if err != nil {
		return err
	}
	sealed, err := f.ring.Seal(seal.PurposeSignIn, []byte(phone))
	if err != nil {
		return fmt.Errorf("seal a phone number: %w", err)
	}
	_, err = f.db.SignIns().Begin(ctx, account.SignIn{
		ConnectorID: id, Method: account.ByCode, Step: account.Begun, SealedPhone: sealed,
	})
	return err
}

// turn does the operator's turn of a sign-in, if it is theirs, and returns whether the sign-in is done.
func (f *fixture) turn(ctx context.Context, id string) (done bool, err error) {
	now, err := f.db.SignIns().Find(ctx, id)
	switch {
	case err != nil:
		return false, err
	case now.Step == account.Done:
		return true, nil
	case now.Step.Ended():
		return false, fmt.Errorf("sign in: %s %s", now.Step, now.Problem)
	case now.Step != account.CodeWanted:
		return false, nil
	}
	sealed, err := f.ring.Seal(seal.PurposeSignIn, []byte(signInCode))
	if err != nil {
		return false, fmt.Errorf("seal a code: %w", err)
	}
	return false, f.db.SignIns().Give(ctx, id, now.Attempt, account.CodeWanted, func(s *account.SignIn) {
		s.Step, s.SealedCode = account.CodeGiven, sealed
	})
}

// settle waits until every account is connected and follows its channels, and then until nothing happens any more.
func (f *fixture) settle(ctx context.Context, w world) error {
	within, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		centre, err := f.centre.do(order{Tell: true})
		if err != nil {
			return err
		}
		if f.metric("tgfleet_mtproto_clients", "connected") == float64(w.Accounts) && centre.Differences >= w.Accounts*w.Channels {
			break
		}
		if !pause.For(within, lookEvery) {
			return fmt.Errorf("connect %d accounts: %w", w.Accounts, within.Err())
		}
	}
	if !pause.For(ctx, quietFor) {
		return ctx.Err()
	}
	return nil
}

// metric returns the sum of a metric's series that have label, or of all when it is empty.
func (f *fixture) metric(name, label string) (sum float64) {
	families, err := f.registry.Gather()
	if err != nil {
		return 0
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, series := range family.GetMetric() {
			labels := series.GetLabel()
			if label == "" || len(labels) > 0 && labels[0].GetValue() == label {
				sum += series.GetCounter().GetValue() + series.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// close ends the listener, the data centre and the database, as far as they were started.
func (f *fixture) close() error {
	var errs []error
	if f.stop != nil {
		f.stop()
		errs = append(errs, <-f.ended)
	}
	if f.centre != nil {
		errs = append(errs, f.centre.end())
	}
	if f.db != nil {
		errs = append(errs, f.db.Close())
	}
	if f.dir != "" {
		errs = append(errs, os.RemoveAll(f.dir))
	}
	return errors.Join(errs...)
}
