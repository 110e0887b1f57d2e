package polling

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/handover"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/lease"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/pause"
	"github.com/tgfleet/tgfleet/internal/seal"
)

const (
	// failedRetry is the time until Telegram is asked again after a failure; it doubles up to failedRetryMost.
	failedRetry     = 500 * time.Millisecond
	failedRetryMost = 30 * time.Second
	// emptyAtLeast is how long an empty answer takes at least.
	emptyAtLeast = time.Second
	// hopelessRetry is the time until the next try where a person has to do something first.
	hopelessRetry = 30 * time.Second
	// throttledMost bounds the pause that Telegram asks for: asking too early costs no more than another refusal.
	throttledMost = 5 * time.Minute
)

// oneBot polls one bot. All of it belongs to the goroutine of run.
type oneBot struct {
	*Poller
	source ingest.Source
	keeper *lease.Keeper
	sealed string
	log    *slog.Logger
	state  *obs.Standing
	// offset, when it is not 0, confirms to Telegram every update with a smaller id.
	offset int64
}

func newOneBot(p *Poller, bot account.Bot) *oneBot {
	log := p.cfg.Log.With("source", bot.Source().String())
	return &oneBot{
		Poller: p, source: bot.Source(), sealed: bot.SealedToken, keeper: lease.NewKeeper(p.cfg.Leases, p.owner, terms, log),
		log: log, state: p.metrics.newState(),
	}
}

// run polls the bot whenever its lease can be had, until ctx ends.
func (b *oneBot) run(ctx context.Context) {
	defer b.state.Leave()
	again := pause.Backoff{Least: failedRetry, Most: failedRetryMost}
	for ctx.Err() == nil {
		// The token comes first: a worker without the right key must not keep the lease from one that has it.
		token, err := b.cfg.Tokens.Open(seal.PurposeBotToken, b.sealed)
		if err != nil {
			b.state.Set(stateFailing)
			b.log.Error("bot not polled: its token does not open", "error", err)
			pause.For(ctx, hopelessRetry)
			continue
		}
		held, taken, err := b.keeper.Take(ctx, b.leaseName())
		switch {
		case err != nil && ctx.Err() == nil:
			b.state.Set(stateFailing)
			b.log.Warn("bot not polled: its lease can't be asked for", "error", err)
			pause.For(ctx, again.Next())
		case taken:
			again.Reset()
			b.hold(ctx, held, token)
		default:
			b.state.Set(stateElsewhere)
			pause.For(ctx, pause.Spread(acquireEvery))
		}
	}
}

// poll asks for updates until ctx ends, which is when the bot's lease ends.
func (b *oneBot) poll(ctx context.Context, token seal.Secret) {
	// What an earlier holder confirmed is confirmed; whatever it did not, Telegram gives anew to whoever names no offset.
	b.offset = 0
	again := pause.Backoff{Least: failedRetry, Most: failedRetryMost}
	b.state.Set(statePolling)
	for ctx.Err() == nil {
		begun := time.Now()
		updates, err := b.api.getUpdates(ctx, token, b.offset)
		if err == nil {
			err = b.take(ctx, updates)
		}
		if ctx.Err() != nil {
			return
		}
		result := b.metrics.asked(len(updates), err)
		b.state.Set(stateOf(result))
		b.report(ctx, result, len(updates), time.Since(begun), err)
		switch {
		case err != nil:
			pause.For(ctx, b.pauseAfter(err, &again))
		case len(updates) == 0 && time.Since(begun) < emptyAtLeast:
			// A server that does not wait must not be asked in a circle.
			pause.For(ctx, pause.Spread(emptyAtLeast))
		default:
			again.Reset()
		}
	}
}

// take brings updates into the sink, and only then moves the offset that will confirm them.
func (b *oneBot) take(ctx context.Context, updates []update) error {
	if err := b.accept(ctx, updates); err != nil {
		return err
	}
	// With nothing new, the offset of this request has confirmed all there was. It is not sent again: after a week of silence
	// Telegram draws the next update_id at random, and an old offset could confirm an update that nobody has seen.
	// Source: https://core.telegram.org/bots/api#update, update_id.
	b.offset = 0
	for _, u := range updates {
		b.offset = max(b.offset, u.id+1)
	}
	if len(updates) > 0 && b.offset <= 1 {
		return fmt.Errorf("%d updates without an update_id: they can't be confirmed", len(updates))
	}
	return nil
}

// accept returns nil once the sink has taken every update, and gives up only with ctx.
func (b *oneBot) accept(ctx context.Context, updates []update) error {
	envelopes := make([]ingest.Envelope, len(updates))
	for i, u := range updates {
		envelopes[i] = ingest.Envelope{
			Source: b.source, ReceivedAt: u.receivedAt, Origin: ingest.Live, Format: ingest.BotAPIJSON, Raw: u.raw,
		}
	}
	return handover.Bring(ctx, b.cfg.Sink, envelopes, b.log)
}

// pauseAfter returns how long to leave Telegram alone after err.
func (b *oneBot) pauseAfter(err error, again *pause.Backoff) time.Duration {
	if after, throttled := fault.After(err); throttled {
		return pause.Spread(min(max(after, failedRetry), throttledMost))
	}
	if errors.Is(err, errConflict) || fault.ClassOf(err) == fault.Unauthorized {
		return pause.Spread(hopelessRetry)
	}
	return again.Next()
}

// report writes the line about one request.
func (b *oneBot) report(ctx context.Context, result result, updates int, took time.Duration, err error) {
	attrs := []slog.Attr{
		slog.String("result", string(result)), slog.Int("updates", updates), slog.Int64("offset", b.offset),
		slog.Duration("duration", took),
	}
	level := slog.LevelInfo
	switch result {
	case resultUpdates:
	case resultEmpty:
		level = slog.LevelDebug
	case resultConflict, resultUnauthorized:
		level = slog.LevelError
		attrs = append(attrs, slog.Any("error", err))
	default:
		level = slog.LevelWarn
		attrs = append(attrs, slog.Any("error", err))
	}
	b.log.LogAttrs(ctx, level, "polled", attrs...)
}
