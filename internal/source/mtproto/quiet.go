package mtproto

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/gotd/log"
	"github.com/gotd/td/tgerr"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// quiet returns a logger for gotd that writes to l what happens and never with what: gotd's attributes may hold whole updates. All of it goes
// to the debug level, because what matters of it is logged by this package, once.
func quiet(l *slog.Logger) log.Logger { return quietLog{l} }

type quietLog struct{ to *slog.Logger }

func (q quietLog) Enabled(ctx context.Context, level log.Level) bool {
	return level >= log.LevelInfo && q.to.Enabled(ctx, slog.LevelDebug)
}

func (q quietLog) Log(ctx context.Context, level log.Level, msg string, _ ...log.Attr) {
	if q.Enabled(ctx, level) {
		q.to.LogAttrs(ctx, slog.LevelDebug, "gotd", slog.String("says", msg))
	}
}

// describe returns err as it may be logged: Telegram's kind of error, what the operating system says, our own errors, or else the type, because
// the text of other errors may hold what was sent.
func describe(err error) string {
	if refused, ok := tgerr.As(err); ok {
		return fmt.Sprintf("%d %s", refused.Code, refused.Type)
	}
	if network, ok := errors.AsType[*net.OpError](err); ok {
		return network.Error()
	}
	ours := []error{errKeyForgotten, errOtherAccount, errNoSession, errStuck, errEnded, errRedisChanged}
	for _, known := range append(ours, io.EOF, context.Canceled, context.DeadlineExceeded) {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	if fault.ClassOf(err) != fault.Unclassified {
		return err.Error()
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return fmt.Sprintf("%T", err)
}
