package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// Depth is how much waits in the queues of one class.
type Depth struct {
	// Pending tasks wait for a worker, Active ones are with a worker, Retry ones wait for their next attempt. Archived ones were
	// given up by asynq, which never happens to a task of ours unless a person does it.
	Pending, Active, Retry, Archived int
	// Oldest is how long the next pending task has waited since it was put, or since its pause between two tries ended; 0 when
	// none waits. Tasks that a stopping worker handed back come next and do not say, so it is told from those behind them, and 0
	// when more than 100 were handed back.
	Oldest time.Duration
}

// Depth returns the depth of the class's queues, summed. A queue that does not exist is empty, so a Redis that lost its data has a
// depth of zero. It asks Redis itself, because asynq's Inspector heeds no ctx and does not see queues after such a
// loss. It returns a fault.Transient error when Redis does not answer.
func (c *Client) Depth(ctx context.Context, class Class) (Depth, error) {
	depth, err := c.depth(ctx, c.lane(class).queues)
	if err != nil {
		return Depth{}, fault.As(fault.Transient, fmt.Errorf("depth of class %s: %w", class, err))
	}
	return depth, nil
}

// lookedAt is how many of the next tasks of a queue are asked since when they wait.
const lookedAt = 100

func (c *Client) depth(ctx context.Context, queues []string) (Depth, error) {
	type counts struct {
		pending, active, retry, archived *redis.IntCmd
		next                             *redis.StringSliceCmd
	}
	all := make([]counts, len(queues))
	_, err := c.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, queue := range queues {
			all[i] = counts{
				pending:  pipe.LLen(ctx, taskKey(queue, "pending")),
				active:   pipe.LLen(ctx, taskKey(queue, "active")),
				retry:    pipe.ZCard(ctx, taskKey(queue, "retry")),
				archived: pipe.ZCard(ctx, taskKey(queue, "archived")),
				next:     pipe.LRange(ctx, taskKey(queue, "pending"), -lookedAt, -1),
			}
		}
		return nil
	})
	if refused(err) {
		return Depth{}, err
	}
	var sum Depth
	var waiting []string
	for i, queue := range queues {
		sum.Pending += int(all[i].pending.Val())
		sum.Active += int(all[i].active.Val())
		sum.Retry += int(all[i].retry.Val())
		sum.Archived += int(all[i].archived.Val())
		for _, id := range all[i].next.Val() {
			waiting = append(waiting, taskKey(queue, "t:"+id))
		}
	}
	sum.Oldest, err = c.longestWait(ctx, waiting)
	return sum, err
}

func (c *Client) longestWait(ctx context.Context, tasks []string) (time.Duration, error) {
	if len(tasks) == 0 {
		return 0, nil
	}
	since := make([]*redis.StringCmd, len(tasks))
	_, err := c.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, task := range tasks {
			since[i] = pipe.HGet(ctx, task, "pending_since")
		}
		return nil
	})
	if refused(err) {
		return 0, err
	}
	var longest time.Duration
	for _, s := range since {
		// A task that a stopping worker handed back has no such field, and one that has just been taken neither.
		if nanoseconds, err := s.Int64(); err == nil {
			longest = max(longest, time.Since(time.Unix(0, nanoseconds)))
		}
	}
	return longest, nil
}

// scrapeWithin bounds what a scrape of the metrics may wait for Redis.
const scrapeWithin = 500 * time.Millisecond

// depths returns the depth of every class in use, for a scrape; a class whose depth is not known in time is left out.
func (c *Client) depths() map[Class]Depth {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin) //nolint:forbidigo // a scrape brings none
	defer cancel()
	known := make(map[Class]Depth)
	for _, lane := range c.allLanes() {
		depth, err := c.depth(ctx, lane.queues)
		if err != nil {
			c.log.Debug("depth of the queue unknown", "class", string(lane.class), "error", err)
			return known
		}
		known[lane.class] = depth
	}
	return known
}

// MemoryUsed returns how much of its memory limit Redis has used, from 0 to 1, and 0 when it has no limit; of a cluster that of its
// fullest master. It returns a fault.Transient error when Redis does not answer.
func (c *Client) MemoryUsed(ctx context.Context) (float64, error) {
	cluster, ok := c.redis.(*redis.ClusterClient)
	if !ok {
		used, err := memoryUsed(ctx, c.redis)
		return used, asMemoryFault(err)
	}
	var mu sync.Mutex
	var fullest float64
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		used, err := memoryUsed(ctx, master)
		mu.Lock()
		defer mu.Unlock()
		fullest = max(fullest, used)
		return err
	})
	return fullest, asMemoryFault(err)
}

func asMemoryFault(err error) error {
	if err == nil {
		return nil
	}
	return fault.As(fault.Transient, fmt.Errorf("memory of redis: %w", err))
}

// memoryUsed asks for all of INFO: the embedded Redis has no memory section, and says so with an error when asked for it alone.
func memoryUsed(ctx context.Context, node redis.Cmdable) (float64, error) {
	info, err := node.Info(ctx).Result()
	if err != nil {
		return 0, err
	}
	var used, limit float64
	for lines := bufio.NewScanner(strings.NewReader(info)); lines.Scan(); {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), ":")
		switch name {
		case "used_memory":
			used, err = strconv.ParseFloat(value, 64)
		case "maxmemory":
			var limitErr error
			limit, limitErr = strconv.ParseFloat(value, 64)
			err = errors.Join(err, limitErr)
		}
	}
	if err != nil || limit == 0 {
		return 0, err
	}
	return used / limit, nil
}
