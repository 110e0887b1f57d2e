package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestUpdatesAreTailedAndShown looks at updates of two bots, which share a number.
func TestUpdatesAreTailedAndShown(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	follower := start(t, command{program: "tgfleet", args: []string{"updates", "tail", "--follow", "--json"}, env: f.env})
	first, second := f.bots[0], f.bots[1]
	one, poll, other := hello(1), `{"update_id":2,"poll":{"id":"7","question":"?"}}`, `{"update_id":1,"poll":{"id":"8"}}`
	for _, u := range []struct {
		to   bot
		body string
	}{{first, one}, {first, poll}, {second, other}} {
		require.Equal(t, http.StatusOK, f.send(u.to, u.body))
		f.settled(time.Minute)
	}

	tail := func(args ...string) []updateLine {
		return decode[updateLine](t, f.tool(append([]string{"updates", "tail", "--json"}, args...)...))
	}
	all := tail()
	require.Len(t, all, 3)
	for i := range all {
		require.WithinDuration(t, time.Now(), all[i].ReceivedAt, time.Hour)
		all[i].ReceivedAt = time.Time{}
	}
	require.Equal(t, []updateLine{
		{Source: first.source(), UpdateID: 1, Kind: "message", ChatID: 4242, Origin: "live", SizeBytes: len(one)},
		{Source: first.source(), UpdateID: 2, Kind: "poll", Origin: "live", SizeBytes: len(poll)},
		{Source: second.source(), UpdateID: 1, Kind: "poll", Origin: "live", SizeBytes: len(other)},
	}, all, "the newest last")
	require.Len(t, tail("-n", "1"), 1)
	require.Len(t, tail("--kind", "poll"), 2)
	require.Len(t, tail("--source", first.source()), 2)
	require.Len(t, tail("--chat", "4242"), 1)
	require.Len(t, strings.Split(strings.TrimSpace(f.tool("updates", "tail")), "\n"), 3)
	require.Empty(t, tail("--source", "botapi:42"))

	shown := decode[updateLine](t, f.tool("updates", "show", "1", "--json"))
	require.Len(t, shown, 2, "both bots have one")
	require.JSONEq(t, one, string(shown[0].Payload))
	require.Equal(t, other, f.tool("updates", "show", "1", "--source", second.source(), "--raw"))
	require.Contains(t, f.tool("updates", "show", "2"), `"question": "?"`)
	require.Contains(t, refuse(t, f.env, "updates", "show", "1", "--raw"), "--source")
	require.Contains(t, refuse(t, f.env, "updates", "show", "3"), "update 3")
	require.Contains(t, refuse(t, f.env, "updates", "show", "2", "--source", second.source()), second.source())
	require.Contains(t, refuse(t, f.env, "updates", "show", "2", "--source", "telegram"), "--source")
	require.Contains(t, refuse(t, f.env, "updates", "show", "two"), "UPDATE_ID")
	require.Contains(t, refuse(t, f.env, "updates", "tail", "--source", "botapi:x"), "--source")
	require.Contains(t, refuse(t, nil, "updates", "tail"), "DATABASE_URL is not set")

	eventually(t, startWithin, func(context.Context) error {
		if lines := strings.Count(follower.stdout(), "\n"); lines < 3 {
			return fmt.Errorf("the follower has seen %d updates", lines)
		}
		return nil
	})
	follower.signal(syscall.SIGINT)
	require.Zero(t, follower.exit(commandWithin))
	require.Len(t, decode[updateLine](t, follower.stdout()), 3)
}
