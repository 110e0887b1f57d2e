package e2e_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator"
)

// while is how long a thing is watched that must not happen.
const while = 300 * time.Millisecond

// stopping is what every process of ours logs once it was told to stop.
const stopping = `"msg":"stopping"`

// terminate sends SIGTERM and waits for the end, which must come in time and be a good one.
func (p *child) terminate() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	require.Zero(p.t, p.exit(drainTimeout+drainSlack), "exit code of %s after SIGTERM", p.name)
}

// TestSIGTERMUnderLoadLosesAndDoublesNothing replaces the api and a worker twice while updates come in.
func TestSIGTERMUnderLoadLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	tg := startTelegram(t, simulator.Config{Seed: 2})
	tg.SetFaults(simulator.Faults{LostAnswers: 0.02, Duplicates: 0.05, Order: simulator.AcrossQueues})
	f := newFleet(t)
	f.addBots(tg.addBots(3)...)
	f.startAPI()
	f.startWorker()
	f.startWorker()
	for _, b := range f.bots {
		tg.post(b, f.api.url, nil)
	}

	said := tg.talk(simulator.TrafficConfig{Rate: 150, Burst: 40})
	for range 2 {
		tg.reached(time.Minute, tg.Oracle().Counts().Acknowledged+300, acknowledged)
		f.api.terminate()
		f.startAPI()
		tg.reached(time.Minute, tg.Oracle().Counts().Acknowledged+300, acknowledged)
		f.workers[0].terminate()
		f.workers = f.workers[1:]
		f.startWorker()
	}
	tg.reached(time.Minute, tg.Oracle().Counts().Acknowledged+300, acknowledged)
	said.end()
	tg.delivered(2 * time.Minute)
	f.settled(time.Minute)

	t.Logf("%+v", tg.Oracle().Counts())
	requireDelivered(t, tg)
	requireArchive(t, f.db, tg)
	requireSecrecy(t, tg, f.env, f.bots, f.children()...)
}

// TestWorkerFinishesWhatItHasInHand tells a worker to stop while it can't commit: it must not end before it has, and it must take
// nothing more.
func TestWorkerFinishesWhatItHasInHand(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.addBots(people[0].token)
	f.startAPI()
	worker := f.startWorker()

	free := f.db.hold("updates")
	defer free()
	require.Equal(t, http.StatusOK, f.send(f.bots[0], hello(1)))
	f.becomes(0, 1)
	worker.signal(syscall.SIGTERM)
	worker.printed(stopping)
	require.Equal(t, http.StatusOK, f.send(f.bots[0], hello(2)))
	f.becomes(1, 1)
	worker.lives(while)
	f.becomes(1, 1)

	free()
	require.Zero(t, worker.exit(drainTimeout+drainSlack))
	f.becomes(1, 0)
	require.Equal(t, 1, f.db.count("SELECT count(*) FROM updates"), "what it had in hand is committed")

	f.workers = nil
	f.startWorker()
	f.settled(time.Minute)
	require.Equal(t, 2, f.db.count("SELECT count(*) FROM updates"), "what it left is taken by the next one")
}

// becomes waits until so many tasks are pending and active.
func (f *fleet) becomes(pending, active int) {
	f.t.Helper()
	eventually(f.t, startWithin, func(ctx context.Context) error {
		depth, err := f.depth(ctx)
		if err == nil && (depth.Pending != pending || depth.Active != active) {
			err = fmt.Errorf("want %d pending and %d active tasks, there are %+v", pending, active, depth)
		}
		return err
	})
}

// hello returns a private message as an update.
func hello(updateID int64) string {
	return fmt.Sprintf(`{"update_id":%d,"message":{"message_id":%d,"from":{"id":4242,"is_bot":false,"first_name":"Ada"},`+
		`"chat":{"id":4242,"type":"private","first_name":"Ada"},"date":%d,"text":"good morning number %d"}}`,
		updateID, updateID, time.Now().Unix(), updateID)
}

// hold keeps everybody from writing into a table until free is called.
func (a *archive) hold(table string) (free func()) {
	a.t.Helper()
	tx, err := a.pool.BeginTx(context.Background(), nil)
	require.NoError(a.t, err)
	_, err = tx.ExecContext(context.Background(), "LOCK TABLE "+table+" IN EXCLUSIVE MODE")
	require.NoError(a.t, err)
	freed := false
	return func() {
		if !freed {
			freed = true
			require.NoError(a.t, tx.Rollback())
		}
	}
}

// TestAPIAnswersWhatItHasInHand tells an api to stop while an update's body is still on its way to it.
func TestAPIAnswersWhatItHasInHand(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.addBots(people[0].token)
	f.startAPI()

	host := strings.TrimPrefix(f.api.url, "http://")
	connection, err := net.Dial("tcp", host)
	require.NoError(t, err)
	defer func() { _ = connection.Close() }()
	require.NoError(t, connection.SetDeadline(time.Now().Add(startWithin)))
	body, answers := hello(1), bufio.NewReader(connection)
	// The api asks for the body when it begins to read it: from then on the request is under way for certain.
	_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: %s\r\n%s: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		f.bots[0].WebhookPath, host, secretHeader, f.bots[0].Secret, len(body))
	require.NoError(t, err)
	asked, err := http.ReadResponse(answers, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusContinue, asked.StatusCode)

	f.api.signal(syscall.SIGTERM)
	f.api.printed(stopping)
	eventually(t, startWithin, func(ctx context.Context) error {
		_, err := get(ctx, f.api.url+"/health")
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("the api still takes connections: %w", err)
		}
		return nil
	})
	f.api.lives(while)
	_, err = fmt.Fprint(connection, body)
	require.NoError(t, err)
	answered, err := http.ReadResponse(answers, nil)
	require.NoError(t, err, "the api ended with a request under way")
	require.NoError(t, answered.Body.Close())
	require.Equal(t, http.StatusOK, answered.StatusCode)
	require.Zero(t, f.api.exit(drainTimeout+drainSlack))

	f.startWorker()
	f.settled(time.Minute)
	require.Equal(t, 1, f.db.count("SELECT count(*) FROM updates"))
}
