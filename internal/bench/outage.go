package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/pause"
)

// OutagePlan says how long the sink takes nothing, and how many messages a second are posted meanwhile.
type OutagePlan struct {
	Lasts time.Duration
	Rate  float64
}

const (
	// outageMost is how much more memory the listener may need while the sink takes nothing.
	outageMost = 64 * 1024 * kib
	// outageChannels is in how many channels of one account messages are posted.
	outageChannels = 10
	// weighEvery is how often memory is looked at meanwhile.
	weighEvery = 200 * time.Millisecond
)

var errDown = fault.As(fault.Transient, errors.New("the sink takes nothing now"))

// post is a message of a channel.
type post struct {
	channel int64
	id      int
}

// valve is a sink that can be shut, and remembers the messages of what it took. Any number of goroutines may use it.
type valve struct {
	// mu guards what follows.
	mu    sync.Mutex
	shut  bool
	taken map[post]bool
}

// Accept implements ingest.Sink.
func (v *valve) Accept(_ context.Context, e ingest.Envelope) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.shut {
		return errDown
	}
	for _, m := range messagesIn(e.Raw) {
		if at, ok := m.PeerID.(*tg.PeerChannel); ok {
			v.taken[post{at.ChannelID, m.ID}] = true
		}
	}
	return nil
}

func (v *valve) turn(shut bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shut = shut
}

// missing returns how many of the messages were not taken.
func (v *valve) missing(messages map[int64][]int) (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for channel, ids := range messages {
		for _, id := range ids {
			if !v.taken[post{channel, id}] {
				n++
			}
		}
	}
	return n
}

// messagesIn returns the new messages in what Telegram pushed, or answered as a channel's difference.
func messagesIn(raw []byte) (all []*tg.Message) {
	add := func(m tg.MessageClass) {
		if message, ok := m.(*tg.Message); ok {
			all = append(all, message)
		}
	}
	if u, err := tg.DecodeUpdates(&bin.Buffer{Buf: bytes.Clone(raw)}); err == nil {
		if container, ok := u.(*tg.Updates); ok {
			for _, update := range container.Updates {
				if posted, ok := update.(*tg.UpdateNewChannelMessage); ok {
					add(posted.Message)
				}
			}
		}
		return all
	}
	d, err := tg.DecodeUpdatesChannelDifference(&bin.Buffer{Buf: bytes.Clone(raw)})
	if difference, ok := d.(*tg.UpdatesChannelDifference); ok && err == nil {
		for _, m := range difference.NewMessages {
			add(m)
		}
	}
	return all
}

// outage measures the memory of a listener whose sink takes nothing while messages go on, and waits for all of them afterwards.
func (b *Listener) outage(ctx context.Context) (figures []Figure, err error) {
	sink := &valve{taken: map[post]bool{}}
	f, err := b.open(ctx, world{Accounts: 1, Channels: outageChannels}, sink, func() {})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	before := weigh().total()
	sink.turn(true)
	b.Say(fmt.Sprintf("the sink takes nothing for %s, at %g messages a second", b.Outage.Lasts, b.Outage.Rate))
	peak := watchPeak()
	posted, err := f.centre.do(order{Post: &posts{Count: int(b.Outage.Rate * b.Outage.Lasts.Seconds()), Rate: b.Outage.Rate}})
	most := peak()
	if err != nil {
		return nil, err
	}
	if err := b.profileMemory(Outage); err != nil {
		return nil, err
	}
	after := weigh().total()
	foundNoRoom := f.metric(dropped, beforeSink)
	sink.turn(false)
	b.Say("the sink takes everything again")
	began := time.Now()
	missing, sent, err := f.recover(ctx, sink)
	return []Figure{
		{Name: "messages lost", Value: float64(missing), Unit: unitCount, AtMost: true},
		{Name: "memory more at the peak", Value: most - before, Unit: unitBytes, Target: outageMost, AtMost: true},
		{Name: "memory more at the end of the outage, collected", Value: after - before, Unit: unitBytes},
		{Name: "memory before", Value: before, Unit: unitBytes},
		{Name: "outage", Value: posted.Took.Seconds(), Unit: unitSeconds},
		{Name: "messages", Value: float64(sent), Unit: unitCount},
		{Name: "pushes dropped before the sink", Value: foundNoRoom, Unit: unitCount},
		{Name: "time until all had come", Value: time.Since(began).Seconds(), Unit: unitSeconds},
	}, err
}

// recover waits until the sink has every message that was posted, and returns how many it has not, of how many.
func (f *fixture) recover(ctx context.Context, sink *valve) (missing, sent int, err error) {
	within, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	centre, err := f.centre.do(order{Tell: true})
	if err != nil {
		return 0, 0, err
	}
	for _, ids := range centre.Messages {
		sent += len(ids)
	}
	for {
		if missing = sink.missing(centre.Messages); missing == 0 || !pause.For(within, lookEvery) {
			return missing, sent, ctx.Err()
		}
	}
}

// watchPeak looks at the memory from time to time until stop is called, which returns the most that it was.
func watchPeak() (stop func() float64) {
	ended, most := make(chan struct{}), make(chan float64)
	go func() {
		tick := time.NewTicker(weighEvery)
		defer tick.Stop()
		peak := weighNow().total()
		for {
			select {
			case <-tick.C:
				peak = max(peak, weighNow().total())
			case <-ended:
				most <- peak
				return
			}
		}
	}()
	return func() float64 {
		close(ended)
		return <-most
	}
}
