package storetest

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/fault"
)

// ConnectorEvents checks what the outbox is told of connectors.
func ConnectorEvents(t *testing.T, open OpenSQL) {
	rules := map[string]func(t *testing.T, c *connectorOutbox){
		"every change of a connector's status is told":    connectorChangesAreTold,
		"a change that changes nothing is not told":       connectorStandsAsBefore,
		"a change that was refused is not told":           connectorRefusalsAreNotTold,
		"the end of a sign-in nobody listened to is told": connectorCancelsAreTold,
		"a connector may go the same way again and again": connectorGoesTheSameWay,
		"the event names its connector and its account":   connectorEventIsWhole,
	}
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, pool := open(t)
			c, lease := held(t, db, "desk")
			rules[name](t, &connectorOutbox{archive: &archive{db: db, sql: pool}, c: c, lease: lease})
		})
	}
}

// connectorOutbox is one connector, and the outbox of its database.
type connectorOutbox struct {
	*archive
	c     account.Connector
	lease account.Lease
}

// told returns, as JSON and in the order in which they were written, the data of the events.
func (o *connectorOutbox) told(t *testing.T) (all []string) {
	t.Helper()
	o.each(t, "SELECT data FROM platform_events WHERE type = 'connector.changed' ORDER BY sequence", func(scan func(...any) error) error {
		var data []byte
		if err := scan(&data); err != nil {
			return err
		}
		all = append(all, compact(t, string(data)))
		return nil
	})
	return all
}

// compact returns a JSON object with its names in order.
func compact(t *testing.T, text string) string {
	t.Helper()
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &fields))
	again, err := json.Marshal(fields)
	require.NoError(t, err)
	return string(again)
}

func (o *connectorOutbox) signIn(t *testing.T) {
	t.Helper()
	begun := begin(t, o.db, o.c.ID)
	version := save(t, o.db, o.lease, account.Session{Sealed: "s"}, begun.Attempt)
	as := account.Identity{AccountID: 7, Username: "u", SessionVersion: version}
	require.NoError(t, o.db.Connectors().SignedIn(t.Context(), o.lease, o.c.ID, as))
}

func connectorChangesAreTold(t *testing.T, o *connectorOutbox) {
	o.signIn(t)
	connectors := o.db.Connectors()
	require.NoError(t, connectors.SetStatus(t.Context(), o.lease, o.c.ID, account.Quarantined, "AUTH_KEY_DUPLICATED"))
	require.NoError(t, connectors.SetStatus(t.Context(), o.lease, o.c.ID, account.Quarantined, "ANOTHER"))
	require.NoError(t, connectors.Enable(t.Context(), o.c.ID))
	require.NoError(t, connectors.Disable(t.Context(), o.c.ID))
	require.Equal(t, []string{
		`{"connector_id":"id-desk","previous_status":"new","status":"signing_in"}`,
		`{"account_id":7,"connector_id":"id-desk","previous_status":"signing_in","status":"connected"}`,
		`{"account_id":7,"connector_id":"id-desk","previous_status":"connected","reason":"AUTH_KEY_DUPLICATED","status":"quarantined"}`,
		`{"account_id":7,"connector_id":"id-desk","previous_status":"quarantined","reason":"ANOTHER","status":"quarantined"}`,
		`{"account_id":7,"connector_id":"id-desk","previous_status":"quarantined","status":"connected"}`,
		`{"account_id":7,"connector_id":"id-desk","previous_status":"connected","status":"disabled"}`,
	}, o.told(t))
}

func connectorStandsAsBefore(t *testing.T, o *connectorOutbox) {
	o.signIn(t)
	connectors, before := o.db.Connectors(), o.told(t)
	require.NoError(t, connectors.Enable(t.Context(), o.c.ID))
	require.NoError(t, connectors.SetStatus(t.Context(), o.lease, o.c.ID, account.Connected, ""))
	require.NoError(t, connectors.Touched(t.Context(), o.lease, o.c.ID, time.Now()))
	require.Equal(t, before, o.told(t))
	require.NoError(t, connectors.Disable(t.Context(), o.c.ID))
	before = o.told(t)
	require.NoError(t, connectors.Disable(t.Context(), o.c.ID))
	require.NoError(t, connectors.SetStatus(t.Context(), o.lease, o.c.ID, account.NeedsLogin, "AUTH_KEY_UNREGISTERED"))
	require.Equal(t, before, o.told(t), "a disabled connector stays disabled")
}

func connectorRefusalsAreNotTold(t *testing.T, o *connectorOutbox) {
	save(t, o.db, o.lease, account.Session{Sealed: "s"}, 0)
	taken(t, o.db, o.lease)
	connectors := o.db.Connectors()
	as := account.Identity{AccountID: 7, Username: "u", SessionVersion: 1}
	requireClass(t, fault.NotFound, connectors.SetStatus(t.Context(), o.lease, o.c.ID, account.Quarantined, "why"))
	requireClass(t, fault.NotFound, connectors.SignedIn(t.Context(), o.lease, o.c.ID, as))
	requireClass(t, fault.Permanent, connectors.Enable(t.Context(), o.c.ID))
	requireClass(t, fault.NotFound, connectors.Disable(t.Context(), "nobody"))
	require.Empty(t, o.told(t))

	// An outbox that takes nothing keeps the change from being made.
	o.exec(t, "ALTER TABLE platform_events RENAME TO elsewhere")
	require.Error(t, connectors.Disable(t.Context(), o.c.ID))
	require.Equal(t, account.New, find(t, o.db, o.c.ID).Status)
}

func connectorCancelsAreTold(t *testing.T, o *connectorOutbox) {
	begun := begin(t, o.db, o.c.ID)
	for range 2 {
		require.NoError(t, o.db.SignIns().Cancel(t.Context(), o.c.ID, begun.Attempt))
	}
	require.Equal(t, []string{
		`{"connector_id":"id-desk","previous_status":"new","status":"signing_in"}`,
		`{"connector_id":"id-desk","previous_status":"signing_in","status":"new"}`,
	}, o.told(t))
}

func connectorGoesTheSameWay(t *testing.T, o *connectorOutbox) {
	o.signIn(t)
	const times = 20
	for range times {
		require.NoError(t, o.db.Connectors().Disable(t.Context(), o.c.ID))
		require.NoError(t, o.db.Connectors().Enable(t.Context(), o.c.ID))
	}
	require.Len(t, o.told(t), 2+2*times)
}

func connectorEventIsWhole(t *testing.T, o *connectorOutbox) {
	o.signIn(t)
	var source, subject string
	var at time.Time
	o.row(t, "SELECT source, subject, time FROM platform_events ORDER BY sequence DESC LIMIT 1", &source, &subject, &at)
	require.Equal(t, "mtproto:7", source)
	require.Equal(t, "connectors/id-desk", subject)
	require.WithinDuration(t, time.Now(), at, time.Minute)
}
