package localservers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// parentVariable makes this test binary play a process that starts both servers and is then killed.
const parentVariable = "LOCALSERVERS_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentVariable) != "" {
		startServersAndWait()
		return
	}
	goleak.VerifyTestMain(m)
}

func startServersAndWait() {
	redis, err := StartRedis(context.Background(), RedisOptions{})
	postgres, pgErr := StartPostgres(context.Background(), PostgresOptions{})
	if err := errors.Join(err, pgErr); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(redis.process.cmd.Process.Pid, postgres.process.cmd.Process.Pid, redis.directory.path, postgres.directory.path)
	select {}
}

func startRedis(t *testing.T, options RedisOptions) (*Redis, *redis.Client) {
	t.Helper()
	server, err := StartRedis(t.Context(), options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true, MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return server, client
}

func TestRedisKeepsItsDataAndPortOverACrash(t *testing.T) {
	t.Parallel()
	server, client := startRedis(t, RedisOptions{AppendOnly: true, Fsync: "always"})
	require.NoError(t, client.Set(t.Context(), "key", "kept", 0).Err())

	require.NoError(t, server.Kill())
	require.Error(t, client.Ping(t.Context()).Err())
	require.NoError(t, server.Restart(t.Context()))

	require.Equal(t, "kept", client.Get(t.Context(), "key").Val())
}

func TestPausedRedisIsSilentUntilResumed(t *testing.T) {
	t.Parallel()
	server, client := startRedis(t, RedisOptions{})
	require.NoError(t, client.Ping(t.Context()).Err())

	require.NoError(t, server.Pause())
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, client.Ping(ctx).Err(), os.ErrDeadlineExceeded)

	require.NoError(t, server.Resume())
	require.NoError(t, client.Ping(t.Context()).Err())
}

func TestStopEndsAPausedServerAndRemovesItsData(t *testing.T) {
	t.Parallel()
	server, err := StartRedis(t.Context(), RedisOptions{})
	require.NoError(t, err)
	require.NoError(t, server.Pause())

	require.NoError(t, server.Stop())

	require.NoDirExists(t, server.directory.path)
	require.ErrorIs(t, server.Restart(t.Context()), errStopped)
	require.NoError(t, server.Stop(), "a second Stop does nothing")
}

func TestArgumentsReachRedis(t *testing.T) {
	t.Parallel()
	_, client := startRedis(t, RedisOptions{Args: []string{"--maxmemory", "8mb"}})
	require.Equal(t, map[string]string{"maxmemory": "8388608"}, client.ConfigGet(t.Context(), "maxmemory").Val())
}

func TestStrangerOnThePortIsNotTakenForOurServer(t *testing.T) {
	t.Parallel()
	stranger, _ := startRedis(t, RedisOptions{})
	directory, err := newDirectory()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, directory.remove()) })

	late := &Redis{directory: directory, port: stranger.port}

	require.ErrorIs(t, late.start(t.Context()), errPortTaken)
}

func TestPostgresDatabaseIsACopyOfItsTemplate(t *testing.T) {
	t.Parallel()
	server, err := StartPostgres(t.Context(), PostgresOptions{Settings: []string{"max_connections=20"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	exec := func(database, statement string) error {
		connection, err := pgx.Connect(t.Context(), server.URL(database))
		if err != nil {
			return err
		}
		_, err = connection.Exec(t.Context(), statement)
		return errors.Join(err, connection.Close(t.Context()))
	}

	require.NoError(t, server.CreateDatabase(t.Context(), "template", ""))
	require.NoError(t, exec("template", "CREATE TABLE things (id int)"))
	require.NoError(t, server.CreateDatabase(t.Context(), "copy", "template"))
	require.NoError(t, exec("copy", "INSERT INTO things VALUES (1)"))
	require.Error(t, server.CreateDatabase(t.Context(), "copy", "template"), "the name is taken")

	require.NoError(t, server.Kill())
	require.Error(t, exec("copy", "SELECT 1"))
	require.NoError(t, server.Restart(t.Context()))
	require.NoError(t, exec("copy", "SELECT id FROM things"))

	require.NoError(t, server.DropDatabase(t.Context(), "copy"))
	require.NoError(t, server.DropDatabase(t.Context(), "copy"))
	require.Error(t, exec("copy", "SELECT 1"))
}

func TestPausedPostgresIsSilentUntilResumed(t *testing.T) {
	t.Parallel()
	server, err := StartPostgres(t.Context(), PostgresOptions{Settings: []string{"max_connections=20"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	require.NoError(t, server.Resume(), "it is not frozen")
	connect := func() (*pgx.Conn, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		return pgx.Connect(ctx, server.URL(maintenanceDatabase))
	}
	ask := func(connection *pgx.Conn) <-chan error {
		answer := make(chan error, 1)
		go func() {
			_, err := connection.Exec(t.Context(), "SELECT 1")
			answer <- err
		}()
		return answer
	}
	connection, err := pgx.Connect(t.Context(), server.URL(maintenanceDatabase))
	require.NoError(t, err)
	require.NoError(t, <-ask(connection))

	require.NoError(t, server.Pause())
	answer := ask(connection)
	_, err = connect()
	require.ErrorIs(t, err, context.DeadlineExceeded, "nobody new is let in")
	require.Empty(t, answer)
	require.NoError(t, server.Resume())
	require.NoError(t, <-answer)

	require.NoError(t, server.Pause())
	answer = ask(connection)
	require.NoError(t, server.Restart(t.Context()), "a frozen server can be restarted")
	require.Eventually(t, func() bool { return len(answer) == 1 }, soon, 10*time.Millisecond)
	require.NoError(t, server.Pause())
	require.NoError(t, server.Kill(), "and killed")
	require.NoError(t, server.Restart(t.Context()))
	require.NoError(t, server.Pause())
	require.NoError(t, server.Stop(), "and stopped")
	require.NoDirExists(t, server.directory.path)
}

func TestServersDieWithAKilledParent(t *testing.T) {
	t.Parallel()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentVariable+"=1")
	output, err := parent.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, parent.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	words := strings.Fields(line)
	require.Len(t, words, 4, line)
	t.Cleanup(func() {
		require.NoError(t, os.RemoveAll(words[2]))
		require.NoError(t, os.RemoveAll(words[3]))
	})

	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())

	for _, word := range words[:2] {
		pid, err := strconv.Atoi(word)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return !runs(pid) }, 20*time.Second, 10*time.Millisecond)
	}
}

// runs says whether pid is a live process; one that has ended and that nobody has reaped yet is not.
func runs(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, afterName, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(afterName, "Z")
}

func TestDirectoriesOfDeadProcessesAreRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	longAgo := time.Now().Add(-time.Hour)
	dead, err := newDirectory()
	require.NoError(t, err)
	require.NoError(t, os.Chtimes(dead.path, longAgo, longAgo))
	require.NoError(t, dead.lock.Close(), "as the system does when a process ends")
	alive, err := newDirectory()
	require.NoError(t, err)
	require.NoError(t, os.Chtimes(alive.path, longAgo, longAgo))

	fresh, err := newDirectory()
	require.NoError(t, err)

	require.NoDirExists(t, dead.path)
	require.DirExists(t, alive.path)
	require.NoError(t, errors.Join(alive.remove(), fresh.remove()))
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestMissingProgramSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := StartRedis(t.Context(), RedisOptions{})
	require.EqualError(t, err, "start redis: redis-server is not installed: apt-get install redis-server postgresql")
}

func TestPortsStayBelowThoseOfOutgoingConnections(t *testing.T) {
	t.Parallel()
	port, err := FreePort()
	require.NoError(t, err)
	require.Less(t, port, 32768)
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	require.NoError(t, err)
	require.NoError(t, listener.Close())
}
