package operator_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestErasePrintsAReceipt(t *testing.T) {
	t.Parallel()
	d := setup(t)
	d.misread(3)
	require.Equal(t, 3, d.texts("wrong"))
	out, _, err := d.tool(t.Context(), "erase", "--chat", "-1009", "--yes", "--as", "desk", "--reason", "asked for it")
	require.NoError(t, err)
	require.Zero(t, d.texts(""))
	require.Regexp(t, `of +chat -1009\n`, out)
	require.Regexp(t, `asked by +desk\nreason +asked for it\n`, out)
	require.Regexp(t, `\nmessages +3\n`, out)
	require.Regexp(t, `\nupdates +3\n`, out)

	out, _, err = d.tool(t.Context(), "erase", "--user", "77", "--yes", "--as", "desk", "--json")
	require.NoError(t, err)
	var receipt map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &receipt))
	require.Equal(t, "user", receipt["subject"])
	require.Equal(t, "desk", receipt["who"])
	require.Empty(t, receipt["rows"])

	again, _, err := d.tool(t.Context(), "replay")
	require.NoError(t, err)
	require.Contains(t, again, "0 updates read")
}

func TestEraseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	d := setup(t)
	d.misread(1)
	for _, c := range []struct{ args, want string }{
		{"--yes", "either --user ID or --chat ID"},
		{"--user 1 --chat 2 --yes", "either --user ID or --chat ID"},
		{"--user -5 --yes", "for a chat use --chat"},
		{"--chat -1009", "can't be undone: say --yes"},
	} {
		_, _, err := d.tool(t.Context(), append([]string{"erase"}, strings.Fields(c.args)...)...)
		require.ErrorContains(t, err, c.want)
	}
	require.Equal(t, 1, d.texts("wrong"))
}
