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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// MemoryUsed returns how much of its memory limit Redis has used, from 0 to 1, and 0 when it has no limit; of a cluster that of its
// fullest master. With the same look it finds out whether Redis is set up to keep what it is given, and says so in the log and the
// metrics when that changes. It returns a fault.Transient error when Redis does not answer.
func (c *Client) MemoryUsed(ctx context.Context) (float64, error) {
	masters, err := c.look(ctx)
	if err != nil {
		return 0, fault.As(fault.Transient, fmt.Errorf("memory of redis: %w", err))
	}
	c.safety.note(masters)
	var fullest float64
	for _, master := range masters {
		used, err := master.memoryUsed()
		if err != nil {
			return 0, fmt.Errorf("memory of redis: %w", err)
		}
		fullest = max(fullest, used)
	}
	c.safety.memory.Set(fullest)
	return fullest, nil
}

// look asks the Redis, or each master of a cluster, about itself.
func (c *Client) look(ctx context.Context) (masters []info, err error) {
	cluster, ok := c.redis.(*redis.ClusterClient)
	if !ok {
		one, err := readInfo(ctx, c.redis)
		return []info{one}, err
	}
	var mu sync.Mutex
	err = cluster.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		one, err := readInfo(ctx, node)
		mu.Lock()
		defer mu.Unlock()
		masters = append(masters, one)
		return err
	})
	return masters, err
}

// info is what a Redis says of itself, by name.
type info map[string]string

// readInfo asks for all of INFO: the embedded Redis knows few sections, and answers an unknown one with an error. Unlike CONFIG, INFO is
// open to clients of a managed Redis.
func readInfo(ctx context.Context, node redis.Cmdable) (info, error) {
	text, err := node.Info(ctx).Result()
	if err != nil {
		return nil, err
	}
	all := info{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			all[name] = value
		}
	}
	return all, nil
}

func (i info) memoryUsed() (float64, error) {
	var used, limit float64
	var err error
	for name, number := range map[string]*float64{"used_memory": &used, "maxmemory": &limit} {
		if text, ok := i[name]; ok {
			var malformed error
			*number, malformed = strconv.ParseFloat(text, 64)
			err = errors.Join(err, malformed)
		}
	}
	if err != nil || limit == 0 {
		return 0, err
	}
	return used / limit, nil
}

// verdict is what is known of a setting of Redis. Of several masters the highest counts.
type verdict int

const (
	unasked verdict = iota
	safe
	untold
	unsafe
)

// setting is one that decides whether Redis keeps what it was given.
type setting struct {
	name string
	// right is what it should be, and risk what may be lost otherwise.
	right, risk string
	judge       func(master info) verdict
	// grouped says that it matters only where replicas take over.
	grouped bool
}

var settings = []setting{
	{
		name: "appendonly", right: "yes", risk: "a restart of Redis loses every update in the queues",
		judge: func(master info) verdict { return judged(master, "aof_enabled", "1") },
	},
	{
		name: "maxmemory-policy", right: "noeviction", risk: "a full Redis drops updates without a word",
		judge: func(master info) verdict { return judged(master, "maxmemory_policy", "noeviction") },
	},
	{
		name: "min-replicas-to-write", right: "1", risk: "a master that was cut off goes on taking updates, and drops them when it is back",
		grouped: true,
		judge: func(master info) verdict {
			// Redis counts its good replicas only where it insists on some.
			_, insists := master["min_slaves_good_slaves"]
			switch {
			case insists:
				return safe
			case master["role"] == "master":
				return unsafe
			default:
				return untold
			}
		},
	},
}

func judged(master info, name, right string) verdict {
	switch value, told := master[name]; {
	case !told:
		return untold
	case value == right:
		return safe
	default:
		return unsafe
	}
}

// safety remembers how safe the settings of Redis are. Any number of goroutines may use it.
type safety struct {
	log *slog.Logger
	// grouped says that replicas take over for a master that is lost.
	grouped bool
	unsafe  *prometheus.GaugeVec
	memory  prometheus.Gauge

	mu sync.Mutex
	// known holds the last verdict of each setting.
	known map[string]verdict
}

func newSafety(options Options, grouped bool) (*safety, error) {
	s := &safety{
		log: options.Log, grouped: grouped, known: make(map[string]verdict),
		unsafe: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tgfleet_queue_redis_unsafe", Help: "1 while a setting of Redis allows that accepted updates are lost.",
		}, []string{"setting"}),
		memory: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tgfleet_queue_redis_memory_used_ratio", Help: "Share of its memory limit that Redis uses; 0 without a limit.",
		}),
	}
	for _, setting := range settings {
		s.unsafe.WithLabelValues(setting.name)
	}
	if options.Registerer == nil {
		return s, nil
	}
	return s, errors.Join(options.Registerer.Register(s.unsafe), options.Registerer.Register(s.memory))
}

// note takes in what the masters say, and tells what has changed.
func (s *safety) note(masters []info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, setting := range settings {
		if setting.grouped && !s.grouped {
			continue
		}
		now := unasked
		for _, master := range masters {
			now = max(now, setting.judge(master))
		}
		s.tell(setting, s.known[setting.name], now)
		s.known[setting.name] = now
	}
}

func (s *safety) tell(about setting, before, now verdict) {
	if now == before {
		return
	}
	s.unsafe.WithLabelValues(about.name).Set(0)
	switch {
	case now == unsafe:
		s.unsafe.WithLabelValues(about.name).Set(1)
		s.log.Warn("redis may lose updates that were accepted", "setting", about.name, "set_to", about.right, "otherwise", about.risk)
	case now == untold:
		s.log.Info("redis does not tell a setting", "setting", about.name, "should_be", about.right, "otherwise", about.risk)
	case before == unsafe:
		s.log.Info("setting of redis is right now", "setting", about.name)
	}
}

// ReplicationID returns what names the data that the Redis holds (in a cluster: that all masters hold): it changes when a replica takes
// over, or a server begins anew. Source: https://redis.io/docs/latest/operate/oss_and_stack/management/replication/, replication ID.
func (c *Client) ReplicationID(ctx context.Context) (string, error) {
	masters, err := c.look(ctx)
	if err != nil {
		return "", fmt.Errorf("ask redis for its replication id: %w", err)
	}
	ids := make([]string, len(masters))
	for i, master := range masters {
		ids[i] = master["master_replid"]
	}
	slices.Sort(ids)
	return strings.Join(ids, ","), nil
}
