package queue

import (
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

// A task that ends its worker is delivered again and ends the next one. Marks find out which part of its payload is to blame: the
// handler marks each part before it runs it and takes the mark off after it, and a mark that is still there when the task is
// delivered once more, with a crash more than it had, tells what was running.
//
// Crashes alone blame nobody: everything that a dying worker had in hand counts one, and so does every task that is active while
// Redis stands still for half a minute, although no worker has died. Only a mark blames, and a live worker takes its marks off:
// at once, or as soon as Redis answers again, which is long before the sweeper takes the task for abandoned. A task that comes
// back for a failure, or because a worker stopped, comes with no crash more, so that a mark that was left blames nobody.

// marksKeptFor is how long marks and blame are remembered after the last change.
const marksKeptFor = 24 * time.Hour

var errSuperseded = errors.New("another delivery has begun since, because this one was taken for dead")

// Mark writes down, durably, that this delivery is about to run a part of its payload, in place of any part marked before. It returns a
// fault.Transient error when Redis does not answer, and when the task has been taken for abandoned meanwhile: the part must
// not be run then.
func (d *Delivery[P]) Mark(ctx context.Context, part int) error {
	keys := []string{marksKey(d.Queue, d.ID)}
	marked, err := markScript.Run(ctx, d.redis, keys, part, d.Crashes, int(marksKeptFor.Seconds())).Bool()
	if err == nil && !marked {
		err = errSuperseded
	}
	if err != nil {
		return fault.As(fault.Transient, fmt.Errorf("mark part %d of task %s in queue %s: %w", part, d.ID, d.Queue, err))
	}
	return nil
}

// Unmark takes this delivery's mark off again. When Redis does not answer it returns a fault.Transient error, and the mark is taken off
// as soon as Redis does, as long as this process serves the queue.
func (d *Delivery[P]) Unmark(ctx context.Context) error {
	m := mark{key: marksKey(d.Queue, d.ID), crashes: d.Crashes}
	if err := m.takeOff(ctx, d.redis); err != nil {
		d.marks.owe(m)
		return fault.As(fault.Transient, fmt.Errorf("unmark task %s in queue %s: %w", d.ID, d.Queue, err))
	}
	return nil
}

// Blamed returns the parts of the payload that were marked when a delivery of the task ended without a result: one entry for each such
// delivery. It is asked before anything is marked, and raises Crashes to the highest count that any delivery of the task has come with.
// It returns a fault.Transient error when Redis does not answer, and an unclassified one when what is there is not what it wrote.
func (d *Delivery[P]) Blamed(ctx context.Context) ([]int, error) {
	keys := []string{marksKey(d.Queue, d.ID)}
	answer, err := blameScript.Run(ctx, d.redis, keys, d.Crashes, int(marksKeptFor.Seconds())).StringSlice()
	if err == nil && len(answer) != 2 {
		err = fmt.Errorf("%d values instead of 2", len(answer))
	}
	if err != nil {
		return nil, fault.As(fault.Transient, fmt.Errorf("blame for task %s in queue %s: %w", d.ID, d.Queue, err))
	}
	text := answer[0]
	crashes, err := strconv.Atoi(answer[1])
	if err != nil {
		return nil, fmt.Errorf("crashes of task %s in queue %s: %w", d.ID, d.Queue, err)
	}
	d.Crashes = crashes
	var parts []int
	for field := range strings.FieldsSeq(text) {
		part, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("blame for task %s in queue %s: %w", d.ID, d.Queue, err)
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// marksKey names the hash that remembers a task's marks: part is what is marked, crashes the most crashes that a delivery has come
// with, and blamed the parts to blame, each with a space after it.
func marksKey(queue, id string) string { return queueKey(queue, "marks:"+id) }

var markScript = redis.NewScript(`
if tonumber(redis.call("HGET", KEYS[1], "crashes") or 0) > tonumber(ARGV[2]) then return 0 end
redis.call("HSET", KEYS[1], "part", ARGV[1], "crashes", ARGV[2])
redis.call("EXPIRE", KEYS[1], ARGV[3])
return 1
`)

var unmarkScript = redis.NewScript(`
if redis.call("HGET", KEYS[1], "crashes") ~= ARGV[1] then return 0 end
return redis.call("HDEL", KEYS[1], "part")
`)

var blameScript = redis.NewScript(`
local part = redis.call("HGET", KEYS[1], "part")
local blamed = redis.call("HGET", KEYS[1], "blamed") or ""
local crashes = tonumber(redis.call("HGET", KEYS[1], "crashes") or 0)
if crashes > tonumber(ARGV[1]) then return {blamed, tostring(crashes)} end
if part and crashes < tonumber(ARGV[1]) then
	blamed = blamed .. part .. " "
	redis.call("HSET", KEYS[1], "blamed", blamed)
end
redis.call("HDEL", KEYS[1], "part")
redis.call("HSET", KEYS[1], "crashes", ARGV[1])
redis.call("EXPIRE", KEYS[1], ARGV[2])
return {blamed, ARGV[1]}
`)

// mark names a mark by its task and by the delivery that set it.
type mark struct {
	key     string
	crashes int
}

func (m mark) takeOff(ctx context.Context, client redis.UniversalClient) error {
	return unmarkScript.Run(ctx, client, []string{m.key}, m.crashes).Err()
}

// marks are those that could not be taken off when their time was over: one at most for each delivery that was suspect when Redis
// went away. Any number of goroutines may use it.
type marks struct {
	mu   sync.Mutex
	owed map[mark]struct{}
}

func (m *marks) owe(one mark) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owed == nil {
		m.owed = make(map[mark]struct{})
	}
	m.owed[one] = struct{}{}
}

// takeOff takes off what is owed.
func (m *marks) takeOff(ctx context.Context, client redis.UniversalClient) error {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	m.mu.Lock()
	owed := m.owed
	m.owed = nil
	m.mu.Unlock()
	for one := range owed {
		if err := one.takeOff(ctx, client); err != nil {
			for rest := range owed {
				m.owe(rest)
			}
			return fmt.Errorf("unmark: %w", err)
		}
		delete(owed, one)
	}
	return nil
}
