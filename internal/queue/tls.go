package queue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"time"
)

// security is how a Redis URL wants connections to be secured.
type security struct {
	on bool
	// authority is the file of the only authorities to trust, instead of the system's; empty for the system's.
	authority string
	// certificate and key are the files by which Redis knows us; empty for none.
	certificate, key string
}

// config reads the files and returns the settings of TLS; nil without TLS. Servers are checked by the name or the IP address that is
// dialled. In a group of servers those are what the sentinels or the other nodes announce.
func (s security) config() (*tls.Config, error) {
	if !s.on {
		if s.authority != "" || s.certificate != "" || s.key != "" {
			return nil, malformed("ca_file, cert_file and key_file need TLS: rediss:// or tls=true")
		}
		return nil, nil //nolint:nilnil // no TLS is no error
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.authority != "" {
		text, err := os.ReadFile(s.authority)
		if err != nil {
			return nil, unreadable("ca_file", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, malformed("ca_file holds no certificate in PEM")
		}
	}
	if (s.certificate == "") != (s.key == "") {
		return nil, malformed("cert_file and key_file belong together")
	}
	if s.certificate != "" {
		ours, err := tls.LoadX509KeyPair(s.certificate, s.key)
		if errors.As(err, new(*fs.PathError)) {
			return nil, unreadable("cert_file or key_file", err)
		}
		if err != nil {
			return nil, malformed("cert_file and key_file hold no certificate with its key in PEM")
		}
		config.Certificates = []tls.Certificate{ours}
	}
	return config, nil
}

// unreadable says why a file can't be read, without its path.
func unreadable(option string, err error) error {
	why := "can't be read"
	switch {
	case errors.Is(err, fs.ErrNotExist):
		why = "does not exist"
	case errors.Is(err, fs.ErrPermission):
		why = "may not be read by this process"
	}
	return malformed(option + " " + why)
}

// newDialer returns what opens connections; config is nil without TLS. It heeds its ctx in the handshake as well.
func newDialer(config *tls.Config) dialer {
	plain := &net.Dialer{
		Timeout:         dialWithin,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
	if config == nil {
		return plain.DialContext
	}
	secure := &tls.Dialer{NetDialer: plain, Config: config}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		connection, err := secure.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return secured{connection.(*tls.Conn)}, nil //nolint:errcheck,forcetypeassert // tls.Dialer promises it
	}
}

// secured is a connection over TLS that closes at once. Closing a tls.Conn says goodbye first, for up to five seconds when nobody reads at
// the other end (crypto/tls, closeNotify), and go-redis closes what has failed inside of the command that failed. Nothing needs the goodbye:
// each answer of Redis says how long it is.
type secured struct{ *tls.Conn }

// Close implements net.Conn.
func (s secured) Close() error { return s.NetConn().Close() }
