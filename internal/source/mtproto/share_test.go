package mtproto_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/source/mtproto"
)

func TestSharesAreEvenAndStable(t *testing.T) {
	t.Parallel()
	var connectors []string
	for i := range 200 {
		connectors = append(connectors, fmt.Sprint("connector-", i))
	}
	owners := func(listeners ...string) map[string]string {
		of := map[string]string{}
		for _, l := range listeners {
			mine := mtproto.ShareOf(l, listeners, connectors)
			require.LessOrEqual(t, len(mine), (len(connectors)+len(listeners)-1)/len(listeners), l)
			for c := range mine {
				require.NotContains(t, of, c, "one owner each")
				of[c] = l
			}
		}
		require.Len(t, of, len(connectors))
		return of
	}
	three := owners("a", "b", "c")
	four := owners("a", "b", "c", "d")
	moved := 0
	for c, l := range four {
		if l != three[c] && l != "d" {
			moved++
		}
	}
	require.Less(t, moved, 40, "hardly any moves between those that stay")
	require.Equal(t, three, owners("c", "a", "b"), "the order of the names is no matter")
}
