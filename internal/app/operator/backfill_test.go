package operator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
)

// account adds a connector that is connected, and returns the lease of its holder.
func (d *desk) account(label string, kind account.ConnectorKind, id int64) account.Lease {
	d.t.Helper()
	ctx := d.t.Context()
	require.NoError(d.t, d.db.Connectors().Create(ctx, account.Connector{ID: label, Label: label, Kind: kind, Status: account.New}))
	lease, taken, err := d.db.Leases().Acquire(ctx, "connector:"+label, "listener", time.Hour)
	require.NoError(d.t, err)
	require.True(d.t, taken)
	if id == 0 {
		return lease
	}
	version, err := d.db.Sessions().Save(ctx, lease, label, account.Session{Sealed: "s", Authorised: true}, 0)
	require.NoError(d.t, err)
	require.NoError(d.t, d.db.Connectors().SignedIn(ctx, lease, label, account.Identity{AccountID: id, SessionVersion: version}))
	return lease
}

func TestBackfillIsRefusedWhereItCantBe(t *testing.T) {
	t.Parallel()
	d := setup(t)
	d.account("desk", account.UserAccount, 7)
	d.account("bot", account.BotAccount, 8)
	d.account("fresh", account.UserAccount, 0)
	for refusal, args := range map[string][]string{
		"--chat is missing":                            {"desk"},
		"--chat 777000 is Telegram's own chat":         {"desk", "--chat", "777000"},
		"bot is a bot: Telegram gives bots no history": {"bot", "--chat", "-1001"},
		`"tgfleet connector login fresh" first`:        {"fresh", "--chat", "-1001"},
		"`tgfleet connector list` shows those":         {"nobody", "--chat", "-1001"},
		`--since "soon": want a day as 2026-11-01`:     {"desk", "--chat", "-1001", "--since", "soon"},
		"accepts 1 arg(s), received 0":                 {"--chat", "-1001"},
	} {
		_, _, err := d.tool(t.Context(), append([]string{"backfill", "start"}, args...)...)
		require.ErrorContains(t, err, refusal)
	}
	_, _, err := d.tool(t.Context(), "backfill", "start", "desk", "--chat", "-1001")
	require.NoError(t, err)
	_, _, err = d.tool(t.Context(), "backfill", "start", "desk", "--chat", "-1001")
	require.ErrorContains(t, err, "backfill 1 of that chat is under way: watch it, or cancel it first")
	for _, verb := range []string{"watch", "cancel"} {
		_, _, err = d.tool(t.Context(), "backfill", verb, "first")
		require.ErrorContains(t, err, `"first" is no backfill: want its number`)
		_, _, err = d.tool(t.Context(), "backfill", verb, "99")
		require.ErrorContains(t, err, "`tgfleet backfill list` shows those that there are")
	}
}

func TestBackfillIsStartedWatchedAndListed(t *testing.T) {
	t.Parallel()
	d := setup(t)
	lease := d.account("desk", account.UserAccount, 7)
	out, _, err := d.tool(t.Context(), "backfill", "start", "desk", "--chat", "-1001", "--since", "2026-01-02", "--json")
	require.NoError(t, err)
	var started struct {
		ID     int64
		Status string
	}
	require.NoError(t, json.Unmarshal([]byte(out), &started))
	require.Equal(t, "waiting", started.Status)
	b, err := d.db.Backfills().Find(t.Context(), started.ID)
	require.NoError(t, err)
	require.Equal(t, time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC), b.Since)

	b.Top, b.Cursor, b.Total, b.Messages, b.Pages, b.Status = 400, 301, 400, 100, 1, account.BackfillRunning
	require.NoError(t, d.db.Backfills().Advance(t.Context(), lease, b))
	require.NoError(t, d.db.FloodWaits().Save(t.Context(), lease, "desk", "messages.getHistory", time.Now().Add(time.Hour)))
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	_, said, err := d.tool(ctx, "backfill", "watch", fmt.Sprint(b.ID))
	require.NoError(t, err)
	require.Regexp(t, `waiting for Telegram, which lets desk wait for (1h0m0s|59m59s)\n`, said)
	require.Contains(t, said, "goes on without you")
	out, _, err = d.tool(t.Context(), "backfill", "list")
	require.NoError(t, err)
	require.Regexp(t, `1 +desk +-1001 +you +running +25 % +100 +301`, out)

	b.Status, b.Cursor, b.Messages, b.Pages = account.BackfillDone, 1, 400, 4
	require.NoError(t, d.db.Backfills().Advance(t.Context(), lease, b))
	out, _, err = d.tool(t.Context(), "backfill", "watch", fmt.Sprint(b.ID))
	require.NoError(t, err)
	require.Contains(t, out, "Done: 400 messages in 4 pages, down to message 1.")
	out, _, err = d.tool(t.Context(), "backfill", "watch", fmt.Sprint(b.ID), "--json")
	require.NoError(t, err)
	require.Len(t, strings.Split(strings.TrimSpace(out), "\n"), 1)
	require.Contains(t, out, `"share":1,"messages":400`)
	out, _, err = d.tool(t.Context(), "backfill", "list", "--limit", "0", "--json")
	require.NoError(t, err)
	require.JSONEq(t, "[]", out)
}

func TestBackfillThatDoesNotEndWellIsAnError(t *testing.T) {
	t.Parallel()
	d := setup(t)
	lease := d.account("desk", account.UserAccount, 7)
	failed, err := d.db.Backfills().Start(t.Context(), account.Backfill{ConnectorID: "desk", ChatID: -1001})
	require.NoError(t, err)
	failed.Status, failed.Reason = account.BackfillFailed, "CHANNEL_PRIVATE"
	require.NoError(t, d.db.Backfills().Advance(t.Context(), lease, failed))
	_, _, err = d.tool(t.Context(), "backfill", "watch", fmt.Sprint(failed.ID))
	require.EqualError(t, err, fmt.Sprintf("backfill %d failed after 0 messages: CHANNEL_PRIVATE", failed.ID))

	cancelled, err := d.db.Backfills().Start(t.Context(), account.Backfill{ConnectorID: "desk", ChatID: -1002})
	require.NoError(t, err)
	_, _, err = d.tool(t.Context(), "backfill", "cancel", fmt.Sprint(cancelled.ID))
	require.NoError(t, err)
	_, _, err = d.tool(t.Context(), "backfill", "cancel", fmt.Sprint(cancelled.ID))
	require.ErrorContains(t, err, "it has ended, or there is none")
	_, _, err = d.tool(t.Context(), "backfill", "watch", fmt.Sprint(cancelled.ID))
	require.ErrorContains(t, err, "was cancelled after 0 messages")

	require.NoError(t, d.db.Connectors().Disable(t.Context(), "desk"))
	waits, err := d.db.Backfills().Start(t.Context(), account.Backfill{ConnectorID: "desk", ChatID: -1003})
	require.NoError(t, err)
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	_, said, err := d.tool(ctx, "backfill", "watch", fmt.Sprint(waits.ID))
	require.NoError(t, err)
	require.Contains(t, said, "waiting for desk to be connected (it is disabled)")
}
