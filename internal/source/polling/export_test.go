package polling

import (
	"net/http"
	"time"
)

// Through makes p ask the Bot API server through rt.
func (p *Poller) Through(rt http.RoundTripper) { p.api.http = rt }

// TakeAnswersUpTo replaces the bound of an answer's size.
func (p *Poller) TakeAnswersUpTo(sizeBytes int64) { p.api.maxBytes = sizeBytes }

// Update is one update as an answer of the Bot API holds it.
type Update struct {
	ID  int64
	Raw []byte
}

// Split takes an answer of the Bot API apart.
func Split(status int, text []byte) ([]Update, error) {
	updates, err := split(status, text, time.Time{})
	var out []Update
	for _, u := range updates {
		out = append(out, Update{ID: u.id, Raw: u.raw})
	}
	return out, err
}
