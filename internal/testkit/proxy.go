// Package testkit has what tests of the whole fleet are made of: a network that can be cut, a schedule of faults that a seed decides,
// the report on what they did, and the wait for what must happen. It knows neither the fleet nor how a fault is brought about; tests only may import it.
package testkit

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Proxy is a stretch of network between a client and the servers behind it, which the test can cut, hold up and slow down. Of several
// servers each connection takes the next one that answers. Its methods may be called from any goroutine.
type Proxy struct {
	listener net.Listener
	servers  []string
	turn     atomic.Uint64
	pumps    sync.WaitGroup

	mu sync.Mutex
	// open holds both ends of every connection under way. Guarded by mu, like all that follows.
	open  map[net.Conn]bool
	state network
	// changed is closed and replaced whenever state changes.
	changed chan struct{}
	closed  bool
}

// network is how the stretch is.
type network struct {
	cut, hangs bool
	delay      time.Duration
}

// NewProxy starts a proxy on a port of 127.0.0.1 before servers (host:port), until the end of the test.
func NewProxy(t testing.TB, servers ...string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{listener: listener, servers: servers, open: map[net.Conn]bool{}, changed: make(chan struct{})}
	p.pumps.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close() // accept ends with it
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.Cut()
		p.pumps.Wait()
	})
	return p
}

// Addr returns where clients connect.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut resets all connections, and every new one at once.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.become(network{cut: true})
	for end := range p.open {
		reset(end)
	}
}

// Hang lets connections stand, old and new ones, and nothing through: neither end learns of it.
func (p *Proxy) Hang() { p.change(network{hangs: true}) }

// Delay lets every piece of data, in either direction, wait for d.
func (p *Proxy) Delay(d time.Duration) { p.change(network{delay: d}) }

// Heal lets everything through again, what was held up as well.
func (p *Proxy) Heal() { p.change(network{}) }

func (p *Proxy) change(state network) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.become(state)
}

// become is change for who holds p.mu.
func (p *Proxy) become(state network) {
	p.state = state
	close(p.changed)
	p.changed = make(chan struct{})
}

// now returns the state and what is closed when it changes.
func (p *Proxy) now() (network, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.changed
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.pumps.Go(func() { p.connect(client) })
	}
}

// connect joins client with the next server that answers.
func (p *Proxy) connect(client net.Conn) {
	if !p.keep(client) {
		return
	}
	defer p.drop(client)
	if !p.pass() {
		return
	}
	server := p.dial()
	if server == nil || !p.keep(server) {
		return
	}
	defer p.drop(server)
	back := make(chan struct{})
	go func() {
		defer close(back)
		p.pump(server, client)
	}()
	p.pump(client, server)
	<-back
}

// dial returns a connection to the next server that answers; nil when none does.
func (p *Proxy) dial() net.Conn {
	for range p.servers {
		server, err := net.DialTimeout("tcp", p.servers[p.turn.Add(1)%uint64(len(p.servers))], time.Second)
		if err == nil {
			return server
		}
	}
	return nil
}

// keep remembers an end of a connection; it refuses, and resets, when the network is cut.
func (p *Proxy) keep(end net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state.cut || p.closed {
		reset(end)
		return false
	}
	p.open[end] = true
	return true
}

func (p *Proxy) drop(end net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, end)
	p.end(end)
}

func (p *Proxy) hangUp(ends ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, end := range ends {
		p.end(end)
	}
}

// end closes an end of a connection: with a reset once the network is cut, whoever of those that hold the end is first. Its caller holds
// p.mu.
func (p *Proxy) end(end net.Conn) {
	if p.state.cut {
		reset(end)
		return
	}
	_ = end.Close()
}

// pump carries data from one end to the other until one of them is closed, and then closes both.
func (p *Proxy) pump(from, to net.Conn) {
	defer p.hangUp(from, to)
	piece := make([]byte, 64<<10)
	for {
		n, err := from.Read(piece)
		if n > 0 {
			if !p.pass() {
				return
			}
			if _, err := to.Write(piece[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits until the network lets data through; it returns false when it has been cut.
func (p *Proxy) pass() bool {
	for {
		state, changed := p.now()
		switch {
		case state.cut:
			return false
		case state.hangs:
			<-changed
		case state.delay > 0:
			late := time.NewTimer(state.delay)
			select {
			case <-late.C:
				return true
			case <-changed:
				late.Stop()
			}
		default:
			return true
		}
	}
}

// reset closes a connection so that its other end meets an error.
func reset(end net.Conn) {
	if tcp, ok := end.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = end.Close()
}
