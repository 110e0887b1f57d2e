package testkit_test

import (
	"bufio"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// soon is longer than anything takes here, and never is long enough to see that nothing comes.
	soon  = 10 * time.Second
	never = 50 * time.Millisecond
)

// echo starts a server that answers each line with its name and the line.
func echo(t *testing.T, name string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close() //nolint:errcheck // the test looks at the other end
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					_, _ = io.WriteString(conn, name+" "+lines.Text()+"\n")
				}
			}()
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		<-ended
	})
	return listener.Addr().String()
}

type client struct {
	net.Conn
	t     *testing.T
	lines *bufio.Reader
}

func connect(t *testing.T, p *testkit.Proxy) *client {
	t.Helper()
	c, err := dial(t, p)
	require.NoError(t, err)
	return c
}

func dial(t *testing.T, p *testkit.Proxy) (*client, error) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", p.Addr(), soon)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &client{Conn: conn, t: t, lines: bufio.NewReader(conn)}, nil
}

func (c *client) say(line string) error {
	_, err := io.WriteString(c, line+"\n")
	return err
}

func (c *client) hear(within time.Duration) (string, error) {
	c.t.Helper()
	require.NoError(c.t, c.SetReadDeadline(time.Now().Add(within)))
	return c.lines.ReadString('\n')
}

func (c *client) requireEcho(want string) {
	c.t.Helper()
	got, err := c.hear(soon)
	require.NoError(c.t, err)
	require.Equal(c.t, want+"\n", got)
}

func TestProxyCarriesBothWaysAndTakesTurns(t *testing.T) {
	t.Parallel()
	p := testkit.NewProxy(t, echo(t, "a"), echo(t, "b"))
	first, second := connect(t, p), connect(t, p)
	require.NoError(t, first.say("1"))
	require.NoError(t, second.say("2"))
	one, err := first.hear(soon)
	require.NoError(t, err)
	other, err := second.hear(soon)
	require.NoError(t, err)
	require.ElementsMatch(t, []byte{'a', 'b'}, []byte{one[0], other[0]})
	require.Equal(t, []string{" 1\n", " 2\n"}, []string{one[1:], other[1:]})
}

func TestProxyPassesOverAServerThatIsAway(t *testing.T) {
	t.Parallel()
	p := testkit.NewProxy(t, "127.0.0.1:1", echo(t, "a"))
	for range 3 {
		c := connect(t, p)
		require.NoError(t, c.say("1"))
		c.requireEcho("a 1")
	}
}

func TestCutNetworkResetsOldAndNewConnections(t *testing.T) {
	t.Parallel()
	p := testkit.NewProxy(t, echo(t, "a"))
	old := connect(t, p)
	require.NoError(t, old.say("1"))
	old.requireEcho("a 1")
	p.Cut()
	_, err := old.hear(soon)
	require.ErrorIs(t, err, syscall.ECONNRESET, "no good end, and at once")
	fresh, err := dial(t, p)
	if err == nil { // the reset may also come before the client knows that it is connected
		_, err = fresh.hear(soon)
	}
	require.ErrorIs(t, err, syscall.ECONNRESET)
	p.Heal()
	again := connect(t, p)
	require.NoError(t, again.say("2"))
	again.requireEcho("a 2")
}

func TestHangingNetworkHoldsEverythingUntilItHeals(t *testing.T) {
	t.Parallel()
	p := testkit.NewProxy(t, echo(t, "a"))
	old := connect(t, p)
	require.NoError(t, old.say("1"))
	old.requireEcho("a 1")
	p.Hang()
	fresh := connect(t, p)
	for _, c := range []*client{old, fresh} {
		require.NoError(t, c.say("2"))
		_, err := c.hear(never)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "nothing comes")
	}
	p.Heal()
	old.requireEcho("a 2")
	fresh.requireEcho("a 2")
}

func TestSlowNetworkDelaysEachWay(t *testing.T) {
	t.Parallel()
	p := testkit.NewProxy(t, echo(t, "a"))
	c := connect(t, p)
	p.Delay(never)
	begin := time.Now()
	require.NoError(t, c.say("1"))
	c.requireEcho("a 1")
	require.GreaterOrEqual(t, time.Since(begin), 2*never)
}
