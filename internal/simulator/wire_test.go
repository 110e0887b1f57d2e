package simulator_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/simulator"
)

// hurried is a clock that runs a hundred times as fast as the real one.
type hurried struct{ start time.Time }

const haste = 100

func (h hurried) Now() time.Time { return h.start.Add(time.Since(h.start) * haste) }

func (h hurried) AfterFunc(d time.Duration, f func()) (stop func() bool) {
	return time.AfterFunc(d/haste, f).Stop
}

// overTCP returns a server that delivers over real sockets, on a clock that hurries, to a program that answers like this.
func overTCP(t *testing.T, program http.HandlerFunc) *fixture {
	t.Helper()
	f := &fixture{Server: simulator.New(simulator.Config{Clock: hurried{time.Now()}, Record: true})}
	var err error
	f.bot, err = f.AddBot(token, "test_bot")
	require.NoError(t, err)
	receiver := httptest.NewServer(program)
	t.Cleanup(receiver.Close)
	got := f.call(t, "setWebhook", values("url", receiver.URL+"/hook", "secret_token", secret))
	require.True(t, got.OK, got.Description)
	f.run(t)
	return f
}

func TestDeliversOverTCP(t *testing.T) {
	t.Parallel()
	bodies := make(chan string, 1)
	f := overTCP(t, func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && r.Header.Get("X-Telegram-Bot-Api-Secret-Token") == secret && r.Method == http.MethodPost && r.URL.Path == "/hook" {
			bodies <- string(body)
		}
		rw.WriteHeader(http.StatusOK)
	})
	u := f.say(t, chatA, "Привет 👋")
	require.Equal(t, string(u.Raw), <-bodies)
	require.NoError(t, f.WaitDelivered(t.Context()))
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	var followed, asked atomic.Int32
	f := overTCP(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			followed.Add(1)
		}
		if asked.Add(1) < 3 {
			http.Redirect(rw, r, "/elsewhere", http.StatusTemporaryRedirect)
		}
	})
	f.say(t, chatA, "x")
	require.NoError(t, f.WaitDelivered(t.Context()))
	require.Zero(t, followed.Load())
	require.EqualValues(t, 3, asked.Load())
}

func TestProgramThatIsAwayIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := overTCP(t, func(http.ResponseWriter, *http.Request) {})
	away := httptest.NewServer(http.NotFoundHandler())
	away.Close()
	require.Eventually(t, func() bool {
		return f.call(t, "setWebhook", values("url", away.URL)).OK
	}, 5*time.Second, 5*time.Millisecond)
	u := f.say(t, chatA, "x")
	require.Eventually(t, func() bool { return f.about(t, u).Attempts >= 3 }, 5*time.Second, 5*time.Millisecond)
	require.Equal(t, "Connection refused", f.webhookInfo(t)["last_error_message"])
	require.Zero(t, f.about(t, u).Told)
}

func TestConnectionThatBreaksIsAFailure(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	f := overTCP(t, func(http.ResponseWriter, *http.Request) {
		if asked.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
	})
	u := f.say(t, chatA, "x")
	require.NoError(t, f.WaitDelivered(t.Context()))
	require.Equal(t, 2, f.about(t, u).Attempts)
	require.Equal(t, "Webhook connection closed", f.webhookInfo(t)["last_error_message"])
}

func TestSlowProgramTimesOutOverTCP(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	f := overTCP(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if asked.Add(1) == 1 {
			<-r.Context().Done()
		}
	})
	u := f.say(t, chatA, "x")
	require.NoError(t, f.WaitDelivered(t.Context()))
	require.Equal(t, 2, f.about(t, u).Attempts)
	require.Equal(t, "Read timeout expired", f.webhookInfo(t)["last_error_message"])
}
