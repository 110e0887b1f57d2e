package mtproto

import (
	"context"
	"fmt"

	"github.com/gotd/td/bin"
	"github.com/gotd/td/tg"
)

// takeout is the way to Telegram within a session for export. gotd has one of its own, which ends the session outside of it; Telegram
// refuses that (https://core.telegram.org/method/account.finishTakeoutSession#possible-errors).
type takeout struct {
	id      int64
	invoker tg.Invoker
}

// Invoke implements tg.Invoker.
func (t takeout) Invoke(ctx context.Context, input bin.Encoder, output bin.Decoder) error {
	query, ok := input.(bin.Object)
	if !ok {
		return fmt.Errorf("%T is no query", input)
	}
	return t.invoker.Invoke(ctx, &tg.InvokeWithTakeoutRequest{TakeoutID: t.id, Query: query}, output)
}
