package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the tool prints of dead letters with --json, with all its fields.
type (
	letterList struct {
		Groups  []letterGroup `json:"groups"`
		Letters []letterLine  `json:"letters"`
	}
	letterGroup struct {
		Class   string    `json:"class"`
		Version int       `json:"normaliser_version"`
		Letters int       `json:"letters"`
		Oldest  time.Time `json:"oldest"`
		Newest  time.Time `json:"newest"`
		Example string    `json:"example"`
	}
	letterLine struct {
		ID         int64     `json:"id"`
		DiedAt     time.Time `json:"died_at"`
		ReceivedAt time.Time `json:"received_at"`
		Source     string    `json:"source"`
		UpdateID   int64     `json:"update_id"`
		Class      string    `json:"class"`
		Version    int       `json:"normaliser_version"`
		Error      string    `json:"error"`
	}
	letterWhole struct {
		letterLine
		Origin    string     `json:"origin"`
		Format    string     `json:"format"`
		Hash      string     `json:"hash"`
		SizeBytes int        `json:"size_bytes"`
		Payload   []byte     `json:"payload"`
		Moves     []moveLine `json:"moves"`
	}
	moveLine struct {
		MovedAt      time.Time `json:"moved_at"`
		Move         string    `json:"move"`
		Who          string    `json:"who"`
		Reason       string    `json:"reason"`
		LetterID     int64     `json:"letter_id"`
		Source       string    `json:"source"`
		UpdateID     int64     `json:"update_id"`
		Class        string    `json:"class"`
		Version      int       `json:"normaliser_version"`
		Hash         string    `json:"hash"`
		DiedAt       time.Time `json:"died_at"`
		OpenLetterID int64     `json:"open_letter_id"`
	}
	retryLine struct {
		Meant   int  `json:"meant"`
		Retried int  `json:"retried"`
		DryRun  bool `json:"dry_run"`
		Stopped bool `json:"stopped"`
	}
)

// listDead lists the dead letters with the tool.
func (f *fleet) listDead(args ...string) letterList {
	f.t.Helper()
	return decodeOne[letterList](f.t, f.tool(append([]string{"dead", "list", "--json"}, args...)...))
}

func idText(id int64) string { return strconv.FormatInt(id, 10) }

// TestDeadLettersAreShownRetriedAndDropped takes dead letters through what an operator does with them.
func TestDeadLettersAreShownRetriedAndDropped(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	require.JSONEq(t, `{"groups":[],"letters":[]}`, f.tool("dead", "list", "--json"))
	require.Equal(t, "No dead letters.\n", f.tool("dead", "list"))
	require.Equal(t, "No moves.\n", f.tool("dead", "log"))
	const broken, strange = "{broken", `{"message":{"text":"whose?"}}`
	for _, body := range []string{broken, strange} {
		require.Equal(t, http.StatusOK, f.send(f.bots[0], body))
		f.settled(time.Minute)
	}

	list := f.listDead()
	letters := list.Letters
	require.Len(t, letters, 2)
	require.Equal(t, "no_update_id", letters[0].Class, "the latest first")
	require.Equal(t, "not_json", letters[1].Class)
	require.Equal(t, f.bots[0].source(), letters[0].Source)
	require.Len(t, list.Groups, 2)
	require.Equal(t, letterGroup{
		Class: "no_update_id", Version: letters[0].Version, Letters: 1,
		Oldest: letters[0].DiedAt, Newest: letters[0].DiedAt, Example: letters[0].Error,
	}, list.Groups[0])
	require.Len(t, f.listDead("--class", "not_json").Groups, 1)
	require.Len(t, f.listDead("--limit", "1").Letters, 1)
	require.Len(t, f.listDead("--normaliser-version", strconv.Itoa(letters[0].Version)).Letters, 2)
	require.Empty(t, f.listDead("--normaliser-version", "60000").Letters)
	require.Empty(t, f.listDead("--source", f.bots[1].source()).Letters)
	require.Equal(t, letters[1:], f.listDead(idText(letters[1].ID)).Letters)
	require.Contains(t, f.tool("dead", "list"), "not_json")

	id := idText(letters[0].ID)
	shown := decodeOne[letterWhole](t, f.tool("dead", "show", id, "--json"))
	require.Equal(t, letters[0], shown.letterLine)
	require.Equal(t, len(strange), shown.SizeBytes)
	require.Empty(t, shown.Payload, "only when asked")
	require.NotContains(t, f.tool("dead", "show", id), "whose?")
	require.Contains(t, f.tool("dead", "show", id), "no_update_id")
	require.Equal(t, strange, f.tool("dead", "show", id, "--raw"))
	require.Equal(t, strange, string(decodeOne[letterWhole](t, f.tool("dead", "show", id, "--raw", "--json")).Payload))
	require.NotContains(t, shown.Error, "whose?")
	require.Zero(t, f.db.count("SELECT count(*) FROM updates"), "a dead letter holds the only copy")

	retried := f.tool("dead", "retry", id, "--as", "ann", "--reason", "mended", "--json")
	require.Equal(t, retryLine{Meant: 1, Retried: 1}, decodeOne[retryLine](t, retried))
	f.settled(time.Minute)
	again := f.listDead().Letters
	require.Len(t, again, 2, "it died again")
	require.Greater(t, again[0].ID, letters[0].ID)
	require.True(t, letters[0].ReceivedAt.Equal(again[0].ReceivedAt), "when it came stays what it was")
	for _, one := range []string{id, idText(again[0].ID)} {
		moves := decodeOne[[]moveLine](t, f.tool("dead", "log", one, "--json"))
		require.Len(t, moves, 1, "found by either of its letters")
		require.WithinDuration(t, time.Now(), moves[0].MovedAt, time.Hour)
		moves[0].MovedAt = time.Time{}
		require.Equal(t, moveLine{
			Move: "retried", Who: "ann", Reason: "mended", LetterID: letters[0].ID, Source: letters[0].Source, Class: letters[0].Class,
			Version: letters[0].Version, Hash: shown.Hash, DiedAt: letters[0].DiedAt, OpenLetterID: again[0].ID,
		}, moves[0])
	}
	require.Contains(t, f.tool("dead", "show", idText(again[0].ID)), "by ann, as letter "+id)
	require.Contains(t, f.tool("dead", "retry", "--class", "not_json"), "1 of 1 sent back")
	require.Contains(t, f.tool("dead", "retry", "--all"), "sent back")
	f.settled(time.Minute)
	require.Contains(t, refuse(t, f.env, "dead", "show", id), "dead letter "+id, "its number is not given again")

	last := f.listDead().Letters
	require.Len(t, last, 2)
	first := idText(last[0].ID)
	require.Contains(t, refuse(t, f.env, "dead", "drop", first, id), "there is no letter "+id+"; nothing is dropped")
	require.JSONEq(t, `{"dropped":1}`, f.tool("dead", "drop", first, first, "--json"))
	require.Contains(t, refuse(t, f.env, "dead", "drop", "--class", last[1].Class, "--expect", "2"), "there are 1, and not 2")
	require.Equal(t, "1 dropped.\n", f.tool("dead", "drop", "--class", last[1].Class, "--expect", "1"))
	require.Empty(t, f.listDead().Letters)
	require.Contains(t, f.tool("dead", "log"), "dropped")
	require.NotContains(t, f.tool("dead", "log"), "whose?")
}

// TestLettersThatAreMovedAreNamedWithoutDoubt tries the commands with what they can't take. Nothing is moved.
func TestLettersThatAreMovedAreNamedWithoutDoubt(t *testing.T) {
	t.Parallel()
	env := environment{"DATABASE_URL": postgres.Database(t)}
	tool(t, env, "migrate")
	for command, want := range map[string]string{
		"list --source nobody":                      "--source",
		"list --normaliser-version new":             `--normaliser-version "new": want a number from 0 to 65535`,
		"list --normaliser-version 65536":           "want a number from 0 to 65535",
		"list --class malfromed":                    `--class "malfromed": there is no such class`,
		"list --limit 0":                            "--limit 0: want at least 1",
		"list seven":                                `ID "seven": want a number`,
		"show seven":                                `ID "seven": want a number`,
		"show 7":                                    "dead letter 7",
		"retry":                                     "say which letters: ids, --class",
		"retry seven":                               `ID "seven": want a number`,
		"retry 0":                                   `ID "0": want a number`,
		"retry 7 --class panic":                     "in one way",
		"retry --all --class panic":                 "in one way",
		"retry 7":                                   "there is no letter 7",
		"retry --class malfromed":                   "want one of not_json",
		"retry --all --rate 0":                      "--rate 0: want at least 1",
		"retry --all --rate -5":                     "--rate -5: want at least 1",
		"retry --all --rate fast":                   `invalid argument "fast"`,
		"retry --all --as ":                         "--as is empty",
		"retry --all --as a\nb":                     "--as: want one line",
		"retry --all --reason \x1b[31m":             "--reason: want one line",
		"drop":                                      "only by name",
		"drop --source botapi:1 --expect 1":         "only by name",
		"drop --normaliser-version 1 --expect 1":    "only by name",
		"drop --class panic":                        "--expect is missing",
		"drop --class panic --expect 0":             "--expect 0: want at least 1",
		"drop --class panic --expect -1":            "--expect -1: want at least 1",
		"drop --class panic --expect 1":             "there are 0, and not 1",
		"drop --class malfromed --expect 1":         `--class "malfromed": there is no such class`,
		"drop 7 --class panic --expect 1":           "not both",
		"drop 7 --expect 1":                         "not both",
		"drop 7 8":                                  "there is no letter 7, 8; nothing is dropped",
		"drop seven":                                `ID "seven": want a number`,
		"log --limit -1":                            "--limit -1: want at least 1",
		"log seven":                                 `ID "seven": want a number`,
		"retry " + strings.Repeat("1 ", 1000) + "1": "1001 ids: want 1000 at most",
	} {
		got := refuse(t, env, append([]string{"dead"}, strings.Split(command, " ")...)...)
		require.Contains(t, got, want, "tgfleet dead %s", command)
	}
	require.Contains(t, refuse(t, nil, "dead", "list"), "DATABASE_URL is not set")
	require.JSONEq(t, `{"meant":0,"retried":0}`, tool(t, env, "dead", "retry", "--class", "panic", "--json"), "a class without letters")
	require.JSONEq(t, `[]`, tool(t, env, "dead", "log", "7", "--json"))
}

// buryLetters puts n letters into the database, of updates that nobody can read.
func (f *fleet) buryLetters(n int) {
	f.t.Helper()
	_, err := f.db.pool.ExecContext(f.t.Context(), `INSERT INTO dead_letters
			(source, update_id, hash, class, error, normaliser_version, received_at, died_at, origin, format, layer, payload)
		SELECT 'botapi:7000000001', 0, sha256(CAST('{' || i AS bytea)), 'not_json', 'wrong syntax', 1, now(), now(), 1, 1, 0,
			CAST('{' || i AS bytea)
		FROM generate_series(1, $1) AS i`, n)
	require.NoError(f.t, err)
}

// moved returns how many letters were retried, as the record says, after a look at where all n are: each in one place.
func (f *fleet) moved(n int) int {
	f.t.Helper()
	moved := f.db.count("SELECT count(*) FROM dead_letter_moves WHERE kind = 'retried'")
	require.Equal(f.t, moved, f.db.count("SELECT coalesce(sum(updates), 0) FROM spool"))
	require.Equal(f.t, n-moved, f.db.count("SELECT count(*) FROM dead_letters"))
	return moved
}

// TestRetryStopsBetweenBatches interrupts a run that would take minutes, and goes on with it.
func TestRetryStopsBetweenBatches(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	const letters = 300
	f.buryLetters(letters)
	require.JSONEq(t, `{"meant":300,"retried":0,"dry_run":true}`, f.tool("dead", "retry", "--all", "--dry-run", "--json"))
	require.Contains(t, f.tool("dead", "retry", "--class", "not_json", "--dry-run"), "300 letters would be sent back")
	require.Zero(t, f.moved(letters))

	stop := func(args ...string) (*child, int) {
		before := f.moved(letters)
		running := start(t, command{program: "tgfleet", args: append([]string{"dead", "retry", "--all", "--rate", "1"}, args...), env: f.env})
		eventually(t, startWithin, func(ctx context.Context) error {
			moved, err := f.db.number(ctx, "SELECT count(*) FROM dead_letter_moves")
			if err == nil && moved < before+2 {
				err = fmt.Errorf("%d letters are moved", moved)
			}
			return err
		})
		running.signal(syscall.SIGINT)
		require.Equal(t, 1, running.exit(commandWithin))
		return running, f.moved(letters) - before
	}
	running, moved := stop()
	require.Equal(t, fmt.Sprintf("tgfleet: stopped: %d of %d sent back, the others are untouched\n", moved, letters), running.stderr())
	require.Empty(t, running.stdout(), "no progress but on a terminal")
	running, more := stop("--json")
	require.Equal(t, retryLine{Meant: letters - moved, Retried: more, Stopped: true}, decodeOne[retryLine](t, running.stdout()))

	rest := letters - moved - more
	require.Equal(t, fmt.Sprintf("%d of %d sent back; the workers take them from the spool.\n", rest, rest),
		f.tool("dead", "retry", "--all", "--rate", "100000"))
	require.Equal(t, letters, f.moved(letters))
	require.Regexp(t, `^[^@]+@.+$`, decodeOne[[]moveLine](t, f.tool("dead", "log", "--limit", "1", "--json"))[0].Who)
}

// TestRetryThatIsStoppedInABatchEndsIt interrupts a run while the database keeps its first batch waiting.
func TestRetryThatIsStoppedInABatchEndsIt(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	const letters = 100
	f.buryLetters(letters)
	free := f.db.hold("spool")
	t.Cleanup(free)
	running := start(t, command{program: "tgfleet", args: []string{"dead", "retry", "--all"}, env: f.env})
	eventually(t, startWithin, func(ctx context.Context) error {
		waiting, err := f.db.number(ctx, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE 'INSERT INTO spool%'`)
		if err == nil && waiting != 1 {
			err = fmt.Errorf("%d batches wait", waiting)
		}
		return err
	})
	running.signal(syscall.SIGINT)
	running.stays(500 * time.Millisecond)
	free()
	require.Equal(t, 1, running.exit(commandWithin))
	require.Equal(t, "tgfleet: stopped: 64 of 100 sent back, the others are untouched\n", running.stderr())
	require.Equal(t, 64, f.moved(letters))
}

// stays fails unless the child is still there after a while.
func (p *child) stays(pause time.Duration) {
	p.t.Helper()
	over := time.NewTimer(pause)
	defer over.Stop()
	select {
	case <-p.ended:
		p.t.Fatalf("%s has ended", p.name)
	case <-over.C:
	}
}
