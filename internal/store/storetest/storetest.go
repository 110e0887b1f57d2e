// Package storetest says what each repository of store does, as tests that every kind of database has to pass. It uses the
// exported methods of store alone, and guarantees that no test sees the rows of another. Import it in tests only.
package storetest

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/store"
)

// Open returns a DB over a migrated, empty database that belongs to t alone.
type Open = func(t *testing.T) *store.DB

// behaviours is what a repository does, by name.
type behaviours map[string]func(t *testing.T, db *store.DB)

func (b behaviours) check(t *testing.T, open Open) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(b)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b[name](t, open(t))
		})
	}
}

const (
	// soon is for what ends by itself within a test.
	soon = 20 * time.Millisecond
	// late is for what must not end within a test.
	late = time.Hour
	// patience bounds the wait for what has to happen.
	patience = 30 * time.Second
)

// eventually calls happened until it returns true.
func eventually(t *testing.T, happened func() bool, what string) {
	t.Helper()
	require.Eventually(t, happened, patience, soon, what)
}
