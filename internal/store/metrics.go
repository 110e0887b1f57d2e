package store

import (
	"database/sql"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// metrics are the numbers of one DB.
type metrics struct {
	apply *prometheus.HistogramVec
}

// newMetrics makes the metrics and registers them; a nil registerer means that nobody looks.
func newMetrics(registerer prometheus.Registerer, pool *sql.DB) (*metrics, error) {
	m := &metrics{apply: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "tgfleet_store_apply_seconds",
		Help:    "Time to write one batch into the archive, by result: ok, or the class of the error.",
		Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
	}, []string{"result"})}
	if registerer == nil {
		return m, nil
	}
	inUse := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tgfleet_store_connections_in_use",
		Help: "Connections to the database that are doing something.",
	}, func() float64 { return float64(pool.Stats().InUse) })
	waits := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "tgfleet_store_connection_waits_total",
		Help: "Calls that waited because all connections to the database were in use.",
	}, func() float64 { return float64(pool.Stats().WaitCount) })
	for _, c := range []prometheus.Collector{m.apply, inUse, waits} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("register the metrics of the store: %w", err)
		}
	}
	return m, nil
}

// applied records one call of Apply that began at started and returned err.
func (m *metrics) applied(started time.Time, err error) {
	result := "ok"
	if err != nil {
		result = fault.ClassOf(err).String()
	}
	m.apply.WithLabelValues(result).Observe(time.Since(started).Seconds())
}
