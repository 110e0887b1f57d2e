package e2e_test

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// TestFleetOutlivesEveryOutageOfPostgreSQL takes PostgreSQL away in every way that it can be away, alone and together with Redis.
// Updates wait in the queue; when both are away they stay with Telegram.
func TestFleetOutlivesEveryOutageOfPostgreSQL(t *testing.T) {
	t.Parallel()
	o := newOutages(t)
	away := func(name string, begin, end func()) outage {
		return outage{name: name, takes: queueTakes, postgres: true, begin: begin, end: end}
	}
	restart := func() { require.NoError(t, o.database.Restart(context.Background())) }
	var free func()
	o.suffersBoth()
	o.suffers(
		away("killed", func() { require.NoError(t, o.database.Kill()) }, restart),
		outage{name: "restarted", takes: queueTakes, begin: restart, end: func() {}},
		away("frozen", func() { require.NoError(t, o.database.Pause()) }, func() { require.NoError(t, o.database.Resume()) }),
		away("out of connections", func() { free = o.hogConnections() }, func() { free() }),
		// The database answers, so that workers call themselves ready: reading works.
		outage{
			name: "read-only", takes: queueTakes,
			begin: func() { o.alter("on") }, end: func() { o.alter("off") },
		},
		outage{name: "a replica", takes: queueTakes, begin: o.becomesReplica, end: o.isPromoted},
	)
	o.finish(0)
}

// exec runs a statement as an operator would, past the fleet.
func (o *outages) exec(statement string) {
	o.t.Helper()
	_, err := o.db.pool.ExecContext(context.Background(), statement)
	require.NoError(o.t, err, statement)
}

func (o *outages) alter(readOnly string) {
	o.t.Helper()
	o.exec("ALTER SYSTEM SET default_transaction_read_only = " + readOnly)
	o.exec("SELECT pg_reload_conf()")
}

// hogConnections takes every connection that the server allows, those of the fleet included. The fleet is frozen meanwhile: it would
// be faster.
func (o *outages) hogConnections() (free func()) {
	o.t.Helper()
	o.stream.pause()
	defer o.stream.goOn()
	o.signal(syscall.SIGSTOP)
	defer o.signal(syscall.SIGCONT)
	o.exec("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'tgfleet'")
	pool, err := sql.Open("pgx", o.env["DATABASE_URL"])
	require.NoError(o.t, err)
	var taken []*sql.Conn
	for err == nil {
		var one *sql.Conn
		if one, err = pool.Conn(context.Background()); err == nil {
			taken = append(taken, one)
		}
	}
	var refused *pgconn.PgError
	require.ErrorAs(o.t, err, &refused)
	require.Equal(o.t, "53300", refused.Code)
	return func() {
		for _, one := range taken {
			require.NoError(o.t, one.Close())
		}
		require.NoError(o.t, pool.Close())
	}
}

// signal sends a signal to every process of the fleet.
func (o *outages) signal(sig syscall.Signal) {
	o.t.Helper()
	for _, s := range o.servers {
		s.signal(sig)
	}
}

// becomesReplica restarts the server as one that follows a primary: it answers, and takes no writes.
func (o *outages) becomesReplica() {
	o.t.Helper()
	var data string
	require.NoError(o.t, o.db.pool.QueryRowContext(context.Background(), "SHOW data_directory").Scan(&data))
	writeFile(o.t, filepath.Join(data, "standby.signal"), "")
	require.NoError(o.t, o.database.Restart(context.Background()))
	eventually(o.t, startWithin, func(ctx context.Context) error {
		// The pool may still have a connection to the server before.
		following, err := o.db.number(ctx, "SELECT pg_is_in_recovery()::int")
		if err == nil && following != 1 {
			err = errors.New("the server is no replica")
		}
		return err
	})
}

func (o *outages) isPromoted() {
	o.t.Helper()
	var promoted bool
	require.NoError(o.t, o.db.pool.QueryRowContext(context.Background(), "SELECT pg_promote()").Scan(&promoted))
	require.True(o.t, promoted)
}

// suffersBoth takes both servers away, and gives them back one by one: as soon as one takes updates, updates are taken.
func (o *outages) suffersBoth() {
	both := func(name string, begin, endPostgres, endRedis func()) outage {
		return outage{
			name: "both " + name, takes: nothingTakes, redis: true, postgres: true,
			begin: func() {
				begin()
				// The first flush finds out.
				eventually(o.t, startWithin, func(context.Context) error {
					if got := o.stream.answered(5); statuses(got)[http.StatusServiceUnavailable] < len(got) {
						return errors.New("updates are still taken")
					}
					return nil
				})
			},
			end: func() {
				endPostgres()
				o.takesAgain("spool")
				endRedis()
			},
		}
	}
	o.suffers(
		both("frozen", func() {
			require.NoError(o.t, o.redis.Pause())
			require.NoError(o.t, o.database.Pause())
		}, func() { require.NoError(o.t, o.database.Resume()) }, func() { require.NoError(o.t, o.redis.Resume()) }),
		both("killed", func() {
			require.NoError(o.t, o.redis.Kill())
			require.NoError(o.t, o.database.Kill())
		}, func() { require.NoError(o.t, o.database.Restart(context.Background())) }, o.restartRedis),
	)
}

// takesAgain waits until updates are answered with 200, all of them, because a store takes them.
func (o *outages) takesAgain(store string) {
	o.t.Helper()
	before := o.api.scrape()
	eventually(o.t, recoverWithin, func(context.Context) error {
		if got := o.stream.answered(5); statuses(got)[http.StatusOK] < len(got) {
			return errors.New("updates are still refused")
		}
		return nil
	})
	label := `result="` + store + `"`
	require.Greater(o.t, o.api.scrape().sum("tgfleet_accept_updates_total", label), before.sum("tgfleet_accept_updates_total", label))
}
