package process_test

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/app/enrol"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/queue/queuetest"
	"github.com/tgfleet/tgfleet/internal/tasks"
)

func TestEveryMetricIsThereFromTheStartAsTheDocumentSays(t *testing.T) {
	t.Parallel()
	_, metrics := readDocument(t)
	f := setup(t, postgres.Database(t))
	f.startAPI()
	f.startWorker()
	f.startListener()
	for process, url := range map[string]string{"api": f.api, "worker": f.worker, "listener": f.listener} {
		want := expected(metrics, process)
		var all values
		var kinds map[string]string
		f.eventually(func() bool { // a busy Redis may miss a scrape
			all, kinds = f.scrape(url)
			return kinds[pending] != ""
		}, "the depth of the queue")
		require.Equal(t, want, kinds, process)
		for series, value := range all {
			if kinds[series] != "gauge" {
				require.Zero(t, value, series)
			}
		}
	}
}

// The series that one story need not move each by itself: one value of these metrics stands for the others, which the tests of
// internal/tasks and internal/queue bring about. The queues of one class stand for those of the others, too.
var sampled = []string{
	"tgfleet_queue_redis_unsafe",
	"tgfleet_archive_kinds_total", "tgfleet_archive_dead_letters_total", "tgfleet_archive_dead_letters_open",
	"tgfleet_archive_batches_total", "tgfleet_ledger_days_overdue",
	"tgfleet_archive_commit_duration_seconds",
}

func TestEveryMetricMovesWithWhatItTells(t *testing.T) {
	t.Parallel()
	_, metrics := readDocument(t)
	s := &story{fleet: setup(t, postgres.Database(t)), last: 10}
	s.hook = s.bot(4001, "HOOKED", account.Webhook)
	s.startAPI()
	s.eventually(func() bool { return s.get(s.api+"/ready").status == http.StatusOK }, "a ready api")

	s.anOldDayIsLeft()
	s.workersLeaveTasksBehind()
	s.strangersAreTurnedAway()
	s.botsArePolled()
	s.tasksThatWereLeftAreTaken()
	s.oneUpdateIsAccepted()
	s.itComesAgain()
	s.onePoisonDies()
	s.theDatabaseAsksToTryAgain()
	s.redisIsSetUpBadly()
	s.redisIsAway()
	s.nothingTakesUpdates()
	s.calm()

	want := expected(metrics, "api")
	maps.Copy(want, expected(metrics, "worker"))
	for series := range s.seen {
		require.Contains(t, want, series, "a label's values are a closed set")
	}
	for series, kind := range want {
		name, _, _ := strings.Cut(series, "{")
		switch seen := s.seen[series]; {
		case slices.Contains(sampled, name), strings.Contains(series, `class="backfill"`):
		case name == "tgfleet_build_info":
			require.Equal(t, extent{1, 1}, seen)
		case kind == "gauge":
			require.Zero(t, seen.least, "%s was never 0", series)
			require.Positive(t, seen.most, "%s was never above 0", series)
		default:
			require.Positive(t, seen.most, "%s never moved", series)
		}
	}
}

// story is what happens to one fleet.
type story struct {
	*fleet
	hook enrol.Enrolled
	// last is the id of the last update that was accepted.
	last int
}

// putTask puts an update into the queue with all the patience of a test.
func (s *story) putTask(body string) {
	s.t.Helper()
	require.NoError(s.t, tasks.IngestQueue{Client: s.queue}.Put(s.t.Context(), batch.Batch{Envelopes: []ingest.Envelope{{
		Source: s.hook.Source(), ReceivedAt: time.Now(), Origin: ingest.Live, Format: ingest.BotAPIJSON, Raw: []byte(body),
	}}}))
}

// postQueued posts an update and returns what was seen before. A machine that stands still for longer than the sink waits for Redis
// sends the update round by the spool; then, when all is quiet again, the next one is tried.
func (s *story) postQueued(body func() string) (before values) {
	s.t.Helper()
	for {
		before = s.look()
		status := s.post(s.hook, body()).status
		took := s.look()
		if took[byQueue] > before[byQueue] {
			require.Equal(s.t, http.StatusOK, status)
			return before
		}
		s.falls("tgfleet_accept_breaker_open")
		s.eventually(func() bool { return s.query(`SELECT count(*) FROM spool`) == 0 }, "an empty spool")
		s.falls(pending, active, retry)
	}
}

const (
	pending  = `tgfleet_queue_depth{class="ingest",state="pending"}`
	active   = `tgfleet_queue_depth{class="ingest",state="active"}`
	retry    = `tgfleet_queue_depth{class="ingest",state="retry"}`
	archived = `tgfleet_queue_depth{class="ingest",state="archived"}`

	byQueue      = `tgfleet_accept_updates_total{result="queue"}`
	committedOne = `tgfleet_archive_commit_duration_seconds{result="committed"}`
	fromQueue    = `tgfleet_archive_batches_total{from="queue",result="committed"}`
)

// anOldDayIsLeft gives the ledger a day that is older than the retention.
func (s *story) anOldDayIsLeft() {
	require.NoError(s.t, s.db.Archive().PreparePartitions(s.t.Context(), time.Now().AddDate(0, -2, 0), 1))
}

// workersLeaveTasksBehind puts tasks where a crash leaves them, while no worker runs.
func (s *story) workersLeaveTasksBehind() {
	before := s.look()
	for id := range 3 {
		s.putTask(message(id + 1))
	}
	s.grows(before, values{pending: 3})
	s.rises("tgfleet_queue_oldest_age_seconds{class=\"ingest\"}")

	const queue = "asynq:{ingest-0}:"
	ids, err := s.raw.LRange(s.t.Context(), queue+"pending", 0, -1).Result()
	require.NoError(s.t, err)
	require.Len(s.t, ids, 3)
	queuetest.Archive(s.t, s.raw, "ingest-0", ids[0])
	require.NoError(s.t, s.raw.LRem(s.t.Context(), queue+"pending", 1, ids[1]).Err())
	require.NoError(s.t, s.raw.LMove(s.t.Context(), queue+"pending", queue+"active", "RIGHT", "LEFT").Err())
	require.NoError(s.t, s.raw.HSet(s.t.Context(), queue+"t:"+ids[2], "state", "active").Err())
	s.grows(before, values{pending: 0, active: 1, archived: 1})
}

// strangersAreTurnedAway tries every refusal of the webhook.
func (s *story) strangersAreTurnedAway() {
	for status, try := range map[string]func() (reply, error){
		"405": func() (reply, error) {
			return s.do(http.MethodGet, s.api+s.hook.WebhookPath(), s.hook.Secret.Reveal(), "")
		},
		"404": func() (reply, error) {
			return s.do(http.MethodPost, s.api+s.hook.WebhookPath()+"x", s.hook.Secret.Reveal(), "{}")
		},
		"401": func() (reply, error) { return s.do(http.MethodPost, s.api+s.hook.WebhookPath(), "guessed", "{}") },
		"413": func() (reply, error) {
			return s.do(http.MethodPost, s.api+s.hook.WebhookPath(), s.hook.Secret.Reveal(), strings.Repeat("x", 1<<20+1))
		},
	} {
		before := s.look()
		got, err := try()
		require.NoError(s.t, err)
		require.Equal(s.t, status, strconv.Itoa(got.status))
		s.grows(before, values{
			`tgfleet_webhook_requests_total{status="` + status + `"}`: 1,
			"tgfleet_webhook_request_duration_seconds":                1,
			byQueue: 0,
		})
	}
}

// botsArePolled starts the worker, and polls bots in every state; one of them has an update.
func (s *story) botsArePolled() {
	const talking, hooked, abroad = 5001, 5002, 5003
	for id, secretHalf := range map[int]string{
		talking: "TALKING", hooked: "TAKEN", abroad: "ABROAD", 5004: "REVOKED", 5005: "SILENT", 5006: "BROKEN", 5007: "HURRIED",
		5008: "SILENT", 5009: "SILENT", 5010: "SILENT", 5011: "SILENT",
	} {
		s.bot(id, secretHalf, account.Polling)
	}
	talker, err := s.telegram.AddBot("5001:TALKING", "bot_5001_bot")
	require.NoError(s.t, err)
	_, err = s.telegram.AddBot("5002:TAKEN", "bot_5002_bot")
	require.NoError(s.t, err)
	got, err := s.do(http.MethodPost, s.botAPI+"/bot5002:TAKEN/setWebhook?url=http://127.0.0.1:1/", "", "")
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, got.status, got.body)
	_, held, err := s.db.Leases().Acquire(s.t.Context(), "poll:botapi:5003", "another worker", time.Hour)
	require.NoError(s.t, err)
	require.True(s.t, held)

	unlock := s.lock("leases")
	s.startWorker()
	s.rises("tgfleet_store_connections_in_use", "tgfleet_store_connection_waits_total")
	unlock()
	for _, state := range []string{"elsewhere", "polling", "conflict", "unauthorized", "failing"} {
		s.rises(`tgfleet_polling_bots{state="` + state + `"}`)
	}
	for _, result := range []string{"empty", "conflict", "unauthorized", "throttled", "failed"} {
		s.rises(`tgfleet_polling_requests_total{result="` + result + `"}`)
	}
	before := s.look()
	_, err = s.telegram.PostMessage(talker, -1001000000002, "polled")
	require.NoError(s.t, err)
	s.grows(before, values{`tgfleet_polling_requests_total{result="updates"}`: 1, "tgfleet_polling_updates_total": 1})
}

// tasksThatWereLeftAreTaken waits until the worker has found what was left behind.
func (s *story) tasksThatWereLeftAreTaken() {
	s.grows(values{}, values{
		`tgfleet_queue_put_back_total{class="ingest",found="active"}`:   1,
		`tgfleet_queue_put_back_total{class="ingest",found="archived"}`: 1,
		`tgfleet_queue_put_back_total{class="ingest",found="lost"}`:     1,
		`tgfleet_archive_updates_total{result="new"}`:                   4,
		"tgfleet_ledger_days_dropped_total":                             1,
		active:                                                          0, archived: 0, pending: 0, retry: 0,
	})
}

func (s *story) oneUpdateIsAccepted() {
	before := s.postQueued(func() string {
		s.last++
		return message(s.last)
	})
	s.grows(before, values{
		`tgfleet_webhook_requests_total{status="200"}`: 1,
		byQueue: 1,
		`tgfleet_accept_updates_total{result="spool"}`:            0,
		`tgfleet_accept_updates_total{result="refused"}`:          0,
		"tgfleet_accept_flush_updates":                            1,
		`tgfleet_accept_flush_duration_seconds{store="queue"}`:    1,
		`tgfleet_queue_put_total{class="ingest",result="ok"}`:     1,
		`tgfleet_queue_put_duration_seconds{class="ingest"}`:      1,
		`tgfleet_queue_tasks_total{class="ingest",result="done"}`: 1,
		`tgfleet_queue_task_duration_seconds{class="ingest"}`:     1,
		fromQueue:                        1,
		committedOne:                     1,
		"tgfleet_archive_commit_updates": 1,
		`tgfleet_archive_updates_total{result="new"}`:          1,
		`tgfleet_archive_updates_total{result="repeat"}`:       0,
		`tgfleet_archive_kinds_total{kind="message"}`:          1,
		"tgfleet_archive_messages_total":                       1,
		"tgfleet_archive_revisions_total":                      1,
		"tgfleet_archive_events_total":                         2,
		"tgfleet_archive_update_age_seconds":                   1,
		`tgfleet_archive_dead_letters_total{class="not_json"}`: 0,
	})
}

func (s *story) itComesAgain() {
	before := s.postQueued(func() string { return message(s.last) })
	s.grows(before, values{
		`tgfleet_archive_updates_total{result="repeat"}`: 1,
		`tgfleet_archive_updates_total{result="new"}`:    0,
		`tgfleet_archive_kinds_total{kind="message"}`:    1,
		"tgfleet_archive_messages_total":                 0,
		"tgfleet_archive_revisions_total":                0,
		"tgfleet_archive_events_total":                   0,
		fromQueue:                                        1,
	})
}

func (s *story) onePoisonDies() {
	before := s.postQueued(func() string { return "update_id=11" })
	s.grows(before, values{
		`tgfleet_archive_dead_letters_total{class="not_json"}`: 1,
		`tgfleet_archive_updates_total{result="new"}`:          0,
		committedOne: 1,
		fromQueue:    1,
	})
}

// theDatabaseAsksToTryAgain has the database break off transactions, until a task has been seen to wait for its next try.
func (s *story) theDatabaseAsksToTryAgain() {
	s.exec(`CREATE SEQUENCE broken_off;
		CREATE FUNCTION break_off() RETURNS trigger AS $$ BEGIN
			PERFORM nextval('broken_off');
			RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001';
		END $$ LANGUAGE plpgsql;
		CREATE TRIGGER break_off BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION break_off()`)
	before := s.look()
	s.putTask(message(1020))
	s.rises(retry, `tgfleet_queue_oldest_age_seconds{class="ingest"}`)
	s.exec(`DROP TRIGGER break_off ON messages`)
	s.grows(before, values{fromQueue: 1, "tgfleet_archive_messages_total": 1})
	times := s.query(`SELECT last_value FROM broken_off`)
	s.grows(before, values{
		`tgfleet_archive_commit_duration_seconds{result="transient"}`:  times,
		`tgfleet_archive_batches_total{from="queue",result="retried"}`: times,
		`tgfleet_queue_tasks_total{class="ingest",result="retried"}`:   times,
		`tgfleet_queue_tasks_total{class="ingest",result="done"}`:      1,
		committedOne: 1,
		retry:        0,
	})
}

// redisIsSetUpBadly has Redis give up what keeps its data, for a while.
func (s *story) redisIsSetUpBadly() {
	set := func(name, value string) {
		s.t.Helper()
		require.NoError(s.t, s.raw.ConfigSet(s.t.Context(), name, value).Err())
	}
	const unsafe = `tgfleet_queue_redis_unsafe{setting="appendonly"}`
	set("appendonly", "no")
	set("maxmemory", "1gb")
	s.rises(unsafe, "tgfleet_queue_redis_memory_used_ratio")
	set("appendonly", "yes")
	set("maxmemory", "0")
	s.falls(unsafe, "tgfleet_queue_redis_memory_used_ratio")
}

// redisIsAway kills Redis; what comes then goes round it.
func (s *story) redisIsAway() {
	s.exec(`CREATE FUNCTION later() RETURNS trigger AS $$ BEGIN NEW.due_at = now() + interval '1 hour'; RETURN NEW; END $$ LANGUAGE plpgsql;
		CREATE TRIGGER later BEFORE INSERT ON spool FOR EACH ROW EXECUTE FUNCTION later()`)
	before := s.look()
	require.NoError(s.t, s.redis.Kill())
	s.eventually(func() bool { return s.post(s.hook, message(1030)).status == http.StatusOK }, "taken by the spool")
	s.grows(before, values{
		`tgfleet_accept_updates_total{result="spool"}`: 1,
		byQueue: 0,
		`tgfleet_accept_flush_errors_total{store="queue"}`:        1,
		`tgfleet_accept_flush_errors_total{store="spool"}`:        0,
		`tgfleet_accept_flush_duration_seconds{store="spool"}`:    1,
		`tgfleet_queue_put_total{class="ingest",result="failed"}`: 1,
		"tgfleet_accept_breaker_open":                             1,
		"tgfleet_spool_updates":                                   1,
	})
	s.rises("tgfleet_spool_oldest_age_seconds")
	require.NoError(s.t, s.redis.Restart(s.t.Context()))
	s.falls("tgfleet_accept_breaker_open")
	s.exec(`DROP TRIGGER later ON spool; UPDATE spool SET due_at = now()`)
	s.grows(before, values{
		`tgfleet_archive_batches_total{from="spool",result="committed"}`: 1,
		"tgfleet_archive_messages_total":                                 1,
		"tgfleet_spool_updates":                                          0,
	})
	s.falls("tgfleet_spool_oldest_age_seconds")
}

// nothingTakesUpdates freezes Redis and the spool, while updates keep coming.
func (s *story) nothingTakesUpdates() {
	unlock := s.lock("spool")
	require.NoError(s.t, s.redis.Pause())
	enough := make(chan struct{})
	var senders sync.WaitGroup
	for range 16 {
		senders.Go(func() {
			for {
				select {
				case <-enough:
					return
				default:
				}
				if _, err := s.do(http.MethodPost, s.api+s.hook.WebhookPath(), s.hook.Secret.Reveal(), message(1030)); err != nil {
					s.t.Error(err)
					return
				}
			}
		})
	}
	s.rises("tgfleet_accept_waiting_updates", `tgfleet_accept_updates_total{result="refused"}`,
		`tgfleet_webhook_requests_total{status="503"}`, `tgfleet_accept_flush_errors_total{store="spool"}`)
	close(enough)
	senders.Wait()
	unlock()
	require.NoError(s.t, s.redis.Resume())
}

// calm ends the story: nothing waits, and nobody is polled.
func (s *story) calm() {
	bots, err := s.db.Bots().List(s.t.Context())
	require.NoError(s.t, err)
	for _, bot := range bots {
		_, err := s.db.Bots().Remove(s.t.Context(), bot.ID)
		require.NoError(s.t, err)
	}
	for _, state := range []string{"elsewhere", "polling", "conflict", "unauthorized", "failing"} {
		s.falls(`tgfleet_polling_bots{state="` + state + `"}`)
	}
	s.falls("tgfleet_accept_breaker_open", "tgfleet_accept_waiting_updates", "tgfleet_store_connections_in_use",
		"tgfleet_spool_updates", pending, active, retry, archived)
}

func TestReadyTellsWhetherUpdatesAreTakenAndHealthDoesNotCare(t *testing.T) {
	t.Parallel()
	server, err := localservers.StartPostgres(t.Context(), localservers.PostgresOptions{
		Settings: []string{"synchronous_commit=on"}, // what was answered with 200 must be there after the crash
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	require.NoError(t, server.CreateDatabase(t.Context(), "archive", ""))
	require.NoError(t, postgres.Migrate(t.Context(), server.URL("archive")))
	f := setup(t, server.URL("archive"))
	hook := f.bot(4001, "HOOKED", account.Webhook)
	f.startAPI()
	f.startWorker()
	ready := func(url string, status int, wrong ...string) {
		t.Helper()
		var got reply
		f.eventually(func() bool { got = f.get(url + "/ready"); return got.status == status }, "ready with "+strconv.Itoa(status))
		for _, check := range wrong {
			require.Contains(t, got.body, `"`+check+`":`)
		}
	}
	ready(f.api, http.StatusOK)
	ready(f.worker, http.StatusOK)

	require.NoError(t, f.redis.Pause())
	ready(f.worker, http.StatusServiceUnavailable, "queue")
	ready(f.api, http.StatusOK)
	f.eventually(func() bool { return f.post(hook, message(1)).status == http.StatusOK }, "taken by the spool")

	require.NoError(t, server.Kill())
	ready(f.worker, http.StatusServiceUnavailable, "queue", "database")
	ready(f.api, http.StatusServiceUnavailable, "durable")
	refused := f.post(hook, message(2))
	require.Equal(t, http.StatusServiceUnavailable, refused.status)
	require.Equal(t, "2", refused.header.Get("Retry-After"))
	// For longer than any of the loops that wait for a server may be silent.
	longer := time.NewTimer(40 * time.Second)
	defer longer.Stop()
	for waiting := true; waiting; {
		for _, url := range []string{f.api, f.worker} {
			got := f.get(url + "/health")
			require.Equal(t, http.StatusOK, got.status, got.body)
		}
		select {
		case <-longer.C:
			waiting = false
		case <-time.After(often):
		}
	}

	require.NoError(t, server.Restart(t.Context()))
	ready(f.api, http.StatusOK)
	require.NoError(t, f.redis.Resume())
	ready(f.worker, http.StatusOK)
	f.eventually(func() bool { return f.post(hook, message(2)).status == http.StatusOK }, "updates taken again")
	f.eventually(func() bool { return f.query(`SELECT count(*) FROM messages`) == 2 }, "both messages in the archive")
}
