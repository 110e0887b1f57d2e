package polling

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/obs"
)

// result is how one request went.
type result string

const (
	resultUpdates      result = "updates"
	resultEmpty        result = "empty"
	resultConflict     result = "conflict"
	resultUnauthorized result = "unauthorized"
	resultThrottled    result = "throttled"
	resultFailed       result = "failed"
)

var results = []result{
	resultUpdates, resultEmpty, resultConflict, resultUnauthorized, resultThrottled, resultFailed,
}

// What one bot is in the eyes of this worker.
const (
	// stateElsewhere: another worker polls it, or this one has yet to learn.
	stateElsewhere    = "elsewhere"
	statePolling      = "polling"
	stateConflict     = "conflict"
	stateUnauthorized = "unauthorized"
	stateFailing      = "failing"
)

var states = []string{stateElsewhere, statePolling, stateConflict, stateUnauthorized, stateFailing}

func stateOf(r result) string {
	switch r {
	case resultUpdates, resultEmpty:
		return statePolling
	case resultConflict:
		return stateConflict
	case resultUnauthorized:
		return stateUnauthorized
	default:
		return stateFailing
	}
}

type metrics struct {
	requests *prometheus.CounterVec
	updates  prometheus.Counter
	bots     *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tgfleet_polling_requests_total", Help: "Requests for updates, by how they went.",
		}, []string{"result"}),
		updates: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tgfleet_polling_updates_total", Help: "Updates that came by polling and were taken by the sink.",
		}),
		bots: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "tgfleet_polling_bots", Help: "Bots without a webhook, by what this process does for them.",
		}, []string{"state"}),
	}
	for _, r := range results {
		m.requests.WithLabelValues(string(r))
	}
	for _, s := range states {
		m.bots.WithLabelValues(s)
	}
	reg.MustRegister(m.requests, m.updates, m.bots)
	return m
}

// asked counts one request and says how it went.
func (m *metrics) asked(updates int, err error) result {
	r := resultOf(updates, err)
	m.requests.WithLabelValues(string(r)).Inc()
	if err == nil {
		m.updates.Add(float64(updates))
	}
	return r
}

func resultOf(updates int, err error) result {
	switch {
	case err == nil && updates > 0:
		return resultUpdates
	case err == nil:
		return resultEmpty
	case errors.Is(err, errConflict):
		return resultConflict
	case fault.ClassOf(err) == fault.Unauthorized:
		return resultUnauthorized
	case fault.ClassOf(err) == fault.Throttled:
		return resultThrottled
	default:
		return resultFailed
	}
}

// newState counts one more bot in the gauge of states.
func (m *metrics) newState() *obs.Standing { return obs.NewStanding(m.bots, stateElsewhere) }
