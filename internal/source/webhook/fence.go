package webhook

import (
	"net/http"
	"net/netip"
	"strings"
)

// fence is a second lock beside the secret: the networks that webhooks may come from. Telegram's ranges may change, so it is never
// the only one (https://core.telegram.org/bots/webhooks#the-short-version).
type fence struct {
	allowed []netip.Prefix
	proxies []netip.Prefix
}

// admits reports whether r comes from an allowed network.
func (f fence) admits(r *http.Request) bool {
	if len(f.allowed) == 0 {
		return true
	}
	addr, ok := f.client(r)
	return ok && within(addr, f.allowed)
}

// client returns the address that sent r: the peer's, or, behind trusted proxies, the last one in X-Forwarded-For that is no
// trusted proxy. What stands before that one is the sender's own claim.
func (f fence) client(r *http.Request) (netip.Addr, bool) {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}, false
	}
	addr := peer.Addr().Unmap()
	forwarded := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(forwarded) - 1; i >= 0 && within(addr, f.proxies); i-- {
		hop := strings.TrimSpace(forwarded[i])
		if hop == "" {
			continue
		}
		parsed, err := netip.ParseAddr(hop)
		if err != nil {
			return netip.Addr{}, false
		}
		addr = parsed.Unmap()
	}
	return addr, true
}

func within(addr netip.Addr, nets []netip.Prefix) bool {
	for _, net := range nets {
		if net.Contains(addr) {
			return true
		}
	}
	return false
}
