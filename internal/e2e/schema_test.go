package e2e_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
)

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
