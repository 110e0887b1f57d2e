package event

import (
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
)

// ConnectorChange is how a connector came to stand otherwise.
type ConnectorChange struct {
	// Connector is the connector as it is now.
	Connector account.Connector
	Previous  account.ConnectorStatus
	At        time.Time
	// Name is the change's own, and no other change's: a connector comes to the same status again and again, and says the same of it.
	Name string
}

type connectorData struct {
	ConnectorID    string                  `json:"connector_id"`
	Status         account.ConnectorStatus `json:"status"`
	PreviousStatus account.ConnectorStatus `json:"previous_status"`
	Reason         string                  `json:"reason,omitempty"`
	AccountID      int64                   `json:"account_id,omitempty"`
}

// OfConnectorChanged returns the event that c tells of.
func OfConnectorChanged(c *ConnectorChange) Event {
	now := &c.Connector
	return from(ConnectorChanged, fact{
		subject: "connectors/" + now.ID, detail: c.Name, at: c.At,
		data: connectorData{
			ConnectorID: now.ID, Status: now.Status, PreviousStatus: c.Previous, Reason: now.LastError, AccountID: now.AccountID,
		},
	}, now.Source())
}
