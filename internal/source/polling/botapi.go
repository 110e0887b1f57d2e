package polling

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tgfleet/tgfleet/internal/fault"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// The numbers of getUpdates. Source: https://core.telegram.org/bots/api#getupdates.
const (
	updatesMost = 100
	pollSeconds = 50
	// pollWithin leaves the server some time beyond the poll itself.
	pollWithin = pollSeconds*time.Second + 15*time.Second
	dialWithin = 10 * time.Second
	// answerMaxBytes is far above what 100 updates weigh: the open-source server stops at 4 MiB.
	answerMaxBytes = 64 << 20
	// idleMost bounds the connections that wait between two polls.
	idleMost = 100
)

// errConflict says that Telegram gives the bot's updates to somebody else.
var errConflict = errors.New("conflict")

// update is one update as Telegram sent it.
type update struct {
	// id is 0 when the update tells none.
	id         int64
	raw        []byte
	receivedAt time.Time
}

// botAPI asks a Bot API server for updates. None of its errors shows a token, or a URL, which contains one.
type botAPI struct {
	url      string
	http     http.RoundTripper
	maxBytes int64
}

// newBotAPI makes a client with one connection a poll: HTTP/2 would carry all bots over one, and lose them together.
func newBotAPI(baseURL string) *botAPI {
	return &botAPI{url: baseURL, maxBytes: answerMaxBytes, http: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialWithin}).DialContext,
		TLSHandshakeTimeout: dialWithin,
		MaxIdleConnsPerHost: idleMost,
		IdleConnTimeout:     pollWithin,
	}}
}

func (a *botAPI) close() {
	if own, ok := a.http.(*http.Transport); ok {
		own.CloseIdleConnections()
	}
}

// getUpdates asks for the updates from offset on (0: from the first unconfirmed one), which confirms those before it, and waits for
// some to come. Errors: errConflict, fault.Unauthorized, fault.Throttled, fault.Transient for the server's own troubles and
// the network's.
func (a *botAPI) getUpdates(ctx context.Context, token seal.Secret, offset int64) ([]update, error) {
	ctx, cancel := context.WithTimeout(ctx, pollWithin)
	defer cancel()
	updates, err := a.ask(ctx, token, offset)
	if err != nil {
		return nil, withoutToken(err, token)
	}
	return updates, nil
}

// question is the parameters of getUpdates. The list of kinds goes with every request, because Telegram keeps the last one it saw.
type question struct {
	Offset         int64         `json:"offset,omitempty"`
	Limit          int           `json:"limit"`
	Timeout        int           `json:"timeout"`
	AllowedUpdates []ingest.Kind `json:"allowed_updates"`
}

// answer is what every method answers. Source: https://core.telegram.org/bots/api#making-requests.
type answer struct {
	OK          bool              `json:"ok"`
	Result      []json.RawMessage `json:"result"`
	ErrorCode   int               `json:"error_code"`
	Description string            `json:"description"`
	Parameters  struct {
		RetryAfter int `json:"retry_after"`
	} `json:"parameters"`
}

func (a *botAPI) ask(ctx context.Context, token seal.Secret, offset int64) ([]update, error) {
	body, err := json.Marshal(question{
		Offset: offset, Limit: updatesMost, Timeout: pollSeconds, AllowedUpdates: ingest.Kinds,
	})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/bot"+token.Reveal()+"/getUpdates", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	// A round trip of its own, not a client: nothing follows a redirect, which would carry the token elsewhere.
	resp, err := a.http.RoundTrip(req)
	if err != nil {
		return nil, fault.As(fault.Transient, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, a.maxBytes+1))
	receivedAt := time.Now()
	if err != nil {
		return nil, fault.As(fault.Transient, fmt.Errorf("read the answer: %w", err))
	}
	if int64(len(text)) > a.maxBytes {
		return nil, fmt.Errorf("the answer is longer than %d bytes", a.maxBytes)
	}
	return split(resp.StatusCode, text, receivedAt)
}

// split takes an answer apart. The updates are copies of exactly the bytes that stand in text.
func split(status int, text []byte, receivedAt time.Time) ([]update, error) {
	var a answer
	if err := json.Unmarshal(text, &a); err != nil {
		// Something between us and the Bot API server has answered; its text may repeat the request.
		return nil, fault.As(fault.Transient, fmt.Errorf("status %d and no answer of a Bot API server", status))
	}
	if !a.OK {
		return nil, refusal(status, &a)
	}
	updates := make([]update, len(a.Result))
	for i, raw := range a.Result {
		updates[i] = update{id: idOf(raw), raw: raw, receivedAt: receivedAt}
	}
	return updates, nil
}

// idOf returns the update's id, and 0 where it can't be read. The name must match to the letter, which it need not for a field of a struct:
// an offset that some other member named would confirm what nobody has seen.
func idOf(raw []byte) (id int64) {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil || json.Unmarshal(members["update_id"], &id) != nil {
		return 0
	}
	return id
}

func refusal(status int, a *answer) error {
	code := a.ErrorCode
	if code == 0 {
		code = status
	}
	err := fmt.Errorf("status %d: %q", code, a.Description)
	switch {
	case code == http.StatusConflict:
		return fmt.Errorf("%w: a webhook is set, or something else polls this bot: %w", errConflict, err)
	case code == http.StatusUnauthorized:
		return fault.As(fault.Unauthorized, fmt.Errorf("the token is wrong or was revoked: %w", err))
	case code == http.StatusTooManyRequests:
		return fault.Throttle(time.Duration(a.Parameters.RetryAfter)*time.Second, err)
	case code >= http.StatusInternalServerError:
		return fault.As(fault.Transient, err)
	default:
		return err
	}
}

// withoutToken returns err without the URL that net/http puts into its errors, and hides it whole should it show the token all
// the same, as a server does that sends the request back.
func withoutToken(err error, token seal.Secret) error {
	if inURL, ok := errors.AsType[*url.Error](err); ok {
		err = fault.As(fault.ClassOf(err), inURL.Err)
	}
	_, secretHalf, _ := strings.Cut(token.Reveal(), ":")
	if secretHalf != "" && strings.Contains(err.Error(), secretHalf) {
		return fault.As(fault.ClassOf(err), errors.New("an error whose text shows the token"))
	}
	return fmt.Errorf("getUpdates: %w", err)
}
