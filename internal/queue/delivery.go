package queue

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// Delivery is one task handed to its handler. A task may be delivered again at any time, also while an earlier delivery
// still runs.
type Delivery[P any] struct {
	// Payload is the decoded payload; it is P's zero value when DecodeErr is set.
	Payload P
	// Raw is the payload as it was put. The handler may keep it and must not change it.
	Raw []byte
	// DecodeErr says why Raw can't be decoded; nil when it could. It is up to the handler what becomes of such a task.
	DecodeErr error
	// ID names the task; it is the same in every delivery of it.
	ID string
	// Queue is where the task came from.
	Queue string
	// Crashes counts the deliveries that ended without a result, because the worker died, stood still, or lost Redis for half a
	// minute; Mark helps to find out what in the payload is to blame. Deliveries that ended with an error, or were handed back by
	// a worker that stopped, are not counted.
	Crashes int

	redis redis.UniversalClient
	marks *marks
}

// failuresKeptFor is how long a failure is remembered after the last one.
const failuresKeptFor = 24 * time.Hour

// CountFailure adds one to the task's failures and returns their number, this one included. The count is kept in Redis for a day
// after the last failure, so it survives this process and is the same for all. It returns a fault.Transient error when
// Redis does not answer; the failure may be counted then all the same.
func (d *Delivery[P]) CountFailure(ctx context.Context) (int, error) {
	key := queueKey(d.Queue, "failures:"+d.ID)
	var count *redis.IntCmd
	_, err := d.redis.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		count = pipe.Incr(ctx, key)
		pipe.Expire(ctx, key, failuresKeptFor)
		return nil
	})
	if err != nil {
		return 0, fault.As(fault.Transient, fmt.Errorf("count failure of task %s in queue %s: %w", d.ID, d.Queue, err))
	}
	return int(count.Val()), nil
}

// Handler runs the tasks of one route. Handle makes it, Serve takes it.
type Handler struct {
	task  string
	class Class
	run   func(ctx context.Context, job job) error
}

// job is a delivery before it is decoded.
type job struct {
	id, queue string
	crashes   int
	raw       []byte
	redis     redis.UniversalClient
	marks     *marks
}

// Handle returns the handler that calls h for each task of the route, from many goroutines at once. When h returns nil the task is
// gone; when it returns an error the task is delivered again: after the time that a fault.Throttle asks for, or else after one
// to three seconds. A panic in h counts as an error. h must return soon after ctx ends: that is when the worker has
// no time left to stop, lost the task to another worker, or h has run for ten minutes.
func Handle[P any](r Route[P], h func(ctx context.Context, d *Delivery[P]) error) Handler {
	return Handler{task: r.Task, class: r.Class, run: func(ctx context.Context, job job) error {
		d := &Delivery[P]{Raw: job.raw, ID: job.id, Queue: job.queue, Crashes: job.crashes, redis: job.redis, marks: job.marks}
		d.Payload, d.DecodeErr = decode(r, job.raw)
		return h(ctx, d)
	}}
}

// decode survives a decoder that panics: the payload would make it panic for ever.
func decode[P any](r Route[P], raw []byte) (payload P, err error) {
	defer func() {
		if recovered := recover(); recovered != nil {
			var zero P
			payload, err = zero, fault.As(fault.Permanent, fmt.Errorf("decode task %s: %w", r.Task, newPanicked(recovered)))
		}
	}()
	payload, err = r.Decode(raw)
	if err != nil {
		var zero P
		return zero, fmt.Errorf("decode task %s: %w", r.Task, err)
	}
	return payload, nil
}

// panicked is what became of a panic. It tells where and of which type, never the value: that may hold what people wrote.
type panicked struct{ what string }

func (p *panicked) Error() string { return "panic: " + p.what }

// newPanicked describes a recovered panic; it must be called by the deferred function that recovered.
func newPanicked(recovered any) *panicked {
	what := fmt.Sprintf("%T", recovered)
	if err, ok := recovered.(runtime.Error); ok {
		what = err.Error()
	}
	// The frames from the top: Callers, newPanicked, the deferred function, the runtime's, and then the code that panicked.
	callers := make([]uintptr, 16)
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers)])
	for {
		frame, more := frames.Next()
		if frame.Function != "" && !strings.HasPrefix(frame.Function, "runtime.") {
			return &panicked{what: fmt.Sprintf("%s at %s:%d", what, frame.Function, frame.Line)}
		}
		if !more {
			return &panicked{what: what}
		}
	}
}
