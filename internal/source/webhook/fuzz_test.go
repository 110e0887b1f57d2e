package webhook_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/source/webhook"
)

// FuzzRequests sends whatever somebody on the Internet may send. Only the owner of a bot's secret gets in, with the bytes as they came, and
// past a fence only from where the last trusted proxy says.
func FuzzRequests(f *testing.F) {
	fixtures, err := filepath.Glob("../../normalise/botapi/testdata/*/*.json")
	require.NoError(f, err)
	require.NotEmpty(f, fixtures)
	for _, fixture := range fixtures {
		body, err := os.ReadFile(fixture)
		require.NoError(f, err)
		f.Add("x7Qa", secret, "10.0.0.1:443", "149.154.167.1", body)
	}
	f.Add("b2", "another", "149.154.167.1:443", "", []byte("<html>"))
	f.Add("", "", "10.0.0.1", "149.154.167.1, 10.0.0.2", []byte{})
	f.Add("b2", secret, "[::ffff:10.0.0.1]:1", ",149.154.167.1%eth0,,unknown", []byte("\x00\xff"))
	open := setup(f, nil)
	fenced := setup(f, func(cfg *webhook.Config) {
		cfg.AllowedNets = []netip.Prefix{netip.MustParsePrefix("149.154.160.0/20")}
		cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	})
	secrets := map[string]string{"x7Qa": secret, "b2": "another"}
	f.Fuzz(func(t *testing.T, id, told, peer, forwarded string, body []byte) {
		request := func(peer, forwarded string) *http.Request {
			return &http.Request{
				Method: http.MethodPost, URL: &url.URL{Path: webhook.Prefix + id}, RemoteAddr: peer,
				Header: http.Header{webhook.SecretHeader: {told}, "X-Forwarded-For": {forwarded}},
				Body:   io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
			}
		}
		want := http.StatusOK
		if owners, known := secrets[id]; !known {
			want = http.StatusNotFound
		} else if told != owners {
			want = http.StatusUnauthorized
		}
		require.Equal(t, want, open.taken(t, request(peer, forwarded), body))
		status := fenced.taken(t, request(peer, forwarded), body)
		require.Contains(t, []int{want, http.StatusUnauthorized}, status)
		status = fenced.taken(t, request("10.0.0.1:443", forwarded+", 203.0.113.9"), body)
		require.NotEqual(t, http.StatusOK, status, "whatever a stranger claims, the proxy names him last")
	})
}

// taken returns the status of the answer, and checks that what was answered with 200 was taken as it is, and nothing else.
func (f *front) taken(t *testing.T, r *http.Request, body []byte) int {
	t.Helper()
	f.accepted = nil
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		require.Empty(t, f.accepted)
		return w.Code
	}
	require.Len(t, f.accepted, 1)
	require.True(t, bytes.Equal(body, f.accepted[0].Raw))
	return w.Code
}
