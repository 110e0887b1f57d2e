package mtproto

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/obs"
)

// The methods of Telegram's that a listener calls for each account, by their names there.
const (
	methodGetState             = "updates.getState"
	methodGetDifference        = "updates.getDifference"
	methodGetChannelDifference = "updates.getChannelDifference"
	methodGetDialogs           = "messages.getDialogs"
	methodGetPeerDialogs       = "messages.getPeerDialogs"
	methodGetHistory           = "messages.getHistory"
	methodInitTakeout          = "account.initTakeoutSession"
	methodFinishTakeout        = "account.finishTakeoutSession"
)

var methods = []string{
	methodGetState, methodGetDifference, methodGetChannelDifference, methodGetDialogs, methodGetPeerDialogs, methodGetHistory, methodInitTakeout,
	methodFinishTakeout,
}

const (
	leaseTaken    = "taken"
	leaseReleased = "released"
	leaseLost     = "lost"

	droppedBySink    = "sink"
	droppedByManager = "manager"

	commonUpdates  = "common"
	channelUpdates = "channel"

	differenceFull    = "full"
	differenceEmpty   = "empty"
	differenceTooLong = "too_long"
	differenceRefused = "refused"
	differenceFailed  = "failed"
)

// What one connector is in the eyes of this listener.
const (
	// stateElsewhere: another listener holds it, or held it until just now.
	stateElsewhere = "elsewhere"
	stateConnected = "connected"
	stateFailing   = "failing"
	stateSigningIn = "signing_in"
)

var holderStates = []string{stateElsewhere, stateConnected, stateFailing, stateSigningIn}

var statuses = []account.ConnectorStatus{
	account.New, account.SigningIn, account.Connected, account.NeedsLogin, account.Quarantined, account.Disabled,
}

type metrics struct {
	connectors  *prometheus.GaugeVec
	oldest      prometheus.Gauge
	held        *prometheus.GaugeVec
	leases      *prometheus.CounterVec
	ended       *prometheus.CounterVec
	reconnects  prometheus.Counter
	dead        prometheus.Counter
	containers  prometheus.Counter
	put         prometheus.Histogram
	dropped     *prometheus.CounterVec
	differences *prometheus.CounterVec
	floodWaits  *prometheus.CounterVec
	floodWait   *prometheus.GaugeVec
	rewinds     prometheus.Counter
	signIns     *prometheus.CounterVec
	holes       prometheus.Gauge
	pages       prometheus.Counter
	// pageMessages counts the messages of those pages.
	pageMessages prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		connectors: gauges("tgfleet_mtproto_connectors", "Connectors of the fleet by status.", "status"),
		oldest: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tgfleet_mtproto_last_update_age_seconds",
			Help: "Time since the last update of the connected connector that has waited for one the longest.",
		}),
		held:   gauges("tgfleet_mtproto_clients", "Connectors of this listener's share, by what it does for them.", "state"),
		leases: counters("tgfleet_mtproto_leases_total", "Leases of connectors, by what became of them.", "result"),
		ended: counters(
			"tgfleet_mtproto_refused_total", "Connectors that Telegram refused for good, by the status that they have now.", "status"),
		reconnects: counter("tgfleet_mtproto_reconnects_total", "Connections that were lost and made again."),
		dead:       counter("tgfleet_mtproto_connections_lost_total", "Connections that were lost or did not come about."),
		containers: counter("tgfleet_mtproto_envelopes_total", "Envelopes of pushed updates that the sink has taken."),
		put: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tgfleet_mtproto_put_seconds", Help: "Time from a push until the sink has it durable.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}),
		dropped: counters("tgfleet_mtproto_dropped_total", "Pushes that found no room, by where; they are asked for again.", "before"),
		differences: counters(
			"tgfleet_mtproto_differences_total", "Differences that were asked for, by sequence and by how it went.", "sequence", "result"),
		floodWaits: counters("tgfleet_mtproto_flood_waits_total", "Calls that Telegram told to wait, by method.", "method"),
		floodWait: gauges(
			"tgfleet_mtproto_flood_wait_until_seconds", "Until when a method has to wait for one account, as Unix time; the last that was told.",
			"method"),
		rewinds: counter("tgfleet_mtproto_rewinds_total", "Accounts that went back to an earlier state because another Redis took over."),
		signIns: counters("tgfleet_mtproto_sign_ins_total", "Steps that sign-ins have come to by this listener's turns.", "step"),
		holes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tgfleet_mtproto_holes_open", Help: "Holes of the fleet's accounts that nothing has filled yet.",
		}),
		pages:        counter("tgfleet_mtproto_history_pages_total", "Pages of history that this listener has read."),
		pageMessages: counter("tgfleet_mtproto_history_messages_total", "Messages in the pages of history that this listener has read."),
	}
	m.fill()
	reg.MustRegister(m.connectors, m.oldest, m.held, m.leases, m.ended, m.reconnects, m.dead, m.containers, m.put, m.dropped,
		m.differences, m.floodWaits, m.floodWait, m.rewinds, m.signIns, m.holes, m.pages, m.pageMessages)
	return m
}

// fill makes every series that there can be, so that rates and alerts see a zero before the first event.
func (m *metrics) fill() {
	for _, s := range statuses {
		m.connectors.WithLabelValues(string(s))
	}
	for _, s := range holderStates {
		m.held.WithLabelValues(s)
	}
	for _, r := range []string{leaseTaken, leaseReleased, leaseLost} {
		m.leases.WithLabelValues(r)
	}
	for _, s := range []account.ConnectorStatus{account.NeedsLogin, account.Quarantined} {
		m.ended.WithLabelValues(string(s))
	}
	for _, d := range []string{droppedBySink, droppedByManager} {
		m.dropped.WithLabelValues(d)
	}
	for _, r := range []string{differenceFull, differenceEmpty, differenceTooLong, differenceFailed} {
		m.differences.WithLabelValues(commonUpdates, r)
		m.differences.WithLabelValues(channelUpdates, r)
	}
	m.differences.WithLabelValues(commonUpdates, differenceRefused)
	m.differences.WithLabelValues(channelUpdates, differenceRefused)
	for _, s := range []account.SignInStep{account.CodeWanted, account.QRShown, account.PasswordWanted, account.Done, account.Failed} {
		m.signIns.WithLabelValues(string(s))
	}
	for _, method := range methods {
		m.floodWaits.WithLabelValues(method)
		m.floodWait.WithLabelValues(method)
	}
}

func gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

// count counts the connectors of the fleet.
func (m *metrics) count(connectors []account.Connector) {
	by := map[account.ConnectorStatus]float64{}
	var oldest time.Duration
	for i := range connectors {
		c := &connectors[i]
		by[c.Status]++
		if c.Status == account.Connected && !c.LastUpdateAt.IsZero() {
			oldest = max(oldest, time.Since(c.LastUpdateAt))
		}
	}
	for _, s := range statuses {
		m.connectors.WithLabelValues(string(s)).Set(by[s])
	}
	m.oldest.Set(oldest.Seconds())
}

// took counts envelopes that the sink has taken; the first of them came took ago.
func (m *metrics) took(envelopes int, took time.Duration) {
	m.containers.Add(float64(envelopes))
	m.put.Observe(took.Seconds())
}

// newState counts one more connector in the gauge of states.
func (m *metrics) newState() *obs.Standing { return obs.NewStanding(m.held, stateElsewhere) }
