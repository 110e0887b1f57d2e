package e2e_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator"
)

// single is a fleet in one process, `tgfleet up`, with everything that must outlive it in one folder.
type single struct {
	t    testing.TB
	env  environment
	dir  string
	db   *archive
	bots []bot
	// now is the run under way, runs are all of them.
	now  *server
	runs []*child
}

// newSingle prepares a folder with a migrated database.
func newSingle(t testing.TB) *single {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "tgfleet.db")
	s := &single{t: t, dir: dir, env: environment{
		"DATABASE_URL": "sqlite:" + path, "SECRET_KEYS": generateKeys(t),
		"DRAIN_TIMEOUT": drainTimeout.String(), "LOG_LEVEL": "info", "LOG_FORMAT": "json",
	}}
	tool(t, s.env, "migrate")
	s.db = openSQLite(t, path)
	return s
}

func (s *single) command() command {
	return command{program: "tgfleet", args: []string{"up", "--data", s.dir}, env: s.env}
}

// start starts the fleet where it served before, and returns once it is ready.
func (s *single) start() {
	s.t.Helper()
	at := ""
	if s.now != nil {
		at = strings.TrimPrefix(s.now.url, "http://")
	}
	s.now = serve(s.t, s.command(), "HTTP_ADDR", at)
	s.runs = append(s.runs, s.now.child)
}

// startBlindly starts the fleet where it served before, and waits for nothing.
func (s *single) startBlindly() {
	s.t.Helper()
	c := s.command()
	c.env = c.env.with(environment{"HTTP_ADDR": strings.TrimPrefix(s.now.url, "http://")})
	s.now = &server{child: start(s.t, c), url: s.now.url}
	s.runs = append(s.runs, s.now.child)
}

// interrupt is Ctrl-C: the fleet must drain, say what it did, and end well.
func (s *single) interrupt() {
	s.t.Helper()
	s.now.signal(syscall.SIGINT)
	within, err := time.ParseDuration(s.env["DRAIN_TIMEOUT"])
	require.NoError(s.t, err)
	require.Zero(s.t, s.now.exit(within+drainSlack), "exit code after Ctrl-C")
	require.Regexp(s.t, `Drained\. Received \d+ updates, refused \d+; committed \d+, of them \d+ repeats; \d+ new messages, 0 dead letters\.`,
		s.now.stdout())
}

// lives waits for a while, in which the process must not end by itself.
func (p *child) lives(while time.Duration) {
	p.t.Helper()
	over := time.NewTimer(while)
	defer over.Stop()
	select {
	case <-p.ended:
		p.t.Fatalf("%s ended by itself", p.name)
	case <-over.C:
	}
}

// TestKilledUpKeepsWhatItAnswered kills the fleet in one process again and again. Its queue is in its memory, and dies each time.
func TestKilledUpKeepsWhatItAnswered(t *testing.T) {
	t.Parallel()
	const kills = 20
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	// Telegram's time runs faster, so that its pauses after the failures are shorter.
	const speed = 4
	tg := startTelegram(t, simulator.Config{Seed: seed, Clock: newFastClock(speed)})
	tg.SetFaults(simulator.Faults{LostAnswers: 0.02, Duplicates: 0.05, Order: simulator.AcrossQueues})
	s := newSingle(t)
	s.bots = addBots(t, s.env, tg.addBots(3)...)
	s.start()
	for _, b := range s.bots {
		tg.post(b, s.now.url, nil)
	}

	said := tg.talk(simulator.TrafficConfig{Rate: 120 / speed, Burst: 60})
	for i := range kills {
		// Some runs are killed before they serve, most of them while they do.
		if i%5 == 4 {
			s.now.lives(time.Duration(random.IntN(300)) * time.Millisecond)
		} else {
			require.True(t, s.now.becomesReady())
			before := tg.Oracle().Counts().Acknowledged
			tg.reached(time.Minute, before+1, acknowledged)
			s.now.lives(time.Duration(random.IntN(600)) * time.Millisecond)
		}
		s.now.kill()
		s.startBlindly()
	}
	said.end()
	require.True(t, s.now.becomesReady())
	tg.delivered(2 * time.Minute)
	eventually(t, time.Minute, s.db.spoolEmpty)
	s.interrupt()

	requireDelivered(t, tg)
	requireArchive(t, s.db, tg)
	requireSecrecy(t, tg, s.env, s.bots, s.runs...)
	recovered := 0
	for _, run := range s.runs {
		recovered += strings.Count(run.stderr(), `"from":"spool"`)
	}
	t.Logf("%d batches were found unfinished; %+v", recovered, tg.Oracle().Counts())
	require.Positive(t, recovered, "the kills met no unfinished work: they prove nothing")
}

// TestUpLeavesNothingBehindWhenItIsInterrupted ends the fleet in one process while it has more to do than it can: what it has
// answered for is in the archive when the process ends, and not only safe.
func TestUpLeavesNothingBehindWhenItIsInterrupted(t *testing.T) {
	t.Parallel()
	tg := startTelegram(t, simulator.Config{Seed: 3})
	s := newSingle(t)
	s.env["DRAIN_TIMEOUT"] = "1m" // a busy machine has much to finish
	s.bots = addBots(t, s.env, tg.addBots(3)...)
	s.start()
	for _, b := range s.bots {
		tg.post(b, s.now.url, nil)
	}
	tg.talk(simulator.TrafficConfig{Limit: 5000}).wait()
	tg.reached(time.Minute, 300, acknowledged)
	s.interrupt()
	require.Positive(t, tg.Oracle().Counts().Pending, "it was not busy to the end: this proves nothing")
	requireArchive(t, s.db, tg)
}

// TestUpPollsABot receives from a bot without a webhook, with nothing but its token, and is killed once.
func TestUpPollsABot(t *testing.T) {
	t.Parallel()
	tg := startTelegram(t, simulator.Config{Seed: 4})
	token := tg.addBots(1)[0]
	dir := t.TempDir()
	s := &single{t: t, dir: dir, env: environment{
		"TELEGRAM_BOT_TOKEN": token, "BOT_API_URL": tg.url, "DRAIN_TIMEOUT": drainTimeout.String(), "LOG_LEVEL": "info", "LOG_FORMAT": "json",
	}}
	s.start()
	s.db = openSQLite(t, filepath.Join(dir, "tgfleet.db"))
	keys, err := os.Stat(filepath.Join(dir, "secret.keys"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), keys.Mode().Perm(), "the keys are for their owner only")

	said := tg.talk(simulator.TrafficConfig{Rate: 50, Burst: 10, Limit: 1000})
	tg.reached(time.Minute, 200, acknowledged)
	s.now.kill()
	s.start()
	said.wait()
	tg.delivered(2 * time.Minute)
	eventually(t, time.Minute, func(ctx context.Context) error { return s.db.spoolEmpty(ctx) })
	s.interrupt()

	requireDelivered(t, tg)
	requireArchive(t, s.db, tg)
	requireSecrecy(t, tg, s.env, []bot{{token: token}}, s.runs...)
}
