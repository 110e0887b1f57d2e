package operator_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/app/operator"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// desk is where an operator sits: the tool, and a database of its own. Inside a bubble its commands run in the bubble's time.
type desk struct {
	t   *testing.T
	url string
	db  *store.DB
	// sql reaches the same file past the repositories.
	sql *sql.DB
}

func setup(t *testing.T) *desk {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fleet.db")
	d := &desk{t: t, url: "sqlite:" + file}
	var err error
	d.sql, err = sql.Open("sqlite", file)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.sql.Close()) })
	d.db, err = store.Open(t.Context(), seal.Secret(d.url), store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.db.Close()) })
	require.NoError(t, d.db.Migrate(t.Context()))
	return d
}

// tool runs a command of the tool and returns what it printed and what it came to.
func (d *desk) tool(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	var out, errs bytes.Buffer
	cmd := operator.Command(operator.Env{
		Program: "tgfleet", In: strings.NewReader(""), Out: &out, Err: &errs,
		Lookup: func(name string) (string, bool) {
			if name != "DATABASE_URL" {
				return "", false
			}
			return d.url, true
		},
	})
	cmd.SetArgs(args)
	err = cmd.ExecuteContext(ctx)
	return out.String(), errs.String(), err
}

// letters returns n dead letters whose updates have sizeBytes bytes.
func letters(n, sizeBytes int) []ingest.DeadLetter {
	all := make([]ingest.DeadLetter, n)
	for i := range all {
		raw := fmt.Appendf(nil, "{%d", i)
		all[i] = ingest.DeadLetter{
			Envelope: ingest.Envelope{
				Source: ingest.Source{Transport: ingest.BotAPI, Account: 7000000001}, ReceivedAt: time.Unix(1_790_000_000, 0),
				Origin: ingest.Live, Format: ingest.BotAPIJSON, Raw: append(raw, make([]byte, max(0, sizeBytes-len(raw)))...),
			},
			Class: "not_json", Error: "wrong syntax", NormaliserVersion: 1, DiedAt: time.Unix(1_790_000_001, 0),
		}
	}
	return all
}

func (d *desk) bury(all ...ingest.DeadLetter) {
	d.t.Helper()
	outcome, err := d.db.Archive().Apply(d.t.Context(), content.Batch{DeadLetters: all})
	require.NoError(d.t, err)
	require.Equal(d.t, len(all), outcome.DeadLetters)
}

// left returns how many dead letters there are.
func (d *desk) left() int {
	d.t.Helper()
	ids, err := d.db.DeadLetters().IDs(d.t.Context(), store.DeadLetterFilter{})
	require.NoError(d.t, err)
	return len(ids)
}

// after waits until the bubble's clock has gone on by pause and everything has settled.
func after(pause time.Duration) {
	<-time.After(pause)
	synctest.Wait()
}

// TestRetryKeepsTheRate tells the moments at which letters are sent back.
func TestRetryKeepsTheRate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		letters, sizeBytes int
		rate               string
		// left is how many letters there are still, just after each number of seconds.
		left map[time.Duration]int
		took time.Duration
	}{
		"batches": {
			letters: 200, rate: "64", took: 3 * time.Second,
			left: map[time.Duration]int{0: 136, 1: 72, 2: 8, 3: 0},
		},
		"less than a batch a second": {
			letters: 7, rate: "2", took: 3 * time.Second,
			left: map[time.Duration]int{0: 5, 1: 3, 2: 1, 3: 0},
		},
		"large letters go in smaller batches": {
			letters: 10, sizeBytes: 100 << 10, rate: "10", took: 800 * time.Millisecond,
			left: map[time.Duration]int{0: 8, 1: 0},
		},
		"as many as there are": {letters: 64, rate: "1000000", left: map[time.Duration]int{0: 0}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := setup(t)
				d.bury(letters(c.letters, c.sizeBytes)...)
				start := time.Now()
				took := make(chan time.Duration, 1)
				go func() {
					stdout, stderr, err := d.tool(t.Context(), "dead", "retry", "--all", "--rate", c.rate)
					took <- time.Since(start)
					if err != nil || stderr != "" || !strings.HasPrefix(stdout, fmt.Sprintf("%d of %d sent back", c.letters, c.letters)) {
						t.Errorf("%q, %q, %v", stdout, stderr, err)
					}
				}()
				for second := range time.Duration(len(c.left)) {
					after(time.Until(start.Add(second*time.Second + time.Millisecond)))
					require.Equal(t, c.left[second], d.left(), "after %d s", second)
				}
				require.Equal(t, c.took, <-took)
			})
		})
	}
}

// TestRetrySendsNoLetterBackTwice has a worker that buries what comes, again and again: under new numbers.
func TestRetrySendsNoLetterBackTwice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := setup(t)
		const many = 10
		d.bury(letters(many, 0)...)
		var again int
		done := make(chan struct{})
		worker := time.NewTicker(time.Second)
		defer worker.Stop()
		go func() {
			defer close(done)
			stdout, _, err := d.tool(t.Context(), "dead", "retry", "--all", "--rate", "1")
			if err != nil || !strings.HasPrefix(stdout, "10 of 10 sent back") {
				t.Errorf("%q, %v", stdout, err)
			}
		}()
		for again < many {
			<-worker.C
			rows, err := d.db.Spool().Claim(t.Context(), many, time.Hour)
			require.NoError(t, err)
			for _, row := range rows {
				b, err := batch.Decode(row.Payload)
				require.NoError(t, err)
				for _, env := range b.Envelopes {
					letter := letters(1, 0)[0]
					letter.Envelope = env
					d.bury(letter)
					again++
				}
			}
		}
		<-done
		require.Equal(t, many, d.left())
		moves, err := d.db.DeadLetters().Moves(t.Context(), store.DeadLetterFilter{}, 100)
		require.NoError(t, err)
		require.Len(t, moves, many)
	})
}

func TestRetryWaitsForWorkersThatAreBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := setup(t)
		d.bury(letters(3, 0)...)
		full, err := d.db.Spool().Put(t.Context(), ingest.Spooled{Payload: []byte("x"), Updates: 5001, OldestAt: time.Now()})
		require.NoError(t, err)
		done := make(chan error, 1)
		told := make(chan string, 1)
		go func() {
			_, stderr, err := d.tool(t.Context(), "dead", "retry", "--all")
			told <- stderr
			done <- err
		}()
		after(time.Hour)
		require.Equal(t, 3, d.left(), "the line is behind")
		_, err = d.db.Archive().Apply(t.Context(), content.Batch{SpoolIDs: []int64{full}})
		require.NoError(t, err)
		require.Equal(t, "waiting for the workers: 5001 updates in the spool, and no more than 5000 may wait there\n", <-told, "once")
		require.NoError(t, <-done)
		require.Zero(t, d.left())
	})
}

func TestRetryThatIsStoppedSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	for name, spooled := range map[string]int{"between batches": 1, "while workers are behind": 5001} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				d := setup(t)
				d.bury(letters(100, 0)...)
				_, err := d.db.Spool().Put(t.Context(), ingest.Spooled{Payload: []byte("x"), Updates: spooled, OldestAt: time.Now()})
				require.NoError(t, err)
				ctx, stop := context.WithTimeout(t.Context(), 2500*time.Millisecond)
				defer stop()
				start := time.Now()
				stdout, _, err := d.tool(ctx, "dead", "retry", "--all", "--rate", "10")
				moved := 100 - d.left()
				require.EqualError(t, err, fmt.Sprintf("stopped: %d of 100 sent back, the others are untouched", moved))
				require.Equal(t, 30*min(1, 5001-spooled), moved)
				require.Equal(t, 2500*time.Millisecond, time.Since(start), "at once")
				require.Empty(t, stdout)
			})
		})
	}
}

// TestRetryThatFailsSaysHowFarItCame meets a letter whose source no program can read, after a batch that went well.
func TestRetryThatFailsSaysHowFarItCame(t *testing.T) {
	t.Parallel()
	d := setup(t)
	all := letters(65, 0)
	all[64].Envelope.Source = ingest.Source{Transport: 9}
	d.bury(all[:64]...)
	d.bury(all[64])
	stdout, _, err := d.tool(t.Context(), "dead", "retry", "--all", "--rate", "1000000", "--json")
	require.ErrorContains(t, err, "source")
	require.ErrorContains(t, err, "64 of 65 sent back, the others are untouched")
	require.JSONEq(t, `{"meant":65,"retried":64,"stopped":true}`, stdout)
	require.Equal(t, 1, d.left())
}

func TestClassesOfThisProgramAreKnownWithoutLetters(t *testing.T) {
	t.Parallel()
	d := setup(t)
	for _, class := range []string{"not_json", "panic", "undecodable_batch", "refused_by_database", "failed_repeatedly", "crashed_worker"} {
		_, _, err := d.tool(t.Context(), "dead", "list", "--class", class)
		require.NoError(t, err)
	}
	newer := letters(1, 0)[0]
	newer.Class = "of_a_newer_program"
	_, _, err := d.tool(t.Context(), "dead", "list", "--class", newer.Class)
	require.ErrorContains(t, err, `--class "of_a_newer_program": there is no such class`)
	d.bury(newer)
	for _, command := range []string{"list", "retry", "log", "list"} {
		_, _, err = d.tool(t.Context(), "dead", command, "--class", newer.Class)
		require.NoError(t, err, "it is on record: %s", command)
	}
}
