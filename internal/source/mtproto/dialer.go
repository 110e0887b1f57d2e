package mtproto

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/gotd/td/crypto"
	"github.com/gotd/td/telegram"
	"github.com/gotd/td/telegram/dcs"
	"github.com/gotd/td/tg"

	"github.com/tgfleet/tgfleet/internal/account"
)

const (
	dialWithin     = 10 * time.Second
	exchangeWithin = 30 * time.Second
)

// dialer knows where Telegram is and as which application to speak with it. It is made once and then only read.
type dialer struct {
	telegram Telegram
	dc       int
	list     dcs.List
	keys     []telegram.PublicKey
}

func newDialer(cfg Telegram) (*dialer, error) {
	d := &dialer{telegram: cfg}
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
	options.DialTimeout, options.ExchangeTimeout = dialWithin, exchangeWithin
	options.Device = telegram.DeviceConfig{
		DeviceModel: device.Model, SystemVersion: device.SystemVersion, AppVersion: device.AppVersion,
	}
	return telegram.NewClient(d.telegram.AppID, d.telegram.AppHash.Reveal(), options)
}
