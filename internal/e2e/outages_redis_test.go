package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
}

// command runs a command of Redis.
func (o *outages) command(args ...any) {
	o.t.Helper()
	require.NoError(o.t, o.raw.Do(context.Background(), args...).Err(), "%v", args)
}

func (o *outages) restartRedis() {
	o.t.Helper()
	require.NoError(o.t, o.redis.Restart(context.Background()))
}

// TestFleetOutlivesEveryOutageOfRedis takes Redis away in every way that it can be away. Updates go to the spool, and from there into
// the archive while the outage lasts.
func TestFleetOutlivesEveryOutageOfRedis(t *testing.T) {
	t.Parallel()
	o := newOutages(t)
	away := func(name string, begin, end func()) outage {
		return outage{name: name, takes: spoolTakes, redis: true, begin: begin, end: end}
	}
	o.suffers(
		away("frozen", func() { require.NoError(t, o.redis.Pause()) }, func() { require.NoError(t, o.redis.Resume()) }),
		away("killed", func() { require.NoError(t, o.redis.Kill()) }, o.restartRedis),
		away("stopped in good order", func() {
			_ = o.raw.Do(context.Background(), "SHUTDOWN").Err() // the answer is the end of the connection
			eventually(t, startWithin, func(ctx context.Context) error {
				if o.raw.Ping(ctx).Err() == nil {
					return errors.New("redis still answers")
				}
				return nil
			})
		}, o.restartRedis),
		away("out of memory",
			func() { o.command("CONFIG", "SET", "maxmemory", "1") }, func() { o.command("CONFIG", "SET", "maxmemory", "0") }),
		away("read-only",
			func() { o.command("REPLICAOF", "127.0.0.1", "1") }, func() { o.command("REPLICAOF", "NO", "ONE") }),
		away("unable to save", o.saveFails, o.saveWorks),
		o.loading(),
	)
	o.losesItsData()
	o.finish(o.committedOthers())
}

// saveFails makes Redis refuse writes because its last snapshot failed: a directory is where the snapshot should be.
func (o *outages) saveFails() {
	o.t.Helper()
	require.NoError(o.t, os.Mkdir(filepath.Join(o.redisDirectory(), "dump.rdb"), 0o700))
	o.command("CONFIG", "SET", "save", "3600 1")
	o.command("BGSAVE")
	eventually(o.t, startWithin, func(ctx context.Context) error {
		return refusesWith(o.raw.Set(ctx, "any", 1, time.Minute).Err(), "MISCONF")
	})
}

func (o *outages) saveWorks() {
	o.t.Helper()
	o.command("CONFIG", "SET", "save", "")
	require.NoError(o.t, os.Remove(filepath.Join(o.redisDirectory(), "dump.rdb")))
}

func (o *outages) redisDirectory() string {
	o.t.Helper()
	got, err := o.raw.ConfigGet(context.Background(), "dir").Result()
	require.NoError(o.t, err)
	return got["dir"]
}

// refusesWith returns nil when err is the answer of Redis that begins so.
func refusesWith(err error, code string) error {
	if err == nil || len(err.Error()) < len(code) || err.Error()[:len(code)] != code {
		return fmt.Errorf("want %s, got %w", code, err)
	}
	return nil
}

// loading restarts Redis with so much data that it reads for a while, in which it answers that it is loading or nothing at all.
func (o *outages) loading() outage {
	const keys, delay = 3000, time.Millisecond
	started := make(chan error, 1)
	return outage{
		name: "loading", takes: spoolTakes, redis: true,
		begin: func() {
			pipe := o.raw.Pipeline()
			for i := range keys {
				pipe.Set(context.Background(), fmt.Sprintf("cargo:%d", i), i, time.Hour)
			}
			_, err := pipe.Exec(context.Background())
			require.NoError(o.t, err)
			o.compact()
			writeFile(o.t, o.include,
				fmt.Sprintf("key-load-delay %d\nloading-process-events-interval-bytes 1024\n", delay.Microseconds()))
			require.NoError(o.t, o.redis.Kill())
			go func() { started <- o.redis.Restart(context.Background()) }()
			eventually(o.t, startWithin, func(ctx context.Context) error {
				return refusesWith(o.raw.Set(ctx, "any", 1, time.Minute).Err(), "LOADING")
			})
		},
		end: func() {
			require.NoError(o.t, <-started)
			writeFile(o.t, o.include, "")
		},
	}
}

// compact makes Redis write its append-only file anew, so that it holds nothing that was deleted.
func (o *outages) compact() {
	o.t.Helper()
	o.command("BGREWRITEAOF")
	eventually(o.t, startWithin, func(ctx context.Context) error {
		info, err := o.raw.Info(ctx, "persistence").Result()
		if err == nil && !strings.Contains(info, "aof_rewrite_in_progress:0") {
			err = errors.New("the append-only file is still being written")
		}
		return err
	})
}

// firstOther is the number of the first update that does not come from the stream.
const firstOther = 1_000_000

func (o *outages) committedOthers() int {
	o.t.Helper()
	return o.db.count(fmt.Sprintf("SELECT count(*) FROM updates WHERE update_id >= %d", firstOther))
}

// losesItsData restarts Redis empty: what waited in it is gone, which is as documented, and nothing else is. What the workers had in
// hand is committed, and the fleet goes on by itself.
func (o *outages) losesItsData() {
	o.t.Run("restarted without its data", func(*testing.T) {
		watched := o.watchHealth()
		o.stream.pause()
		o.settled(recoverWithin)
		free := o.db.hold("updates")
		defer free()
		// One update a task, more than all workers have in hand together.
		const updates, inHand = 50, 2 * 16
		for i := range int64(updates) {
			require.Equal(o.t, http.StatusOK, o.send(o.bots[0], hello(firstOther+i)))
		}
		o.becomes(updates-inHand, inHand)
		o.command("FLUSHALL")
		require.NoError(o.t, o.redis.Kill())
		o.restartRedis()
		free()
		eventually(o.t, recoverWithin, func(ctx context.Context) error {
			kept, err := o.db.number(ctx, fmt.Sprintf("SELECT count(*) FROM updates WHERE update_id >= %d", firstOther))
			if err == nil && kept != inHand {
				err = fmt.Errorf("%d updates are kept, of %d in hand", kept, inHand)
			}
			return err
		})
		o.becomes(0, 0)

		o.stream.goOn()
		o.recovers(outage{takes: spoolTakes})
		o.stream.pause()
		o.settled(recoverWithin)
		require.Equal(o.t, inHand, o.committedOthers(), "what was lost does not come back")
		o.stream.goOn()
		watched()
	})
}
