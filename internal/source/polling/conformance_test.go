package polling_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/source/sourcetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	bot := newBot(t, 1, "AAtoken")
	sourcetest.Run(t, sourcetest.Harness{
		Want:    ingest.Envelope{Source: bot.Source(), Origin: ingest.Live, Format: ingest.BotAPIJSON},
		Updates: sourcetest.BotAPIUpdates,
		Open: func(t *testing.T) sourcetest.Wire {
			w := &wire{bot: bot, arrived: make(chan struct{})}
			w.server = httptest.NewServer(w)
			t.Cleanup(w.server.Close)
			return w
		},
	})
}

// wire is the least that a Bot API server does for getUpdates, with updates of any bytes.
type wire struct {
	bot    account.Bot
	server *httptest.Server

	mu sync.Mutex
	// pending and acknowledged are in the order of their ids.
	pending      [][]byte
	acknowledged [][]byte
	// arrived is closed and replaced whenever an update arrives.
	arrived chan struct{}
}

func (w *wire) Start(t *testing.T, sink ingest.Sink) (stop func() error) {
	t.Helper()
	f := newFixture(t)
	f.bots.set(w.bot)
	f.sink = sink
	f.url = w.server.URL
	poller := f.poller(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- poller.Run(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}
}

func (w *wire) Deliver(raw []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pending = append(w.pending, raw)
	close(w.arrived)
	w.arrived = make(chan struct{})
}

func (w *wire) Acknowledged() [][]byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([][]byte(nil), w.acknowledged...)
}

func (w *wire) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	var q struct {
		Offset         int64
		Limit, Timeout int
	}
	if json.NewDecoder(r.Body).Decode(&q) != nil || r.URL.Path != "/bot1:AAtoken/getUpdates" {
		rw.WriteHeader(http.StatusBadRequest)
		return
	}
	over := time.NewTimer(time.Duration(q.Timeout) * time.Second)
	defer over.Stop()
	updates, arrived := w.after(q.Offset, q.Limit)
	for len(updates) == 0 {
		select {
		case <-arrived:
			updates, arrived = w.after(q.Offset, q.Limit)
			continue
		case <-over.C:
		case <-r.Context().Done():
		}
		break
	}
	_, _ = rw.Write([]byte(`{"ok":true,"result":[`))
	_, _ = rw.Write(bytes.Join(updates, []byte(",\n")))
	_, _ = rw.Write([]byte("]}"))
}

// after confirms what is below offset and returns what comes then, and a signal for more.
func (w *wire) after(offset int64, limit int) ([][]byte, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pending) > 0 && idOf(w.pending[0]) < offset {
		w.acknowledged = append(w.acknowledged, w.pending[0])
		w.pending = w.pending[1:]
	}
	return append([][]byte(nil), w.pending[:min(limit, len(w.pending))]...), w.arrived
}

func idOf(raw []byte) int64 {
	var u struct {
		ID int64 `json:"update_id"`
	}
	_ = json.Unmarshal(raw, &u)
	return u.ID
}
