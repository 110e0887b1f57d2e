package e2e_test

import (
	"bytes"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator"
	"github.com/tgfleet/tgfleet/internal/testkit"
)

var (
	chaosSeed   = flag.Uint64("chaos.seed", 1, "what decides the faults of TestChaos")
	chaosFaults = flag.Int("chaos.faults", 14, "how many faults TestChaos has")
	chaosKind   = flag.String("chaos.kind", "", "the only kind of fault that TestChaos has; empty means all")
)

// caughtUpWithin is how long the fleet may take after a fault until nothing waits any more of what came before: several times what the
// slowest recovery takes, that from the death of a worker, and less than asynq alone would need for it.
const caughtUpWithin = 45 * time.Second

// mostRefused is the share of updates that may be refused although a store takes them: on an overloaded machine a flush misses its deadline
// now and then while the spool is away.
const mostRefused = 0.01

// TestChaos lets one thing after another go wrong in a fleet under traffic, and looks in the end for everything that Telegram was told
// is taken: `make chaos SEED=7 FAULTS=300` is a longer run. The same seed brings the same faults about in the same order; what
// hits an update in the middle of which step is up to the machine.
//
// What it is worth was tried by taking things out on purpose; each time `make chaos SEED=174 FAULTS=3` fails, which passes otherwise:
// Redis frozen, Redis killed, a worker killed with work in hand. Without the sweeper the fleet does not recover from the third fault, the
// death of the worker, within the bound. Without the spool nothing is lost, for Telegram keeps it, but 106 of 2,322 updates are refused.
// When a commit that the database refuses is not cut in halves, its batch comes back for ever, and the fleet does not recover from the
// first fault; when all of it dies instead, 9 rows are lost, and 5 dead letters are too many. How many they are is up to the machine:
// what shared a batch with an update that can only die. Another number of kinds of faults gives every seed other faults.
func TestChaos(t *testing.T) {
	c := startChaosFleet(t, *chaosSeed)
	defer func() {
		if t.Failed() {
			c.keepLogs()
		}
	}()
	said := c.tg.talk(simulator.TrafficConfig{Rate: chaosRate / chaosSpeed, Burst: 40})
	c.tg.reached(time.Minute, 200, acknowledged)

	report := testkit.Report{Seed: *chaosSeed}
	for _, fault := range testkit.Schedule(*chaosSeed, *chaosFaults, kindsOfTrouble(testkit.Kind(*chaosKind))) {
		if !c.suffer(fault, &report) {
			break
		}
	}
	said.end()
	c.tg.delivered(2 * time.Minute)
	c.settled(2 * time.Minute)
	c.count(&report)

	var text bytes.Buffer
	require.NoError(t, report.Write(&text))
	t.Logf("make chaos SEED=%d FAULTS=%d\n\n%s", *chaosSeed, *chaosFaults, text.String())
	requireDelivered(t, c.tg)
	require.Zero(t, report.Lost, "lost")
	require.Zero(t, report.Doubled, "doubled")
	require.LessOrEqual(t, float64(report.Refused()), mostRefused*float64(report.Updates), "refused although a store takes updates")
}

// suffer brings one fault about, ends it, and waits for the fleet to recover. It returns false when the fleet does not.
func (c *chaosFleet) suffer(f testkit.Fault, report *testkit.Report) bool {
	c.t.Helper()
	trouble := troubleOf(f.Kind)
	refused := 0
	if trouble.served {
		refused = -c.refusals()
	}
	c.poison()
	end := trouble.begin(c, f)
	pauseFor(f.Lasts)
	end()
	over := time.Now()
	told := c.tg.Oracle().Counts().Acknowledged
	ctx, cancel := context.WithTimeout(context.Background(), caughtUpWithin)
	defer cancel()
	last, err := c.recovers(ctx, over, told)
	took := time.Since(over)
	if trouble.served {
		refused += c.refusals()
	}
	report.Recovered(f, took, refused)
	c.t.Logf("%3d of %d: %s, for %s; recovered after %s, at last from: %v",
		f.Number, *chaosFaults, f.Kind, f.Lasts, took.Round(time.Millisecond), last)
	if err != nil {
		c.t.Errorf("fault %d, %s: not recovered after %s: %v", f.Number, f.Kind, caughtUpWithin, err)
	}
	return err == nil
}

// recovers waits until more than told updates are acknowledged, and nothing waits that came before the time. It returns what it waited
// for at last.
func (c *chaosFleet) recovers(ctx context.Context, before time.Time, told int) (last, err error) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		err = c.caughtUp(ctx, before)
		if counts := c.tg.Oracle().Counts(); err == nil && counts.Acknowledged <= told {
			err = fmt.Errorf("nothing is acknowledged: %+v", counts)
		}
		if err == nil {
			return last, nil
		}
		last = err
		select {
		case <-ctx.Done():
			return last, err
		case <-tick.C:
		}
	}
}

// count compares what is there with what must be.
func (c *chaosFleet) count(report *testkit.Report) {
	c.t.Helper()
	counts := c.tg.Oracle().Counts()
	report.Updates, report.Repeats = counts.Acknowledged, counts.Repeats
	got := c.db.contents()
	var healthy, poison []simulator.Update
	for _, u := range arrived(c.t, c.tg, got.ledger) {
		if bytes.Contains(u.Raw, []byte(poisonChat)) {
			poison = append(poison, u)
		} else {
			healthy = append(healthy, u)
		}
	}
	want := expect(c.t, healthy)
	maps.Copy(want.events, c.db.eventsOfRevisions(want.messages))
	tally(c, report, "updates", want.ledger, got.ledger)
	tally(c, report, "messages", want.messages, got.messages)
	tally(c, report, "media", want.media, got.media)
	tally(c, report, "revisions", want.revisions, got.revisions)
	tally(c, report, "events", want.events, got.events)
	tally(c, report, "state", want.state, got.state)
	tally(c, report, "dead letters", lettersOf(poison), c.db.letters())
	tally(c, report, "updates of a day", nil, c.db.twiceADay())
	if len(poison) != c.poisoned {
		c.t.Errorf("%d of %d poison updates were taken", len(poison), c.poisoned)
	}
}

// tally counts what is lost and what is doubled, and shows the first of them.
func tally[K, V comparable](c *chaosFleet, report *testkit.Report, what string, want, got map[K]V) {
	c.t.Helper()
	for key, value := range want {
		switch found, there := got[key]; {
		case there && more(found, value):
			report.Doubled++
		case !there || found != value:
			report.Lost++
		}
	}
	for key := range got {
		if _, there := want[key]; !there {
			report.Doubled++
		}
	}
	requireSame(c.t, what, want, got)
}

// more says whether the values are counts, and there are more than there must be.
func more(found, wanted any) bool {
	n, counted := found.(int)
	least, _ := wanted.(int)
	return counted && n > least
}

// letterKey is a dead letter; the value beside it is how often it is there.
type letterKey struct {
	source   string
	updateID int64
}

func lettersOf(updates []simulator.Update) map[letterKey]int {
	letters := map[letterKey]int{}
	for _, u := range updates {
		letters[letterKey{sourceOf(u.BotID), u.ID}] = 1
	}
	return letters
}

func (a *archive) letters() map[letterKey]int {
	a.t.Helper()
	letters := map[letterKey]int{}
	a.each("SELECT source, update_id FROM dead_letters", func(rows *sql.Rows) error {
		var key letterKey
		err := rows.Scan(&key.source, &key.updateID)
		letters[key]++
		return err
	})
	return letters
}

// twiceADay returns the updates that are in the ledger more than once on one day, and how often they are.
func (a *archive) twiceADay() map[ledgerKey]int {
	a.t.Helper()
	twice := map[ledgerKey]int{}
	a.each("SELECT source, update_id, payload, count(*) FROM updates GROUP BY day, 1, 2, 3 HAVING count(*) > 1", func(rows *sql.Rows) error {
		var key ledgerKey
		var payload []byte
		var times int
		err := rows.Scan(&key.source, &key.updateID, &payload, &times)
		key.payload = string(payload)
		twice[key] = times
		return err
	})
	return twice
}

// keepLogs keeps what all processes of the fleet have logged, and says where.
func (c *chaosFleet) keepLogs() {
	c.t.Helper()
	dir, err := os.MkdirTemp("", "tgfleet-chaos-")
	require.NoError(c.t, err)
	for i, s := range c.servers {
		name := fmt.Sprintf("%03d-%s.log", i, filepath.Base(s.cmd.Path))
		require.NoError(c.t, os.WriteFile(filepath.Join(dir, name), []byte(s.stderr()), 0o600))
	}
	c.t.Logf("the logs of the fleet are in %s", dir)
}
