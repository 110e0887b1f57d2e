package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/lifecycle"
	"github.com/tgfleet/tgfleet/internal/obs"
)

const (
	// checkEvery is how long asynq pauses (half as much to half as much again) when a queue is empty, and delayedEvery how
	// often it looks for tasks whose next attempt is due. Both cost Redis next to nothing.
	checkEvery   = 5 * time.Millisecond
	delayedEvery = 200 * time.Millisecond
	// lookEvery is how often a server looks after its queues: it lists them for asynq's tools, looks for queues of its class that
	// nobody told it of, and sweeps.
	lookEvery = 3 * time.Second
	// lookWithin bounds one such look.
	lookWithin = 2 * time.Second
	// reserveAtMost is the end of the drain time that handlers don't get: it is for giving unfinished tasks back.
	reserveAtMost = 2 * time.Second
	// connectionsPerQueue is what one asynq server needs beside its handlers: fetching, beating, forwarding, recovering, listening.
	connectionsPerQueue = 8
)

// ServerConfig says what a server runs.
type ServerConfig struct {
	Class Class
	// Concurrency is how many tasks of the class this process runs at once, over all queues of the class; each queue gets at
	// least one.
	Concurrency int
	// Drain is how long the service takes to stop at most. Handlers have most of it to finish; what they have not finished
	// then goes back to the queue, and their ctx ends.
	Drain time.Duration
	// Handlers are all the routes of the class. A task that none of them takes stays in the queue and is tried again every
	// ten to fifteen seconds.
	Handlers []Handler
	// Undecodable keeps the bytes of a message that was put into a queue of the class and that nobody can run, because it can't be
	// decoded or belongs to another task. After nil the message is removed; after an error it is offered again. It may be offered
	// more than once, by several processes. Without Undecodable such a message stays, and is taken in vain again and again.
	Undecodable func(ctx context.Context, message []byte) error
	// Beat ticks while the loop turns that looks after the queues, whether or not Redis answers; it is silent for up to
	// ServeBound. It may be nil.
	Beat *obs.Beat
}

// ServeBound is how long the beat of a server may be silent in good health: a search for lost tasks, or a burial.
const ServeBound = 2 * time.Minute

// Serve returns the service that runs handlers for the tasks of a class, with one asynq server for each queue. It starts while Redis is
// down, and works again by itself when Redis comes back, when it has lost its data, and also while it is full: tasks are taken
// out of a Redis that takes nothing in. When the service stops it takes no new task, and returns within cfg.Drain. A wrong
// config is an error of Run.
func (c *Client) Serve(cfg ServerConfig) lifecycle.Service {
	return lifecycle.Service{Name: "queue " + string(cfg.Class), Run: func(ctx context.Context) error {
		s, err := newServing(c, cfg)
		if err != nil {
			return fmt.Errorf("serve class %s: %w", cfg.Class, err)
		}
		return s.run(ctx)
	}}
}

// serving is one run of a server.
type serving struct {
	client   *Client
	lane     *lane
	cfg      ServerConfig
	handlers map[string]Handler
	log      *slog.Logger
	link     *link
	active   *inflight
	marks    *marks
	sweeper  *sweeper

	mu sync.Mutex
	// servers holds one server for each queue; nil once the stop has begun.
	servers map[string]*asynq.Server
}

func newServing(c *Client, cfg ServerConfig) (*serving, error) {
	if cfg.Concurrency < 1 || cfg.Drain <= 0 {
		return nil, fmt.Errorf("concurrency %d and drain %s: want both above zero", cfg.Concurrency, cfg.Drain)
	}
	handlers := make(map[string]Handler, len(cfg.Handlers))
	for _, handler := range cfg.Handlers {
		if _, twice := handlers[handler.task]; twice || handler.class != cfg.Class {
			return nil, fmt.Errorf("handler of task %s: want one, of this class", handler.task)
		}
		handlers[handler.task] = handler
	}
	lane := c.lane(cfg.Class)
	log := c.log.With("class", string(cfg.Class))
	return &serving{
		client: c, lane: lane, cfg: cfg, handlers: handlers,
		log: log,
		link: newLink(func(through func(dialer) dialer) redis.UniversalClient {
			return c.connect(cfg.Concurrency+connectionsPerQueue*len(lane.queues), through)
		}),
		active:  newInflight(),
		marks:   &marks{},
		servers: make(map[string]*asynq.Server),
		sweeper: newSweeper(c.redis, cfg, log, &lane.metrics),
	}, nil
}

func (s *serving) run(ctx context.Context) error {
	// Handlers go on while the service stops: their time is up when stop says so.
	handlers, endHandlers := context.WithCancel(context.WithoutCancel(ctx))
	defer endHandlers()
	for i, queue := range s.lane.queues {
		share := (s.cfg.Concurrency + i) / len(s.lane.queues)
		if err := s.start(handlers, queue, max(1, share)); err != nil {
			return errors.Join(err, s.stop(endHandlers, func() {}))
		}
	}
	var care sync.WaitGroup
	care.Go(func() { s.care(ctx, handlers) })
	<-ctx.Done()
	return s.stop(endHandlers, care.Wait)
}

// start starts the server of one more queue; it does nothing once the stop has begun.
func (s *serving) start(handlers context.Context, queue string, concurrency int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.servers == nil {
		return nil
	}
	server := asynq.NewServerFromRedisClient(s.link.redis, asynq.Config{
		Concurrency:              concurrency,
		BaseContext:              func() context.Context { return handlers },
		TaskCheckInterval:        checkEvery,
		DelayedTaskCheckInterval: delayedEvery,
		RetryDelayFunc:           retryDelay,
		IsFailure:                func(err error) bool { return errors.Is(err, asynq.ErrLeaseExpired) },
		Queues:                   map[string]int{queue: 1},
		Logger:                   newAsynqLog(s.log.With("queue", queue)),
		LogLevel:                 asynq.InfoLevel,
		ShutdownTimeout:          s.cfg.Drain - s.reserve(),
	})
	if err := server.Start(asynq.HandlerFunc(s.process)); err != nil {
		return fmt.Errorf("start the server of queue %s: %w", queue, err)
	}
	s.servers[queue] = server
	return nil
}

// care looks after the queues until ctx ends.
func (s *serving) care(ctx, handlers context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var trouble obs.Spell
	for ctx.Err() == nil {
		err := s.look(ctx, handlers)
		if ctx.Err() != nil {
			return
		}
		switch tell, lasted := trouble.Note(err != nil); {
		case tell && err != nil:
			s.log.Warn("queues not looked after", "error", err)
		case tell:
			s.log.Info("queues looked after again", "after", lasted)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// look takes off marks that are owed, lists the queues for asynq's tools, serves queues that nobody told it of, and sweeps all of
// them.
func (s *serving) look(ctx, handlers context.Context) error {
	s.alive()
	if err := s.marks.takeOff(ctx, s.client.redis); err != nil {
		return err
	}
	found, err := s.find(ctx)
	if err != nil {
		return err
	}
	for _, queue := range found {
		s.log.Warn("queue beyond the configured number served too", "queue", queue)
		if err := s.start(handlers, queue, 1); err != nil {
			return err
		}
	}
	return s.sweeper.sweep(ctx, s.served(), s.alive)
}

func (s *serving) alive() {
	if s.cfg.Beat != nil {
		s.cfg.Beat.Tick()
	}
}

func (s *serving) served() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.servers))
}

// find returns queues of the class that hold tasks and that other processes made: with more shards than this one knows, now or
// before a change of the setting.
func (s *serving) find(ctx context.Context) (found []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	served := s.served()
	if err := s.client.announce(ctx, served); err != nil {
		return nil, err
	}
	known, err := s.client.redis.SMembers(ctx, knownQueues).Result()
	for _, queue := range known {
		if slices.Contains(served, queue) || !s.lane.class.owns(queue) {
			continue
		}
		depth, _, err := s.client.depth(ctx, []string{queue})
		if err != nil {
			return found, err
		}
		if depth.Pending+depth.Active+depth.Retry+depth.Archived > 0 {
			found = append(found, queue)
		}
	}
	return found, err
}

// owns says whether queue is one of the class's queues, whatever their number.
func (c Class) owns(queue string) bool {
	shard, ok := strings.CutPrefix(queue, string(c)+"-")
	number, err := strconv.Atoi(shard)
	return ok && err == nil && number >= 0 && strconv.Itoa(number) == shard
}

func (s *serving) reserve() time.Duration { return min(reserveAtMost, s.cfg.Drain/4) }

// stop ends all servers, and what caring waits for, within the drain time. In good order each server stops fetching, its handlers
// finish, or are left and their tasks given back. A Redis that does not answer holds asynq up, so in the middle of the reserve
// the connections are cut.
func (s *serving) stop(endHandlers, caring func()) error {
	s.mu.Lock()
	servers := s.servers
	s.servers = nil
	s.mu.Unlock()
	cut := time.NewTimer(s.cfg.Drain - s.reserve()/2)
	defer cut.Stop()
	stopped := make(chan error, 1)
	go func() {
		var all sync.WaitGroup
		for _, server := range servers {
			all.Go(server.Shutdown)
		}
		all.Go(caring)
		all.Wait()
		endHandlers()
		<-s.active.close()
		stopped <- s.link.close()
	}()
	select {
	case err := <-stopped:
		return err
	case <-cut.C:
	}
	s.log.Warn("stop cut short: redis or a handler is not done", "handlers", s.active.count())
	endHandlers()
	s.link.cut()
	last := time.NewTimer(s.reserve() / 2)
	defer last.Stop()
	select {
	case err := <-stopped:
		return err
	case <-last.C:
		return fmt.Errorf("%d handlers of class %s still run %s after the stop", s.active.count(), s.cfg.Class, s.cfg.Drain)
	}
}

var (
	errStopping    = errors.New("the server is stopping")
	errUnknownTask = errors.New("no handler for the task")
)

// process runs one task. It may be called by several servers at once.
func (s *serving) process(ctx context.Context, task *asynq.Task) (err error) {
	if !s.active.begin() {
		return errStopping
	}
	defer s.active.end()
	job := job{raw: task.Payload(), redis: s.client.redis, marks: s.marks}
	job.id, _ = asynq.GetTaskID(ctx)
	job.queue, _ = asynq.GetQueueName(ctx)
	job.crashes, _ = asynq.GetRetryCount(ctx)
	start := time.Now()
	defer func() {
		if recovered := recover(); recovered != nil {
			err = fault.As(fault.Permanent, newPanicked(recovered))
			s.log.Error("handler panicked", "queue", job.queue, "task", task.Type(), "task_id", job.id, "error", err)
		}
		s.lane.metrics.ran(time.Since(start), err)
		if err != nil {
			err = &brief{err}
		}
	}()
	handler, ok := s.handlers[task.Type()]
	if !ok {
		s.log.Error("task without a handler stays in the queue", "queue", job.queue, "task", task.Type(), "task_id", job.id)
		return errUnknownTask
	}
	return handler.run(ctx, job)
}

// retryDelay says when a task runs again. asynq keeps the time in whole seconds, cutting off the rest, so a wait that was asked
// for is stretched to the next whole second.
func retryDelay(_ int, err error, _ *asynq.Task) time.Duration {
	after, throttled := fault.After(err)
	switch {
	case throttled && after <= 0, errors.Is(err, asynq.ErrLeaseExpired):
		return 0
	case throttled:
		due := time.Now().Add(after)
		if whole := due.Truncate(time.Second); !whole.Equal(due) {
			due = whole.Add(time.Second)
		}
		return time.Until(due) + time.Millisecond
	case errors.Is(err, errUnknownTask):
		return 10*time.Second + jitter(5*time.Second)
	default:
		return time.Second + jitter(2*time.Second)
	}
}

// jitter returns a part of most, so that what failed together does not come back together.
func jitter(most time.Duration) time.Duration { return rand.N(most) } //nolint:gosec // no secret depends on it

// briefBytes bounds the text of an error that asynq keeps with the task.
const briefBytes = 1024

// brief is an error with a bounded text.
type brief struct{ err error }

func (b *brief) Error() string {
	text := b.err.Error()
	return strings.ToValidUTF8(text[:min(len(text), briefBytes)], "")
}

func (b *brief) Unwrap() error { return b.err }

// inflight counts the handlers that run. asynq leaves a handler behind when its time is up; a server must not.
type inflight struct {
	mu      sync.Mutex
	running int
	closed  bool
	idle    chan struct{} // closed when closed is set and nothing runs
}

func newInflight() *inflight { return &inflight{idle: make(chan struct{})} }

// begin counts one more; it refuses once closed.
func (f *inflight) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.running++
	}
	return !f.closed
}

func (f *inflight) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	if f.closed && f.running == 0 {
		close(f.idle)
	}
}

// close refuses what has not begun and returns a channel that is closed when nothing runs any more. It is called once.
func (f *inflight) close() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.running == 0 {
		close(f.idle)
	}
	return f.idle
}

func (f *inflight) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running
}
