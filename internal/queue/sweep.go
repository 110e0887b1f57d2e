package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// ownerlessFor is how long an active task must have shown no sign of life before it is put back: two of the signs that its owner
	// gives every five seconds. asynq alone takes one to three minutes: the lease, a cutoff, and a look each minute.
	ownerlessFor = 10 * time.Second
	// skewAllowed is how far the clocks of two workers may be apart.
	skewAllowed = 5 * time.Minute
	// lostEvery is how often the tasks of a queue are searched for lost ones, by one process at a time, and lostWithin bounds it.
	lostEvery  = 5 * time.Minute
	lostWithin = time.Minute
	// scanned is how many keys one step of that search reads.
	scanned = 500
	// rescueWithin bounds the rescue of all tasks that one look found, and buryWithin the burial of one that can't be rescued.
	rescueWithin = 10 * time.Second
	buryWithin   = 30 * time.Second
	// archivedAtOnce bounds how many archived tasks one look puts back.
	archivedAtOnce = 100
)

// sweeper puts tasks back that asynq would leave, drop, or return late: active ones without a live owner, archived ones, and ones that
// are in no list at all. A task that is put back may still be running somewhere: repetition is harmless. An entry that it
// can't help keeps it from none of the others. It belongs to one goroutine; processes may sweep the same queue at once, and
// each task is put back by one of them.
//
// An owner gives two signs of life every five seconds: it renews the task's lease, and it names the task in a list of its own that
// Redis forgets after ten seconds. A task has lost its owner when its lease has stayed the same on looks over ten seconds
// and no list names it then. So a worker that is killed is noticed after ten to ten plus two looks, whatever the clocks say: leases are
// only compared with themselves, and the lists expire by the clock of Redis.
type sweeper struct {
	redis redis.UniversalClient
	// bury keeps the bytes of a message that nobody can run; nil leaves the message where it is.
	bury    func(ctx context.Context, message []byte) error
	log     *slog.Logger
	metrics *laneMetrics
	// active holds the active tasks as the last look found them, and looked is when that was.
	active map[taskName]sighting
	looked time.Time
}

// taskName is what names a task in Redis.
type taskName struct{ queue, id string }

// sighting is since when an active task has had this lease; hasLease is false when it has none.
type sighting struct {
	lease    float64
	hasLease bool
	since    time.Time
}

// leaseText is the lease as a script compares it; empty when there is none.
func (s sighting) leaseText() string {
	if !s.hasLease {
		return ""
	}
	return strconv.FormatFloat(s.lease, 'f', -1, 64)
}

func newSweeper(client redis.UniversalClient, cfg ServerConfig, log *slog.Logger, metrics *laneMetrics) *sweeper {
	return &sweeper{
		redis: client, bury: cfg.Undecodable, log: log, metrics: metrics, active: make(map[taskName]sighting),
	}
}

// sweep looks at the queues once. alive is called between its steps, each of which is bounded.
func (s *sweeper) sweep(ctx context.Context, queues []string, alive func()) error {
	silent, err := s.silent(ctx, queues)
	foreign, rescueErr := s.rescueAll(ctx, silent)
	err = errors.Join(err, rescueErr)
	for _, queue := range queues {
		alive()
		err = errors.Join(err, s.sweepArchived(ctx, queue), s.sweepLost(ctx, queue))
	}
	// The database may be slow or away: what waits for it comes last.
	for task, message := range foreign {
		alive()
		err = errors.Join(err, s.buryMessage(ctx, task, message))
	}
	return err
}

// silent returns the active tasks without a live owner.
func (s *sweeper) silent(ctx context.Context, queues []string) ([]taskName, error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	if time.Since(s.looked) > 2*lookEvery {
		// Redis or this process stood still, and perhaps the owners did: what they did not do in that time proves nothing.
		clear(s.active)
	}
	seen := make(map[taskName]sighting)
	var suspects []taskName
	var failed error
	for _, queue := range queues {
		active, err := s.look(ctx, queue)
		failed = errors.Join(failed, err)
		for task, sight := range active {
			if before, known := s.active[task]; known && before.lease == sight.lease && before.hasLease == sight.hasLease {
				sight.since = before.since
			}
			seen[task] = sight
			if time.Since(sight.since) >= ownerlessFor {
				suspects = append(suspects, task)
			}
		}
	}
	s.active, s.looked = seen, time.Now()
	if len(suspects) == 0 {
		return nil, failed
	}
	owned, err := s.owned(ctx)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	return slices.DeleteFunc(suspects, func(task taskName) bool { return owned[task.id] }), failed
}

// look returns the active tasks of a queue, seen now.
func (s *sweeper) look(ctx context.Context, queue string) (map[taskName]sighting, error) {
	var ids *redis.StringSliceCmd
	var leases *redis.ZSliceCmd
	_, err := s.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		ids = pipe.LRange(ctx, taskKey(queue, "active"), 0, -1)
		leases = pipe.ZRangeWithScores(ctx, taskKey(queue, "lease"), 0, -1)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("active tasks of queue %s: %w", queue, err)
	}
	now := time.Now()
	active := make(map[taskName]sighting)
	for _, id := range ids.Val() {
		active[taskName{queue, id}] = sighting{since: now}
	}
	for _, lease := range leases.Val() {
		id, _ := lease.Member.(string)
		if _, ok := active[taskName{queue, id}]; ok {
			active[taskName{queue, id}] = sighting{lease: lease.Score, hasLease: true, since: now}
		}
	}
	return active, nil
}

// owned returns the tasks that live servers work on: each one writes its list every five seconds, with an expiry of ten.
func (s *sweeper) owned(ctx context.Context) (map[string]bool, error) {
	// The score is when the list expires by the clock of its owner; those that have expired by the clock of Redis are empty.
	from := strconv.FormatInt(time.Now().Add(-skewAllowed).Unix(), 10)
	servers, err := s.redis.ZRangeByScore(ctx, "asynq:workers", &redis.ZRangeBy{Min: from, Max: "+inf"}).Result()
	if err != nil {
		return nil, fmt.Errorf("live workers: %w", err)
	}
	lists := make([]*redis.StringSliceCmd, len(servers))
	_, err = s.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, server := range servers {
			lists[i] = pipe.HKeys(ctx, server)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("tasks of live workers: %w", err)
	}
	owned := make(map[string]bool)
	for _, list := range lists {
		for _, id := range list.Val() {
			owned[id] = true
		}
	}
	return owned, nil
}

// rescueAll rescues tasks and returns the messages of those that can't be run, which would come back here each time.
func (s *sweeper) rescueAll(ctx context.Context, tasks []taskName) (foreign map[taskName][]byte, failed error) {
	ctx, cancel := context.WithTimeout(ctx, rescueWithin)
	defer cancel()
	foreign = make(map[taskName][]byte)
	for _, task := range tasks {
		message, err := s.rescue(ctx, task)
		if message != nil {
			foreign[task] = message
		}
		failed = errors.Join(failed, err)
		if unanswered(err) {
			break
		}
	}
	return foreign, failed
}

// rescue puts an active task back that has lost its owner, and counts the crash. Of a task that can't be run it returns the message.
func (s *sweeper) rescue(ctx context.Context, task taskName) (foreign []byte, err error) {
	message, err := s.redis.HGet(ctx, taskKey(task.queue, "t:"+task.id), "msg").Bytes()
	if unanswered(err) {
		return nil, fmt.Errorf("read task %s of queue %s: %w", task.id, task.queue, err)
	}
	if err != nil { // there is no message: nothing is left of it but its name, which goes
		return nil, s.putBack(ctx, task, found{place: fromActive, lease: s.active[task].leaseText()}, nil)
	}
	retried, err := retriedOf(task, message)
	if err != nil {
		return message, nil //nolint:nilerr // why it can't be run is told when it is buried
	}
	return nil, s.putBack(ctx, task, found{place: fromActive, lease: s.active[task].leaseText()}, withRetried(retried+1))
}

// unanswered says whether err is one of the way to Redis, so that the next command would fail too; an answer is about one entry.
func unanswered(err error) bool {
	var answer redis.Error
	return err != nil && !errors.As(err, &answer)
}

// buryMessage has the bytes of a message kept and then removes it from the queue.
func (s *sweeper) buryMessage(ctx context.Context, task taskName, message []byte) error {
	_, why := retriedOf(task, message)
	if s.bury == nil {
		return fmt.Errorf("task %s of queue %s can't be run and nobody keeps it: %w", task.id, task.queue, why)
	}
	ctx, cancel := context.WithTimeout(ctx, buryWithin)
	defer cancel()
	if err := s.bury(ctx, message); err != nil {
		return fmt.Errorf("bury task %s of queue %s: %w", task.id, task.queue, err)
	}
	keys := []string{taskKey(task.queue, "t:"+task.id), taskKey(task.queue, "active"), taskKey(task.queue, "lease")}
	if err := removeScript.Run(ctx, s.redis, keys, task.id, message).Err(); err != nil {
		return fmt.Errorf("remove task %s from queue %s: %w", task.id, task.queue, err)
	}
	s.log.Error("task that nobody can run was buried", "queue", task.queue, "task_id", task.id, "error", why)
	return nil
}

// removeScript removes an active task, unless its message has changed meanwhile.
var removeScript = redis.NewScript(`
if redis.call("HGET", KEYS[1], "msg") ~= ARGV[2] then return 0 end
redis.call("LREM", KEYS[2], 0, ARGV[1])
redis.call("ZREM", KEYS[3], ARGV[1])
return redis.call("DEL", KEYS[1])
`)

func (s *sweeper) sweepArchived(ctx context.Context, queue string) error {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	archived, err := s.redis.ZRange(ctx, taskKey(queue, "archived"), 0, archivedAtOnce-1).Result()
	if err != nil {
		return fmt.Errorf("archived tasks of queue %s: %w", queue, err)
	}
	var failed error
	for _, id := range archived {
		err := s.putBack(ctx, taskName{queue, id}, found{place: fromArchive}, nil)
		failed = errors.Join(failed, err)
		if unanswered(err) {
			break
		}
	}
	return failed
}

// sweepLost searches all tasks of a queue for those in no list.
func (s *sweeper) sweepLost(ctx context.Context, queue string) error {
	ctx, cancel := context.WithTimeout(ctx, lostWithin)
	defer cancel()
	mine, err := s.redis.SetNX(ctx, queueKey(queue, "searched"), 1, lostEvery).Result()
	if err != nil {
		return fmt.Errorf("whose turn it is to search queue %s: %w", queue, err)
	}
	if !mine {
		return nil
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
	var failed error
	prefix := taskKey(queue, "t:")
	tasks := node.Scan(ctx, 0, prefix+"*", scanned).Iterator()
	for tasks.Next(ctx) {
		state, err := s.redis.HMGet(ctx, tasks.Val(), "state", "pending_since").Result()
		if unanswered(err) {
			return fmt.Errorf("read %s: %w", tasks.Val(), err)
		}
		if err != nil { // whatever it is, it is no task
			continue
		}
		// The list is taken from its oldest end. A pending task that is no older than the list's oldest is in it, surely enough
		// to save the search through a long list.
		since, _ := state[1].(string)
		nanoseconds, err := strconv.ParseInt(since, 10, 64)
		if state[0] == "pending" && err == nil && !tail.IsZero() && !time.Unix(0, nanoseconds).Before(tail) {
			continue
		}
		err = s.putBack(ctx, taskName{queue, strings.TrimPrefix(tasks.Val(), prefix)}, found{place: fromNowhere}, nil)
		failed = errors.Join(failed, err)
		if unanswered(err) {
			return failed
		}
	}
	return errors.Join(failed, tasks.Err())
}

// pendingSince returns when the oldest task of the pending list became pending; the zero time when there is none or it does not say.
func (s *sweeper) pendingSince(ctx context.Context, queue string) (time.Time, error) {
	id, err := s.redis.LIndex(ctx, taskKey(queue, "pending"), -1).Result()
	if refused(err) {
		return time.Time{}, fmt.Errorf("oldest pending task of queue %s: %w", queue, err)
	}
	if id == "" {
		return time.Time{}, nil
	}
	since, err := s.redis.HGet(ctx, taskKey(queue, "t:"+id), "pending_since").Result()
	if unanswered(err) {
		return time.Time{}, fmt.Errorf("read task %s of queue %s: %w", id, queue, err)
	}
	nanoseconds, err := strconv.ParseInt(since, 10, 64)
	if err != nil {
		return time.Time{}, nil //nolint:nilerr // it does not say
	}
	return time.Unix(0, nanoseconds), nil
}

// place is where a task was found.
type place string

const (
	fromActive  place = "active"
	fromArchive place = "archived"
	fromNowhere place = "lost"
)

// found is where a task was found, and, of an active one, with which lease; an empty lease is none.
type found struct {
	place place
	lease string
}

// putBackScript moves a task to the end of the pending list that is taken next, unless it is no longer where it was found. An active task
// with another lease than the one that it was found with was put back by somebody else, and taken again: it has a live owner.
var putBackScript = redis.NewScript(`
local id = ARGV[1]
if ARGV[2] == "active" then
	local lease = redis.call("ZSCORE", KEYS[4], id)
	if tonumber(lease or "") ~= tonumber(ARGV[5]) then return 0 end
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
func (s *sweeper) putBack(ctx context.Context, task taskName, from found, appended []byte) error {
	keys := []string{taskKey(task.queue, "t:"+task.id)}
	for _, part := range []string{"pending", "active", "lease", "archived", "retry", "scheduled", "completed"} {
		keys = append(keys, taskKey(task.queue, part))
	}
	moved, err := putBackScript.Run(ctx, s.redis, keys, task.id, string(from.place), appended, time.Now().UnixNano(), from.lease).Bool()
	if err != nil {
		return fmt.Errorf("put back task %s of queue %s: %w", task.id, task.queue, err)
	}
	if moved {
		s.metrics.swept(from.place)
		s.log.Warn("task put back", "queue", task.queue, "task_id", task.id, "found", string(from.place))
	}
	return nil
}
