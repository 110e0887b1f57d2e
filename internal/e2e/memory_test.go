package e2e_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// quiet is for how long nothing happens before the memory of a process is looked at.
const quiet = 5 * time.Second

// BenchmarkIdleMemory tells how much memory an api and a worker take that are connected to their servers and have nothing to do: rss
// with, and pss without what they share with other processes. The goal is less than 60 MB for each.
func BenchmarkIdleMemory(b *testing.B) {
	f := newFleet(b)
	f.startAPI()
	worker := f.startWorker()
	f.api.lives(quiet)
	var api, work memory
	for b.Loop() {
		api, work = f.api.memory(), worker.memory()
	}
	b.ReportMetric(0, "ns/op") // how long the looking takes is of no interest
	b.ReportMetric(api.rss, "api-rss-MB")
	b.ReportMetric(api.pss, "api-pss-MB")
	b.ReportMetric(work.rss, "worker-rss-MB")
	b.ReportMetric(work.pss, "worker-pss-MB")
}

// memory is what a process takes, in MB.
type memory struct{ rss, pss float64 }

func (p *child) memory() memory {
	p.t.Helper()
	file, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	defer func() { _ = file.Close() }()
	var m memory
	for lines := bufio.NewScanner(file); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		into := map[string]*float64{"Rss": &m.rss, "Pss": &m.pss}[name]
		if into == nil {
			continue
		}
		var kilobytes float64
		_, err := fmt.Sscanf(value, "%f kB", &kilobytes)
		require.NoError(p.t, err, value)
		*into = kilobytes * 1024 / 1e6
	}
	require.Positive(p.t, m.pss)
	return m
}
