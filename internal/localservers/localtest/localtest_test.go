package localtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/localservers"
	"github.com/tgfleet/tgfleet/internal/localservers/localtest"
)

var postgres = localtest.Postgres{Migrate: func(ctx context.Context, url string) error {
	return exec(ctx, url, "CREATE TABLE things (id int PRIMARY KEY)")
}}

func TestMain(m *testing.M) { goleak.VerifyTestMain(postgres.Around(m)) }

func exec(ctx context.Context, url, statement string) error {
	connection, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	_, err = connection.Exec(ctx, statement)
	return errors.Join(err, connection.Close(ctx))
}

func TestEachTestHasAMigratedDatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	for i := range 3 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			require.NoError(t, exec(t.Context(), postgres.Database(t), "INSERT INTO things VALUES (1)"))
		})
	}
}

func TestDatabaseIsRemovedWithItsTest(t *testing.T) {
	t.Parallel()
	var url string
	t.Run("owner", func(t *testing.T) { url = postgres.Database(t) })
	require.ErrorContains(t, exec(t.Context(), url, "SELECT 1"), "does not exist")
}

func TestRedisEndsWithItsTest(t *testing.T) {
	t.Parallel()
	var redis *localservers.Redis
	t.Run("owner", func(t *testing.T) { redis = localtest.Redis(t, localservers.RedisOptions{}) })
	require.Error(t, redis.Pause(), "it has been stopped")
}

func BenchmarkDatabase(b *testing.B) {
	for b.Loop() {
		postgres.Database(b)
	}
}

func BenchmarkRedis(b *testing.B) {
	for b.Loop() {
		localtest.Redis(b, localservers.RedisOptions{})
	}
}
