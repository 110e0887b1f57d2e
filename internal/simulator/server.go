package simulator

import (
	"container/list"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
)

// Config is what a Server is made of. The zero Config works.
type Config struct {
	// Seed decides everything that is left to chance.
	Seed uint64
	// Log gets a line for each webhook that changes and each update that is given up; nil drops them.
	Log *slog.Logger
	// Clock is the time; nil is the process's own.
	Clock Clock
	// Transport carries the webhook requests; nil makes one over TCP.
	Transport http.RoundTripper
	// Record makes the oracle keep every update, bytes included, for as long as the server lives: for tests, never for a demo.
	Record bool
}

// Server is a Telegram with the bots that were added to it. All its methods may be called from any number of goroutines.
type Server struct {
	log       *slog.Logger
	clock     Clock
	transport http.RoundTripper
	record    bool
	seed      uint64
	// added wakes Run when a bot has been added.
	added chan struct{}

	// mu guards all that follows and everything inside the bots: the simulator is one state machine.
	mu     sync.Mutex
	random *rand.Rand
	faults Faults
	bots   []*bot
	chats  map[content.ChatID]*chat
	counts Counts
	// towns counts the calls of Traffic, each of which has people of its own.
	towns uint64
	// records are all updates ever posted, when record is set.
	records []*update
	// idle is closed and replaced whenever nothing is pending any more.
	idle chan struct{}
}

// bot is one account of Telegram's that a program owns.
type bot struct {
	id    account.BotID
	token string
	user  user
	// wake stirs the bot's delivery loop.
	wake chan struct{}

	random  *rand.Rand
	allowed allowed
	// nextID is the update_id of the next update, and lastPostedAt says whether it is still good.
	nextID       int64
	lastPostedAt time.Time
	// backlog holds the updates that nobody has taken yet (*update), by rising update_id.
	backlog *list.List
	// poller is the request that waits in getUpdates; nil when none does.
	poller *poller
	// webhook is nil while none is set.
	webhook *webhook
	// nextSetWebhookAt is when setWebhook is allowed again.
	nextSetWebhookAt time.Time
	// lastMessageID counts in private chats and basic groups, where message ids belong to the account.
	lastMessageID content.MessageID
	sent          []sending
}

// New returns a Telegram without bots. It delivers nothing to webhooks until Run runs; the methods answer at once.
func New(cfg Config) *Server {
	s := &Server{
		log: cfg.Log, clock: cfg.Clock, transport: cfg.Transport, record: cfg.Record, seed: cfg.Seed,
		added:  make(chan struct{}, 1),
		random: newRandom(cfg.Seed, deliveryStream),
		chats:  map[content.ChatID]*chat{},
		idle:   make(chan struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.clock == nil {
		s.clock = standardClock{}
	}
	if s.transport == nil {
		s.transport = &http.Transport{MaxIdleConnsPerHost: mostConnections, IdleConnTimeout: replyTimeout}
	}
	return s
}

// tokenForm is a bot's token: its id, a colon and what makes it secret. Source: https://core.telegram.org/bots/api#authorizing-your-bot.
var tokenForm = regexp.MustCompile(`^([1-9][0-9]{0,15}):([A-Za-z0-9_-]{1,64})$`)

// AddBot makes a bot known; its id is the number that token starts with. The error says what a token looks like, and never
// the token itself.
func (s *Server) AddBot(token, username string) (account.BotID, error) {
	parts := tokenForm.FindStringSubmatch(token)
	if parts == nil {
		return 0, fmt.Errorf("add bot %s: the token is not of the form <number>:<letters>", username)
	}
	number, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("add bot %s: the number of the token is too large", username)
	}
	id := account.BotID(number)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.find(id) != nil {
		return 0, fmt.Errorf("add bot %s: bot %d is already there", username, id)
	}
	b := &bot{
		id: id, token: token,
		user:    user{ID: number, IsBot: true, FirstName: strings.TrimSuffix(username, "_bot"), Username: username},
		wake:    make(chan struct{}, 1),
		random:  newRandom(s.seed^uint64(number), updateIDStream), //nolint:gosec // a token's number is positive
		backlog: list.New(),
	}
	s.bots = append(s.bots, b)
	signal(s.added)
	return id, nil
}

// Run delivers updates to the bots' webhooks until ctx ends, and then waits for the requests in flight, which it cancels.
// It always returns nil. It may run again after it has returned, and never twice at once.
func (s *Server) Run(ctx context.Context) error {
	if own, ok := s.transport.(*http.Transport); ok {
		defer own.CloseIdleConnections()
	}
	var loops sync.WaitGroup
	defer loops.Wait()
	started := 0
	for {
		s.mu.Lock()
		fresh := slices.Clone(s.bots[started:])
		s.mu.Unlock()
		for _, b := range fresh {
			loops.Go(func() { s.deliverTo(ctx, b) })
		}
		started += len(fresh)
		select {
		case <-s.added:
		case <-ctx.Done():
			return nil
		}
	}
}

// Post gives the bot an update of the given kind, with payload as the exact bytes of its object, and returns it as the oracle
// sees it. An update that the bot's allowed_updates leave out comes back as Filtered, without an id. The bytes go
// out as they are: whoever wants broken JSON on the wire gets it.
func (s *Server) Post(bot account.BotID, kind ingest.Kind, payload []byte) (Update, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.find(bot)
	if b == nil {
		return Update{}, fmt.Errorf("post %s: no bot %d", kind, bot)
	}
	return s.post(b, kind, payload).snapshot(), nil
}

// PostMessage gives the bot a text message in a chat, from the chat's first member, and returns it as the oracle sees it. The
// chat's id says what it is: private above zero, a supergroup from -1000000000000 down, and a basic group between.
func (s *Server) PostMessage(bot account.BotID, chat content.ChatID, text string) (Update, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.find(bot)
	if b == nil {
		return Update{}, fmt.Errorf("post message: no bot %d", bot)
	}
	c := s.chatOf(chat)
	m := message{
		MessageID: s.nextMessageID(b, c), From: c.firstMember(), Chat: c.info,
		Date: s.clock.Now().Unix(), Text: text,
	}
	return s.post(b, "message", encode(m)).snapshot(), nil
}

// WaitDelivered returns nil once no update of any bot is pending: each one was taken, dropped, or ran out. It returns ctx's
// error when ctx ends first.
func (s *Server) WaitDelivered(ctx context.Context) error {
	for {
		s.mu.Lock()
		pending, idle := s.counts.Pending, s.idle
		s.mu.Unlock()
		if pending == 0 {
			return nil
		}
		select {
		case <-idle:
		case <-ctx.Done():
			return fmt.Errorf("wait for %d pending updates: %w", pending, ctx.Err())
		}
	}
}

// find returns the bot with this id, or nil. The caller holds mu.
func (s *Server) find(id account.BotID) *bot {
	for _, b := range s.bots {
		if b.id == id {
			return b
		}
	}
	return nil
}

// signal wakes whoever reads c; c holds one signal, and a second one would say nothing new.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
