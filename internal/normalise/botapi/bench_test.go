package botapi_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/normalise/botapi"
)

// benchBody is a text message of a supergroup with a reply and entities, 947 bytes long: the body that all figures of the
// project are measured with.
const benchBody = `{"update_id":704512093,"message":{"message_id":184467,"from":{"id":5839201744,"is_bot":false,` +
	`"first_name":"Marisol","last_name":"Okonkwo","username":"marisol_ok","language_code":"es","is_premium":true},` +
	`"chat":{"id":-1001894420716,"title":"Allotment Growers South","username":"allotment_south","type":"supergroup"},` +
	`"date":1789345201,"message_thread_id":184401,"reply_to_message":{"message_id":184460,"from":{"id":6120339187,` +
	`"is_bot":false,"first_name":"Tobias B.","username":"tobias_digs"},"chat":{"id":-1001894420716,` +
	`"title":"Allotment Growers South","username":"allotment_south","type":"supergroup"},"date":1789344977,` +
	`"text":"Has anybody nearby got a spare water butt?"},"text":"Yes, @tobias_digs: two of them, see https://example.org/butts ` +
	`for the sizes. Bring a trailer, they are heavier than they look.","entities":[{"offset":5,"length":12,` +
	`"type":"mention"},{"offset":32,"length":25,"type":"url"}],"link_preview_options":{"is_disabled":true}}}`

func BenchmarkNormalise(b *testing.B) {
	env := envelope([]byte(benchBody))
	n := botapi.New()
	_, err := n.Normalise(env)
	require.NoError(b, err)
	b.Logf("%d bytes", len(benchBody))
	b.SetBytes(int64(len(benchBody)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.Normalise(env); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkNormaliseFixtures reads every fixture once a round: all kinds and contents, the odd ones that need repair among them.
func BenchmarkNormaliseFixtures(b *testing.B) {
	fixtures, err := filepath.Glob("testdata/*/*.json")
	require.NoError(b, err)
	require.NotEmpty(b, fixtures)
	envelopes := make([]ingest.Envelope, len(fixtures))
	for i, fixture := range fixtures {
		body, err := os.ReadFile(fixture)
		require.NoError(b, err)
		envelopes[i] = envelope(body)
	}
	n := botapi.New()
	b.ReportAllocs()
	for b.Loop() {
		for i := range envelopes {
			if _, err := n.Normalise(envelopes[i]); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(envelopes)), "ns/update")
}
