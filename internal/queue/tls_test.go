package queue

import (
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

func TestConnectionToFrozenRedisOverTLSClosesAtOnce(t *testing.T) {
	t.Parallel()
	authority, err := localservers.NewAuthority(t.TempDir())
	require.NoError(t, err)
	server := localtest.Redis(t, localservers.RedisOptions{TLS: authority})
	parsed, err := parseAddress(seal.Secret(server.URL()))
	require.NoError(t, err)
	connection, err := newDialer(parsed.TLSConfig)(t.Context(), "tcp", server.Addr())
	require.NoError(t, err)
	require.NoError(t, server.Pause())
	t.Cleanup(func() { require.NoError(t, server.Resume()) })
	// As after puts that Redis did not take off the wire: all buffers on the way are full, to the last bytes.
	secure, ok := connection.(interface{ NetConn() net.Conn })
	require.True(t, ok)
	wire := secure.NetConn()
	for _, size := range []int{1 << 20, 16} {
		for err = nil; err == nil; {
			require.NoError(t, wire.SetWriteDeadline(time.Now().Add(dialWithin)))
			_, err = wire.Write(make([]byte, size))
		}
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	}

	start := time.Now()
	require.NoError(t, connection.Close())
	require.Less(t, time.Since(start), commandWithin, "crypto/tls would say goodbye for five seconds")
}
