package datacentre

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/big"

	"github.com/gotd/td/tg"
)

// srp is the server's side of one proof of a password, by https://core.telegram.org/api/srp.
type srp struct {
	id           int64
	salt1, salt2 []byte
	verifier     *big.Int
	secret       *big.Int
	public       []byte
}

const (
	// safePrime is the one that Telegram uses today, as its documentation shows it.
	safePrime = "c71caeb9c6b1c9048e6c522f70f13f73980d40238e3e21c14934d037563d930f48198a0aa7c14058229493d22530f4dbfa336f6e0ac925139543aed44cce7c37" +
		"20fd51f69458705ac68cd4fe6b6b13abdc9746512969328454f18faf8c595f642477fe96bb2a941d5bcd1d4ac8cc49880708fa9b378e3c4f3a9060bee67cf9a4" +
		"a4a695811051907e162753b56b0f6b410dba74d8a84b2a14b3144e0ef1284754fd17ed950d5965b4b9dd46582db1178d169c6bc465b0d6ff9ca3928fef5b9ae4" +
		"e418fc15e83ebea0f87fa9ff5eed70050ded2849f47bf959d956850ce929851f0d8115f635b105ee2e4e15d04b2454bf6f4fadf034b10403119cd8e3b92fcc5b"
	generator     = 3
	sizeBytes     = 256
	passwordTurns = 100_000
)

func prime() *big.Int {
	p, _ := new(big.Int).SetString(safePrime, 16)
	return p
}

func padded(n *big.Int) []byte { return n.FillBytes(make([]byte, sizeBytes)) }

func hashOf(parts ...[]byte) []byte {
	h := sha256.New()
	for _, part := range parts {
		h.Write(part)
	}
	return h.Sum(nil)
}

func newSRP(password string) (*srp, error) {
	c := &srp{salt1: make([]byte, 16), salt2: make([]byte, 16)}
	id, secret := make([]byte, 8), make([]byte, sizeBytes)
	for _, random := range [][]byte{c.salt1, c.salt2, id, secret} {
		if _, err := rand.Read(random); err != nil {
			return nil, err
		}
	}
	c.id = int64(binary.BigEndian.Uint64(id) >> 1)
	c.secret = new(big.Int).SetBytes(secret)
	first := hashOf(c.salt2, hashOf(c.salt1, []byte(password), c.salt1), c.salt2)
	slow, err := pbkdf2.Key(sha512.New, string(first), c.salt1, passwordTurns, 64)
	if err != nil {
		return nil, fmt.Errorf("stretch the password: %w", err)
	}
	x := new(big.Int).SetBytes(hashOf(c.salt2, slow, c.salt2))
	p, g := prime(), big.NewInt(generator)
	c.verifier = new(big.Int).Exp(g, x, p)
	k := new(big.Int).SetBytes(hashOf(padded(p), padded(g)))
	public := new(big.Int).Mul(k, c.verifier)
	public.Add(public, new(big.Int).Exp(g, c.secret, p)).Mod(public, p)
	c.public = padded(public)
	return c, nil
}

// question returns what the client needs for its proof.
func (c *srp) question() *tg.AccountPassword {
	prime, _ := hex.DecodeString(safePrime)
	return &tg.AccountPassword{
		HasPassword: true, SRPB: c.public, SRPID: c.id, SecureRandom: make([]byte, sizeBytes),
		CurrentAlgo: &tg.PasswordKdfAlgoSHA256SHA256PBKDF2HMACSHA512iter100000SHA256ModPow{
			Salt1: c.salt1, Salt2: c.salt2, G: generator, P: prime,
		},
		NewAlgo: &tg.PasswordKdfAlgoUnknown{}, NewSecureAlgo: &tg.SecurePasswordKdfAlgoUnknown{},
	}
}

// proves tells whether whoever sent a and m1 knows the password.
func (c *srp) proves(a, m1 []byte) bool {
	p, g := prime(), big.NewInt(generator)
	clientPublic := new(big.Int).SetBytes(a)
	ga := padded(new(big.Int).Mod(clientPublic, p))
	u := new(big.Int).SetBytes(hashOf(ga, c.public))
	shared := new(big.Int).Exp(c.verifier, u, p)
	shared.Mul(shared, clientPublic).Exp(shared, c.secret, p)
	key := hashOf(padded(shared))
	mixed := hashOf(padded(p))
	for i, b := range hashOf(padded(g)) {
		mixed[i] ^= b
	}
	return bytes.Equal(m1, hashOf(mixed, hashOf(c.salt1), hashOf(c.salt2), ga, c.public, key))
}
