package simulator

import (
	"slices"
	"time"

	"github.com/tgfleet/tgfleet/internal/content"
)

// The limits of sending. Source: https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this. The real ones
// let short bursts pass; these do not.
const (
	sendsOverallPerSecond = 30
	sendsPerChatPerSecond = 1
	sendsPerGroupPerMin   = 20
)

// sending is one message that a bot sent within the last minute.
type sending struct {
	at   time.Time
	chat content.ChatID
}

// pause returns how long the bot must wait before it may send to c, and counts the message when that is 0. The caller holds mu.
func (b *bot) pause(c *chat, now time.Time) time.Duration {
	for len(b.sent) > 0 && now.Sub(b.sent[0].at) >= time.Minute {
		b.sent = b.sent[1:]
	}
	anywhere := func(sending) bool { return true }
	here := func(one sending) bool { return one.chat == c.info.ID }
	wait := max(
		b.full(sendsOverallPerSecond, time.Second, anywhere, now),
		b.full(sendsPerChatPerSecond, time.Second, here, now),
	)
	if c.info.Type == content.Group || c.info.Type == content.Supergroup {
		wait = max(wait, b.full(sendsPerGroupPerMin, time.Minute, here, now))
	}
	if wait == 0 {
		b.sent = append(b.sent, sending{now, c.info.ID})
	}
	return wait
}

// full returns how long until fewer than limit of the sendings that count lie within the last per.
func (b *bot) full(limit int, per time.Duration, counts func(sending) bool, now time.Time) time.Duration {
	for _, one := range slices.Backward(b.sent) {
		age := now.Sub(one.at)
		if age >= per {
			return 0
		}
		if counts(one) {
			limit--
		}
		if limit == 0 {
			return per - age
		}
	}
	return 0
}
