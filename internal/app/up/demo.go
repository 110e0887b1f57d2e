package up

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/app/listener"
	"github.com/tgfleet/tgfleet/internal/app/process"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/pause"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
	"github.com/tgfleet/tgfleet/internal/source/mtproto"
	"github.com/tgfleet/tgfleet/internal/store"
)

// demoLabel is what the connector of the simulated account is called.
const demoLabel = "demo"

// demoAccount is the account of the simulated Telegram, the same at every start. Telegram keeps such phone numbers for tests.
var demoAccount = datacentre.Account{ID: 7_900_000_001, FirstName: "Demo", Username: "demo_desk", Phone: "9996620001", Code: "22222"}

// demoApp is as which application the demo connects. The simulated Telegram takes any.
var demoApp = mtproto.Telegram{AppID: 1, AppHash: "00000000000000000000000000000000"}

// demoTroubles are those that accounts meet in real life: pushes get lost, and come again.
var demoTroubles = datacentre.Faults{Lost: 0.01, Repeated: 0.02}

const (
	// demoShare is how much of the simulated traffic happens in the account's chats, and demoMost how much a second at most: a data centre of a
	// later start is only ahead of this one while less happens here than datacentre.Config.Began says.
	demoShare = 0.1
	demoMost  = 5.0
	// demoTurnEvery is how often it is looked whether the listener has done its turn of the sign-in.
	demoTurnEvery = 200 * time.Millisecond
)

// demoRate returns how many of rate updates a second happen in the account's chats.
func demoRate(rate float64) float64 { return min(rate*demoShare, demoMost) }

// demo is an account of a simulated Telegram, and an operator who signs its connector in.
type demo struct {
	server    *datacentre.Server
	chats     []*datacentre.Chat
	db        *store.DB
	ring      *seal.Ring
	connector string
	rate      float64
}

// simulateAccount returns the services of a data centre inside the process, of what listens to its account, and of what happens in the
// account's chats.
func simulateAccount(
	ctx context.Context, p *process.Process, sink ingest.Sink, keys seal.Secret, rate float64,
) ([]lifecycle.Service, error) {
	ring, err := seal.ParseRing(keys)
	if err != nil {
		return nil, fmt.Errorf("SECRET_KEYS: %w", err)
	}
	d := &demo{db: p.DB, ring: ring, rate: demoRate(rate)}
	if err := d.connect(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	d.server, err = datacentre.New(datacentre.Config{Seed: uint64(now.UnixNano()), Began: now})
	if err != nil {
		return nil, err
	}
	who := d.server.AddAccount(demoAccount)
	d.chats = []*datacentre.Chat{
		d.server.AddChat(datacentre.Channel, "Main Channel", who), d.server.AddChat(datacentre.Supergroup, "Chat Group", who),
	}
	d.server.SetFaults(demoTroubles)
	if err := d.server.Start(ctx); err != nil {
		return nil, err
	}
	telegram := demoApp
	telegram.Server = &mtproto.Server{DC: datacentre.DC, Addr: d.server.Addr(), PublicKeys: d.server.PublicKey()}
	listening, err := listener.Accounts(p, sink, keys, telegram)
	if err != nil {
		d.server.Stop()
		return nil, err
	}
	return []lifecycle.Service{
		{Name: "simulated data centre", Run: d.serve}, listening, {Name: "simulated chats", Run: d.talk},
	}, nil
}

// connect begins the sign-in of the demo's connector, which it adds when there is none. The session of an earlier start is good for nothing: the
// data centre that knew its key is gone.
func (d *demo) connect(ctx context.Context) error {
	connectors, err := d.db.Connectors().List(ctx)
	if err != nil {
		return err
	}
	for i := range connectors {
		c := &connectors[i]
		if c.AccountID != 0 && c.AccountID != demoAccount.ID {
			return fmt.Errorf("--simulate: the database has the account %q, which a simulated Telegram would sign out: "+
				"use another folder with --data, or another DATABASE_URL", c.Label)
		}
		if c.Label == demoLabel {
			d.connector = c.ID
			err = d.free(ctx, c)
		}
	}
	if err == nil && d.connector == "" {
		err = d.add(ctx)
	}
	if err != nil {
		return err
	}
	phone, err := d.sealed(demoAccount.Phone)
	if err != nil {
		return err
	}
	_, err = d.db.SignIns().Begin(ctx, account.SignIn{
		ConnectorID: d.connector, Method: account.ByCode, Step: account.Begun, SealedPhone: phone,
	})
	return err
}

func (d *demo) add(ctx context.Context) error {
	d.connector = strings.ToLower(rand.Text()[:12])
	return d.db.Connectors().Create(ctx, account.Connector{
		ID: d.connector, Label: demoLabel, Kind: account.UserAccount, Status: account.New,
		Device: account.Device{Model: "tgfleet", SystemVersion: "Linux", AppVersion: "1"},
	})
}

// free ends what an earlier start has left, so that a sign-in can begin.
func (d *demo) free(ctx context.Context, c *account.Connector) error {
	before, err := d.db.SignIns().Find(ctx, c.ID)
	if err == nil && !before.Step.Ended() {
		err = d.db.SignIns().Cancel(ctx, c.ID, before.Attempt)
	}
	if err != nil && fault.ClassOf(err) != fault.NotFound {
		return err
	}
	return d.db.Connectors().Disable(ctx, c.ID)
}

// serve lets the data centre serve until ctx ends.
func (d *demo) serve(ctx context.Context) error {
	<-ctx.Done()
	d.server.Stop()
	return nil
}

// talk lets things happen in the account's chats once it is signed in, until ctx ends.
func (d *demo) talk(ctx context.Context) error {
	if err := d.signIn(ctx); err != nil || ctx.Err() != nil {
		return err
	}
	return d.server.Traffic(ctx, datacentre.TrafficConfig{Rate: d.rate}, d.chats...)
}

// signIn does the operator's turns of the sign-in until it has ended, or ctx has.
func (d *demo) signIn(ctx context.Context) error {
	for pause.For(ctx, demoTurnEvery) {
		now, err := d.db.SignIns().Find(ctx, d.connector)
		switch {
		case err != nil:
		case now.Step == account.CodeWanted:
			err = d.giveCode(ctx, now.Attempt)
		case now.Step == account.Done:
			return nil
		case now.Step.Ended():
			err = fmt.Errorf("sign-in of the simulated account: %s %s", now.Step, now.Problem)
		}
		if err != nil && ctx.Err() == nil && fault.ClassOf(err) != fault.Transient {
			return err
		}
	}
	return nil
}

func (d *demo) giveCode(ctx context.Context, attempt int64) error {
	code, err := d.sealed(demoAccount.Code)
	if err != nil {
		return err
	}
	return d.db.SignIns().Give(ctx, d.connector, attempt, account.CodeWanted, func(s *account.SignIn) {
		s.Step, s.SealedCode = account.CodeGiven, code
	})
}

func (d *demo) sealed(text string) (string, error) {
	sealed, err := d.ring.Seal(seal.PurposeSignIn, []byte(text))
	if err != nil {
		return "", fmt.Errorf("seal what the simulated account signs in with: %w", err)
	}
	return sealed, nil
}
