package operator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
	"github.com/tgfleet/tgfleet/internal/store"
)

// misread applies n updates, each with a message, as a normaliser of version 1 that took every text for another one read them.
func (d *desk) misread(n int) {
	d.t.Helper()
	var read content.Batch
	for i := range n {
		change, err := botapi.New().Normalise(ingest.Envelope{
			Source: ingest.Source{Transport: ingest.BotAPI, Account: 7000000001}, ReceivedAt: time.Unix(1_790_000_000, 0),
			Origin: ingest.Live, Format: ingest.BotAPIJSON,
			Raw: fmt.Appendf(nil, `{"update_id":%d,"channel_post":{"message_id":%d,"date":1790000000,"chat":{"id":-1009,"type":"channel","title":"News"},`+
				`"text":"right %d"}}`, 100+i, 1+i, i),
		})
		require.NoError(d.t, err)
		change.Update.NormaliserVersion = 1
		m := &change.Messages[0]
		m.Text, m.NormaliserVersion, m.Version = fmt.Sprintf("wrong %d", i), 1, m.Version.Snapshot()+"\x00\x01"
		change.Chats[0].Version = change.Chats[0].Version.Snapshot() + "\x00\x01"
		read.Changes = append(read.Changes, change)
	}
	_, err := d.db.Archive().Apply(d.t.Context(), read)
	require.NoError(d.t, err)
}

// texts returns how many messages have a text that begins with words.
func (d *desk) texts(words string) (n int) {
	d.t.Helper()
	require.NoError(d.t, d.sql.QueryRowContext(d.t.Context(), "SELECT count(*) FROM messages WHERE text LIKE ?", words+"%").Scan(&n))
	return n
}

func TestReplayShowsADiffAndAppliesIt(t *testing.T) {
	t.Parallel()
	d := setup(t)
	d.misread(2)
	out, _, err := d.tool(t.Context(), "replay", "--dry-run")
	require.NoError(t, err)
	require.Contains(t, out, "~ messages 0/-1009/1\n    - text: \"wrong 0\"\n    + text: \"right 0\"\n")
	require.Contains(t, out, fmt.Sprintf("2 updates read with normaliser %d: 6 rows would be different; nothing was written.", normalise.Version))
	require.Equal(t, 2, d.texts("wrong"))

	applied, _, err := d.tool(t.Context(), "replay", "--show", "1")
	require.NoError(t, err)
	require.Contains(t, applied, "... and 5 rows more")
	require.Contains(t, applied, "6 rows are different now")
	require.Regexp(t, `message_revisions +0 +2 +2`, applied)
	require.Equal(t, 2, d.texts("right"))

	again, _, err := d.tool(t.Context(), "replay")
	require.NoError(t, err)
	require.Contains(t, again, "2 updates read with normaliser")
	require.Contains(t, again, ": 0 rows are different now.")
}

func TestReplayPrintsJSON(t *testing.T) {
	t.Parallel()
	d := setup(t)
	d.misread(1)
	out, _, err := d.tool(t.Context(), "replay", "--json", "--kind", "channel_post")
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 4)
	require.JSONEq(t, `{"table":"messages","key":"0/-1009/1","cells":[{"column":"text","before":"wrong 0","after":"right 0"}]}`, lines[2])
	var last struct {
		Updates, Changed int
		Refused          map[string]int
	}
	require.NoError(t, json.Unmarshal([]byte(lines[3]), &last))
	require.Equal(t, 1, last.Updates)
	require.Equal(t, 3, last.Changed)
	require.Empty(t, last.Refused)
}

func TestReplayRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	d := setup(t)
	d.misread(2)
	_, err := d.sql.ExecContext(t.Context(), "UPDATE updates SET payload = CAST('{' AS blob) WHERE update_id = 100")
	require.NoError(t, err)
	out, _, err := d.tool(t.Context(), "replay")
	require.NoError(t, err)
	require.Contains(t, out, "1 refused: not_json. Their rows stay as they were.")
	require.Equal(t, 1, d.texts("wrong"))
	require.Equal(t, 1, d.texts("right"))
}

func TestReplaySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	d := setup(t)
	for _, c := range []struct{ args, want string }{
		{"--from yesterday", `--from "yesterday": want a day as 2026-11-01 or a time as 2026-11-01T12:00:00Z`},
		{"--to 2026-13-01", `--to "2026-13-01": want a day`},
		{"--from 2026-11-02 --to 2026-11-02", "--from is not before --to"},
		{"--source 7000000001", "--source: "},
		{"everything", "unknown command"},
	} {
		_, _, err := d.tool(t.Context(), append([]string{"replay"}, strings.Fields(c.args)...)...)
		require.ErrorContains(t, err, c.want)
	}
}

// TestReplayWaitsForLiveUpdates also stops the replay, and takes it up.
func TestReplayWaitsForLiveUpdates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := setup(t)
		d.misread(250)
		late := batch.Encode(batch.Batch{Envelopes: []ingest.Envelope{{Raw: []byte("{}")}}})
		id, err := d.db.Spool().Put(t.Context(), ingest.Spooled{OldestAt: time.Now().Add(-time.Minute), Updates: 1, Payload: late})
		require.NoError(t, err)

		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		var said string
		go func() {
			_, errs, err := d.tool(ctx, "replay")
			said = errs
			done <- err
		}()
		after(10 * time.Second)
		require.Equal(t, 250, d.texts("wrong"), "live updates are late")
		stop()
		require.ErrorContains(t, <-done, "stopped after 0 of 250 updates; the same command goes on from there")
		require.Contains(t, said, "waiting for live updates, which are 1m0s late")

		_, err = d.db.Archive().Apply(t.Context(), content.Batch{SpoolIDs: []int64{id}})
		require.NoError(t, err)
		out, _, err := d.tool(t.Context(), "replay", "--show", "0")
		require.NoError(t, err)
		require.Contains(t, out, "250 updates read")
		require.Equal(t, 250, d.texts("right"))
	})
}

// TestReplayOfAKilledProcessIsTakenUp holds a replay as a process that was killed does.
func TestReplayOfAKilledProcessIsTakenUp(t *testing.T) {
	t.Parallel()
	d := setup(t)
	d.misread(3)
	replays := d.db.Replays()
	replay, err := replays.Begin(t.Context(), store.ReplayRange{}, normalise.Version)
	require.NoError(t, err)
	_, err = replays.Next(t.Context(), &replay, 1, func(r *store.LedgerRow) (content.ChangeSet, error) {
		return botapi.New().Normalise(ingest.Envelope{Source: r.Source, ReceivedAt: r.ReceivedAt, Format: r.Format, Raw: r.Payload})
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = d.sql.ExecContext(t.Context(), "UPDATE replays SET held_until = strftime('%Y-%m-%d %H:%M:%f000+00:00', 'now', '0.5 seconds')")
	require.NoError(t, err)
	defer cancel()
	out, errs, err := d.tool(ctx, "replay")
	require.NoError(t, err)
	require.Contains(t, errs, "was killed a moment ago")
	require.Contains(t, out, "3 updates read", "one of them by the process that was killed")
	require.Equal(t, 3, d.texts("right"))
	require.NotContains(t, out, "right 0", "which is not read twice")
}
