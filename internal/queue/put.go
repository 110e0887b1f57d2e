package queue

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// taskBound ends the context of a handler that hangs, so that its slot comes free and the task is tried again. asynq always sets a
// bound, 30 minutes unless told otherwise; ours is explicit and far above what any handler needs.
const taskBound = 10 * time.Minute

// Put makes one task durable in the next queue of the route's class: at a Redis with replicas (redis-sentinel:// and redis-cluster://)
// that means that a replica has it, too. It returns within ctx's deadline. An error of class fault.Transient means that Redis
// refused or did not answer, or that no replica confirmed in time; unless it was refused, the task may be queued all the same.
// fault.Permanent means that the payload can't be encoded. The task is retried without end until its handler returns nil.
func Put[P any](ctx context.Context, c *Client, r Route[P], payload P) error {
	raw, err := r.Encode(payload)
	if err != nil {
		return fault.As(fault.Permanent, fmt.Errorf("encode task %s: %w", r.Task, err))
	}
	since := time.Now()
	if r.Since != nil {
		since = r.Since(payload)
	}
	return c.put(ctx, c.lane(r.Class), newTaskID(since), asynq.NewTask(r.Task, raw))
}

func (c *Client) put(ctx context.Context, lane *lane, id string, task *asynq.Task) error {
	queue := lane.turn()
	start := time.Now()
	_, err := c.tasks.EnqueueContext(replicated(ctx), task,
		asynq.TaskID(id), asynq.Queue(queue), asynq.MaxRetry(math.MaxInt32), asynq.Timeout(taskBound))
	lane.metrics.put(time.Since(start), err)
	if err != nil {
		return fault.As(fault.Transient, fmt.Errorf("put task %s into queue %s: %w", task.Type(), queue, err))
	}
	return nil
}

// probeKeptFor is how long the traces of a Probe stay in Redis.
const probeKeptFor = time.Minute

// Probe succeeds when a Put would: it writes a small key with an expiry beside each queue in use. Redis answers a write with an error
// while it is full, read-only, loading or unable to save, and those come back as fault.Transient like a Redis that is away. So does a
// Redis whose replicas do not follow, where a Put waits for them.
func (c *Client) Probe(ctx context.Context) error {
	keys := []string{"tgfleet:probe"}
	var queues []string
	for _, lane := range c.allLanes() {
		queues = append(queues, lane.queues...)
	}
	if len(queues) > 0 {
		keys = keys[:0]
	}
	for _, queue := range queues {
		keys = append(keys, queueKey(queue, "probe"))
	}
	_, err := c.redis.Pipelined(replicated(ctx), func(pipe redis.Pipeliner) error {
		for _, key := range keys {
			pipe.Set(ctx, key, 1, probeKeptFor)
		}
		return nil
	})
	if err == nil {
		err = c.announce(ctx, queues)
	}
	if err != nil {
		return fault.As(fault.Transient, fmt.Errorf("probe redis: %w", err))
	}
	return nil
}

// announce lists queues where asynq's tools look for them. asynq's client does it once in its life, so after Redis has lost
// its data nothing else would list them again.
func (c *Client) announce(ctx context.Context, queues []string) error {
	if len(queues) == 0 {
		return nil
	}
	return c.redis.SAdd(ctx, knownQueues, queues).Err()
}

// knownQueues is asynq's set of all queue names.
const knownQueues = "asynq:queues"

// queueKey returns a key of our own in the hash slot of the queue.
func queueKey(queue, name string) string { return "tgfleet:{" + queue + "}:" + name }

// taskKey returns asynq's key for a part of a queue.
func taskKey(queue, part string) string { return "asynq:{" + queue + "}:" + part }
