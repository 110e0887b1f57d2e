package mtproto

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/gotd/td/tgerr"

	"github.com/tgfleet/tgfleet/internal/pause"
)

// errThrottled is why a call was not answered: Telegram lets the method wait.
var errThrottled = errors.New("telegram lets the method wait")

// calls bounds the calls of one account and lets each method rest for as long as Telegram says.
type calls struct {
	metrics *metrics
	// keep stores until when a method has to rest, for the account's next holder.
	keep func(method string, until time.Time)

	// mu guards until: the end of the rest of each method that was told to wait. The methods are a closed set.
	mu    sync.Mutex
	until map[string]time.Time
}

// do asks Telegram, for askWithin at most; when Telegram says that the method has to wait, it asks again afterwards. Other methods go on.
func (c *calls) do(ctx context.Context, method string, ask func(context.Context) error) error {
	for {
		if !pause.For(ctx, c.rest(method)) {
			return ctx.Err()
		}
		if err := c.try(ctx, method, ask); !errors.Is(err, errThrottled) {
			return err
		}
	}
}

// try asks Telegram once, for askWithin at most, and not at all while the method has to wait: both are errThrottled then.
func (c *calls) try(ctx context.Context, method string, ask func(context.Context) error) error {
	if c.rest(method) > 0 {
		return errThrottled
	}
	within, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	err := ask(within)
	after, throttled := waitOf(err)
	if !throttled {
		return err
	}
	c.metrics.floodWaits.WithLabelValues(method).Inc()
	c.hold(method, pause.Spread(after+time.Second))
	return errThrottled
}

// waitOf returns how long Telegram says to wait, and false when it says no such thing. Sources: https://core.telegram.org/api/errors#420-flood,
// https://core.telegram.org/method/account.initTakeoutSession#possible-errors.
func waitOf(err error) (time.Duration, bool) {
	refused, ok := tgerr.As(err)
	if !ok || refused.Code != codeFlood && !strings.HasPrefix(refused.Type, takeoutDelay) {
		return 0, false
	}
	return time.Duration(refused.Argument) * time.Second, true
}

// takeoutDelay is the kind of Telegram's refusal of a takeout that the account's owner has not allowed yet.
const takeoutDelay = "TAKEOUT_INIT_DELAY"

// rest returns how long method still has to wait.
func (c *calls) rest(method string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Until(c.until[method])
}

func (c *calls) hold(method string, d time.Duration) {
	until := time.Now().Add(d)
	c.mu.Lock()
	c.until[method] = until
	c.mu.Unlock()
	c.metrics.floodWait.WithLabelValues(method).Set(float64(until.Unix()))
	c.keep(method, until)
}
