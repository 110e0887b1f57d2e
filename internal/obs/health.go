package obs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tgfleet/tgfleet/internal/fault"
)

// readyWithin bounds an answer of /ready. Probes commonly wait no longer than a second or two.
const readyWithin = time.Second

// Health knows whether a process lives and whether it can serve. Any number of goroutines may use it.
type Health struct {
	mu     sync.Mutex
	loops  []*Beat
	checks []*readyCheck
}

// NewHealth returns a Health that knows of nothing: it is healthy and ready.
func NewHealth() *Health { return &Health{} }

// Loop adds a loop of the process by name and returns its beat. /health answers 503 and names the loop when it did not tick for
// longer than bound; the time counts from now. Bound must leave room for the longest honest turn of the loop.
func (h *Health) Loop(name string, bound time.Duration) *Beat {
	b := &Beat{name: name, bound: bound, since: time.Now()}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loops = append(h.loops, b)
	return b
}

// Ready adds a check by name. /ready runs all checks at once and gives them a second; it answers 503 and names those that fail or
// are not done by then. One check never runs twice at a time. Whoever asks is shown the text of its error, or of a classified error only the class.
func (h *Health) Ready(name string, check func(ctx context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.checks = append(h.checks, &readyCheck{name: name, run: check})
}

// Beat is the sign of life of one loop.
type Beat struct {
	name  string
	bound time.Duration
	since time.Time
	// ticked is when the loop ticked last, as time after since: written by the loop, read by /health.
	ticked atomic.Int64
}

// Tick says that the loop is alive.
func (b *Beat) Tick() { b.ticked.Store(int64(time.Since(b.since))) }

func (b *Beat) silence() time.Duration {
	return time.Since(b.since) - time.Duration(b.ticked.Load())
}

// silent returns what is wrong with each loop that is silent for longer than its bound.
func (h *Health) silent() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	wrong := map[string]string{}
	for _, b := range h.loops {
		if silence := b.silence(); silence > b.bound {
			wrong[b.name] = fmt.Sprintf("silent for %s, at most %s is right", silence.Round(time.Millisecond), b.bound)
		}
	}
	return wrong
}

// unready returns what is wrong with each check that does not succeed within the bound.
func (h *Health) unready(ctx context.Context) map[string]string {
	h.mu.Lock()
	checks := h.checks
	h.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	rounds := make([]*round, len(checks))
	for i, c := range checks {
		rounds[i] = c.join(ctx)
	}
	wrong := map[string]string{}
	for i, r := range rounds {
		if err := r.wait(ctx); err != nil {
			wrong[checks[i].name] = describe(err)
		}
	}
	return wrong
}

// describe says what is wrong to whoever may ask, which can be the whole world. A classified error comes from a server of ours and may
// name it, so that only its class is told; the part that uses the server logs the rest.
func describe(err error) string {
	if class := fault.ClassOf(err); class != fault.Unclassified {
		return class.String() + " error; the log says more"
	}
	return err.Error()
}

type readyCheck struct {
	name string
	run  func(ctx context.Context) error

	mu sync.Mutex
	// current is the round that is under way, or nil. A check that hangs keeps it, so that asking again starts no second one.
	current *round
}

// round is one run of a check, shared by everyone who asks while it lasts.
type round struct {
	done chan struct{}
	// err is written before done is closed and read after it.
	err error
}

func (c *readyCheck) join(ctx context.Context) *round {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.current != nil {
		return c.current
	}
	r := &round{done: make(chan struct{})}
	c.current = r
	// Others may share this round: whoever started it does not end it by going away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyWithin)
	go func() {
		defer cancel()
		r.err = c.run(ctx)
		c.mu.Lock()
		c.current = nil
		c.mu.Unlock()
		close(r.done)
	}()
	return r
}

var errNotDone = errors.New("not done within " + readyWithin.String())

func (r *round) wait(ctx context.Context) error {
	select {
	case <-r.done:
	case <-ctx.Done():
	}
	// The round may have been done for long when time ran out on another one.
	select {
	case <-r.done:
		return r.err
	default:
		return errNotDone
	}
}

// Mux returns the handler of GET /metrics, /health and /ready, to which a process may add its own paths.
func Mux(reg *prometheus.Registry, health *Health) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{Registry: reg}))
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		wrong := health.silent()
		answer(w, report{Status: status("unhealthy", wrong), Loops: wrong})
	})
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) {
		wrong := health.unready(r.Context())
		answer(w, report{Status: status("unready", wrong), Checks: wrong})
	})
	return mux
}

// report is the body of /health and /ready.
type report struct {
	Status string            `json:"status"`
	Loops  map[string]string `json:"loops,omitempty"`
	Checks map[string]string `json:"checks,omitempty"`
}

const statusOK = "ok"

func status(bad string, wrong map[string]string) string {
	if len(wrong) > 0 {
		return bad
	}
	return statusOK
}

func answer(w http.ResponseWriter, body report) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if body.Status != statusOK {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	// The asker may have gone away: nobody is left to tell.
	_ = json.NewEncoder(w).Encode(body)
}
