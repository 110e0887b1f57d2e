package tasks

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// The values of labels that are words of this file only. Every value of every label is there from the start, at 0: an alert on a
// rate does not see a counter that is born with its first event.
const (
	newUpdate, repeatedUpdate = "new", "repeat"
	// otherKind is a kind of update that this version does not know.
	otherKind = "other"
	// A transaction is committed or fails; how it fails decides what becomes of its batches, see mustCut.
	commitDone, commitTransient, commitPermanent, commitUnclassified = "committed", "transient", "permanent", "unclassified"
)

type settleMetrics struct {
	batches     *prometheus.CounterVec
	kinds       *prometheus.CounterVec
	updates     *prometheus.CounterVec
	deadLetters *prometheus.CounterVec
	messages    prometheus.Counter
	revisions   prometheus.Counter
	events      prometheus.Counter
	commitSize  prometheus.Histogram
	commitTime  *prometheus.HistogramVec
	age         prometheus.Histogram
}

func newSettleMetrics(reg prometheus.Registerer) *settleMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &settleMetrics{
		batches:     counters("tgfleet_archive_batches_total", "Batches by origin and by what became of them.", "from", "result"),
		kinds:       counters("tgfleet_archive_kinds_total", "Updates committed by kind, repeats included.", "kind"),
		updates:     counters("tgfleet_archive_updates_total", "Updates committed: new to the ledger, or repeats.", "result"),
		deadLetters: counters("tgfleet_archive_dead_letters_total", "Updates that became dead letters, repeats included.", "class"),
		messages:    counter("tgfleet_archive_messages_total", "Messages seen for the first time."),
		revisions:   counter("tgfleet_archive_revisions_total", "Distinct contents of messages seen for the first time."),
		events:      counter("tgfleet_archive_events_total", "Events that went into the outbox."),
		commitSize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tgfleet_archive_commit_updates", Help: "Updates that shared one transaction.",
			Buckets: []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 500},
		}),
		commitTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tgfleet_archive_commit_duration_seconds", Help: "Time of one transaction, by what came of it.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}, []string{"result"}),
		age: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tgfleet_archive_update_age_seconds", Help: "Time from the receipt of an update to its commit.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 86400},
		}),
	}
	m.startAtZero()
	reg.MustRegister(m.batches, m.kinds, m.updates, m.deadLetters, m.messages, m.revisions, m.events, m.commitSize,
		m.commitTime, m.age)
	return m
}

// startAtZero makes every series.
func (m *settleMetrics) startAtZero() {
	for _, origin := range []from{fromQueue, fromSpool, fromBackfill} {
		for _, r := range []result{resultCommitted, resultCut, resultAlone, resultBuried, resultRetried} {
			m.batches.WithLabelValues(string(origin), string(r))
		}
	}
	for _, kind := range ingest.Kinds {
		m.kinds.WithLabelValues(string(kind))
	}
	m.kinds.WithLabelValues(otherKind)
	for _, newness := range []string{newUpdate, repeatedUpdate} {
		m.updates.WithLabelValues(newness)
	}
	for _, class := range DeadLetterClasses {
		m.deadLetters.WithLabelValues(class)
	}
	for _, end := range []string{commitDone, commitTransient, commitPermanent, commitUnclassified} {
		m.commitTime.WithLabelValues(end)
	}
}

// committed counts one transaction.
func (m *settleMetrics) committed(b content.Batch, outcome content.Outcome, took time.Duration, err error) {
	m.commitTime.WithLabelValues(endOf(err)).Observe(took.Seconds())
	if err != nil {
		return
	}
	m.commitSize.Observe(float64(len(b.Changes)))
	m.updates.WithLabelValues(newUpdate).Add(float64(outcome.Updates))
	m.updates.WithLabelValues(repeatedUpdate).Add(float64(len(b.Changes) - outcome.Updates))
	m.messages.Add(float64(outcome.Messages))
	m.revisions.Add(float64(outcome.Revisions))
	m.events.Add(float64(outcome.Events))
	now := time.Now()
	for i := range b.Changes {
		m.kinds.WithLabelValues(kindLabel(b.Changes[i].Update.Kind)).Inc()
		// The clock of whoever received the update may be ahead of ours.
		m.age.Observe(max(0, now.Sub(b.Changes[i].Update.Envelope.ReceivedAt).Seconds()))
	}
	for i := range b.DeadLetters {
		m.deadLetters.WithLabelValues(b.DeadLetters[i].Class).Inc()
	}
}

// endOf returns how a transaction ended.
func endOf(err error) string {
	if err == nil {
		return commitDone
	}
	switch fault.ClassOf(err) {
	case fault.Transient, fault.Throttled:
		return commitTransient
	case fault.Permanent:
		return commitPermanent
	default:
		return commitUnclassified
	}
}

// kindLabel returns kind where it is one of Telegram's, and other for the rest: a label's values are a closed set.
func kindLabel(kind ingest.Kind) string {
	if slices.Contains(ingest.Kinds, kind) {
		return string(kind)
	}
	return otherKind
}
