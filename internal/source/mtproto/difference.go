package mtproto

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gotd/td/telegram/updates"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgerr"

	"github.com/tgfleet/tgfleet/internal/handover"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/pause"
)

const (
	// askWithin bounds each call to Telegram: gotd bounds none, and a call that hangs would hold up the manager for ever.
	askWithin = 30 * time.Second
	// A difference that is asked for from the same place again and again brings nothing new; from the repeatsFree-th time on it has to wait
	// for repeatLeast, then for twice that, up to repeatMost.
	repeatsFree = 3
	repeatLeast = time.Second
	repeatMost  = time.Minute
	// channelDifferences is how many differences of channels an account asks for at a time.
	channelDifferences = 3
)

// differences is the manager's way to Telegram. Each difference is in the sink before the manager gets it, for what the manager
// then does with it is not to be relied on.
type differences struct {
	api     *tg.Client
	sink    ingest.Sink
	wrapper wrapper
	calls   *calls
	// answered is called when the end of a channel's updates was told.
	answered func(channelID int64)
	// noted is called with what is no message, and the chats beside it.
	noted func([]tg.UpdateClass, []tg.ChatClass)
	// end ends the client: Telegram refused the account itself.
	end     func(error)
	log     *slog.Logger
	metrics *metrics
	pace    pacing
}

var _ updates.API = (*differences)(nil)

// UpdatesGetState implements updates.API.
func (d *differences) UpdatesGetState(ctx context.Context) (state *tg.UpdatesState, err error) {
	err = d.call(ctx, methodGetState, func(ctx context.Context) error {
		state, err = d.api.UpdatesGetState(ctx)
		return err
	})
	return state, err
}

// UpdatesGetDifference implements updates.API. The manager may not answer its container before the difference is durable.
func (d *differences) UpdatesGetDifference(
	ctx context.Context, r *tg.UpdatesGetDifferenceRequest,
) (difference tg.UpdatesDifferenceClass, err error) {
	if err := d.pace.wait(ctx, 0, r.Pts); err != nil {
		return nil, err
	}
	err = d.call(ctx, methodGetDifference, func(ctx context.Context) error {
		difference, err = d.api.UpdatesGetDifference(ctx, r)
		return err
	})
	if err != nil {
		d.metrics.differences.WithLabelValues(commonUpdates, differenceFailed).Inc()
		return nil, err
	}
	result := differenceFull
	switch difference.(type) {
	case *tg.UpdatesDifferenceEmpty:
		d.metrics.differences.WithLabelValues(commonUpdates, differenceEmpty).Inc()
		return difference, nil
	case *tg.UpdatesDifferenceTooLong:
		result = differenceTooLong
	}
	envelopes, err := d.wrapper.difference(r, difference, time.Now())
	if err == nil {
		err = handover.Bring(ctx, d.sink, envelopes, d.log)
	}
	if err != nil {
		return nil, err
	}
	d.metrics.differences.WithLabelValues(commonUpdates, result).Inc()
	d.note(difference)
	return difference, nil
}

// note has taken down what a difference tells of the account's channels themselves.
func (d *differences) note(difference tg.UpdatesDifferenceClass) {
	switch difference := difference.(type) {
	case *tg.UpdatesDifference:
		d.noted(difference.OtherUpdates, difference.Chats)
	case *tg.UpdatesDifferenceSlice:
		d.noted(difference.OtherUpdates, difference.Chats)
	}
}

// UpdatesGetChannelDifference implements updates.API.
func (d *differences) UpdatesGetChannelDifference(
	ctx context.Context, r *tg.UpdatesGetChannelDifferenceRequest,
) (difference tg.UpdatesChannelDifferenceClass, err error) {
	channel, ok := r.Channel.(*tg.InputChannel)
	if !ok {
		return nil, errors.New("difference of a channel without its id")
	}
	if err := d.pace.wait(ctx, channel.ChannelID, r.Pts); err != nil {
		return nil, err
	}
	err = d.call(ctx, methodGetChannelDifference, func(ctx context.Context) error {
		difference, err = d.api.UpdatesGetChannelDifference(ctx, r)
		return err
	})
	if isChannelRefused(err) {
		d.metrics.differences.WithLabelValues(channelUpdates, differenceRefused).Inc()
		// The manager stops following a channel on this error alone, and says so.
		return nil, tgerr.New(codeBadRequest, "CHANNEL_PRIVATE")
	}
	if err != nil {
		d.metrics.differences.WithLabelValues(channelUpdates, differenceFailed).Inc()
		return nil, err
	}
	result := differenceFull
	switch difference.(type) {
	case *tg.UpdatesChannelDifferenceEmpty:
		d.metrics.differences.WithLabelValues(channelUpdates, differenceEmpty).Inc()
		d.answered(channel.ChannelID)
		return difference, nil
	case *tg.UpdatesChannelDifferenceTooLong:
		result = differenceTooLong
	}
	// The access hash is the account's; nobody needs it to know what was asked.
	asked := *r
	asked.Channel = &tg.InputChannel{ChannelID: channel.ChannelID}
	envelope, err := d.wrapper.plain(difference, &asked, ingest.Difference, time.Now())
	if err == nil {
		err = handover.Bring(ctx, d.sink, []ingest.Envelope{envelope}, d.log)
	}
	if err != nil {
		return nil, err
	}
	d.metrics.differences.WithLabelValues(channelUpdates, result).Inc()
	if difference.GetFinal() {
		d.answered(channel.ChannelID)
	}
	return difference, nil
}

// call asks Telegram, and ends the client when Telegram refuses the account itself: the manager would only log that.
func (d *differences) call(ctx context.Context, method string, ask func(context.Context) error) error {
	return d.judged(d.calls.do(ctx, method, ask))
}

// try is call for what need not be answered now: it is errThrottled while Telegram lets the method wait.
func (d *differences) try(ctx context.Context, method string, ask func(context.Context) error) error {
	return d.judged(d.calls.try(ctx, method, ask))
}

// judged returns err, and ends the client when that refuses the account.
func (d *differences) judged(err error) error {
	if tgerr.IsCode(err, codeUnauthorized, codeNotAcceptable) && !isChannelRefused(err) {
		d.end(err)
	}
	return err
}

// isChannelRefused tells whether Telegram refuses one channel to the account. Source:
// https://core.telegram.org/method/updates.getChannelDifference#possible-errors.
func isChannelRefused(err error) bool {
	return tgerr.Is(err, "CHANNEL_PRIVATE", "CHANNEL_INVALID", "CHANNEL_PUBLIC_GROUP_NA", "USER_BANNED_IN_CHANNEL")
}

// pacing slows down differences that are asked for from the same place again and again: gotd asks without a pause while an update in one names
// somebody unknown.
type pacing struct {
	mu sync.Mutex
	// asked is where each sequence was asked for last, by the channel's id, 0 for the common updates, how often, and when.
	asked map[int64]repeats
}

type repeats struct {
	pts, times int
	last       time.Time
}

func (p *pacing) wait(ctx context.Context, channelID int64, pts int) error {
	if !pause.For(ctx, p.next(channelID, pts)) {
		return ctx.Err()
	}
	return nil
}

// next notes that a sequence is asked for from pts, and returns how long it has to wait for that.
func (p *pacing) next(channelID int64, pts int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.asked[channelID]
	now := time.Now()
	if r.pts != pts || now.Sub(r.last) > 2*repeatMost {
		r = repeats{pts: pts}
	}
	r.times++
	var wait time.Duration
	if r.times > repeatsFree {
		wait = min(repeatLeast<<min(r.times-repeatsFree-1, 10), repeatMost)
	}
	r.last = now.Add(wait)
	p.asked[channelID] = r
	return wait
}
