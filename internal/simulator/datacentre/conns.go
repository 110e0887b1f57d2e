package datacentre

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"
)

// noticed is how long a connection that its client has closed may count as open: until the goroutine that reads it has seen the end.
const noticed = 500 * time.Millisecond

// conns is a listener that knows its connections, which tgtest leaves open when it ends, and the keys that they use.
type conns struct {
	net.Listener
	// uses is told when a connection begins to use a key, and when it ends.
	uses func(key keyID, by int)

	mu       sync.Mutex
	open     map[*known]bool
	accepted int
	closed   bool
}

// Accept implements net.Listener.
func (c *conns) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	c.accepted++
	known := &known{Conn: conn, of: c}
	c.open[known] = true
	return known, nil
}

func (c *conns) kick() {
	c.mu.Lock()
	all := c.open
	c.open = map[*known]bool{}
	c.mu.Unlock()
	for conn := range all {
		_ = conn.Close()
	}
}

func (c *conns) closeAll() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.kick()
}

// isUsed tells whether another open connection than but uses key.
func (c *conns) isUsed(key keyID, but *known) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.open {
		if conn != but && conn.hasKey(key) {
			return true
		}
	}
	return false
}

// known is a connection that its listener knows until it is closed. It reads along what its client sends, as far as to know the key.
type known struct {
	net.Conn
	of *conns
	// frames belongs to the goroutine that reads.
	frames frames

	closing sync.Once
	// mu guards key, which is the zero key until the client has one.
	mu  sync.Mutex
	key keyID
}

// Read implements net.Conn.
func (k *known) Read(p []byte) (int, error) {
	n, err := k.Conn.Read(p)
	if key, found := k.frames.read(p[:n]); found && !k.hasKey(key) {
		k.begin(key)
	}
	return n, err
}

func (k *known) hasKey(key keyID) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.key == key
}

// begin notes that the connection uses key. A client that moves here has closed the connection that it had, whose end may not have
// been read yet.
func (k *known) begin(key keyID) {
	deadline := time.NewTimer(noticed)
	defer deadline.Stop()
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for over := false; !over && k.of.isUsed(key, k); {
		select {
		case <-again.C:
		case <-deadline.C:
			over = true
		}
	}
	k.mu.Lock()
	k.key = key
	k.mu.Unlock()
	k.of.uses(key, 1)
}

// Close implements net.Conn.
func (k *known) Close() error {
	k.closing.Do(func() {
		k.of.mu.Lock()
		delete(k.of.open, k)
		k.of.mu.Unlock()
		k.mu.Lock()
		key := k.key
		k.mu.Unlock()
		if key != (keyID{}) {
			k.of.uses(key, -1)
		}
	})
	return k.Conn.Close()
}

// frames follows the frames of the intermediate transport: a tag of four bytes, once, then for each message its length in four bytes and the message,
// which begins with the id of its key, or with zeros while there is none (https://core.telegram.org/mtproto/mtproto-transports#intermediate).
type frames struct {
	tagged bool
	header []byte
	// left is what is still to come of a message.
	left int
}

const (
	tagSizeBytes    = 4
	lengthSizeBytes = 4
	keySizeBytes    = 8
)

// read returns the key of the first message in p that has one.
func (f *frames) read(p []byte) (key keyID, found bool) {
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, len(p))
			f.left, p = f.left-n, p[n:]
			continue
		}
		want := lengthSizeBytes + keySizeBytes
		if !f.tagged {
			want = tagSizeBytes
		}
		n := min(want-len(f.header), len(p))
		f.header, p = append(f.header, p[:n]...), p[n:]
		if len(f.header) < want {
			break
		}
		if f.tagged {
			f.left = int(binary.LittleEndian.Uint32(f.header)) - keySizeBytes
			if id := keyID(f.header[lengthSizeBytes:]); id != (keyID{}) && !found {
				key, found = id, true
			}
		}
		f.tagged, f.header = true, f.header[:0]
	}
	return key, found
}
