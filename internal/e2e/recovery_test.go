package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// recoveryTrials is how often TestWorkOfAKilledWorkerIsDoneByOthers kills a worker; `make recovery` sets it.
var recoveryTrials = flag.Int("recovery.trials", 1, "how often TestWorkOfAKilledWorkerIsDoneByOthers kills a worker")

const (
	recoveryWorkers     = 3
	recoveryConcurrency = 4
	// recoveryUpdates fill the hands of all workers, and leave some to wait.
	recoveryUpdates = recoveryWorkers*recoveryConcurrency + 8
	// recoveredWithin is what is promised, with threefold slack for a busy machine.
	recoveredWithin = 3 * 20 * time.Second
	// beatEvery is how often a worker shows that it is alive; where in that time it dies decides how long it is believed to live.
	beatEvery = 5 * time.Second
)

// TestWorkOfAKilledWorkerIsDoneByOthers kills one of three workers while it holds work, and sees the others commit it. The trials
// kill at moments spread over the time between two signs of life.
func TestWorkOfAKilledWorkerIsDoneByOthers(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.env["WORKER_CONCURRENCY"] = strconv.Itoa(recoveryConcurrency)
	f.addBots(people[0].token)
	f.startAPI()
	for range recoveryWorkers {
		f.startWorker()
	}
	var took []time.Duration
	for trial := range *recoveryTrials {
		pauseFor(beatEvery * time.Duration(trial) / time.Duration(*recoveryTrials))
		took = append(took, f.recoverFromDeath(trial))
		t.Logf("%2d of %d: committed %s after the worker's death", trial+1, *recoveryTrials, took[trial].Round(10*time.Millisecond))
		f.startWorker()
	}
	f.settled(time.Minute)
	require.Equal(t, *recoveryTrials*recoveryUpdates, f.db.count("SELECT count(*) FROM messages"))
	slices.Sort(took)
	t.Logf("%d trials: median %s, longest %s", len(took),
		took[len(took)/2].Round(10*time.Millisecond), took[len(took)-1].Round(10*time.Millisecond))
}

// recoverFromDeath kills the oldest worker while all of them have their hands full, and returns how long it takes from then until
// all updates are committed.
func (f *fleet) recoverFromDeath(trial int) time.Duration {
	f.t.Helper()
	free := f.db.hold("messages")
	defer free()
	for i := range recoveryUpdates {
		require.Equal(f.t, http.StatusOK, f.send(f.bots[0], hello(int64(1+trial*recoveryUpdates+i))))
	}
	eventually(f.t, startWithin, func(ctx context.Context) error {
		depth, err := f.depth(ctx)
		if err == nil && depth.Active < recoveryWorkers*recoveryConcurrency {
			err = fmt.Errorf("a worker has hands free: %+v", depth)
		}
		return err
	})
	f.workers[0].kill()
	f.workers = f.workers[1:]
	died := time.Now()
	free()
	committed := (trial + 1) * recoveryUpdates
	eventually(f.t, recoveredWithin, func(ctx context.Context) error {
		n, err := f.db.number(ctx, "SELECT count(*) FROM updates")
		if err == nil && n < committed {
			err = fmt.Errorf("%d of %d updates are committed", n, committed)
		}
		return err
	})
	return time.Since(died)
}
