package account_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
)

func TestShareOfABackfillIsWhatIsKnownOfIt(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		backfill account.Backfill
		want     float64
	}{
		"nothing read":           {account.Backfill{Total: 100, Status: account.BackfillWaiting}, 0},
		"by the numbers":         {account.Backfill{Floor: 100, Top: 300, Cursor: 251, Messages: 1, Total: 9000}, 0.25},
		"by the count":           {account.Backfill{Top: 300, Cursor: 251, Messages: 50, Total: 200}, 0.25},
		"more than were counted": {account.Backfill{Top: 300, Cursor: 1, Messages: 250, Total: 200}, 1},
		"of unknown length":      {account.Backfill{Top: 300, Cursor: 251, Messages: 50}, 0},
		"done":                   {account.Backfill{Status: account.BackfillDone}, 1},
	} {
		require.InDelta(t, c.want, c.backfill.Share(), 1e-9, name)
	}
}
