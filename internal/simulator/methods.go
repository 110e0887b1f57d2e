package simulator

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// failure is an error as the Bot API tells it. Source: https://core.telegram.org/bots/api#making-requests.
type failure struct {
	code        int
	description string
	// retryAfter is for 429 only.
	retryAfter time.Duration
}

func badRequest(why string) *failure {
	return &failure{code: http.StatusBadRequest, description: "Bad Request: " + why}
}

func tooMany(wait time.Duration) *failure {
	seconds := time.Duration(math.Ceil(wait.Seconds())) * time.Second
	return &failure{
		code: http.StatusTooManyRequests, retryAfter: seconds,
		description: fmt.Sprintf("Too Many Requests: retry after %d", seconds/time.Second),
	}
}

// success is a method's result, with the remark that some methods make.
type success struct {
	result any
	remark string
}

// methods are the methods that need not wait; getUpdates does, and has a file of its own. They are called with mu held.
var methods = map[string]func(*Server, *bot, parameters) (success, *failure){
	"getme":          (*Server).getMe,
	"setwebhook":     (*Server).setWebhook,
	"deletewebhook":  (*Server).deleteWebhook,
	"getwebhookinfo": (*Server).getWebhookInfo,
	"sendmessage":    (*Server).sendMessage,
}

// ServeHTTP answers /bot<token>/<method>, as api.telegram.org does. It works whether or not Run runs.
func (s *Server) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	address, isBot := strings.CutPrefix(r.URL.Path, "/bot")
	token, name, hasMethod := strings.Cut(address, "/")
	if !isBot || !hasMethod {
		reply(rw, success{}, &failure{code: http.StatusNotFound, description: "Not Found"})
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		reply(rw, success{}, &failure{code: http.StatusMethodNotAllowed, description: "Method Not Allowed"})
		return
	}
	b := s.owner(token)
	if b == nil {
		reply(rw, success{}, &failure{code: http.StatusUnauthorized, description: "Unauthorized"})
		return
	}
	params, refused := readParameters(rw, r)
	if refused != nil {
		reply(rw, success{}, refused)
		return
	}
	if strings.EqualFold(name, "getUpdates") {
		updates, refused := s.getUpdates(r.Context(), b, params)
		if refused != nil {
			reply(rw, success{}, refused)
			return
		}
		write(rw, http.StatusOK, updatesReply(updates))
		return
	}
	method, known := methods[strings.ToLower(name)]
	if !known {
		reply(rw, success{}, &failure{code: http.StatusNotFound, description: "Not Found: method not found"})
		return
	}
	s.mu.Lock()
	done, refused := method(s, b, params)
	s.mu.Unlock()
	reply(rw, done, refused)
}

// owner returns the bot whose token this is, or nil.
func (s *Server) owner(token string) *bot {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.bots {
		if b.token == token {
			return b
		}
	}
	return nil
}

// reply writes one answer of the Bot API. A caller who has gone does not hear it.
func reply(rw http.ResponseWriter, done success, refused *failure) {
	type responseParameters struct {
		RetryAfter int `json:"retry_after"`
	}
	body := struct {
		OK          bool                `json:"ok"`
		Result      any                 `json:"result,omitempty"`
		ErrorCode   int                 `json:"error_code,omitempty"`
		Description string              `json:"description,omitempty"`
		Parameters  *responseParameters `json:"parameters,omitempty"`
	}{OK: refused == nil, Result: done.result, Description: done.remark}
	status := http.StatusOK
	if refused != nil {
		status, body.ErrorCode, body.Description = refused.code, refused.code, refused.description
		if refused.retryAfter > 0 {
			seconds := int(refused.retryAfter / time.Second)
			body.Parameters = &responseParameters{seconds}
			rw.Header().Set("Retry-After", strconv.Itoa(seconds))
		}
	}
	write(rw, status, encode(body))
}

func write(rw http.ResponseWriter, status int, body []byte) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	_, _ = rw.Write(body)
}

func (s *Server) getMe(b *bot, _ parameters) (success, *failure) {
	return success{result: struct {
		user
		CanJoinGroups           bool `json:"can_join_groups"`
		CanReadAllGroupMessages bool `json:"can_read_all_group_messages"`
		SupportsInlineQueries   bool `json:"supports_inline_queries"`
	}{b.user, true, true, true}}, nil
}

// secretForm is Telegram's for secret_token. Source: https://core.telegram.org/bots/api#setwebhook.
var secretForm = regexp.MustCompile(`^[A-Za-z0-9_-]{0,256}$`)

// setWebhookPause is the least time between two webhooks of a bot. Source: tdlib/telegram-bot-api, process_set_webhook_query.
const setWebhookPause = time.Second

func (s *Server) setWebhook(b *bot, params parameters) (success, *failure) {
	address := params["url"]
	if address == "" {
		return s.deleteWebhook(b, params)
	}
	now := s.clock.Now()
	if wait := b.nextSetWebhookAt.Sub(now); wait > 0 {
		return success{}, tooMany(wait)
	}
	b.nextSetWebhookAt = now.Add(setWebhookPause)
	secret := params["secret_token"]
	if !secretForm.MatchString(secret) {
		if len(secret) > 256 {
			return success{}, badRequest("secret token is too long")
		}
		return success{}, badRequest("secret token contains unallowed characters")
	}
	if parsed, err := url.Parse(address); err != nil || parsed.Host == "" || (parsed.Scheme != "https" && parsed.Scheme != "http") {
		return success{}, badRequest("invalid webhook URL specified")
	}
	connections := params.number("max_connections", defaultConnections, 1, mostConnections)
	drop := params.truth("drop_pending_updates")
	if list, ok := readAllowed(params["allowed_updates"]); ok {
		b.allowed = list
	}
	if w := b.webhook; w != nil && w.url == address && w.secret == secret && w.maxConnections == connections && !drop {
		return success{true, "Webhook is already set"}, nil
	}
	s.endPoller(b, "Conflict: terminated by setWebhook request")
	s.removeWebhook(b, drop)
	b.webhook = newWebhook(address, secret, connections, b.backlog.Front())
	signal(b.wake)
	s.log.Info("webhook set", "bot_id", int64(b.id), "max_connections", connections)
	return success{true, "Webhook was set"}, nil
}

func (s *Server) deleteWebhook(b *bot, params parameters) (success, *failure) {
	had := b.webhook != nil
	s.removeWebhook(b, params.truth("drop_pending_updates"))
	if !had {
		return success{true, "Webhook is already deleted"}, nil
	}
	s.log.Info("webhook deleted", "bot_id", int64(b.id))
	return success{true, "Webhook was deleted"}, nil
}

// removeWebhook ends the bot's webhook, if it has one; what was pending for it stays pending unless drop says otherwise.
func (s *Server) removeWebhook(b *bot, drop bool) {
	if b.webhook != nil {
		b.webhook.close()
		b.webhook = nil
	}
	if drop {
		s.clear(b)
	}
}

// webhookInfo is the Bot API's WebhookInfo. Source: https://core.telegram.org/bots/api#webhookinfo.
type webhookInfo struct {
	URL                  string        `json:"url"`
	HasCustomCertificate bool          `json:"has_custom_certificate"`
	PendingUpdateCount   int           `json:"pending_update_count"`
	IPAddress            string        `json:"ip_address,omitempty"`
	LastErrorDate        int64         `json:"last_error_date,omitempty"`
	LastErrorMessage     string        `json:"last_error_message,omitempty"`
	MaxConnections       int           `json:"max_connections,omitempty"`
	AllowedUpdates       []ingest.Kind `json:"allowed_updates,omitempty"`
}

func (s *Server) getWebhookInfo(b *bot, _ parameters) (success, *failure) {
	info := webhookInfo{PendingUpdateCount: b.backlog.Len()}
	for kind := range b.allowed {
		info.AllowedUpdates = append(info.AllowedUpdates, kind)
	}
	slices.Sort(info.AllowedUpdates)
	if w := b.webhook; w != nil {
		info.URL, info.MaxConnections = w.url, w.maxConnections
		info.IPAddress = addressOf(w.url)
		if !w.lastErrorAt.IsZero() {
			info.LastErrorDate, info.LastErrorMessage = w.lastErrorAt.Unix(), w.lastError
		}
	}
	return success{result: info}, nil
}

// longestText is the most that a text message holds, in UTF-16 code units. Source: https://core.telegram.org/bots/api#sendmessage.
const longestText = 4096

func (s *Server) sendMessage(b *bot, params parameters) (success, *failure) {
	text := params["text"]
	id, err := strconv.ParseInt(params["chat_id"], 10, 64)
	c, known := s.chats[content.ChatID(id)]
	switch {
	case params["chat_id"] == "":
		return success{}, badRequest("chat_id is empty")
	case err != nil || !known:
		return success{}, badRequest("chat not found")
	case strings.TrimSpace(text) == "":
		return success{}, badRequest("message text is empty")
	case len(utf16.Encode([]rune(text))) > longestText:
		return success{}, badRequest("message is too long")
	}
	now := s.clock.Now()
	if wait := b.pause(c, now); wait > 0 {
		return success{}, tooMany(wait)
	}
	m := message{MessageID: s.nextMessageID(b, c), Chat: c.info, Date: now.Unix(), Text: text}
	if c.info.Type == content.Channel {
		m.SenderChat = &c.info
	} else {
		m.From = &b.user
	}
	return success{result: json.RawMessage(encode(m))}, nil
}
