package obs

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// Standing counts one thing in a gauge of things by their state, in one state at a time. Any number of goroutines may use it.
type Standing struct {
	gauge *prometheus.GaugeVec

	mu  sync.Mutex
	now string
}

// NewStanding counts one thing more in gauge, whose only label is the state.
func NewStanding(gauge *prometheus.GaugeVec, state string) *Standing {
	s := &Standing{gauge: gauge}
	s.Set(state)
	return s
}

// Set moves the thing to another state, and reports whether it was not in that one before.
func (s *Standing) Set(state string) (changed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == state {
		return false
	}
	s.leave()
	s.now = state
	s.gauge.WithLabelValues(state).Inc()
	return true
}

// Leave takes the thing out of the gauge. It may be set again afterwards.
func (s *Standing) Leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave()
}

// leave is Leave for whoever holds mu.
func (s *Standing) leave() {
	if s.now != "" {
		s.gauge.WithLabelValues(s.now).Dec()
	}
	s.now = ""
}
