package queue

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	puts         *prometheus.CounterVec
	putDuration  *prometheus.HistogramVec
	tasks        *prometheus.CounterVec
	taskDuration *prometheus.HistogramVec
	putBack      *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer, scrape func() []scraped) (*metrics, error) {
	byClass := []string{"class"}
	m := &metrics{
		puts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tgfleet_queue_put_total", Help: "Tasks put into the queue, by result.",
		}, []string{"class", "result"}),
		putDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tgfleet_queue_put_duration_seconds", Help: "How long a put took, failed ones included.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 14),
		}, byClass),
		tasks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tgfleet_queue_tasks_total", Help: "Runs of tasks, by what became of the task.",
		}, []string{"class", "result"}),
		taskDuration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tgfleet_queue_task_duration_seconds", Help: "How long a run of a task took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}, byClass),
		putBack: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tgfleet_queue_put_back_total", Help: "Tasks that nobody worked on and that were made pending again, by where they were found.",
		}, []string{"class", "found"}),
	}
	if registerer == nil {
		return m, nil
	}
	var err error
	for _, collector := range []prometheus.Collector{
		m.puts, m.putDuration, m.tasks, m.taskDuration, m.putBack, depthCollector(scrape),
	} {
		err = errors.Join(err, registerer.Register(collector))
	}
	return m, err
}

// laneMetrics are the metrics of one class, all of them made at once, so that each is seen before it first moves.
type laneMetrics struct {
	putOK, putFailed, taskDone, taskRetried prometheus.Counter
	putDuration, taskDuration               prometheus.Observer
	putBack                                 map[place]prometheus.Counter
}

func (m *metrics) of(class Class) laneMetrics {
	label := string(class)
	return laneMetrics{
		putOK:        m.puts.WithLabelValues(label, "ok"),
		putFailed:    m.puts.WithLabelValues(label, "failed"),
		putDuration:  m.putDuration.WithLabelValues(label),
		taskDone:     m.tasks.WithLabelValues(label, "done"),
		taskRetried:  m.tasks.WithLabelValues(label, "retried"),
		taskDuration: m.taskDuration.WithLabelValues(label),
		putBack: map[place]prometheus.Counter{
			fromActive:  m.putBack.WithLabelValues(label, string(fromActive)),
			fromArchive: m.putBack.WithLabelValues(label, string(fromArchive)),
			fromNowhere: m.putBack.WithLabelValues(label, string(fromNowhere)),
		},
	}
}

func (m *laneMetrics) put(took time.Duration, err error) {
	m.putDuration.Observe(took.Seconds())
	if err != nil {
		m.putFailed.Inc()
		return
	}
	m.putOK.Inc()
}

func (m *laneMetrics) ran(took time.Duration, err error) {
	m.taskDuration.Observe(took.Seconds())
	if err != nil {
		m.taskRetried.Inc()
		return
	}
	m.taskDone.Inc()
}

func (m *laneMetrics) swept(from place) { m.putBack[from].Inc() }

var (
	depthDesc = prometheus.NewDesc("tgfleet_queue_depth",
		"Tasks in the queues of a class, by state; missing while Redis does not answer.", []string{"class", "state"}, nil)
	oldestDesc = prometheus.NewDesc("tgfleet_queue_oldest_age_seconds",
		"Time since the oldest payload in the queues of a class was received; while Redis does not answer, of what was there before.",
		[]string{"class"}, nil)
)

// depthCollector asks for the depths at each scrape, and leaves out what it is not told.
type depthCollector func() []scraped

// Describe implements prometheus.Collector.
func (depthCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- depthDesc
	descs <- oldestDesc
}

// Collect implements prometheus.Collector.
func (c depthCollector) Collect(out chan<- prometheus.Metric) {
	for _, s := range c() {
		label := string(s.class)
		if s.known {
			out <- prometheus.MustNewConstMetric(oldestDesc, prometheus.GaugeValue, s.oldest.Seconds(), label)
		}
		if s.depth == nil {
			continue
		}
		for state, count := range map[string]int{
			"pending": s.depth.Pending, "active": s.depth.Active, "retry": s.depth.Retry, "archived": s.depth.Archived,
		} {
			out <- prometheus.MustNewConstMetric(depthDesc, prometheus.GaugeValue, float64(count), label, state)
		}
	}
}
