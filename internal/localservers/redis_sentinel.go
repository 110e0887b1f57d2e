package localservers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// The names and numbers of a RedisSentinel. A master that does not answer for sentinelDownAfter is replaced.
const (
	sentinelMaster    = "main"
	sentinelReplicas  = 2
	sentinelCount     = 3
	sentinelQuorum    = 2
	sentinelDownAfter = 1000 // milliseconds
)

// RedisSentinel is a master, two replicas, and three sentinels that replace the master when it has been away for a second. Its
// methods may be called from any goroutine.
type RedisSentinel struct {
	nodes, sentinels []*Redis
}

// StartRedisSentinel starts all of it, with nodes like options, and returns when the replicas follow and the sentinels know of
// everybody. ctx bounds the start only.
func StartRedisSentinel(ctx context.Context, options RedisOptions) (*RedisSentinel, error) {
	s := &RedisSentinel{}
	err := onFreePorts(func() error { return s.start(ctx, options) })
	if err != nil {
		return nil, fmt.Errorf("start redis sentinel: %w", err)
	}
	if err := within(ctx, "the sentinels know of everybody", s.complete); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

func (s *RedisSentinel) start(ctx context.Context, options RedisOptions) error {
	s.nodes, s.sentinels = nil, nil
	var master *Redis
	for range 1 + sentinelReplicas {
		node, err := newRedis(options)
		if err == nil {
			s.nodes = append(s.nodes, node)
			configuration := ""
			if master != nil {
				configuration = fmt.Sprintf("replicaof 127.0.0.1 %d\n", master.port)
			}
			master = s.nodes[0]
			err = node.keepConfiguration(configuration)
		}
		if err != nil {
			return errors.Join(err, stopAll(s.nodes))
		}
	}
	for range sentinelCount {
		sentinel, err := newRedis(RedisOptions{TLS: options.TLS})
		if err == nil {
			s.sentinels = append(s.sentinels, sentinel)
			err = sentinel.keepConfiguration(fmt.Sprintf(
				"sentinel monitor %[1]s 127.0.0.1 %[2]d %[3]d\nsentinel down-after-milliseconds %[1]s %[4]d\nsentinel failover-timeout %[1]s 5000\n",
				sentinelMaster, master.port, sentinelQuorum, sentinelDownAfter))
			sentinel.first = append(sentinel.first, "--sentinel")
		}
		if err != nil {
			return errors.Join(err, stopAll(s.all()))
		}
	}
	return startAll(ctx, s.all()...)
}

// keepConfiguration gives the server a file in which it keeps what Sentinel changes, such as whose replica it is.
func (r *Redis) keepConfiguration(text string) error {
	path := filepath.Join(r.directory.path, "configuration")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the configuration of redis: %w", err)
	}
	r.first = []string{path}
	return nil
}

func (s *RedisSentinel) all() []*Redis { return append(append([]*Redis{}, s.nodes...), s.sentinels...) }

// complete says whether every sentinel sees the master, its replicas and all sentinels, and the replicas follow.
func (s *RedisSentinel) complete() bool {
	want := fmt.Sprintf("status=ok,address=%s,slaves=%d,sentinels=%d", s.nodes[0].Addr(), sentinelReplicas, sentinelCount)
	for _, sentinel := range s.sentinels {
		lines, err := sentinel.ask("INFO sentinel")
		if err != nil || !strings.Contains(strings.Join(lines, "\n"), want) {
			return false
		}
	}
	for _, node := range s.nodes[1:] {
		lines, err := node.ask("INFO replication")
		if err != nil || !slices.Contains(lines, "master_link_status:up") {
			return false
		}
	}
	return true
}

// Master returns the node that most of the sentinels name as the master, dead or alive.
func (s *RedisSentinel) Master() (*Redis, error) {
	votes := make(map[*Redis]int)
	for _, sentinel := range s.sentinels {
		lines, err := sentinel.ask("SENTINEL GET-MASTER-ADDR-BY-NAME " + sentinelMaster)
		if err != nil {
			continue
		}
		for _, node := range s.nodes {
			if slices.Contains(lines, strconv.Itoa(node.port)) {
				votes[node]++
			}
		}
	}
	for node, count := range votes {
		if count >= sentinelQuorum {
			return node, nil
		}
	}
	return nil, errors.New("the sentinels do not agree who is the master")
}

// Replicas returns the nodes that are not the master, dead or alive.
func (s *RedisSentinel) Replicas() ([]*Redis, error) {
	master, err := s.Master()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(s.nodes), func(node *Redis) bool { return node == master }), nil
}

// URL returns where clients connect; it stays the same over failovers and restarts.
func (s *RedisSentinel) URL() string {
	address := "redis-sentinel://" + hosts(s.sentinels) + "/0?master=" + sentinelMaster
	if tls := s.nodes[0].options.TLS; tls != nil {
		address += "&tls=true&" + tls.query()
	}
	return address
}

// Stop ends all servers and removes their data. A second Stop does nothing.
func (s *RedisSentinel) Stop() error { return stopAll(s.all()) }

// hosts returns where servers are, as URLs list them.
func hosts(servers []*Redis) string {
	addresses := make([]string, len(servers))
	for i, server := range servers {
		addresses[i] = server.Addr()
	}
	return strings.Join(addresses, ",")
}
