package mtproto

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/gotd/td/crypto"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"
	"golang.org/x/sync/semaphore"

	"github.com/tgfleet/tgfleet/internal/account"
)

const (
	dialWithin     = 10 * time.Second
	exchangeWithin = 30 * time.Second
	// keyWithin bounds a connection's dialling and its new key together.
	keyWithin = dialWithin + exchangeWithin
)

// keysAtOnce is how many keys are made at once: for each processor one that computes and one that waits for Telegram.
func keysAtOnce() int64 { return int64(2 * runtime.GOMAXPROCS(0)) }

// dialer knows where Telegram is and as which application to speak with it. It is made once and then only read.
type dialer struct {
	telegram Telegram
	dc       int
	list     dcs.List
	keys     []telegram.PublicKey
	// making bounds how many clients make a key at once. A key is a second of computing, of which most goes into testing Telegram's
	// prime: of hundreds that are made side by side none is ready in time, and all begin again, for ever.
	making *semaphore.Weighted
}

func newDialer(cfg Telegram) (*dialer, error) {
	d := &dialer{telegram: cfg, making: semaphore.NewWeighted(keysAtOnce())}
	if cfg.Server == nil {
		return d, nil
	}
	host, port, err := net.SplitHostPort(cfg.Server.Addr)
	if err != nil {
		return nil, fmt.Errorf("address of the MTProto server: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("port of the MTProto server: %w", err)
	}
	keys, err := crypto.ParseRSAPublicKeys(cfg.Server.PublicKeys)
	if err != nil {
		return nil, fmt.Errorf("keys of the MTProto server: %w", err)
	}
	if len(keys) == 0 {
		return nil, errors.New("keys of the MTProto server: there is no RSA public key in PEM")
	}
	for _, key := range keys {
		d.keys = append(d.keys, telegram.PublicKey{RSA: key})
	}
	d.dc = cfg.Server.DC
	d.list = dcs.List{Options: []tg.DCOption{{ID: cfg.Server.DC, IPAddress: host, Port: number, Static: true}}}
	return d, nil
}

// client returns a client of Telegram's that asks mayDial before every connection it makes. What options has beyond what every client
// of the fleet shares stays.
func (d *dialer) client(options telegram.Options, device account.Device, mayDial func(context.Context) error) *telegram.Client {
	options.PublicKeys, options.DC, options.DCList = d.keys, d.dc, d.list
	options.Resolver = dcs.Plain(dcs.PlainOptions{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if err := mayDial(ctx); err != nil {
			return nil, err
		}
		return (&net.Dialer{Timeout: dialWithin}).DialContext(ctx, network, addr)
	}})
	// gotd's DialTimeout bounds the exchange, too.
	options.DialTimeout, options.ExchangeTimeout = keyWithin, exchangeWithin
	options.Device = telegram.DeviceConfig{
		DeviceModel: device.Model, SystemVersion: device.SystemVersion, AppVersion: device.AppVersion,
	}
	return telegram.NewClient(d.telegram.AppID, d.telegram.AppHash.Reveal(), options)
}

// makeKey waits until a client may make a key, and counts it in until it calls made, which it may call more than once. One that hangs keeps
// others waiting for keyWithin at most.
func (d *dialer) makeKey(ctx context.Context) (made func(), err error) {
	if err := d.making.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait to make a key: %w", err)
	}
	made = sync.OnceFunc(func() { d.making.Release(1) })
	time.AfterFunc(keyWithin, made)
	return made, nil
}
