package bench

import (
	"context"
	"errors"
)

const (
	kib = 1024
	// accountMost and channelMost are how many bytes an account that nothing happens to may need, and a channel of one.
	accountMost = 256 * kib
	channelMost = 20 * kib
)

// accounts measures what an account needs: a listener with many of them against the same one before they signed in.
func (b *Listener) accounts(ctx context.Context) ([]Figure, error) {
	before, after, err := b.weigh(ctx, Accounts, world{Accounts: b.Accounts})
	if err != nil {
		return nil, err
	}
	return append(
		each("an idle account", accountMost, before, after, b.Accounts),
		Figure{Name: "accounts", Value: float64(b.Accounts), Unit: unitCount},
	), nil
}

// channels measures what a channel needs: an account that follows many of them against one that follows none.
func (b *Listener) channels(ctx context.Context) ([]Figure, error) {
	_, without, err := b.weigh(ctx, "", world{Accounts: 1})
	if err != nil {
		return nil, err
	}
	_, with, err := b.weigh(ctx, Channels, world{Accounts: 1, Channels: b.Channels})
	if err != nil {
		return nil, err
	}
	return append(
		each("a followed channel", channelMost, without, with, b.Channels),
		Figure{Name: "channels", Value: float64(b.Channels), Unit: unitCount},
	), nil
}

// each returns what one of count things needs, of which there were none before and all after.
func each(what string, most float64, before, after weight, count int) []Figure {
	n := float64(count)
	return []Figure{
		{Name: "memory of " + what, Value: (after.total() - before.total()) / n, Unit: unitBytes, Target: most, AtMost: true},
		{Name: "of it, stacks", Value: (after.stacks - before.stacks) / n, Unit: unitBytes},
		{Name: "goroutines of " + what, Value: (after.goroutines - before.goroutines) / n, Unit: unitMean},
		{Name: "memory before", Value: before.total(), Unit: unitBytes},
	}
}

// weigh returns the weight of a listener before anybody has signed in, and with everything in w connected and quiet. The profile of memory, if one
// is wanted, is called name.
func (b *Listener) weigh(ctx context.Context, name string, w world) (before, after weight, err error) {
	f, err := b.open(ctx, w, &counter{}, func() { before = weigh() })
	if err != nil {
		return weight{}, weight{}, err
	}
	after = weigh()
	if name != "" {
		err = b.profileMemory(name)
	}
	return before, after, errors.Join(err, f.close())
}
