// Package datacentre is a test MTProto server: a data centre of a Telegram that has only what a test put into it. It signs accounts
// in, pushes updates with their places in the sequences, loses and reorders pushes on demand, answers differences and histories from one record of
// what really happened, and hands that record out, so that what a client has can be held against it. It keeps the rules of
// https://core.telegram.org/api/updates; what it does not know it refuses as Telegram does.
//
// It notices when two connections use one key, and ends such a session as Telegram does.
//
// It stands on gotd's tgtest, which has a data race of its own: a client that makes a key while others speak with the server. What tests that
// runs without the race detector.
package datacentre

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/gotd/td/crypto"
	"github.com/gotd/td/exchange"
	"github.com/gotd/td/tg"
	"github.com/gotd/td/tgtest"
	"github.com/gotd/td/transport"
)

// DC is the number of the data centre.
const DC = 2

// silentMost is after how long a connection is closed that says nothing: gotd asks for as much with each of its pings, a minute apart (it calls
// ping_delay_disconnect, https://core.telegram.org/mtproto/service_messages#deferred-connection-closure-ping).
const silentMost = 75 * time.Second

// Config says how a server behaves. The zero Config is a server without faults.
type Config struct {
	// Seed makes the faults the same every time.
	Seed uint64
	// Began is when the server's history begins, which then goes on by the clock on the wall; its places and the ids of its messages are behind those
	// of every server that began earlier, as long as less than ten things a second happened there. So a server can take the place of one that is gone.
	// With the zero time dates, places and ids are the same every time.
	Began time.Time
	// DifferenceMost and ChannelDifferenceMost are how many places back a difference reaches; further back it is too long. 0 has no limit.
	DifferenceMost, ChannelDifferenceMost int
	// HistoryLimit is how often an account may call messages.getHistory; more often, and it has to wait for the next window. In a takeout
	// it may call four times as often.
	HistoryLimit Rate
}

// Faults are what happens to pushes, as shares from 0 to 1.
type Faults struct {
	Lost, Reordered, Repeated float64
}

// Server is a data centre. Any number of goroutines may use it.
type Server struct {
	cfg Config
	key *rsa.PrivateKey

	// mu guards all that follows, and all accounts and chats.
	mu      sync.Mutex
	mtproto *tgtest.Server
	addr    string
	conns   *conns
	// serving ends when the server stops.
	serving  context.Context //nolint:containedctx // pushes have no caller whose context could end them
	stop     context.CancelFunc
	ended    chan struct{}
	random   *mathrand.Rand
	faults   Faults
	accounts []*Account
	chats    []*Chat
	nextID   int64
	clock    int
	calls    map[string]int
	floods   map[string]time.Time
	// told is the wait that the callers of a method know of, and early how often one did not keep to it.
	told  map[string]time.Time
	early int
	// takeouts are those that are open, by their ids, and takeoutsFrom is when one may begin.
	takeouts     map[int64]*Account
	takeoutsFrom time.Time
	// byKey is who has signed in with a key.
	byKey   map[keyID]*Account
	logins  logins
	refused map[keyID]string
	// live is how many connections use a key, and overlaps how often a second one did while the first was still there.
	live     map[keyID]int
	overlaps int
}

type keyID = [8]byte

// New returns a server that does not serve yet.
func New(cfg Config) (*Server, error) {
	key, err := rsa.GenerateKey(rand.Reader, crypto.RSAKeyBits)
	if err != nil {
		return nil, fmt.Errorf("make the server's key: %w", err)
	}
	s := &Server{
		cfg: cfg, key: key, random: mathrand.New(mathrand.NewPCG(cfg.Seed, 0)), nextID: 1000,
		calls: map[string]int{}, floods: map[string]time.Time{}, told: map[string]time.Time{}, byKey: map[keyID]*Account{}, logins: newLogins(),
		refused: map[keyID]string{}, live: map[keyID]int{}, takeouts: map[int64]*Account{},
	}
	s.mtproto = s.newMTProto()
	return s, nil
}

func (s *Server) newMTProto() *tgtest.Server {
	handler := tgtest.HandlerFunc(s.handle)
	return tgtest.NewServer(exchange.PrivateKey{RSA: s.key}, tgtest.UnpackInvoke(handler), tgtest.ServerOptions{
		DC: DC, ReadTimeout: silentMost, Codec: transport.Intermediate.Codec,
	})
}

// Start serves at a port of its own on 127.0.0.1, or, after a Stop, at the one that it had, until Stop. The end of ctx does not end it.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	addr := s.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp4", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	s.addr = listener.Addr().String()
	s.conns = &conns{Listener: listener, uses: s.uses, open: map[*known]bool{}}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.serving, s.stop, s.ended = serving, stop, make(chan struct{})
	go func(mtproto *tgtest.Server, conns *conns, ended chan struct{}) {
		defer close(ended)
		_ = mtproto.Serve(serving, transport.ListenCodec(nil, conns))
	}(s.mtproto, s.conns, s.ended)
	return nil
}

// Stop closes every connection and returns when nothing is served any more. What the server knows stays, its clients' keys too.
func (s *Server) Stop() {
	s.mu.Lock()
	stop, conns, ended := s.stop, s.conns, s.ended
	s.stop = nil
	s.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	conns.closeAll()
	<-ended
}

// ForgetKeys stops the server and lets it forget all keys of its clients, as Telegram does after a long time.
func (s *Server) ForgetKeys() {
	s.Stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mtproto = s.newMTProto()
	clear(s.byKey)
}

// Addr returns where the server serves, as HOST:PORT.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addr
}

// Option returns where the server serves, as clients of gotd's want it.
func (s *Server) Option() tg.DCOption { return option(s.Addr()) }

func option(addr string) tg.DCOption {
	here := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
	return tg.DCOption{ID: DC, IPAddress: here.IP.String(), Port: here.Port, Static: true}
}

// PublicKey returns the server's public key as clients want it, in PEM.
func (s *Server) PublicKey() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&s.key.PublicKey)})
}

// SetFaults sets what happens to pushes from now on.
func (s *Server) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// Flood lets every call of method fail with a flood wait, for d. Methods are called by their names in TL.
func (s *Server) Flood(method string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.floods[method] = time.Now().Add(d)
}

// Early returns how often a method was called again before the wait was over that its caller had been told.
func (s *Server) Early() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.early
}

// flooded returns the refusal of a call of method that has to wait; nil when it has not. The first call is told how long, the others should have
// known.
func (s *Server) flooded(method string) error {
	until, told := s.floods[method]
	if !told || time.Now().After(until) {
		return nil
	}
	if s.told[method].Equal(until) {
		s.early++
	}
	s.told[method] = until
	return floodWait("FLOOD_WAIT_", until)
}

// Calls returns how often method was called, by its name in TL.
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// Overlaps returns how often a connection began to use a key while another one with the same key was open. As Telegram does, the server ends
// such a session: every call with the key is refused from then on with AUTH_KEY_DUPLICATED.
func (s *Server) Overlaps() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.overlaps
}

// Connections returns how many connections were ever accepted.
func (s *Server) Connections() int {
	s.mu.Lock()
	conns := s.conns
	s.mu.Unlock()
	conns.mu.Lock()
	defer conns.mu.Unlock()
	return conns.accepted
}

// uses notes that one connection more (by is 1) or fewer (by is -1) uses a key.
func (s *Server) uses(key keyID, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[key] += by
	if by > 0 && s.live[key] > 1 {
		s.overlaps++
		s.refused[key] = keyDuplicated
	}
}

// Kick closes all connections; the clients may come back.
func (s *Server) Kick() {
	s.mu.Lock()
	conns := s.conns
	s.mu.Unlock()
	conns.kick()
}
