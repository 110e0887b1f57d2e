package queue_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

const (
	// putWithin is what the sink gives a put.
	putWithin = 500 * time.Millisecond
	// failoverWithin bounds a failover with all that follows, until the last task has come back, on a busy machine.
	failoverWithin = 90 * time.Second
	thousand       = 1000
)

// ledger knows which tasks were put, which of those puts were acknowledged, and which tasks have arrived.
type ledger struct {
	mu           sync.Mutex
	acknowledged map[string]bool
	arrived      map[string]bool
	refused      int
	slowest      time.Duration
}

func newLedger() *ledger {
	return &ledger{acknowledged: make(map[string]bool), arrived: make(map[string]bool)}
}

// serve runs a server that takes down what arrives.
func (l *ledger) serve(t *testing.T, client *queue.Client) {
	t.Helper()
	cfg := queuetest.Serving(func(_ context.Context, d *queue.Delivery[string]) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.arrived[d.Payload] = true
		return nil
	})
	cfg.Concurrency = 8
	queuetest.Run(t, client.Serve(cfg))
}

// put puts a task once and takes down what came of it.
func (l *ledger) put(t *testing.T, client *queue.Client, payload string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), putWithin)
	defer cancel()
	start := time.Now()
	err := queue.Put(ctx, client, queuetest.Text, payload)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = max(l.slowest, time.Since(start))
	if err == nil {
		l.acknowledged[payload] = true
		return
	}
	l.refused++
	if fault.ClassOf(err) != fault.Transient {
		t.Errorf("put refused with %v", err)
	}
}

// putMany puts so many tasks, several at once.
func (l *ledger) putMany(t *testing.T, client *queue.Client, name string, count int) {
	t.Helper()
	var all sync.WaitGroup
	for putter := range 10 {
		all.Go(func() {
			for i := putter; i < count; i += 10 {
				l.put(t, client, fmt.Sprintf("%s %d", name, i))
			}
		})
	}
	all.Wait()
}

// keepPutting puts one task after another until the returned function is called.
func (l *ledger) keepPutting(t *testing.T, client *queue.Client, name string) (stop func()) {
	t.Helper()
	enough := make(chan struct{})
	var all sync.WaitGroup
	for putter := range 4 {
		all.Go(func() {
			pace := time.NewTicker(3 * time.Millisecond)
			defer pace.Stop()
			for i := 0; ; i++ {
				select {
				case <-enough:
					return
				case <-pace.C:
					l.put(t, client, fmt.Sprintf("%s %d of %d", name, i, putter))
				}
			}
		})
	}
	stop = sync.OnceFunc(func() {
		close(enough)
		all.Wait()
	})
	t.Cleanup(stop)
	return stop
}

func (l *ledger) counts() (acknowledged, refused int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acknowledged), l.refused
}

// requireMore waits until so many more puts were acknowledged.
func (l *ledger) requireMore(t *testing.T, more int) {
	t.Helper()
	before, _ := l.counts()
	require.Eventually(t, func() bool {
		now, _ := l.counts()
		return now >= before+more
	}, failoverWithin, 10*time.Millisecond)
}

// requireAllArrive waits until every task whose put was acknowledged has arrived.
func (l *ledger) requireAllArrive(t *testing.T) {
	t.Helper()
	missing := func() (all []string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for payload := range l.acknowledged {
			if !l.arrived[payload] {
				all = append(all, payload)
			}
		}
		return all
	}
	deadline := time.NewTimer(failoverWithin)
	defer deadline.Stop()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			if len(missing()) == 0 {
				return
			}
		case <-deadline.C:
			require.Empty(t, missing(), "lost")
		}
	}
}

// requireThousand puts and serves a thousand tasks.
func requireThousand(t *testing.T, url string) {
	t.Helper()
	client := queuetest.Open(t, seal.Secret(url), queue.Options{Shards: map[queue.Class]int{queuetest.Text.Class: 2}})
	l := newLedger()
	l.serve(t, client)
	for round := 0; len(l.acknowledged) < thousand; round++ { // the machine may stand still for longer than a put may take
		l.putMany(t, client, fmt.Sprint("round ", round), thousand-len(l.acknowledged))
	}
	l.requireAllArrive(t)
	requireNothingLeft(t, client)
}

func requireNothingLeft(t *testing.T, client *queue.Client) {
	t.Helper()
	require.Eventually(t, func() bool {
		depth, err := client.Depth(t.Context(), queuetest.Text.Class)
		return err == nil && depth == queue.Depth{}
	}, failoverWithin, 10*time.Millisecond)
}

func authority(t *testing.T) *localservers.Authority {
	t.Helper()
	a, err := localservers.NewAuthority(t.TempDir())
	require.NoError(t, err)
	return a
}

func TestOneRedisCarriesAThousandTasks(t *testing.T) {
	t.Parallel()
	t.Run("in the clear", func(t *testing.T) {
		t.Parallel()
		requireThousand(t, localtest.Redis(t, localservers.RedisOptions{}).URL())
	})
	t.Run("over TLS with its own authority", func(t *testing.T) {
		t.Parallel()
		requireThousand(t, localtest.Redis(t, localservers.RedisOptions{TLS: authority(t)}).URL())
	})
}

func TestTLSIsOnlyAsGoodAsItsCertificates(t *testing.T) {
	t.Parallel()
	known := authority(t)
	server := localtest.Redis(t, localservers.RedisOptions{TLS: known})
	insistOnCertificates(t, server, known)
	probe := func(url string) error {
		return queuetest.Open(t, seal.Secret(url), queue.Options{}).Probe(t.Context())
	}
	files := strings.TrimSuffix(known.CAFile(), "ca.pem")
	ours := "&cert_file=" + files + "server.pem&key_file=" + files + "server.key"
	require.NoError(t, probe(server.URL()+ours))
	require.Error(t, probe(server.URL()), "the server wants to know its clients")
	address, _, _ := strings.Cut(server.URL(), "?")
	require.ErrorContains(t, probe(address), "unknown authority")
	require.ErrorContains(t, probe(address+"?ca_file="+authority(t).CAFile()+ours), "unknown authority")
	other := strings.Replace(server.URL(), "127.0.0.1", "127.0.0.2", 1)
	require.Error(t, probe(other+ours), "the certificate is for another address")
}

// insistOnCertificates has a Redis turn away clients without a certificate, as it does unless it is told otherwise.
func insistOnCertificates(t *testing.T, server *localservers.Redis, known *localservers.Authority) {
	t.Helper()
	raw := direct(t, server, known)
	require.NoError(t, raw.ConfigSet(t.Context(), "tls-auth-clients", "yes").Err())
	require.NoError(t, raw.Close())
}

// direct returns a client of one server of an authority.
func direct(t *testing.T, server *localservers.Redis, known *localservers.Authority) *redis.Client {
	t.Helper()
	text, err := os.ReadFile(known.CAFile())
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(text))
	return redis.NewClient(&redis.Options{Addr: server.Addr(), TLSConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
}

// group is a Redis of several servers.
type group struct {
	url   string
	known *localservers.Authority
	// shard returns the master of the tests' first queue, and its replicas.
	shard func() (master *localservers.Redis, replicas []*localservers.Redis, err error)
}

func (g group) requireShard(t *testing.T) (master *localservers.Redis, replicas []*localservers.Redis) {
	t.Helper()
	require.Eventually(t, func() bool { // on a busy machine a server may be slow to answer
		var err error
		master, replicas, err = g.shard()
		return err == nil && len(replicas) > 0
	}, failoverWithin, 10*time.Millisecond)
	return master, replicas
}

// requireTakeover waits for the moment in which one of the replicas is a master. Not all others know by then.
func (g group) requireTakeover(t *testing.T, replicas []*localservers.Redis) {
	t.Helper()
	var clients []*redis.Client
	defer func() {
		for _, client := range clients {
			require.NoError(t, client.Close())
		}
	}()
	for _, replica := range replicas {
		clients = append(clients, direct(t, replica, g.known))
	}
	require.Eventually(t, func() bool {
		return slices.ContainsFunc(clients, func(client *redis.Client) bool {
			role, err := client.Do(t.Context(), "role").Slice()
			return err == nil && role[0] == "master"
		})
	}, failoverWithin, 10*time.Millisecond)
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	known := authority(t)
	servers, err := localservers.StartRedisSentinel(t.Context(), localservers.RedisOptions{AppendOnly: true, TLS: known})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, servers.Stop()) })
	// With one confirmation of two, the replica that has not got a task may become the master: see docs/durability.md.
	g := group{url: servers.URL() + "&replicas=2", known: known, shard: func() (master *localservers.Redis, replicas []*localservers.Redis, err error) {
		if master, err = servers.Master(); err == nil {
			replicas, err = servers.Replicas()
		}
		return master, replicas, err
	}}
	g.suite(t)
}

func TestCluster(t *testing.T) {
	t.Parallel()
	known := authority(t)
	servers, err := localservers.StartRedisCluster(t.Context(), 3, localservers.RedisOptions{AppendOnly: true, TLS: known})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, servers.Stop()) })
	group{url: servers.URL(), known: known, shard: func() (master *localservers.Redis, replicas []*localservers.Redis, err error) {
		return servers.Shard("asynq:{ingest-0}:pending")
	}}.suite(t)
}

// suite is what every group of servers must do; its tests use the same servers one after another.
func (g group) suite(t *testing.T) {
	t.Helper()
	t.Run("carries a thousand tasks", func(t *testing.T) { requireThousand(t, g.url) })
	t.Run("tells that a master alone may take tasks", g.loneMasterIsTold)
	t.Run("takes no task that no replica has", g.unconfirmedPutsFail)
	t.Run("loses nothing when a master dies", func(t *testing.T) {
		g.failover(t, (*localservers.Redis).Kill, func(master *localservers.Redis) error { return master.Restart(t.Context()) })
	})
	t.Run("loses nothing when a master freezes and comes back", func(t *testing.T) {
		g.failover(t, (*localservers.Redis).Pause, (*localservers.Redis).Resume)
	})
}

func (g group) loneMasterIsTold(t *testing.T) {
	f := watched(t, seal.Secret(g.url))
	f.requireUnsafe(t, "min-replicas-to-write")
	require.Contains(t, f.log.String(), "setting=min-replicas-to-write set_to=1")
	unhurried := watched(t, seal.Secret(strings.TrimSuffix(g.url, "&replicas=2")+"&replicas=0"))
	unhurried.requireUnsafe(t, "min-replicas-to-write")
}

func (g group) unconfirmedPutsFail(t *testing.T) {
	client := queuetest.Open(t, seal.Secret(g.url), queue.Options{})
	l := newLedger()
	l.putMany(t, client, "before", 20)
	require.NoError(t, client.Probe(t.Context()))
	_, replicas := g.requireShard(t)
	resume := func() {
		for _, replica := range replicas {
			require.NoError(t, replica.Resume())
		}
	}
	t.Cleanup(resume) // also after a failure, for those who come next
	for _, replica := range replicas {
		require.NoError(t, replica.Pause())
	}

	acknowledged, _ := l.counts()
	l.putMany(t, client, "meanwhile", 20)
	now, refused := l.counts()
	require.Equal(t, acknowledged, now)
	require.GreaterOrEqual(t, refused, 20)
	require.Less(t, l.slowest, 6*putWithin)
	ctx, cancel := context.WithTimeout(t.Context(), putWithin)
	defer cancel()
	require.Equal(t, fault.Transient, fault.ClassOf(client.Probe(ctx)), "the breaker lets no such Redis in")

	resume()
	stop := l.keepPutting(t, client, "after")
	l.requireMore(t, 20)
	stop()
	l.serve(t, client)
	l.requireAllArrive(t)
	requireNothingLeft(t, client)
}

// failover makes the master of the first queue leave while tasks are put and served, and come back in the moment in which it has been
// replaced: then it still takes itself for the master, and so do clients and replicas that have not been told.
func (g group) failover(t *testing.T, leave, back func(master *localservers.Redis) error) {
	t.Helper()
	client := queuetest.Open(t, seal.Secret(g.url), queue.Options{
		Registerer: prometheus.NewRegistry(), Shards: map[queue.Class]int{queuetest.Text.Class: 2},
	})
	l := newLedger()
	l.serve(t, client)
	stop := l.keepPutting(t, client, "task")
	l.requireMore(t, 100)
	master, replicas := g.requireShard(t)

	require.NoError(t, leave(master))
	g.requireTakeover(t, replicas)
	_, refused := l.counts()
	require.Positive(t, refused, "nobody took tasks for a while")
	require.NoError(t, back(master))

	l.requireMore(t, 200)
	stop()
	require.Less(t, l.slowest, 6*putWithin)
	l.requireAllArrive(t)
	requireNothingLeft(t, client)
}
