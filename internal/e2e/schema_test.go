package e2e_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/store"
)

// TestConnectorEventsAreWhatTheirSchemaSays has a connector sign in and be refused: with and without an account, with and without a reason.
func TestConnectorEventsAreWhatTheirSchemaSays(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "fleet.db")
	db, err := store.Open(t.Context(), seal.Secret("sqlite:"+path), store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	require.NoError(t, db.Migrate(t.Context()))
	const id = "desk"
	require.NoError(t, db.Connectors().Create(t.Context(), account.Connector{ID: id, Label: id, Kind: account.UserAccount, Status: account.New}))
	lease, held, err := db.Leases().Acquire(t.Context(), "connector:"+id, "listener", time.Hour)
	require.NoError(t, err)
	require.True(t, held)
	begun, err := db.SignIns().Begin(t.Context(), account.SignIn{ConnectorID: id, Method: account.ByQR, Step: account.Begun})
	require.NoError(t, err)
	version, err := db.Sessions().Save(t.Context(), lease, id, account.Session{Sealed: "s"}, begun.Attempt)
	require.NoError(t, err)
	require.NoError(t, db.Connectors().SignedIn(t.Context(), lease, id, account.Identity{AccountID: 7, SessionVersion: version}))
	require.NoError(t, db.Connectors().SetStatus(t.Context(), lease, id, account.NeedsLogin, "AUTH_KEY_UNREGISTERED"))

	requireSchemas(t, openSQLite(t, path), "connector.changed")
}

// requireSchemas fails unless every event is what the schema of its type says, and there is one of every type in types.
func requireSchemas(t *testing.T, db *archive, types ...string) {
	t.Helper()
	files, err := filepath.Glob("../../docs/events/*.json")
	require.NoError(t, err)
	schemas := map[string]*jsonschema.Schema{}
	for _, file := range files {
		compiler := jsonschema.NewCompiler()
		compiler.AssertFormat()
		schemas[strings.TrimSuffix(filepath.Base(file), ".json")], err = compiler.Compile(file)
		require.NoError(t, err)
	}
	seen := map[string]int{}
	query := "SELECT CAST(id AS text), type, source, subject, time, CAST(data AS text) FROM platform_events"
	db.each(query, func(rows *sql.Rows) error {
		var id, kind, source, subject, data string
		var at time.Time
		if err := rows.Scan(&id, &kind, &source, &subject, &at, &data); err != nil {
			return err
		}
		require.Contains(t, schemas, kind)
		content, err := jsonschema.UnmarshalJSON(strings.NewReader(data))
		require.NoError(t, err)
		require.NoError(t, schemas[kind].Validate(map[string]any{
			"specversion": "1.0", "id": id, "type": kind, "source": source, "subject": subject, "time": at.Format(time.RFC3339Nano),
			"datacontenttype": "application/json", "data": content,
		}), kind)
		seen[kind]++
		return nil
	})
	for _, kind := range types {
		require.NotZero(t, seen[kind], kind)
	}
}
