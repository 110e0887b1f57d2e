package tasks_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/obs"
	"github.com/tgfleet/tgfleet/internal/queue"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/store"
	"github.com/tgfleet/tgfleet/internal/tasks"
)

// childVariable makes this test binary play a worker that some updates kill.
const childVariable = "TASKS_WORKER"

// mortal is what a child is told.
type mortal struct {
	Database, Redis string
	// Killers are the updates that end the process that normalises them, and KillingSize is how many updates a batch holds that
	// ends the process that opens it.
	Killers     []int64
	KillingSize int
	// Slow are updates that take longer to be normalised than a killer takes to kill.
	Slow []int64
}

// die ends this process as a kill does: at once, and nothing is cleared up.
func die() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {}
}

func (m mortal) Normalise(env ingest.Envelope) (content.ChangeSet, error) {
	cs, err := normalisers().Normalise(env)
	const moment = 100 * time.Millisecond
	switch {
	case err != nil:
	case slices.Contains(m.Killers, cs.Update.UpdateID):
		<-time.After(moment)
		die()
	case slices.Contains(m.Slow, cs.Update.UpdateID):
		<-time.After(3 * moment)
	}
	return cs, err
}

func (m mortal) open(payload []byte) (batch.Batch, error) {
	b, err := batch.Decode(payload)
	if m.KillingSize > 0 && len(b.Envelopes) == m.KillingSize {
		die()
	}
	return b, err
}

// work is the child's life.
func (m mortal) work(ctx context.Context) error {
	db, err := store.Open(ctx, seal.Secret(m.Database), store.Options{})
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	client, err := queue.Open(seal.Secret(m.Redis), queue.Options{Log: log})
	if err != nil {
		return err
	}
	settler := tasks.NewSettler(tasks.SettlerConfig{
		Archive: db.Archive(), Normaliser: m, Log: log, Registerer: prometheus.NewRegistry(),
	})
	settler.OpenWith(m.open)
	drain := tasks.NewDrain(tasks.DrainConfig{
		Spool: db.Spool(), Settler: settler, Log: log, Registerer: prometheus.NewRegistry(),
		Beat: obs.NewHealth().Loop("spool", time.Minute),
	})
	serving := client.Serve(queue.ServerConfig{
		Class: tasks.IngestClass, Concurrency: 4, Drain: 5 * time.Second, Handlers: []queue.Handler{tasks.HandleIngest(settler)},
	})
	ended := make(chan error, 3)
	for _, run := range []func(context.Context) error{settler.Run, drain.Run, serving.Run} {
		go func() { ended <- run(ctx) }()
	}
	return errors.Join(<-ended, <-ended, <-ended)
}

func workAsChild(told string) {
	var m mortal
	err := json.Unmarshal([]byte(told), &m)
	if err == nil {
		err = m.work(context.Background())
	}
	_, _ = os.Stderr.WriteString("the child ended: " + err.Error())
	os.Exit(1)
}

// generations are workers that follow one another, each taking up what the one before left when it died.
type generations struct {
	*worker
	raw    *redis.Client
	mortal mortal
	// crashes counts those of each task.
	crashes map[string]int
}

func setupGenerations(t *testing.T) *generations {
	t.Helper()
	url := postgres.Database(t)
	server := localtest.Redis(t, localservers.RedisOptions{})
	g := &generations{worker: setupOn(t, url, nil), crashes: make(map[string]int), mortal: mortal{Database: url, Redis: server.URL()}}
	g.queue = tasks.IngestQueue{Client: queuetest.Open(t, seal.Secret(server.URL()), queue.Options{})}
	g.raw = redis.NewClient(&redis.Options{Addr: server.Addr()})
	t.Cleanup(func() { require.NoError(t, g.raw.Close()) })
	return g
}

// live lets one worker live until it dies, or until done holds and it is killed; it returns whether done held.
func (g *generations) live(done func() bool) bool {
	g.t.Helper()
	told, err := json.Marshal(g.mortal)
	require.NoError(g.t, err)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childVariable+"="+string(told))
	child.Stderr = os.Stderr
	require.NoError(g.t, child.Start())
	died := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		_ = child.Wait()
		close(died)
	})
	defer waiting.Wait()
	defer func() { _ = child.Process.Kill() }()
	patience := time.NewTimer(queuetest.Within)
	defer patience.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-died:
			return done()
		case <-look.C:
			if done() {
				return true
			}
		case <-patience.C:
			require.FailNow(g.t, "the worker neither died nor was done")
		}
	}
}

// comeBack does at once what takes its time after a worker died: the sweeper puts the active tasks back, and holds end.
func (g *generations) comeBack() {
	g.t.Helper()
	const prefix = "asynq:{ingest-0}:"
	ids, err := g.raw.LRange(g.t.Context(), prefix+"active", 0, -1).Result()
	require.NoError(g.t, err)
	for _, id := range ids {
		g.crashes[id]++
		message := g.raw.HGet(g.t.Context(), prefix+"t:"+id, "msg").Val()
		require.NoError(g.t, g.raw.HSet(g.t.Context(), prefix+"t:"+id, "msg", message+"\x30"+string(rune(g.crashes[id])), "state", "pending").Err())
		require.NoError(g.t, g.raw.ZRem(g.t.Context(), prefix+"lease", id).Err())
		require.NoError(g.t, g.raw.LRem(g.t.Context(), prefix+"active", 0, id).Err())
		require.NoError(g.t, g.raw.RPush(g.t.Context(), prefix+"pending", id).Err())
	}
	g.exec(`UPDATE spool SET due_at = statement_timestamp()`)
}

// settled says whether nothing waits any more.
func (g *generations) settled() bool {
	depth, err := g.queue.Depth(g.t.Context(), tasks.IngestClass)
	require.NoError(g.t, err)
	return depth == queue.Depth{} && g.query(countSpool) == 0
}

// untilSettled lets workers live and die until nothing waits any more, and returns how many died.
func (g *generations) untilSettled() (deaths int) {
	g.t.Helper()
	for !g.live(g.settled) {
		deaths++
		require.Less(g.t, deaths, 30, "workers die without end")
		g.comeBack()
	}
	return deaths
}
