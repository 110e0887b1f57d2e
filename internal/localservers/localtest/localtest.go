// Package localtest gives tests the private servers of localservers: a Redis for each test, and one PostgreSQL for each test
// binary with a database for each test. Everything it starts ends with the test or with the binary.
package localtest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tgfleet/tgfleet/internal/localservers"
)

// bound is how long one step of setting up or tearing down a server may take on a busy machine.
const bound = 2 * time.Minute

// Redis starts a Redis that belongs to the test and ends with it.
func Redis(t testing.TB, options localservers.RedisOptions) *localservers.Redis {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	redis, err := localservers.StartRedis(ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := redis.Stop(); err != nil {
			t.Error(err)
		}
	})
	return redis
}

// Postgres is the one PostgreSQL of a test binary, started by the first test that asks for a database. Keep it in a variable of
// the test package and run the tests within Around. The zero value gives empty databases. Methods may be called from
// any goroutine.
type Postgres struct {
	// Migrate fills the database that every test's database is a copy of. It runs once, and must close its connections.
	Migrate func(ctx context.Context, url string) error

	once   sync.Once
	server *localservers.Postgres // written within once
	err    error                  // written within once
	count  atomic.Int64
}

// Around returns m with the server stopped after its last test: `goleak.VerifyTestMain(postgres.Around(m))`, or
// `os.Exit(postgres.Around(m).Run())`.
func (p *Postgres) Around(m *testing.M) Tests { return Tests{m: m, postgres: p} }

// Database returns the URL of a database that belongs to the test and is removed with it.
func (p *Postgres) Database(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	p.once.Do(func() { p.err = p.start(ctx) })
	if p.err != nil {
		t.Fatal(p.err)
	}
	name := fmt.Sprintf("test_%d", p.count.Add(1))
	if err := p.server.CreateDatabase(ctx, name, templateDatabase); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), bound)
		defer cancel()
		if err := p.server.DropDatabase(ctx, name); err != nil {
			t.Error(err)
		}
	})
	return p.server.URL(name)
}

const templateDatabase = "migrated"

func (p *Postgres) start(ctx context.Context) error {
	server, err := localservers.StartPostgres(ctx, localservers.PostgresOptions{})
	if err != nil {
		return err
	}
	p.server = server
	if err := server.CreateDatabase(ctx, templateDatabase, ""); err != nil {
		return err
	}
	if p.Migrate == nil {
		return nil
	}
	if err := p.Migrate(ctx, server.URL(templateDatabase)); err != nil {
		return fmt.Errorf("migrate the template database: %w", err)
	}
	return nil
}

// Tests runs the tests of a binary and then stops its PostgreSQL.
type Tests struct {
	m        *testing.M
	postgres *Postgres
}

// Run runs the tests and returns the exit code.
func (r Tests) Run() int {
	code := r.m.Run()
	if r.postgres.server == nil {
		return code
	}
	if err := r.postgres.server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
