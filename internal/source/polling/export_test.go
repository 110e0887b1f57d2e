package polling

import "net/http"

// Through makes p ask the Bot API server through rt.
func (p *Poller) Through(rt http.RoundTripper) { p.api.http = rt }

// TakeAnswersUpTo replaces the bound of an answer's size.
func (p *Poller) TakeAnswersUpTo(sizeBytes int64) { p.api.maxBytes = sizeBytes }
