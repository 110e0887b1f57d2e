package localservers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Authority is a certificate authority of its own that no system trusts, with one certificate for the servers of this package: for
// 127.0.0.1 and localhost, and for a day.
type Authority struct {
	directory string
	roots     *x509.CertPool
}

// NewAuthority makes an authority and keeps its files in directory, which the caller removes after the servers have stopped.
func NewAuthority(directory string) (*Authority, error) {
	a := &Authority{directory: directory, roots: x509.NewCertPool()}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tgfleet local authority"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of an authority: %w", err)
	}
	if err := a.issue("ca", root, root, rootKey, rootKey); err != nil {
		return nil, err
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "tgfleet local server"}, NotBefore: from, NotAfter: to,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature,
		// Servers of Redis are clients of each other.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	serverKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of a server: %w", err)
	}
	if err := a.issue("server", server, root, serverKey, rootKey); err != nil {
		return nil, err
	}
	return a, nil
}

// issue writes the certificate of key, signed by signer, and key itself.
func (a *Authority) issue(name string, certificate, issuer *x509.Certificate, key, signer *ecdsa.PrivateKey) error {
	signed, err := x509.CreateCertificate(rand.Reader, certificate, issuer, key.Public(), signer)
	if err != nil {
		return fmt.Errorf("sign the certificate %s: %w", name, err)
	}
	if certificate.IsCA {
		parsed, err := x509.ParseCertificate(signed)
		if err != nil {
			return fmt.Errorf("read the certificate %s: %w", name, err)
		}
		a.roots.AddCert(parsed)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the key %s: %w", name, err)
	}
	for path, block := range map[string]*pem.Block{
		a.file(name + ".pem"): {Type: "CERTIFICATE", Bytes: signed},
		a.file(name + ".key"): {Type: "PRIVATE KEY", Bytes: encoded},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return fmt.Errorf("keep the certificate %s: %w", name, err)
		}
	}
	return nil
}

func (a *Authority) file(name string) string { return filepath.Join(a.directory, name) }

// CAFile returns the path of the authority's certificate: what a client has to trust.
func (a *Authority) CAFile() string { return a.file("ca.pem") }

// query is the option of a URL of Redis that trusts the authority.
func (a *Authority) query() string { return "ca_file=" + url.QueryEscape(a.CAFile()) }

// serving returns the arguments of a server that takes TLS at port and nothing else, from its like too.
func (a *Authority) serving(port int) []string {
	return []string{
		"--port", "0", "--tls-port", strconv.Itoa(port), "--tls-cert-file", a.file("server.pem"), "--tls-key-file", a.file("server.key"),
		"--tls-ca-cert-file", a.CAFile(), "--tls-auth-clients", "no", "--tls-replication", "yes", "--tls-cluster", "yes",
	}
}

func (a *Authority) dial(dialer *net.Dialer, address string) (net.Conn, error) {
	return tls.DialWithDialer(dialer, "tcp", address, &tls.Config{RootCAs: a.roots, MinVersion: tls.VersionTLS12})
}
