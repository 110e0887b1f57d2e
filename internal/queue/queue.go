// Package queue carries typed tasks between processes over asynq on Redis. A route names a task, its class and its codec; Put makes
// a task durable, Serve runs handlers for the tasks of a class. A task is delivered at least once and in no order, and it is
// never dropped here: it is retried without end until its handler returns nil, so the handler alone decides when work
// is given up. Everything that Redis refuses or does not answer is a fault.Transient error. The package owns asynq and
// go-redis; no type of theirs leaves it, and it knows nothing of what the tasks mean.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/tgfleet/tgfleet/internal/seal"
)

// Class is a kind of work that shares queues and workers, such as "ingest". A class with N shards has the queues "ingest-0" to
// "ingest-(N-1)". Classes are constants of the program: they become metric labels.
type Class string

// Route is one kind of task. Task is its name in the queue: unique, and stable over versions of the program. Encode and Decode
// must not keep or change the bytes that they get; Decode reads everything that any earlier Encode wrote.
type Route[P any] struct {
	Task   string
	Class  Class
	Encode func(payload P) ([]byte, error)
	Decode func(raw []byte) (P, error)
	// Since says since when payload has been waiting, for Depth; without it that is the time of the Put.
	Since func(payload P) time.Time
}

// Options says how a Client works.
type Options struct {
	// Log takes what happens outside of any call; it must be set.
	Log *slog.Logger
	// Registerer takes the client's metrics; with nil they are kept nowhere. It takes those of one Client only.
	Registerer prometheus.Registerer
	// Shards is how many queues each class has, at least 1; a class that is not listed has 1. Processes may disagree: Serve
	// also serves the queues of its class that others fill.
	Shards map[Class]int
}

// putPoolSize is how many connections puts share. More of them gain nothing: one flush carries many updates.
const putPoolSize = 20

// Client is the way to one Redis. Any number of goroutines may use it.
type Client struct {
	log     *slog.Logger
	metrics *metrics
	// connect makes one more client of the same Redis; it is a function so that no field holds the password.
	connect func(poolSize int, through func(dialer) dialer) redis.UniversalClient
	redis   redis.UniversalClient
	tasks   *asynq.Client
	shards  map[Class]int
	ages    ages
	safety  *safety

	mu sync.RWMutex
	// lanes holds the classes in use. Added to by lane; a lane itself never changes.
	lanes map[Class]*lane
}

// lane is one class as this process uses it.
type lane struct {
	class   Class
	queues  []string
	next    atomic.Uint64
	metrics laneMetrics
}

// turn returns the queue whose turn it is.
func (l *lane) turn() string {
	return l.queues[l.next.Add(1)%uint64(len(l.queues))]
}

// silent keeps go-redis from writing to the standard error: each condition that it would print comes back as an error too.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// Open returns a client for the Redis at address: redis://, rediss://, redis-sentinel:// or redis-cluster://. It makes no connection,
// so Redis may be down; an error means that the address, a file that it names, or the options are wrong, says what would be right, and
// never shows the address. It silences go-redis's own logging for the whole process.
func Open(address seal.Secret, options Options) (*Client, error) {
	parsed, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	for class, shards := range options.Shards {
		if shards < 1 {
			return nil, fmt.Errorf("shards of class %s: %d, want at least 1", class, shards)
		}
	}
	redis.SetLogger(silent{})
	c := &Client{
		log:     options.Log,
		connect: parsed.client,
		shards:  maps.Clone(options.Shards),
		lanes:   make(map[Class]*lane),
	}
	if c.metrics, err = newMetrics(options.Registerer, c.scrape); err != nil {
		return nil, fmt.Errorf("metrics of the queue: %w", err)
	}
	if c.safety, err = newSafety(options, parsed.grouped()); err != nil {
		return nil, fmt.Errorf("metrics of the queue: %w", err)
	}
	c.redis = c.connect(putPoolSize, direct)
	awaitReplicas(c.redis, parsed.replicas)
	c.tasks = asynq.NewClientFromRedisClient(c.redis)
	for class := range c.shards {
		c.lane(class)
	}
	return c, nil
}

// Close closes the connections. Whatever still uses the client fails.
func (c *Client) Close() error {
	if err := c.redis.Close(); err != nil {
		return fmt.Errorf("close redis: %w", err)
	}
	return nil
}

func (c *Client) lane(class Class) *lane {
	c.mu.RLock()
	l, ok := c.lanes[class]
	c.mu.RUnlock()
	if ok {
		return l
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l, ok := c.lanes[class]; ok {
		return l
	}
	l = &lane{class: class, metrics: c.metrics.of(class)}
	for i := range max(1, c.shards[class]) {
		l.queues = append(l.queues, string(class)+"-"+strconv.Itoa(i))
	}
	c.lanes[class] = l
	return l
}

func (c *Client) allLanes() []*lane {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Collect(maps.Values(c.lanes))
}

// refused says whether err is anything but an answer: redis.Nil is one.
func refused(err error) bool { return err != nil && !errors.Is(err, redis.Nil) }
