package ingest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/ingest"
)

func TestSourceReadsWhatItWrote(t *testing.T) {
	t.Parallel()
	for _, source := range []ingest.Source{
		{Transport: ingest.BotAPI, Account: 7000000001},
		{Transport: ingest.MTProto, Account: 1 << 60},
	} {
		read, err := ingest.ParseSource(source.String())
		require.NoError(t, err)
		require.Equal(t, source, read)
	}
	require.Equal(t, "botapi:42", ingest.Source{Transport: ingest.BotAPI, Account: 42}.String())
}

func TestParseSourceSaysWhatWouldBeRight(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "botapi", "botapi:", "botapi:x", "telegram:1", "42", "botapi:99999999999999999999"} {
		_, err := ingest.ParseSource(text)
		require.ErrorContains(t, err, "want botapi:<bot id> or mtproto:<account id>", text)
	}
}
