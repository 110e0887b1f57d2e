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
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
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
	require.EqualError(t, err, fmt.Sprintf("backfill %d failed after 0 messages: CHANNEL_PRIVATE: the account is no member of the chat, or was banned from it", failed.ID))

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

func TestCoverageShowsWhatIsMissing(t *testing.T) {
	t.Parallel()
	d := setup(t)
	out, _, err := d.tool(t.Context(), "backfill", "coverage")
	require.NoError(t, err)
	require.Contains(t, out, "No account follows a chat yet")

	desk, other := d.account("desk", account.UserAccount, 7), d.account("other", account.UserAccount, 8)
	d.archived(-1_000_000_000_005, "News", 1000)
	d.archived(42, "Friend", 100)
	from := func(lease account.Lease, connector string, channels ...account.ChannelState) {
		require.NoError(t, d.db.UpdateStates().Save(t.Context(), lease, connector, &account.UpdateState{Pts: 1, FollowedFrom: 51}, channels))
	}
	from(desk, "desk", account.ChannelState{ChannelID: 5, Pts: 1, FollowedFrom: 501})
	from(other, "other", account.ChannelState{ChannelID: 5, Pts: 1, FollowedFrom: 751})
	b, err := d.db.Backfills().Start(t.Context(), account.Backfill{ConnectorID: "desk", ChatID: -1_000_000_000_005})
	require.NoError(t, err)
	b.Top, b.Cursor, b.Messages, b.Pages = 500, 251, 250, 3
	require.NoError(t, d.db.Backfills().Advance(t.Context(), desk, b))

	out, _, err = d.tool(t.Context(), "backfill", "coverage")
	require.NoError(t, err)
	require.Regexp(t, `-1000000000005 +News +desk, other +1000 +750 +250 +0 +\[\.{6}#{18}\]`, out)
	require.Regexp(t, `private chats and basic groups +desk +100 +50 +50 +0 +\[\.{12}#{12}\]`, out)
	out, _, err = d.tool(t.Context(), "backfill", "coverage", "--chat", "-1000000000005")
	require.NoError(t, err)
	require.Regexp(t, `1 to 250 +missing +before it was followed\n251 to 1000 +covered`, out)
	out, _, err = d.tool(t.Context(), "backfill", "coverage", "--chat", "42", "--json")
	require.NoError(t, err)
	require.JSONEq(t, `[{"chat_id":42,"title":"Friend","connectors":["desk"],"newest_message_id":100,"covered":50,"missing":50,"unknown":0,"ranges":[
		{"from":1,"to":50,"state":"missing","why":"before it was followed"},{"from":51,"to":100,"state":"covered"}]}]`, out)

	d.holed(desk, account.Backfill{ConnectorID: "desk", ChatID: 43, Begin: 91, Floor: 80})
	out, _, err = d.tool(t.Context(), "backfill", "coverage", "--chat", "42")
	require.NoError(t, err)
	require.Regexp(t, `51 to 100 +covered`, out, "what is missing is another chat's")
	out, _, err = d.tool(t.Context(), "backfill", "coverage", "--json")
	require.NoError(t, err)
	require.Contains(t, out, `{"from":81,"to":90,"state":"missing","why":"left out, to be filled"}`)

	require.NoError(t, d.db.Connectors().Disable(t.Context(), "desk"))
	out, _, err = d.tool(t.Context(), "backfill", "coverage", "--chat", "42")
	require.NoError(t, err)
	require.Regexp(t, `51 to 100 +unknown +the account is not connected`, out)
	out, _, err = d.tool(t.Context(), "backfill", "coverage", "--chat", "-1009999999999")
	require.NoError(t, err)
	require.Equal(t, "No account has a message of that chat.\n", out)
}

// archived applies a message of that number to the archive: of a channel, or of a private chat of the account 7.
func (d *desk) archived(chat content.ChatID, title string, number content.MessageID) {
	d.t.Helper()
	raw := fmt.Appendf(nil, "%d/%d", chat, number)
	change := content.ChangeSet{Update: content.Update{
		Envelope: ingest.Envelope{Source: ingest.Source{Transport: ingest.MTProto, Account: 7}, ReceivedAt: time.Unix(1_790_000_000, 0), Raw: raw},
		Hash:     ingest.HashOf(raw), Kind: "update_new_message",
	}}
	key := content.MessageKey{ChatID: chat, MessageID: number}
	if chat > 0 {
		key.Scope = 7
	}
	version := content.NewVersion(content.Stamp{Date: time.Unix(1_790_000_000, 0), Hash: change.Update.Hash})
	change.Messages = []content.Message{{Key: key, Version: version, Kind: "text", Date: time.Unix(1_790_000_000, 0)}}
	change.Chats = []content.Chat{{ID: chat, Version: version, Title: title}}
	_, err := d.db.Archive().Apply(d.t.Context(), content.Batch{Changes: []content.ChangeSet{change}})
	require.NoError(d.t, err)
}

// holed plans what fills a hole of all that the account 7 numbers together.
func (d *desk) holed(lease account.Lease, fill account.Backfill) {
	d.t.Helper()
	raw := []byte("hole")
	change := content.ChangeSet{Update: content.Update{
		Envelope: ingest.Envelope{Source: ingest.Source{Transport: ingest.MTProto, Account: 7}, ReceivedAt: time.Unix(1_790_000_000, 0), Raw: raw},
		Hash:     ingest.HashOf(raw), Kind: "difference_too_long",
	}}
	change.Holes = []content.Hole{{AccountID: 7, Reason: content.DifferenceTooLong, FromPts: 80, FoundAt: time.Unix(1_790_000_000, 0)}}
	_, err := d.db.Archive().Apply(d.t.Context(), content.Batch{Changes: []content.ChangeSet{change}})
	require.NoError(d.t, err)
	holes, err := d.db.Backfills().Unplanned(d.t.Context(), 7)
	require.NoError(d.t, err)
	require.Len(d.t, holes, 1)
	require.NoError(d.t, d.db.Backfills().Plan(d.t.Context(), lease, holes[0], account.HoleOpen, []account.Backfill{fill}))
}
