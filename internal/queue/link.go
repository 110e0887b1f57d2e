package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
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

	mu sync.Mutex
	// open holds the connections that are open. Added to as one is dialled, removed from as it is closed.
	open map[net.Conn]struct{}
	// down is closed by cut, under mu.
	down chan struct{}
}

func newLink(connect func(through func(dialer) dialer) redis.UniversalClient) *link {
	l := &link{open: make(map[net.Conn]struct{}), down: make(chan struct{})}
	l.redis = connect(l.track)
	l.redis.AddHook(l)
	return l
}

var errCut = errors.New("the link to redis was cut")

// cut breaks all connections and allows no new ones, so that commands under way fail at once. Closing the client instead would be
// wrong while a server runs: asynq does not expect its subscription to end, and ends the process. It is called once.
func (l *link) cut() {
	l.mu.Lock()
	close(l.down)
	broken := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	for _, connection := range broken {
		_ = connection.Close()
	}
}

// close closes the client, after all servers have ended.
func (l *link) close() error {
	if err := l.redis.Close(); err != nil {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}

// track returns a dialer whose connections cut knows.
func (l *link) track(next dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, err := next(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		select {
		case <-l.down:
			_ = connection.Close()
			return nil, errCut
		default:
		}
		l.open[connection] = struct{}{}
		known := &line{Conn: connection, link: l}
		if raw, ok := connection.(syscall.Conn); ok {
			return &checkedLine{line: known, Conn: raw}, nil
		}
		return known, nil
	}
}

// line is a connection that its link knows of.
type line struct {
	net.Conn
	link *link
}

// Close implements net.Conn.
func (l *line) Close() error {
	l.link.mu.Lock()
	delete(l.link.open, l.Conn)
	l.link.mu.Unlock()
	return l.Conn.Close()
}

// checkedLine is a line that go-redis can look at before it uses it again: over TLS it can't.
type checkedLine struct {
	*line
	syscall.Conn
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
		// asynq gives a deadline, the end of the lease, to the reports of a task's end and to nothing else. All of them are scripts:
		// what go-redis says first on a new connection has the same deadline, and a broken connection does not mend.
		_, report := ctx.Deadline()
		report = report && strings.HasPrefix(cmd.Name(), "eval")
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
func gone(err error) bool { return err != nil && strings.Contains(err.Error(), "NOT FOUND") }

// pause waits a little after a failure, longer after each; it returns false when there is no time for another attempt.
func (l *link) pause(ctx context.Context, attempt int) bool {
	wait := min(time.Duration(attempt)*100*time.Millisecond, time.Second)
	timer := time.NewTimer(wait/2 + jitter(wait))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-l.down:
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
