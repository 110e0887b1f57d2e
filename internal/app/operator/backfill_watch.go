package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/pause"
)

// watchEvery is how often it is looked how far a backfill is.
const watchEvery = 500 * time.Millisecond

// watchBackfill shows how far the backfill is until it has ended. It is an error when it did not end well.
func (s *session) watchBackfill(ctx context.Context, env Env, id int64) error {
	b, err := s.db.Backfills().Find(ctx, id)
	if err != nil {
		return knownBackfill(err)
	}
	labels, err := s.labels(ctx)
	if err != nil {
		return err
	}
	line := &progress{before: b.Messages, start: time.Now()}
	if isTerminal(env.Err) && !s.json {
		line.terminal = env.Err
	} else {
		line.plain = env.Err
	}
	for said := (account.Backfill{}); ; {
		if s.json && b != said {
			said = b
			if err := s.print(backfillLineOf(&b, labels[b.ConnectorID]), nil); err != nil {
				return err
			}
		}
		if b.Status.Ended() {
			line.clear()
			return s.backfillEnded(&b)
		}
		waiting, err := s.waitsFor(ctx, &b)
		if err != nil && ctx.Err() == nil {
			return err
		}
		line.total = expected(&b)
		line.show(b.Messages, waiting)
		if !pause.For(ctx, watchEvery) {
			line.clear()
			fmt.Fprintf(env.Err, "Backfill %d goes on without you.\n", id)
			return nil
		}
		now, err := s.db.Backfills().Find(ctx, id)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil {
			b = now
		}
	}
}

// expected returns how many messages b has read when it is done, as far as can be told; 0 when it can't.
func expected(b *account.Backfill) int {
	share := b.Share()
	if share == 0 {
		return 0
	}
	return int(math.Round(float64(b.Messages) / share))
}

// waitsFor says what a backfill waits for; empty while it does not wait.
func (s *session) waitsFor(ctx context.Context, b *account.Backfill) (string, error) {
	c, err := s.db.Connectors().Find(ctx, b.ConnectorID)
	if err != nil {
		return "", err
	}
	if c.Status != account.Connected {
		return fmt.Sprintf("%s to be connected (it is %s)", c.Label, c.Status), nil
	}
	waits, err := s.db.FloodWaits().Load(ctx, c.ID)
	if err != nil {
		return "", err
	}
	methods := []string{"messages.getHistory"}
	if b.Takeout {
		methods = append(methods, "account.initTakeoutSession")
	}
	for _, method := range methods {
		if left := time.Until(waits[method]); left > 0 {
			return fmt.Sprintf("Telegram, which lets %s wait for %s", c.Label, left.Round(time.Second)), nil
		}
	}
	if b.Status == account.BackfillWaiting && time.Since(b.CreatedAt) > silentAfter {
		return "a listener that holds " + c.Label, nil
	}
	return "", nil
}

// refusalText says what Telegram's kind of error means, where it is one that people meet. Source:
// https://core.telegram.org/method/messages.getHistory#possible-errors.
func refusalText(reason string) string {
	switch reason {
	case "CHANNEL_PRIVATE":
		return reason + ": the account is no member of the chat, or was banned from it"
	case "CHANNEL_INVALID", "CHAT_ID_INVALID", "PEER_ID_INVALID", "MSG_ID_INVALID":
		return reason + ": the account has no such chat; is the id right, as `tgfleet backfill coverage` shows it?"
	default:
		return reason
	}
}

// backfillEnded prints how a backfill has ended.
func (s *session) backfillEnded(b *account.Backfill) error {
	switch b.Status {
	case account.BackfillFailed:
		return fmt.Errorf("backfill %d failed after %d messages: %s", b.ID, b.Messages, refusalText(b.Reason))
	case account.BackfillCancelled:
		return fmt.Errorf("backfill %d was cancelled after %d messages", b.ID, b.Messages)
	case account.BackfillDone:
	default:
		return errors.New("the backfill has not ended")
	}
	if s.json {
		return nil
	}
	return show(s.cmd, false, nil, func(w io.Writer) {
		row(w, fmt.Sprintf("Done: %d messages in %d pages, down to message %d.", b.Messages, b.Pages, b.Cursor))
	})
}
