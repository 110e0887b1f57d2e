package mtproto

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/updates"
	"github.com/gotd/td/tg"
	"golang.org/x/sync/errgroup"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/obs"
)

// touchedEvery is how often it is written down that updates come.
const touchedEvery = 10 * time.Second

// client is one client of Telegram's for one connector, from connecting to its end.
type client struct {
	*holder
	lease     account.Lease
	connector *account.Connector
	end       context.CancelCauseFunc

	telegram    *telegram.Client
	state       *state
	intake      *intake
	differences *differences
	calls       *calls
	// lastUpdate is when Telegram last pushed something, in Unix nanoseconds; handlers write it, the session's loop reads it.
	lastUpdate atomic.Int64
	// redis names the Redis that takes the updates, as it was when the client began; empty when it did not answer.
	redis string
	// ready is how often the client has been connected.
	ready atomic.Int64
	// What follows belongs to the goroutine that reads history. takeout is the session for export that is open; 0 while none is. askedFor is when
	// the difference was asked for that closes a hole, by the hole's id, and later until when a backfill is left alone that Telegram did not
	// answer. people are the access hashes beside the account's dialogs; nil until they are needed.
	takeout  int64
	askedFor map[int64]time.Time
	later    map[int64]time.Time
	people   map[int64]int64
}

// connect is the connector's client until ctx ends, and then returns nil, or until it can't go on, and then returns why. When it returns, no
// socket is open any more.
func (h *holder) connect(ctx context.Context, l account.Lease, connector *account.Connector) error {
	redis, err := h.checkRedis(ctx, l)
	if err != nil {
		return err
	}
	within, end := context.WithCancelCause(ctx)
	defer end(nil)
	keys, err := openKeyring(ctx, h, l, func() { end(errKeyForgotten) })
	if err != nil {
		return err
	}
	s, err := h.newClient(ctx, l, connector, end)
	if err != nil {
		return err
	}
	s.redis = redis
	s.telegram = h.dial.client(s.options(keys), connector.Device, func(ctx context.Context) error { return h.keeper.Confirm(ctx, l) })
	s.differences.api = s.telegram.API()
	err = s.telegram.Run(within, s.follow)
	if ctx.Err() != nil {
		return nil
	}
	// gotd returns nil for some ends that nobody asked for.
	return cmp.Or(context.Cause(within), err, errEnded)
}

func (h *holder) newClient(
	ctx context.Context, l account.Lease, connector *account.Connector, end context.CancelCauseFunc,
) (*client, error) {
	state, err := loadState(ctx, h, l, connector.AccountID)
	if err != nil {
		return nil, err
	}
	s := &client{holder: h, lease: l, connector: connector, end: end, state: state, askedFor: map[int64]time.Time{}, later: map[int64]time.Time{}}
	until, err := h.floodWaits(ctx)
	if err != nil {
		return nil, err
	}
	s.calls = &calls{metrics: h.metrics, until: until, keep: func(method string, until time.Time) { s.keepFloodWait(ctx, method, until) }}
	wrapper := wrapper{source: connector.Source(), sealer: h.cfg.Sealer}
	s.intake = &intake{
		sink: h.cfg.Sink, wrapper: wrapper, log: h.log, metrics: h.metrics,
		touched: func(at time.Time) { s.lastUpdate.Store(at.UnixNano()) },
		arrived: make(chan arrival, arrivedMost), durable: make(chan tg.UpdatesClass, durableMost), gaps: newGaps(state),
	}
	s.differences = &differences{
		sink: h.cfg.Sink, wrapper: wrapper, calls: s.calls, answered: state.answered, noted: state.note, end: end,
		log: h.log, metrics: h.metrics, pace: pacing{asked: map[int64]repeats{}},
	}
	return s, nil
}

func (s *client) options(keys *keyring) telegram.Options {
	return telegram.Options{
		SessionStorage: keys,
		UpdateHandler:  s.intake,
		Logger:         quiet(s.log),
		OnSelfError: func(_ context.Context, err error) error {
			if status, _ := verdictOf(err); status != account.Connected {
				s.end(err)
			}
			return err
		},
		OnSelfSuccess: func(self *tg.User) {
			if self.ID != s.connector.AccountID {
				s.end(errOtherAccount)
			}
		},
		OnConnectionState: s.connectionChanged,
		OnDead:            s.unreached,
	}
}

// connectionChanged is called by gotd and must not block.
func (s *client) connectionChanged(to telegram.ConnectionState) {
	if to != telegram.ConnectionStateReady {
		return
	}
	// The first time the manager asks for everything by itself.
	if s.ready.Add(1) > 1 {
		s.holder.state.Set(stateConnected)
		s.metrics.reconnects.Inc()
		s.intake.ask()
		s.askChannels()
	}
}

// askChannels lets the manager ask for every channel's difference: what a channel posted while nobody was connected is not pushed again.
func (s *client) askChannels() {
	for _, id := range s.state.followed() {
		s.intake.gaps.channel(id, gap{})
	}
}

// follow takes the account's updates until ctx ends or something ends it. It is called once the client has connected.
func (s *client) follow(ctx context.Context) error {
	s.holder.state.Set(stateConnected)
	defer s.holder.state.Set(stateFailing)
	s.log.Info("client connected")
	if !s.state.isKnown() {
		if err := s.seed(ctx); err != nil {
			return s.refused(err)
		}
	}
	manager := updates.New(updates.Config{
		// What the manager hands out was in the sink before.
		Handler:                         telegram.UpdateHandlerFunc(func(context.Context, tg.UpdatesClass) error { return nil }),
		Storage:                         s.state,
		AccessHasher:                    s.state,
		UserAccessHasher:                s.state,
		Logger:                          quiet(s.log),
		MaxChannelDifferenceConcurrency: channelDifferences,
		// Both signals are in the sink already, as the update or the difference that gave them; the workers make holes of them.
		OnTooLong:             func() {},
		OnChannelTooLong:      func(id int64) { s.intake.gaps.channel(id, gap{}) },
		OnChannelInaccessible: s.state.forbid,
	})
	s.intake.manage = manager.Handle
	group, within := errgroup.WithContext(ctx)
	// The state is kept until everything that moves it has ended.
	kept, keeping := make(chan struct{}), context.WithoutCancel(ctx)
	keeping, stopKeeping := context.WithCancel(keeping)
	go func() {
		defer close(kept)
		s.state.keep(keeping, s.notStored)
	}()
	defer func() {
		stopKeeping()
		<-kept
	}()
	group.Go(func() error { return s.intake.bring(within) })
	group.Go(func() error { return s.intake.feed(within) })
	group.Go(func() error { return s.watch(within) })
	group.Go(func() error { return s.tell(within) })
	group.Go(func() error { return s.backfill(within) })
	group.Go(func() error {
		err := manager.Run(within, s.differences, s.connector.AccountID, updates.AuthOptions{IsBot: s.connector.Kind == account.BotAccount})
		if err == nil {
			err = errors.New("gotd's update manager ended")
		}
		return err
	})
	return s.refused(group.Wait())
}

// refused ends the client for good when err is Telegram's refusal of the account, whatever gotd makes of it on the way.
func (s *client) refused(err error) error {
	if status, _ := verdictOf(err); status != account.Connected {
		s.end(err)
	}
	return err
}

// notStored says that the state was not stored. With a lost lease the holder ends anyway; what was not stored is asked for again.
func (s *client) notStored(err error) {
	if fault.ClassOf(err) == fault.NotFound {
		s.end(err)
		return
	}
	s.log.Warn("state not stored, it is tried again", "error", err)
}

// tell writes down from time to time that updates come.
func (s *client) tell(ctx context.Context) error {
	tick := time.NewTicker(touchedEvery)
	defer tick.Stop()
	var told int64
	var failing obs.Spell
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		last := s.lastUpdate.Load()
		if last == told {
			continue
		}
		err := s.touch(ctx, time.Unix(0, last))
		if err == nil {
			told = last
		}
		if tell, _ := failing.Note(err != nil && ctx.Err() == nil); tell && err != nil {
			s.log.Warn("last update's time not stored", "error", err)
		}
	}
}

func (s *client) touch(ctx context.Context, at time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	return s.cfg.Connectors.Touched(ctx, s.lease, s.id, at)
}

func (h *holder) floodWaits(ctx context.Context) (map[string]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	return h.cfg.FloodWaits.Load(ctx, h.id)
}

// keepFloodWait stores a wait for the account's next holder, also when this one is just being stopped. Without it that one asks too early, once.
func (s *client) keepFloodWait(ctx context.Context, method string, until time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWithin)
	defer cancel()
	if err := s.cfg.FloodWaits.Save(ctx, s.lease, s.id, method, until); err != nil {
		s.log.Warn("flood wait not stored", "method", method, "error", err)
	}
}
