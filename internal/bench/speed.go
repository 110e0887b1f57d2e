package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/pause"
)

const (
	// speedLeast is how many pushes a second one core has to bring into the sink.
	speedLeast = 20_000
	// speedAccounts is over how many accounts the pushes are spread, and speedChannels over how many channels of each.
	speedAccounts = 4
	speedChannels = 5
	// dropped is the metric of pushes that found no room, by the place before which they did.
	dropped       = "tgfleet_mtproto_dropped_total"
	beforeSink    = "sink"
	beforeManager = "manager"
	// chunk is how many messages are posted at once, and inFlight how many may be on their way: fewer than there is room for in the listener, which
	// would drop what finds none and ask for it again.
	chunk    = 200
	inFlight = 800
	// lostAfter is after how long without a push those that are on their way count as lost.
	lostAfter = 5 * time.Second
)

// counter is a sink that takes everything at once and counts what was pushed. Any number of goroutines may use it.
type counter struct {
	live atomic.Int64
}

// Accept implements ingest.Sink.
func (c *counter) Accept(_ context.Context, e ingest.Envelope) error {
	if e.Origin == ingest.Live {
		c.live.Add(1)
	}
	return nil
}

// speed measures how fast pushes come over the wire into the sink while this process has one core. Telegram's part is played by another process, and
// there may be others: what counts is for how long this one had a processor.
func (b *Listener) speed(ctx context.Context) (figures []Figure, err error) {
	sink := &counter{}
	f, err := b.open(ctx, world{Accounts: speedAccounts, Channels: speedChannels}, sink, func() {})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	limit, err := limits()
	if err != nil {
		return nil, err
	}
	b.Say(fmt.Sprintf("%d messages are posted", b.Updates))
	stop, err := b.profileProcessor(Speed)
	if err != nil {
		return nil, err
	}
	sink.live.Store(0)
	began, used := time.Now(), processorTime()
	lost, err := f.push(ctx, sink, b.Updates)
	took, usedUp := time.Since(began), processorTime()-used
	if err := errors.Join(err, stop()); err != nil {
		return nil, err
	}
	came := float64(sink.live.Load())
	figure := Figure{Name: "pushes into the sink for each second of one core", Unit: unitRate, Target: speedLeast}
	if usedUp > 0 {
		figure.Value = came / usedUp.Seconds()
		figure.OfLimit = figure.Value / limit.read
	}
	return []Figure{
		figure,
		{Name: "limit: decrypting, reading and writing the same TL", Value: limit.read, Unit: unitRate, OfLimit: 1},
		{Name: "limit: writing the same TL and nothing else", Value: limit.written, Unit: unitRate},
		{Name: "pushes into the sink by the clock on the wall", Value: came / took.Seconds(), Unit: unitRate},
		{Name: "share of one core that there was", Value: usedUp.Seconds() / took.Seconds(), Unit: unitMean},
		{Name: "pushes that did not come", Value: float64(lost), Unit: unitCount},
		{Name: "pushes dropped before the sink", Value: f.metric(dropped, beforeSink), Unit: unitCount},
		{Name: "pushes in the sink, dropped before the manager", Value: f.metric(dropped, beforeManager), Unit: unitCount},
	}, nil
}

// push lets that many messages be posted, never more than inFlight ahead of the sink, and returns how many did not come as pushes.
func (f *fixture) push(ctx context.Context, sink *counter, count int) (lost int64, err error) {
	for posted := 0; posted < count; {
		now := min(chunk, count-posted)
		if _, err := f.centre.do(order{Post: &posts{Count: now}}); err != nil {
			return lost, err
		}
		posted += now
		ahead := int64(inFlight)
		if posted == count {
			ahead = 0
		}
		wanted := int64(posted) - lost - ahead
		lost += sink.await(ctx, wanted)
		if ctx.Err() != nil {
			return lost, ctx.Err()
		}
	}
	return lost, nil
}

// await waits until that many pushes have come, and returns how many did not.
func (c *counter) await(ctx context.Context, count int64) (missing int64) {
	last, since := c.live.Load(), time.Now()
	for c.live.Load() < count && time.Since(since) < lostAfter && pause.For(ctx, time.Millisecond) {
		if now := c.live.Load(); now > last {
			last, since = now, time.Now()
		}
	}
	return max(count-c.live.Load(), 0)
}
