package mtproto

import (
	"context"
	"log/slog"
	"time"

	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/handover"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

const (
	// arrivedMost bounds the containers that wait for the sink, and durableMost those that wait for the manager behind it, for one
	// account. What comes while a queue is full is dropped and asked for again.
	arrivedMost = 512
	durableMost = 256
	// together is how many containers are offered to the sink at once.
	together = 64
	// askAgainEvery is how long what was dropped waits to be asked for.
	askAgainEvery = time.Second
)

// intake takes what Telegram pushes to one account, brings it into the sink, and only then to the manager. Handle never blocks, because
// gotd waits for its handlers before it reconnects; neither does a manager that waits for a difference hold up the sink.
type intake struct {
	sink    ingest.Sink
	wrapper wrapper
	// manage hands a container to the manager; it blocks while the manager is busy.
	manage  func(context.Context, tg.UpdatesClass) error
	log     *slog.Logger
	metrics *metrics
	touched func(time.Time)

	// arrived waits for the sink, durable for the manager.
	arrived chan arrival
	durable chan tg.UpdatesClass
	gaps    *gaps
}

// arrival is a container and when it came.
type arrival struct {
	updates tg.UpdatesClass
	at      time.Time
}

// Handle implements telegram.UpdateHandler.
func (i *intake) Handle(_ context.Context, u tg.UpdatesClass) error {
	now := time.Now()
	i.touched(now)
	select {
	case i.arrived <- arrival{u, now}:
	default:
		i.drop(u, droppedBySink)
	}
	return nil
}

// ask lets the manager ask for the account's difference: after a reconnect nobody else does.
func (i *intake) ask() { i.gaps.common() }

// drop forgets u and remembers what it belonged to. The manager never sees it, so what it knows of the sequence stays behind.
func (i *intake) drop(u tg.UpdatesClass, where string) {
	i.metrics.dropped.WithLabelValues(where).Inc()
	i.gaps.note(u)
}

// bring brings what arrived into the sink until ctx ends. What the sink has not taken by then was never seen by the manager.
func (i *intake) bring(ctx context.Context) error {
	batch := make([]arrival, 0, together)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case first := <-i.arrived:
			batch = i.more(append(batch[:0], first))
		}
		if err := i.put(ctx, batch); err != nil {
			return err
		}
		for _, a := range batch {
			i.gaps.state.note(parts(a.updates))
			select {
			case i.durable <- a.updates:
			default:
				i.drop(a.updates, droppedByManager)
			}
		}
		clear(batch)
	}
}

// more appends to batch what has arrived besides, as far as it goes into one.
func (i *intake) more(batch []arrival) []arrival {
	for len(batch) < together {
		select {
		case a := <-i.arrived:
			batch = append(batch, a)
		default:
			return batch
		}
	}
	return batch
}

// put returns nil once all of batch is durable.
func (i *intake) put(ctx context.Context, batch []arrival) error {
	envelopes := make([]ingest.Envelope, 0, len(batch))
	for _, a := range batch {
		wrapped, err := i.wrapper.push(a.updates, a.at)
		if err != nil {
			return err
		}
		envelopes = append(envelopes, wrapped...)
	}
	if err := handover.Bring(ctx, i.sink, envelopes, i.log); err != nil {
		return err
	}
	i.metrics.took(len(envelopes), time.Since(batch[0].at))
	return nil
}

// feed hands the manager what is durable, and once a second what was dropped, for it to ask for, until ctx ends. A container that the manager has
// seen and whose gap it did not fill is not lost: it is in the sink.
func (i *intake) feed(ctx context.Context) error {
	tick := time.NewTicker(askAgainEvery)
	defer tick.Stop()
	for {
		var next []tg.UpdatesClass
		select {
		case <-ctx.Done():
			return ctx.Err()
		case u := <-i.durable:
			next = []tg.UpdatesClass{u}
		case <-tick.C:
			if !i.overflowing() {
				next = i.gaps.ask()
			}
		}
		for _, u := range next {
			if err := i.manage(ctx, u); err != nil {
				return err
			}
		}
	}
}

// overflowing tells whether what would be asked for now would be dropped again.
func (i *intake) overflowing() bool { return len(i.arrived) > arrivedMost/2 }
