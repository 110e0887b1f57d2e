package polling_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// script answers requests one after the other, and the last answer again and again.
type script struct {
	mu      sync.Mutex
	answers []reply
	at      []time.Time
}

type reply func(ctx context.Context) (*http.Response, error)

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	answer := s.answers[0]
	s.answers = s.answers[min(1, len(s.answers)-1):]
	s.at = append(s.at, time.Now())
	s.mu.Unlock()
	return answer(req.Context())
}

// gaps returns the times between the requests.
func (s *script) gaps() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var gaps []time.Duration
	for i := 1; i < len(s.at); i++ {
		gaps = append(gaps, s.at[i].Sub(s.at[i-1]))
	}
	return gaps
}

func answer(status int, body string) reply {
	return func(context.Context) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}, nil
	}
}

func failure(err error) reply {
	return func(context.Context) (*http.Response, error) { return nil, err }
}

// quiet answers as Telegram does while nothing happens.
func quiet(ctx context.Context) (*http.Response, error) {
	select {
	case <-time.After(50 * time.Second):
		return answer(http.StatusOK, `{"ok":true,"result":[]}`)(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// never does not answer at all.
func never(ctx context.Context) (*http.Response, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

var blanks = strings.Repeat(" ", 1<<16)

// forEver is a body without an end.
type forEver struct{}

func (forEver) Read(p []byte) (int, error) { return copy(p, blanks), nil }
func (forEver) Close() error               { return nil }

func run(t *testing.T, test func(t *testing.T, f *fixture, s *script), answers ...reply) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f, s := newFixture(t), &script{answers: answers}
		f.sink, f.through = newSink(), s
		f.bots.set(newBot(t, botID, token))
		stop := start(t, f.poller(t))
		test(t, f, s)
		stop()
		require.NotContains(t, f.log.String(), token)
		require.NotContains(t, f.log.String(), f.url, "a URL of the Bot API holds the token")
	})
}

func TestWhateverFailsIsTriedAgainWithGrowingPauses(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]reply{
		"the network fails":               failure(errors.New("connection refused")),
		"the server's own trouble":        answer(http.StatusBadGateway, `{"ok":false,"error_code":502,"description":"Bad Gateway"}`),
		"something else answers":          answer(http.StatusBadGateway, `<html>nginx</html>`),
		"something else answers with 200": answer(http.StatusOK, `welcome to the hotel's network`),
		"a redirect":                      answer(http.StatusFound, ``),
		"the answer is cut":               answer(http.StatusOK, `{"ok":true,"result":[{"update_id":1}`),
		"a refusal without a reason":      answer(http.StatusBadRequest, `{"ok":false}`),
		"updates that can't be confirmed": answer(http.StatusOK, `{"ok":true,"result":[{"id":1},5,null,{"update_id":"7"}]}`),
		"the answer has no end": func(context.Context) (*http.Response, error) {
			return &http.Response{StatusCode: http.StatusOK, Body: forEver{}, Header: http.Header{}}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bads := []reply{bad, bad, bad, bad, bad, bad, bad, bad, bad}
			run(t, func(t *testing.T, f *fixture, s *script) {
				elapse(10 * time.Minute)
				gaps := s.gaps()[:len(bads)]
				expected := 500 * time.Millisecond
				for _, gap := range gaps {
					require.GreaterOrEqual(t, gap, expected)
					require.LessOrEqual(t, gap, expected+expected/4+time.Millisecond)
					expected = min(2*expected, 30*time.Second)
				}
				require.InDelta(t, len(bads), f.requests(t, "failed"), 0)
				require.InDelta(t, 1, f.inState(t, "polling"), 0, "it has recovered")
				require.InDelta(t, 1, f.requests(t, "updates"), 0)
			}, append(bads, answer(http.StatusOK, `{"ok":true,"result":[{"update_id":1}]}`), quiet)...)
		})
	}
}

func TestThrottledPollerWaitsAsLongAsItIsAskedTo(t *testing.T) {
	t.Parallel()
	const tooMany = `{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 17","parameters":{"retry_after":17}}`
	run(t, func(t *testing.T, f *fixture, s *script) {
		elapse(time.Minute)
		gaps := s.gaps()
		require.Len(t, gaps, 1)
		require.GreaterOrEqual(t, gaps[0], 17*time.Second)
		require.LessOrEqual(t, gaps[0], 22*time.Second)
		require.InDelta(t, 1, f.requests(t, "throttled"), 0)
	}, answer(http.StatusTooManyRequests, tooMany), quiet)
}

func TestThrottlingIsBounded(t *testing.T) {
	t.Parallel()
	const aYear = `{"ok":false,"error_code":429,"parameters":{"retry_after":31536000}}`
	run(t, func(t *testing.T, _ *fixture, s *script) {
		elapse(7 * time.Minute)
		require.GreaterOrEqual(t, s.gaps()[0], 5*time.Minute)
	}, answer(http.StatusTooManyRequests, aYear), quiet)
}

func TestServerThatDoesNotWaitIsNotAskedInACircle(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, _ *fixture, s *script) {
		elapse(100 * time.Second)
		require.LessOrEqual(t, len(s.gaps()), 100)
		require.GreaterOrEqual(t, len(s.gaps()), 75)
	}, answer(http.StatusOK, `{"ok":true,"result":[]}`))
}

func TestServerThatNeverAnswersIsGivenUp(t *testing.T) {
	t.Parallel()
	run(t, func(t *testing.T, f *fixture, s *script) {
		elapse(66 * time.Second)
		require.Len(t, s.gaps(), 1)
		require.InDelta(t, 1, f.requests(t, "failed"), 0)
		require.Contains(t, f.log.String(), context.DeadlineExceeded.Error())
	}, never)
}

// A server that sends the request back brings the token into the error of net/http.
func TestTokenIsHiddenFromErrorsThatRepeatTheRequest(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	echoed := make(chan struct{})
	go func() {
		defer close(echoed)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			_, _ = io.WriteString(conn, line+line)
			_ = conn.Close()
		}
	}()
	for url, reason := range map[string]string{
		"http://" + l.Addr().String(): "an error whose text shows the token",
		"http://127.0.0.1:1":          "connection refused",
		"http://h\x7f":                "invalid control character in URL",
		"bot-api.example":             "unsupported protocol scheme",
	} {
		f := newFixture(t)
		f.sink, f.url = newSink(), url
		f.bots.set(newBot(t, botID, token))
		stop := start(t, f.poller(t))
		require.Eventually(t, func() bool { return strings.Contains(f.log.String(), "result=failed") }, time.Minute, time.Millisecond, url)
		stop()
		require.Contains(t, f.log.String(), reason)
		require.NotContains(t, f.log.String(), token, url)
		require.NotContains(t, f.log.String(), "/bot1:", url)
	}
	require.NoError(t, l.Close())
	<-echoed
}
