package accept

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// store is where a flush goes; it is the value of a label.
type store string

const (
	toQueue store = "queue"
	toSpool store = "spool"
)

type metrics struct {
	registerer  prometheus.Registerer
	updates     *prometheus.CounterVec
	flushSize   prometheus.Histogram
	flushTime   *prometheus.HistogramVec
	flushErrors *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		registerer: reg,
		updates: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tgfleet_accept_updates_total",
			Help: "Updates by the store that made them durable first; refused ones stay with Telegram.",
		}, []string{"result"}),
		flushSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "tgfleet_accept_flush_updates",
			Help:    "Updates that shared one flush.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64},
		}),
		flushTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tgfleet_accept_flush_duration_seconds",
			Help:    "Time of one flush into a store.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"store"}),
		flushErrors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tgfleet_accept_flush_errors_total",
			Help: "Flushes that a store did not take.",
		}, []string{"store"}),
	}
	for _, result := range []string{string(toQueue), string(toSpool), "refused"} {
		m.updates.WithLabelValues(result)
	}
	for _, s := range []store{toQueue, toSpool} {
		m.flushTime.WithLabelValues(string(s))
		m.flushErrors.WithLabelValues(string(s))
	}
	reg.MustRegister(m.updates, m.flushSize, m.flushTime, m.flushErrors)
	return m
}

func (m *metrics) watchWaiting(waiting func() int) {
	m.registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tgfleet_accept_waiting_updates",
		Help: "Updates that wait for a flush; at the bound more are refused.",
	}, func() float64 { return float64(waiting()) }))
}

func (m *metrics) flushed(to store, updates int, took time.Duration, err error) {
	m.flushTime.WithLabelValues(string(to)).Observe(took.Seconds())
	if err != nil {
		m.flushErrors.WithLabelValues(string(to)).Inc()
		return
	}
	m.flushSize.Observe(float64(updates))
}

func (m *metrics) accepted(by store, updates int) {
	m.updates.WithLabelValues(string(by)).Add(float64(updates))
}

func (m *metrics) refused(updates int) {
	m.updates.WithLabelValues("refused").Add(float64(updates))
}

// watch tells whether the queue's breaker leaves it out, as it is at each scrape.
func (m *metrics) watch(queueOut *breaker) {
	m.registerer.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tgfleet_accept_breaker_open",
		Help: "1 while the queue is left out and updates go to the spool.",
	}, func() float64 {
		if queueOut.why() != "" {
			return 1
		}
		return 0
	}))
}
