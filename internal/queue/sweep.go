package queue

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	// ownerlessFor is how long an active task must have had no live owner, on two looks, before it is put back. asynq alone
	// takes one to three minutes: the lease, a cutoff, and a look each minute.
	ownerlessFor = lookEvery * 9 / 10
	// lostEvery is how often the tasks of a queue are searched for lost ones, by one process at a time, and lostWithin bounds it.
	lostEvery  = 5 * time.Minute
	lostWithin = time.Minute
	// scanned is how many keys one step of that search reads.
	scanned = 500
	// archivedAtOnce bounds how many archived tasks one look puts back.
	archivedAtOnce = 100
)

// sweeper puts tasks back that asynq would leave, drop, or return late: active ones without a live owner, archived ones, and ones that
// are in no list at all. A task that is put back may still be running somewhere: repetition is harmless. It belongs to
// one goroutine; processes may sweep the same queue at once, and each task is put back by one of them.
type sweeper struct {
	redis     redis.UniversalClient
	inspector *asynq.Inspector
	log       *slog.Logger
	metrics   *laneMetrics
	// suspects holds since when an active task has been seen without an owner.
	suspects map[suspect]time.Time
}

type suspect struct{ queue, id string }

func newSweeper(client redis.UniversalClient, log *slog.Logger, metrics *laneMetrics) *sweeper {
	return &sweeper{
		redis: client, inspector: asynq.NewInspectorFromRedisClient(client), log: log, metrics: metrics,
		suspects: make(map[suspect]time.Time),
	}
}

// sweep looks at the queues once.
func (s *sweeper) sweep(ctx context.Context, queues []string) error {
	if err := s.sweepOwnerless(ctx, queues); err != nil {
		return err
	}
	for _, queue := range queues {
		if err := errors.Join(s.sweepArchived(ctx, queue), s.sweepLost(ctx, queue)); err != nil {
			return err
		}
	}
	return nil
}

func (s *sweeper) sweepOwnerless(ctx context.Context, queues []string) error {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	owned, err := s.owned(ctx)
	if err != nil {
		return err
	}
	seen := make(map[suspect]time.Time)
	for _, queue := range queues {
		active, err := s.redis.LRange(ctx, taskKey(queue, "active"), 0, -1).Result()
		if err != nil {
			return err
		}
		for _, id := range active {
			if owned[id] {
				continue
			}
			who := suspect{queue, id}
			since, known := s.suspects[who]
			switch {
			case !known:
				seen[who] = time.Now()
			case time.Since(since) < ownerlessFor:
				seen[who] = since
			default:
				if err := s.putBackOwnerless(ctx, queue, id); err != nil {
					return err
				}
			}
		}
	}
	s.suspects = seen
	return nil
}

// owned returns the tasks that live servers work on: each one writes its list every five seconds, with an expiry of ten.
func (s *sweeper) owned(ctx context.Context) (map[string]bool, error) {
	now := strconv.FormatInt(time.Now().Unix(), 10)
	servers, err := s.redis.ZRangeByScore(ctx, "asynq:workers", &redis.ZRangeBy{Min: now, Max: "+inf"}).Result()
	if err != nil {
		return nil, err
	}
	owned := make(map[string]bool)
	for _, server := range servers {
		ids, err := s.redis.HKeys(ctx, server).Result()
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			owned[id] = true
		}
	}
	return owned, nil
}

// putBackOwnerless puts an active task back and counts the crash.
func (s *sweeper) putBackOwnerless(ctx context.Context, queue, id string) error {
	var crashed []byte
	task, err := s.inspector.GetTaskInfo(queue, id)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound):
	case err != nil:
		return err
	default:
		crashed = retried(task.Retried + 1)
	}
	return s.putBack(ctx, suspect{queue, id}, fromActive, crashed)
}

// retried returns what makes asynq read n retries when it is appended to a task's message: field 6 of its TaskMessage. In
// Protocol Buffers the last value of a field counts.
func retried(n int) []byte { return binary.AppendUvarint([]byte{6 << 3}, uint64(n)) } //nolint:gosec // a count is never negative

func (s *sweeper) sweepArchived(ctx context.Context, queue string) error {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	archived, err := s.redis.ZRange(ctx, taskKey(queue, "archived"), 0, archivedAtOnce-1).Result()
	for _, id := range archived {
		err = errors.Join(err, s.putBack(ctx, suspect{queue, id}, fromArchive, nil))
	}
	return err
}

// sweepLost searches all tasks of a queue for those in no list.
func (s *sweeper) sweepLost(ctx context.Context, queue string) error {
	ctx, cancel := context.WithTimeout(ctx, lostWithin)
	defer cancel()
	mine, err := s.redis.SetNX(ctx, queueKey(queue, "searched"), 1, lostEvery).Result()
	if err != nil || !mine {
		return err
	}
	cluster, ok := s.redis.(*redis.ClusterClient)
	if !ok {
		return s.searchLost(ctx, s.redis, queue)
	}
	var mu sync.Mutex
	return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		return s.searchLost(ctx, master, queue)
	})
}

func (s *sweeper) searchLost(ctx context.Context, node redis.Cmdable, queue string) error {
	tail, err := s.pendingSince(ctx, queue)
	if err != nil {
		return err
	}
	prefix := taskKey(queue, "t:")
	tasks := node.Scan(ctx, 0, prefix+"*", scanned).Iterator()
	for tasks.Next(ctx) {
		state, err := s.redis.HMGet(ctx, tasks.Val(), "state", "pending_since").Result()
		if err != nil {
			return err
		}
		// The list is taken from its oldest end. A pending task that is no older than the list's oldest is in it, surely enough
		// to save the search through a long list.
		since, _ := state[1].(string)
		nanoseconds, err := strconv.ParseInt(since, 10, 64)
		if state[0] == "pending" && err == nil && !tail.IsZero() && !time.Unix(0, nanoseconds).Before(tail) {
			continue
		}
		if err := s.putBack(ctx, suspect{queue, strings.TrimPrefix(tasks.Val(), prefix)}, fromNowhere, nil); err != nil {
			return err
		}
	}
	return tasks.Err()
}

// pendingSince returns when the oldest task of the pending list became pending; the zero time when there is none or it does not say.
func (s *sweeper) pendingSince(ctx context.Context, queue string) (time.Time, error) {
	id, err := s.redis.LIndex(ctx, taskKey(queue, "pending"), -1).Result()
	if refused(err) || id == "" {
		return time.Time{}, ignoreNil(err)
	}
	nanoseconds, err := s.redis.HGet(ctx, taskKey(queue, "t:"+id), "pending_since").Int64()
	if err != nil {
		return time.Time{}, ignoreNil(err)
	}
	return time.Unix(0, nanoseconds), nil
}

func ignoreNil(err error) error {
	if refused(err) {
		return err
	}
	return nil
}

// place is where a task was found.
type place string

const (
	fromActive  place = "active"
	fromArchive place = "archived"
	fromNowhere place = "lost"
)

// putBackScript moves a task to the end of the pending list that is taken next, unless it is no longer where it was found.
var putBackScript = redis.NewScript(`
local id = ARGV[1]
if ARGV[2] == "active" then
	if redis.call("LREM", KEYS[3], 0, id) == 0 then return 0 end
elseif ARGV[2] == "archived" then
	if redis.call("ZREM", KEYS[5], id) == 0 then return 0 end
else
	for i = 5, 8 do
		if redis.call("ZSCORE", KEYS[i], id) then return 0 end
	end
	if redis.call("LPOS", KEYS[3], id) or redis.call("LPOS", KEYS[2], id, "RANK", -1) then return 0 end
end
redis.call("ZREM", KEYS[4], id)
local message = redis.call("HGET", KEYS[1], "msg")
if not message then
	redis.call("DEL", KEYS[1])
	return 0
end
redis.call("HSET", KEYS[1], "msg", message .. ARGV[3], "state", "pending", "pending_since", ARGV[4])
redis.call("RPUSH", KEYS[2], id)
return 1
`)

// putBack makes a task pending again; appended goes to the end of its message.
func (s *sweeper) putBack(ctx context.Context, task suspect, from place, appended []byte) error {
	keys := []string{taskKey(task.queue, "t:"+task.id)}
	for _, part := range []string{"pending", "active", "lease", "archived", "retry", "scheduled", "completed"} {
		keys = append(keys, taskKey(task.queue, part))
	}
	moved, err := putBackScript.Run(ctx, s.redis, keys, task.id, string(from), appended, time.Now().UnixNano()).Bool()
	if err != nil {
		return fmt.Errorf("put back task %s of queue %s: %w", task.id, task.queue, err)
	}
	if moved {
		s.metrics.swept(from)
		s.log.Warn("task put back", "queue", task.queue, "task_id", task.id, "found", string(from))
	}
	return nil
}
