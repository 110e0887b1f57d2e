package e2e_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"
)

// series are the samples of a process by their names with all labels, as /metrics writes them.
type series map[string]float64

// metrics reads /metrics, after /health and /ready, which must all be well.
func (s *server) metrics() series {
	s.t.Helper()
	for _, path := range []string{"/health", "/ready"} {
		got, err := get(context.Background(), s.url+path)
		require.NoError(s.t, err)
		require.Equal(s.t, http.StatusOK, got.status, "%s %s: %s", s.name, path, got.body)
	}
	return s.scrape()
}

// scrape reads /metrics, however the process feels.
func (s *server) scrape() series {
	s.t.Helper()
	got, err := get(context.Background(), s.url+"/metrics")
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, got.status)
	all := series{}
	for line := range strings.Lines(got.body) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, text, found := strings.Cut(strings.TrimSpace(line), "} ")
		if found {
			name += "}"
		} else {
			name, text, _ = strings.Cut(strings.TrimSpace(line), " ")
		}
		value, err := strconv.ParseFloat(text, 64)
		require.NoError(s.t, err, line)
		all[name] = value
	}
	return all
}

// sum adds up the samples of a name that have the label, written as in name{label="value"}; an empty label means any.
func (s series) sum(name, label string) int {
	var sum float64
	for sample, value := range s {
		if family, _, _ := strings.Cut(sample, "{"); family == name && strings.Contains(sample, label) {
			sum += value
		}
	}
	return int(sum)
}

// sumOf adds up the samples of several processes.
func sumOf(servers []*server, name, label string) int {
	sum := 0
	for _, s := range servers {
		sum += s.metrics().sum(name, label)
	}
	return sum
}
