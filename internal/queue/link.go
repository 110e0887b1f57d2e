package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// link is the connection of asynq's servers to Redis, and corrects three things that asynq v0.26 does with a command that failed.
// It repeats its polls at once, so a Redis that is down or full costs a whole processor: link pauses. It tries to report a
// task's end once only (its second try uses a context that it has cancelled itself), so a short outage repeats the
// finished task minutes later and counts a crash: link repeats the report until the lease of the task ends. And a full Redis
// refuses to hand out tasks, so it would stay full for ever: link takes the task with a script that Redis allows even then.
type link struct {
	redis redis.UniversalClient
	cut   chan struct{} // closed by close
	once  sync.Once
}

func newLink(client redis.UniversalClient) *link {
	l := &link{redis: client, cut: make(chan struct{})}
	client.AddHook(l)
	return l
}

// close ends all commands, those under way included. It may be called more than once.
func (l *link) close() (err error) {
	l.once.Do(func() {
		close(l.cut)
		if closeErr := l.redis.Close(); closeErr != nil {
			err = fmt.Errorf("close redis: %w", closeErr)
		}
	})
	return err
}

// DialHook implements redis.Hook.
func (l *link) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessPipelineHook implements redis.Hook.
func (l *link) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return next(ctx, cmds) }
}

// ProcessHook implements redis.Hook.
func (l *link) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if redis.IsOOMError(err) {
			err = takeFromFull(ctx, next, cmd, err)
		}
		// asynq gives a deadline, the end of the lease, to the reports of a task's end and to nothing else.
		_, report := ctx.Deadline()
		for attempt := 1; failed(err) && l.pause(ctx, attempt) && report; attempt++ {
			cmd.SetErr(nil)
			if err = next(ctx, cmd); gone(err) {
				// The attempt before was carried out and its answer lost: the task has left the active list.
				return nil
			}
		}
		return err
	}
}

// failed says whether Redis did not carry out the command. A missing script is no failure (asynq sends it next), and neither
// is a task that is gone.
func failed(err error) bool {
	return refused(err) && !redis.HasErrorPrefix(err, "NOSCRIPT") && !gone(err) && !errors.Is(err, redis.ErrClosed)
}

// gone is asynq's answer when the task is not active: somebody else ended it, or Redis lost its data.
func gone(err error) bool { return err != nil && strings.HasPrefix(err.Error(), "NOT FOUND") }

// pause waits a little after a failure, longer after each; it returns false when there is no time for another attempt.
func (l *link) pause(ctx context.Context, attempt int) bool {
	wait := min(time.Duration(attempt)*100*time.Millisecond, time.Second)
	timer := time.NewTimer(wait/2 + rand.N(wait))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-l.cut:
		return false
	}
}

// takeScript is asynq's script that takes the next task, with leave to run while Redis is over its memory limit (Redis 7; an
// older one answers with an error, and waits for its operator). It adds a few bytes, and the task's end frees all of its own.
const takeScript = `#!lua flags=allow-oom
if redis.call("EXISTS", KEYS[2]) == 0 then
	local id = redis.call("RPOPLPUSH", KEYS[1], KEYS[3])
	if id then
		local key = ARGV[2] .. id
		redis.call("HSET", key, "state", "active")
		redis.call("HDEL", key, "pending_since")
		redis.call("ZADD", KEYS[4], ARGV[1], id)
		return redis.call("HGET", key, "msg")
	end
end
return nil`

// takeFromFull repeats cmd with takeScript when it is asynq's taking of the next task; any other command keeps its error.
func takeFromFull(ctx context.Context, next redis.ProcessHook, cmd redis.Cmder, err error) error {
	take, ok := cmd.(*redis.Cmd)
	if !ok || !takesTask(cmd.Args()) {
		return err
	}
	again := redis.NewCmd(ctx, append([]any{"eval", takeScript}, cmd.Args()[2:]...)...)
	again.SetFirstKeyPos(3)
	err = next(ctx, again)
	take.SetVal(again.Val())
	return err
}

// takesTask knows asynq's script by its keys: the queue's pending list first, its pause mark second.
func takesTask(args []any) bool {
	if len(args) < 5 {
		return false
	}
	pending, _ := args[3].(string)
	paused, _ := args[4].(string)
	return strings.HasPrefix(pending, "asynq:{") && strings.HasSuffix(pending, "}:pending") && strings.HasSuffix(paused, "}:paused")
}
