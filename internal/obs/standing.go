package obs

import "github.com/prometheus/client_golang/prometheus"

// Standing counts one thing in a gauge of things by their state, in one state at a time. It belongs to one goroutine.
type Standing struct {
	gauge *prometheus.GaugeVec
	now   string
}

// NewStanding counts one thing more in gauge, whose only label is the state.
func NewStanding(gauge *prometheus.GaugeVec, state string) *Standing {
	s := &Standing{gauge: gauge}
	s.Set(state)
	return s
}

// Set moves the thing to another state.
func (s *Standing) Set(state string) {
	if s.now == state {
		return
	}
	s.Leave()
	s.now = state
	s.gauge.WithLabelValues(state).Inc()
}

// Leave takes the thing out of the gauge. It may be set again afterwards.
func (s *Standing) Leave() {
	if s.now != "" {
		s.gauge.WithLabelValues(s.now).Dec()
	}
	s.now = ""
}
