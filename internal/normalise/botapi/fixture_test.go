package botapi_test

import (
	"time"

	"github.com/tgfleet/tgfleet/internal/ingest"
)

// account is the bot that receives everything in these tests.
const account = 7_301_558_204

// envelope returns body as the bot received it.
func envelope(body []byte) ingest.Envelope {
	return ingest.Envelope{
		Source:     ingest.Source{Transport: ingest.BotAPI, Account: account},
		ReceivedAt: time.Date(2026, time.September, 14, 9, 30, 0, 0, time.UTC),
		Origin:     ingest.Live,
		Format:     ingest.BotAPIJSON,
		Raw:        body,
	}
}
