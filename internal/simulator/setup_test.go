package simulator_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token  = "7000000001:test-token"
	secret = "s3cret_-"
	chatA  = 501
	chatB  = 502
)

// fixture is one bot on a server whose webhook requests go straight to a receiver.
type fixture struct {
	*simulator.Server
	bot      account.BotID
	receiver *receiver
}

func setup(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{receiver: &receiver{}}
	f.Server = simulator.New(simulator.Config{Seed: 7, Transport: f.receiver, Record: true})
	var err error
	f.bot, err = f.AddBot(token, "test_bot")
	require.NoError(t, err)
	return f
}

// run delivers until the test ends, or until the returned function is called.
func (f *fixture) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	t.Cleanup(stop)
	return stop
}

// say posts a text message and returns it.
func (f *fixture) say(t *testing.T, chat int64, text string) simulator.Update {
	t.Helper()
	u, err := f.PostMessage(f.bot, chatID(chat), text)
	require.NoError(t, err)
	require.NotZero(t, u.ID)
	return u
}

// about returns what the oracle knows of u by now.
func (f *fixture) about(t *testing.T, u simulator.Update) simulator.Update {
	t.Helper()
	for _, known := range f.Oracle().Updates() {
		if known.BotID == u.BotID && known.ID == u.ID {
			return known
		}
	}
	require.FailNow(t, "no such update", "%d", u.ID)
	return u
}

// reply is an answer of the Bot API.
type reply struct {
	Status      int `json:"-"`
	Header      http.Header
	OK          bool            `json:"ok"`
	Result      json.RawMessage `json:"result"`
	ErrorCode   int             `json:"error_code"`
	Description string          `json:"description"`
	Parameters  struct {
		RetryAfter int `json:"retry_after"`
	} `json:"parameters"`
}

// call calls a method of the fixture's bot.
func (f *fixture) call(t *testing.T, method string, params url.Values) reply {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/bot"+token+"/"+method, strings.NewReader(params.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return f.serve(t, r)
}

func (f *fixture) serve(t *testing.T, r *http.Request) reply {
	t.Helper()
	rw := httptest.NewRecorder()
	f.ServeHTTP(rw, r)
	return read(t, rw)
}

func read(t *testing.T, rw *httptest.ResponseRecorder) reply {
	t.Helper()
	got := reply{Status: rw.Code, Header: rw.Header()}
	require.NoError(t, json.Unmarshal(rw.Body.Bytes(), &got), rw.Body.String())
	require.Equal(t, rw.Code == http.StatusOK, got.OK, "an answer is ok, or its status is the error's code")
	if !got.OK {
		require.Equal(t, rw.Code, got.ErrorCode)
	}
	return got
}

// setWebhook points the bot at the receiver; params are name and value by turns.
func (f *fixture) setWebhook(t *testing.T, params ...string) {
	t.Helper()
	got := f.call(t, "setWebhook", values(append([]string{"url", "https://fleet.test/hook", "secret_token", secret}, params...)...))
	require.True(t, got.OK, got.Description)
}

// updates calls getUpdates and returns the update_ids that it answers with.
func (f *fixture) updates(t *testing.T, params ...string) []int64 {
	t.Helper()
	got := f.call(t, "getUpdates", values(params...))
	require.True(t, got.OK, got.Description)
	return ids(t, got.Result)
}

func ids(t *testing.T, result json.RawMessage) []int64 {
	t.Helper()
	var updates []struct {
		ID int64 `json:"update_id"`
	}
	require.NoError(t, json.Unmarshal(result, &updates))
	found := make([]int64, len(updates))
	for i, u := range updates {
		found[i] = u.ID
	}
	return found
}

func (f *fixture) webhookInfo(t *testing.T) map[string]any {
	t.Helper()
	var info map[string]any
	require.NoError(t, json.Unmarshal(f.call(t, "getWebhookInfo", nil).Result, &info))
	return info
}

func values(params ...string) url.Values {
	v := url.Values{}
	for i := 0; i+1 < len(params); i += 2 {
		v.Set(params[i], params[i+1])
	}
	return v
}

// arrival is one request that the receiver got.
type arrival struct {
	at     time.Time
	header http.Header
	body   string
	id     int64
}

// receiver is a program's webhook: it writes down what comes and answers 200, unless answer says otherwise. It is a
// transport, so that no socket keeps a bubble's clock from running.
type receiver struct {
	// answer is set before requests come.
	answer func(n int, got arrival) (status int, header http.Header)
	// hold, when it is not nil, is read once before each answer.
	hold chan struct{}

	mu       sync.Mutex
	arrivals []arrival
	current  int
	most     int
}

func (r *receiver) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	var update struct {
		ID int64 `json:"update_id"`
	}
	_ = json.Unmarshal(body, &update)
	got := arrival{at: time.Now(), header: request.Header, body: string(body), id: update.ID}
	r.mu.Lock()
	n := len(r.arrivals)
	r.arrivals = append(r.arrivals, got)
	r.current++
	r.most = max(r.most, r.current)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.current--
		r.mu.Unlock()
	}()
	if r.hold != nil {
		select {
		case <-r.hold:
		case <-request.Context().Done():
			return nil, request.Context().Err()
		}
	}
	status, header := http.StatusOK, http.Header{}
	if r.answer != nil {
		status, header = r.answer(n, got)
	}
	return &http.Response{StatusCode: status, Header: header, Body: http.NoBody, Request: request}, nil
}

func (r *receiver) got() []arrival {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]arrival(nil), r.arrivals...)
}

func (r *receiver) ids() []int64 {
	var found []int64
	for _, a := range r.got() {
		found = append(found, a.id)
	}
	return found
}

// mostAtOnce returns how many requests were in flight at one moment, at most.
func (r *receiver) mostAtOnce() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.most
}

// waits returns the time between one arrival and the next.
func (r *receiver) waits() []time.Duration {
	var waits []time.Duration
	all := r.got()
	for i := 1; i < len(all); i++ {
		waits = append(waits, all[i].at.Sub(all[i-1].at))
	}
	return waits
}
