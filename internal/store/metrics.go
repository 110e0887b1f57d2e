package store

import (
	"database/sql"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// registerMetrics registers the metrics of a pool of connections; a nil registerer means that nobody looks. How long writes take and
// how they fail is counted by those who ask for them, who know what they are for.
func registerMetrics(registerer prometheus.Registerer, pool *sql.DB) error {
	if registerer == nil {
		return nil
	}
	inUse := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tgfleet_store_connections_in_use",
		Help: "Connections to the database that are doing something.",
	}, func() float64 { return float64(pool.Stats().InUse) })
	waits := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "tgfleet_store_connection_waits_total",
		Help: "Calls that waited because all connections to the database were in use.",
	}, func() float64 { return float64(pool.Stats().WaitCount) })
	for _, c := range []prometheus.Collector{inUse, waits} {
		if err := registerer.Register(c); err != nil {
			return fmt.Errorf("register the metrics of the store: %w", err)
		}
	}
	return nil
}
