package localservers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	clusterSlots = 16384
	// clusterNodeTimeout is how long a node of a cluster may be silent, in milliseconds, before the others hold it for dead.
	clusterNodeTimeout = 1000
)

// RedisCluster is a Redis Cluster of which each master has one replica. Its methods may be called from any goroutine.
type RedisCluster struct {
	nodes []*Redis
}

// StartRedisCluster starts a cluster with that number of masters and as many replicas, all like options, and returns when it takes
// commands and all replicas follow. ctx bounds the start only.
func StartRedisCluster(ctx context.Context, masters int, options RedisOptions) (*RedisCluster, error) {
	c := &RedisCluster{}
	err := onFreePorts(func() error { return c.start(ctx, masters, options) })
	if err != nil {
		return nil, fmt.Errorf("start redis cluster: %w", err)
	}
	if err := within(ctx, "the cluster is in order", c.complete); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// start writes each node's picture of the finished cluster before it starts the nodes: they find themselves in order at once,
// where introducing them to each other would take many seconds.
func (c *RedisCluster) start(ctx context.Context, masters int, options RedisOptions) error {
	c.nodes = nil
	buses := make([]int, 2*masters)
	for i := range buses {
		node, err := newRedis(options)
		if err == nil {
			c.nodes = append(c.nodes, node)
			buses[i], err = FreePort()
		}
		if err != nil {
			return errors.Join(err, stopAll(c.nodes))
		}
		node.options.Args = append([]string{
			"--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(buses[i]),
			"--cluster-node-timeout", strconv.Itoa(clusterNodeTimeout), "--repl-diskless-sync-delay", "0",
		}, options.Args...)
	}
	for i, node := range c.nodes {
		if err := os.WriteFile(filepath.Join(node.directory.path, "nodes.conf"), []byte(c.picture(i, masters, buses)), 0o600); err != nil {
			return errors.Join(fmt.Errorf("write the nodes of a cluster: %w", err), stopAll(c.nodes))
		}
	}
	return startAll(ctx, c.nodes...)
}

// picture returns nodes.conf as the node self keeps it. The first half of the nodes are the masters.
func (c *RedisCluster) picture(self, masters int, buses []int) string {
	id := func(i int) string { return fmt.Sprintf("%040x", i+1) }
	var text strings.Builder
	for i, node := range c.nodes {
		myself := ""
		if i == self {
			myself = "myself,"
		}
		owner := i % masters
		_, _ = fmt.Fprintf(&text, "%s %s@%d %s", id(i), node.Addr(), buses[i], myself)
		if i < masters {
			_, _ = fmt.Fprintf(&text, "master - 0 0 %d connected %d-%d\n",
				i+1, clusterSlots*i/masters, clusterSlots*(i+1)/masters-1)
		} else {
			_, _ = fmt.Fprintf(&text, "slave %s 0 0 %d connected\n", id(owner), owner+1)
		}
	}
	_, _ = fmt.Fprintf(&text, "vars currentEpoch %d lastVoteEpoch 0\n", masters)
	return text.String()
}

func (c *RedisCluster) complete() bool {
	for _, node := range c.nodes {
		lines, err := node.ask("CLUSTER INFO", "INFO replication")
		text := strings.Join(lines, "\n")
		if err != nil || !strings.Contains(text, "cluster_state:ok") || strings.Contains(text, "master_link_status:down") ||
			!strings.Contains(text, "connected_slaves:1") && !strings.Contains(text, "role:slave") {
			return false
		}
	}
	return true
}

// Shard returns the master that holds key and its replicas. Nodes that do not answer are left out.
func (c *RedisCluster) Shard(key string) (master *Redis, replicas []*Redis, err error) {
	followers := make(map[string][]*Redis)
	var masterID string
	var newest int
	for _, node := range c.nodes {
		lines, err := node.ask("CLUSTER KEYSLOT "+key, "CLUSTER NODES")
		if err != nil || len(lines) == 0 {
			continue
		}
		slot, err := strconv.Atoi(strings.TrimPrefix(lines[0], ":"))
		if err != nil {
			return nil, nil, fmt.Errorf("slot of key %s: %w", key, err)
		}
		for _, line := range lines[1:] {
			// The fields: id, address, flags, master, ping sent, pong received, epoch, link, slots.
			fields := strings.Fields(line)
			if len(fields) < 8 || !strings.Contains(fields[2], "myself") {
				continue
			}
			followers[fields[3]] = append(followers[fields[3]], node)
			// After a failover an old master that was frozen may still hold itself for the owner.
			if epoch, err := strconv.Atoi(fields[6]); err == nil && epoch > newest && holds(fields[8:], slot) {
				master, masterID, newest = node, fields[0], epoch
			}
		}
	}
	if master == nil {
		return nil, nil, fmt.Errorf("no node holds key %s", key)
	}
	return master, followers[masterID], nil
}

// holds says whether ranges, as CLUSTER NODES lists them, hold slot.
func holds(ranges []string, slot int) bool {
	for _, item := range ranges {
		first, last, found := strings.Cut(item, "-")
		if !found {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err == nil && err2 == nil && from <= slot && slot <= to {
			return true
		}
	}
	return false
}

// URL returns where clients connect; it stays the same over failovers and restarts.
func (c *RedisCluster) URL() string {
	address := "redis-cluster://" + hosts(c.nodes)
	if tls := c.nodes[0].options.TLS; tls != nil {
		address += "?tls=true&" + tls.query()
	}
	return address
}

// Stop ends all servers and removes their data. A second Stop does nothing.
func (c *RedisCluster) Stop() error { return stopAll(c.nodes) }
