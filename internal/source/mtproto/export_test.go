package mtproto

import "context"

// ShareOf is shareOf.
var ShareOf = shareOf

// KeysAtOnce is how many keys a listener makes at once, and KeyWithin how long one may take.
var (
	KeysAtOnce = keysAtOnce
	KeyWithin  = keyWithin
)

// KeyMaker returns the makeKey of a listener of its own.
func KeyMaker(cfg Telegram) (func(context.Context) (func(), error), error) {
	d, err := newDialer(cfg)
	if err != nil {
		return nil, err
	}
	return d.makeKey, nil
}
