package operator

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgressTellsRateAndEstimate(t *testing.T) {
	t.Parallel()
	p := progress{total: 1000, rate: 200}
	for name, c := range map[string]struct {
		done    int
		waiting string
		elapsed time.Duration
		want    string
	}{
		"at the start":           {want: "[........................] 0 of 1000"},
		"the first batch":        {done: 64, want: "[#.......................] 64 of 1000  200/s  5s left"},
		"half way":               {done: 500, elapsed: 2500 * time.Millisecond, want: "[############............] 500 of 1000  200/s  3s left"},
		"a slow database":        {done: 500, elapsed: 5 * time.Second, want: "[############............] 500 of 1000  100/s  5s left"},
		"the workers are behind": {done: 500, waiting: "the workers: 5064 updates in the spool", elapsed: time.Minute, want: "[############............] 500 of 1000  waiting for the workers: 5064 updates in the spool"},
		"behind from the start":  {waiting: "the workers: 5064 updates in the spool", want: "[........................] 0 of 1000  waiting for the workers: 5064 updates in the spool"},
		"all":                    {done: 1000, elapsed: 5 * time.Second, want: "[########################] 1000 of 1000  200/s  0s left"},
	} {
		require.Equal(t, c.want, p.line(c.done, c.waiting, c.elapsed), name)
	}
}

func TestProgressOfARunThatIsTakenUpCountsItsOwnRate(t *testing.T) {
	t.Parallel()
	p := progress{total: 1000, before: 500}
	require.Equal(t, "[############............] 500 of 1000", p.line(500, "", 0))
	require.Equal(t, "[##################......] 750 of 1000  25/s  10s left", p.line(750, "", 10*time.Second))
	require.Equal(t, "[########################] 3 of 0  3000/s  0s left", (&progress{}).line(3, "", 0), "more came than were counted")
}

func TestProgressIsDrawnSeldomAndWipedOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var terminal bytes.Buffer
		p := progress{terminal: &terminal, total: 10, rate: 10, start: time.Now()}
		p.clear()
		require.Empty(t, terminal.String(), "nothing was drawn")
		p.show(1, "")
		p.show(2, "")
		<-time.After(time.Second)
		p.show(3, "")
		p.clear()
		require.Equal(t, "\r\x1b[K[##......................] 1 of 10  10/s  1s left"+
			"\r\x1b[K[#######.................] 3 of 10  3/s  2s left\r\x1b[K", terminal.String())
		silent := progress{total: 10, rate: 10}
		silent.show(1, "")
		silent.clear()
	})
}
