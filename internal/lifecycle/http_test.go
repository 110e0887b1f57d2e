package lifecycle_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/lifecycle"
)

// get asks over a connection of its own, so that none stays behind.
func get(ctx context.Context, url string) (string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestRequestsUnderWayFinishWhenTheServerStops(t *testing.T) {
	t.Parallel()
	l, err := lifecycle.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	arrived, finish := make(chan struct{}), make(chan struct{})
	server := lifecycle.HTTP("http", l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-finish
		if r.Context().Err() == nil {
			_, _ = io.WriteString(w, "accepted")
		}
	}), discard())

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- lifecycle.Run(ctx, discard(), drain, server) }()
	type answer struct {
		body string
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		body, err := get(t.Context(), "http://"+l.Addr().String())
		answered <- answer{body, err}
	}()
	<-arrived
	stop()
	require.Eventually(t, func() bool {
		_, err := get(t.Context(), "http://"+l.Addr().String())
		return err != nil
	}, 10*time.Second, time.Millisecond, "no new connection is taken")
	close(finish)
	require.Equal(t, answer{body: "accepted"}, <-answered)
	require.NoError(t, <-ended)
}

func TestConnectionThatWasNeverUsedHoldsNoStopUp(t *testing.T) {
	t.Parallel()
	l, err := lifecycle.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	server := lifecycle.HTTP("http", l, http.NotFoundHandler(), discard())
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	const short = 4 * time.Second // net/http waits for such a connection longer than that
	go func() { ended <- lifecycle.Run(ctx, discard(), short, server) }()
	unused, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = unused.Close() })
	_, err = get(t.Context(), "http://"+l.Addr().String()) // connections are taken in turn: the one before has been
	require.NoError(t, err)
	stop()
	require.NoError(t, <-ended)
}

func TestTakenPortIsNamed(t *testing.T) {
	t.Parallel()
	l, err := lifecycle.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	_, err = lifecycle.Listen(t.Context(), l.Addr().String())
	require.ErrorContains(t, err, "listen on "+l.Addr().String()+": another process has this port")
	_, err = lifecycle.Listen(t.Context(), "127.0.0.1:99999")
	require.ErrorContains(t, err, "listen on 127.0.0.1:99999: ")
}

func TestServerWhoseListenerDiesFails(t *testing.T) {
	t.Parallel()
	l, err := lifecycle.Listen(t.Context(), "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	err = lifecycle.Run(t.Context(), discard(), drain, lifecycle.HTTP("http", l, http.NotFoundHandler(), discard()))
	require.ErrorContains(t, err, "service http: serve "+l.Addr().String())
}
