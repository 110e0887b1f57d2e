// Package webhook receives the updates of bots that Telegram posts to us. It authenticates, bounds the body, seals an envelope
// and answers 200 only after the sink has it durable; it parses no update, asks no database and calls nobody while Telegram waits. Its answers
// are a contract with Telegram, see Handler; it never answers 410, by which Telegram would remove the webhook, and never
// redirects, which Telegram counts as a failure (https://core.telegram.org/bots/webhooks).
package webhook

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/obs"
)

// Prefix is what the path of every webhook starts with; the bot's opaque id follows it.
const Prefix = "/telegram/webhook/"

const (
	// SecretHeader carries the secret that setWebhook named.
	SecretHeader = "X-Telegram-Bot-Api-Secret-Token" //nolint:gosec // the header's name, not a secret
	// maxBodySizeBytes is far above what Telegram sends: its largest updates are some tens of kilobytes.
	maxBodySizeBytes = 1 << 20
	// retryAfter is short, because Telegram drops an update whose next try would fall past its expiry.
	retryAfter = "2"
	// acceptWithin is longer than a flush into the queue and then the spool, and shorter than Telegram's patience of about 60 s.
	acceptWithin = 15 * time.Second
)

// Bots lists the bots whose webhooks are served.
type Bots interface {
	List(ctx context.Context) ([]account.Bot, error)
}

// Config is what a Handler is made of. AllowedNets and TrustedProxies may be empty; everything else must be set.
type Config struct {
	Bots Bots
	Sink ingest.Sink
	// AllowedNets are the networks that webhooks may come from; empty allows all.
	AllowedNets []netip.Prefix
	// TrustedProxies are the networks whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	Log            *slog.Logger
	Registerer     prometheus.Registerer
	// Beat ticks while the list of bots is kept fresh.
	Beat *obs.Beat
	// Now tells the time at which updates are received; nil is the clock of the machine.
	Now func() time.Time
}

// Handler answers Telegram, in this order of checks: 405 to anything but POST; 404 to an unknown bot (503 until the bots have been
// loaded once); 401 to a wrong or missing secret, or to an address outside the fence; 413 to a body over 1 MiB; 200 to whatever became
// durable, also when it is no update at all; 503 with Retry-After when nothing durable took it. Run must run.
type Handler struct {
	registry
	fence   fence
	sink    ingest.Sink
	metrics *metrics
	now     func() time.Time
}

// New returns a handler for requests whose path starts with Prefix.
func New(cfg Config) *Handler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Handler{
		registry: registry{bots: cfg.Bots, log: cfg.Log, beat: cfg.Beat},
		fence:    fence{allowed: cfg.AllowedNets, proxies: cfg.TrustedProxies},
		sink:     cfg.Sink,
		metrics:  newMetrics(cfg.Registerer),
		now:      cfg.Now,
	}
}

// ServeHTTP answers one webhook.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	status := h.receive(w, r)
	switch status {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
	}
	w.WriteHeader(status)
	h.metrics.answered(status, time.Since(start))
}

// receive takes one update in and returns the status of the answer.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request) int {
	if r.Method != http.MethodPost {
		return http.StatusMethodNotAllowed
	}
	bots := h.load()
	bot, known := bots[strings.TrimPrefix(r.URL.Path, Prefix)]
	if !known {
		if bots == nil {
			return http.StatusServiceUnavailable
		}
		return http.StatusNotFound
	}
	if !authentic(&bot, r.Header.Get(SecretHeader)) || !h.fence.admits(r) {
		return http.StatusUnauthorized
	}
	raw, err := readBody(w, r)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return http.StatusRequestEntityTooLarge
		}
		return http.StatusServiceUnavailable // the sender went away; it will come back
	}
	ctx, cancel := context.WithTimeout(r.Context(), acceptWithin)
	defer cancel()
	err = h.sink.Accept(ctx, ingest.Envelope{
		Source: bot.Source(), ReceivedAt: h.now(), Origin: ingest.Live, Format: ingest.BotAPIJSON, Raw: raw,
	})
	if err != nil {
		return http.StatusServiceUnavailable
	}
	return http.StatusOK
}

// authentic compares hashes in constant time, so that neither the answer's time nor our memory tells the secret.
func authentic(bot *account.Bot, secret string) bool {
	sum := sha256.Sum256([]byte(secret))
	return subtle.ConstantTimeCompare(sum[:], bot.SecretHash[:]) == 1
}

// readBody reads the whole body into one allocation where its length is told. A body that is too long is an *http.MaxBytesError.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > maxBodySizeBytes {
		return nil, &http.MaxBytesError{Limit: maxBodySizeBytes}
	}
	body := http.MaxBytesReader(w, r.Body, maxBodySizeBytes)
	if r.ContentLength < 0 {
		return io.ReadAll(body)
	}
	raw := make([]byte, r.ContentLength)
	_, err := io.ReadFull(body, raw)
	return raw, err
}

type metrics struct {
	requests *prometheus.CounterVec
	duration prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tgfleet_webhook_requests_total", Help: "Webhooks answered, by status.",
		}, []string{"status"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tgfleet_webhook_request_duration_seconds", Help: "Time until a webhook is answered.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15},
		}),
	}
	for _, status := range []int{200, 401, 404, 405, 413, 503} {
		m.requests.WithLabelValues(strconv.Itoa(status))
	}
	reg.MustRegister(m.requests, m.duration)
	return m
}

func (m *metrics) answered(status int, took time.Duration) {
	m.requests.WithLabelValues(strconv.Itoa(status)).Inc()
	m.duration.Observe(took.Seconds())
}
