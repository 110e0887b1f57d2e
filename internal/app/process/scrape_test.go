package process_test

import (
	"maps"
	"net/http"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/testkit"
)

// values are the tgfleet_ series of one or more processes by their names and labels; a histogram's value is its count.
type values map[string]float64

// scrape reads the metrics of the process at url, and the type of each series.
func (f *fleet) scrape(url string) (values, map[string]string) {
	f.t.Helper()
	got := f.get(url + "/metrics")
	require.Equal(f.t, http.StatusOK, got.status)
	all, kinds, family, kind := values{}, map[string]string{}, "", ""
	for line := range strings.Lines(got.body) {
		if about, ok := strings.CutPrefix(line, "# TYPE "); ok {
			family, kind, _ = strings.Cut(strings.TrimSpace(about), " ")
			continue
		}
		if !strings.HasPrefix(line, "tgfleet_") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		series := line[:at]
		name, labels, _ := strings.Cut(series, "{")
		if kind == "histogram" {
			if name != family+"_count" {
				continue
			}
			series = family + strings.TrimPrefix(series, name)
		}
		if name == "tgfleet_build_info" {
			require.Regexp(f.t, `^go_version="[^"]+",revision="[^"]+",version="[^"]*"}$`, labels)
			series = name
		}
		value, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
		require.NoError(f.t, err, line)
		all[series], kinds[series] = value, kind
	}
	return all, kinds
}

// look scrapes the processes that run, keeps what it sees, and returns the sums.
func (f *fleet) look() values {
	f.t.Helper()
	sums := values{}
	for _, url := range []string{f.api, f.worker} {
		if url == "" {
			continue
		}
		all, _ := f.scrape(url)
		for series, value := range all {
			sums[series] += value
			seen, known := f.seen[series]
			if !known {
				seen = extent{value, value}
			}
			f.seen[series] = extent{min(seen.least, value), max(seen.most, value)}
		}
	}
	return sums
}

// grows waits until the series have grown since before by what is given.
func (f *fleet) grows(before, by values) {
	f.t.Helper()
	var grown values
	if !testkit.Until(within, func() bool {
		now := f.look()
		grown = values{}
		for series := range by {
			require.Contains(f.t, f.seen, series)
			grown[series] = now[series] - before[series]
		}
		return maps.Equal(by, grown)
	}) {
		require.Equal(f.t, by, grown)
	}
}

// rises waits until each of the series has been above zero at some time, and falls until it has been zero since.
func (f *fleet) rises(series ...string) {
	f.t.Helper()
	for _, one := range series {
		f.eventually(func() bool { f.look(); return f.seen[one].most > 0 }, one+" above 0")
	}
}

func (f *fleet) falls(series ...string) {
	f.t.Helper()
	for _, one := range series {
		f.eventually(func() bool { return f.look()[one] == 0 }, one+" back at 0")
	}
}
