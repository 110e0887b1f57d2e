package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// Depth is how much waits in the queues of one class.
type Depth struct {
	// Pending tasks wait for a worker, Active ones are with a worker, Retry ones wait for their next attempt. Archived ones were
	// given up by asynq, which never happens to a task of ours unless a person does it.
	Pending, Active, Retry, Archived int
	// Oldest is how long the oldest payload among the pending, active and retried tasks has been waiting, by its route's Since; 0
	// when none waits. Tasks whose id is not one of ours, as those of before ids told it, are not counted. Of a list with more
	// than 10,000 tasks only the 5,000 at either end are looked at, and the one that was found to be the oldest before.
	Oldest time.Duration
}

// Depth returns the depth of the class's queues, summed. A queue that does not exist is empty, so a Redis that lost its data has a
// depth of zero. It asks Redis itself, because asynq's Inspector heeds no ctx and does not see queues after such a
// loss. It returns a fault.Transient error when Redis does not answer.
func (c *Client) Depth(ctx context.Context, class Class) (Depth, error) {
	depth, _, err := c.depth(ctx, c.lane(class).queues)
	if err != nil {
		return Depth{}, fault.As(fault.Transient, fmt.Errorf("depth of class %s: %w", class, err))
	}
	return depth, nil
}

// agedAtEitherEnd is how many tasks at either end of a list are asked for their age.
const agedAtEitherEnd = 5000

// counts are the answers about one queue.
type counts struct {
	pending, active, retry, archived *redis.IntCmd
	ids                              []*redis.StringSliceCmd
	// suspect is the task that waited longest before, and there whether it still exists.
	suspect string
	there   *redis.IntCmd
}

func (c *Client) count(ctx context.Context, pipe redis.Pipeliner, queue string) counts {
	n := counts{
		pending:  pipe.LLen(ctx, taskKey(queue, "pending")),
		active:   pipe.LLen(ctx, taskKey(queue, "active")),
		retry:    pipe.ZCard(ctx, taskKey(queue, "retry")),
		archived: pipe.ZCard(ctx, taskKey(queue, "archived")),
		suspect:  c.ages.suspect(queue),
	}
	for _, ends := range [][2]int64{{0, agedAtEitherEnd - 1}, {-agedAtEitherEnd, -1}} {
		n.ids = append(n.ids,
			pipe.LRange(ctx, taskKey(queue, "pending"), ends[0], ends[1]),
			pipe.LRange(ctx, taskKey(queue, "active"), ends[0], ends[1]),
			pipe.ZRange(ctx, taskKey(queue, "retry"), ends[0], ends[1]))
	}
	n.there = pipe.Exists(ctx, taskKey(queue, "t:"+n.suspect))
	return n
}

// depth returns the depth of queues together, and since when the oldest payload in them waits; zero when none says.
func (c *Client) depth(ctx context.Context, queues []string) (sum Depth, oldest time.Time, err error) {
	all := make([]counts, len(queues))
	_, err = c.redis.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, queue := range queues {
			all[i] = c.count(ctx, pipe, queue)
		}
		return nil
	})
	if refused(err) {
		return Depth{}, time.Time{}, err
	}
	for i, queue := range queues {
		sum.Pending += int(all[i].pending.Val())
		sum.Active += int(all[i].active.Val())
		sum.Retry += int(all[i].retry.Val())
		sum.Archived += int(all[i].archived.Val())
		var ids []string
		for _, list := range all[i].ids {
			ids = append(ids, list.Val()...)
		}
		if all[i].there.Val() > 0 {
			ids = append(ids, all[i].suspect)
		}
		since := c.ages.note(queue, ids)
		if oldest.IsZero() || !since.IsZero() && since.Before(oldest) {
			oldest = since
		}
	}
	sum.Oldest = age(oldest)
	return sum, oldest, nil
}

// scrapeWithin bounds what a scrape of the metrics may wait for Redis.
const scrapeWithin = 500 * time.Millisecond

// scraped is what a scrape tells of a class.
type scraped struct {
	class Class
	// depth is nil when Redis did not answer in time.
	depth *Depth
	// oldest is how old the oldest payload is that waits or, when Redis did not answer, that waited when it last did: it has not
	// become younger since. It means nothing while known is false, because Redis has never answered.
	oldest time.Duration
	known  bool
}

// scrape looks at every class in use.
func (c *Client) scrape() []scraped {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin) //nolint:forbidigo // a scrape brings none
	defer cancel()
	var all []scraped
	for _, lane := range c.allLanes() {
		s := scraped{class: lane.class}
		depth, oldest, err := c.depth(ctx, lane.queues)
		if err == nil {
			s.depth = &depth
			c.ages.seen(lane.class, oldest)
		} else {
			c.log.Debug("depth of the queue unknown", "class", string(lane.class), "error", err)
		}
		oldest, s.known = c.ages.last(lane.class)
		s.oldest = age(oldest)
		all = append(all, s)
	}
	return all
}
