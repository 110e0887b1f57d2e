//go:build !race

package e2e_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/seal"
	"github.com/tgfleet/tgfleet/internal/simulator/datacentre"
)

// dialogue is a sign-in at the terminal of an operator, who types when they are asked.
type dialogue struct {
	*child
	typed *os.File
	read  int
}

func (a *accounts) login(args ...string) *dialogue {
	a.t.Helper()
	in, typed, err := os.Pipe()
	require.NoError(a.t, err)
	d := &dialogue{typed: typed}
	d.child = start(a.t, command{program: "tgfleet", args: append([]string{"connector", "login"}, args...), env: a.env, typed: in})
	require.NoError(a.t, in.Close())
	a.t.Cleanup(func() { _ = typed.Close() })
	return d
}

// asks waits until the tool has said what, after what was waited for before.
func (d *dialogue) asks(what string) {
	d.t.Helper()
	eventually(d.t, startWithin, func(context.Context) error {
		said := d.stderr()
		at := strings.Index(said[d.read:], what)
		if at < 0 {
			return fmt.Errorf("the tool does not say %q, but %q", what, said[d.read:])
		}
		d.read += at + len(what)
		return nil
	})
}

func (d *dialogue) types(text string) {
	d.t.Helper()
	_, err := d.typed.WriteString(text + "\n")
	require.NoError(d.t, err)
}

// ends waits for the end of the dialogue, and requires that somebody is signed in.
func (d *dialogue) ends() {
	d.t.Helper()
	require.Zero(d.t, d.exit(commandWithin), d.stderr())
	require.Contains(d.t, d.stdout(), "Signed in")
}

// relieve lets another listener take over from the one that runs.
func (a *accounts) relieve() {
	a.t.Helper()
	last := a.listeners[len(a.listeners)-1]
	a.startListener()
	last.signal(syscall.SIGTERM)
	require.Zero(a.t, last.exit(drainTimeout+drainSlack))
}

// Each step of a sign-in is another process's, and what is refused is asked for again.
func TestSignInsGoOnOverListeners(t *testing.T) {
	t.Parallel()
	a := newAccounts(t, datacentre.Config{Seed: 1})
	anna := a.telegram.AddAccount(datacentre.Account{FirstName: "anna", Phone: "4915100000001", Code: "12345", Password: "swordfish"})
	bert := a.telegram.AddAccount(datacentre.Account{FirstName: "bert", Phone: "4915100000002", Code: "54321"})
	a.telegram.AddAccount(datacentre.Account{FirstName: "carl", Phone: "4915100000003", Banned: true})
	dora := a.telegram.AddAccount(datacentre.Account{FirstName: "dora", Phone: "4915100000004", Code: "11111"})
	a.telegram.AddAccount(datacentre.Account{FirstName: "emil", Phone: "4915100000005", Code: "22222", Unregistered: true})
	a.startListener()
	for _, label := range []string{"anna", "bert", "carl", "dora", "emil"} {
		a.tool("connector", "add", "--label", label)
	}

	byCode := a.login("anna")
	byCode.asks("Phone number")
	byCode.types("+49 151 0000 0001")
	byCode.asks("Code that Telegram sent")
	a.relieve()
	byCode.types("99999")
	byCode.asks("The code is wrong. Try again.")
	byCode.types(anna.Code)
	byCode.asks("Password of the two-step verification")
	a.relieve()
	byCode.types("cod")
	byCode.asks("The password is wrong. Try again.")
	a.relieve()
	byCode.types(anna.Password)
	byCode.ends()
	require.Equal(t, 1, a.telegram.Calls("auth.sendCode"), "one code was enough")

	byQR := a.login("bert", "--qr")
	byQR.asks("Scan it with Telegram")
	a.relieve()
	eventually(t, startWithin, func(context.Context) error {
		if !a.telegram.Scan(bert, a.shownToken(), false) {
			return errors.New("what is shown is another listener's")
		}
		return nil
	})
	byQR.ends()

	expired := a.login("dora", "--phone", "+4915100000004")
	expired.asks("Code that Telegram sent")
	a.telegram.ExpireCode(dora)
	a.relieve()
	expired.types(dora.Code)
	require.Equal(t, 1, expired.exit(commandWithin))
	require.Contains(t, expired.stderr(), "The code has expired")

	unregistered := a.login("emil", "--phone", "+4915100000005")
	unregistered.asks("Code that Telegram sent")
	unregistered.types("22222")
	require.Equal(t, 1, unregistered.exit(commandWithin))
	require.Contains(t, unregistered.stderr(), "No account has this phone number")

	for phone, refusal := range map[string]string{
		"1": "Telegram does not take this phone number", "+4915100000003": "Telegram has banned this phone number",
	} {
		refused := a.login("carl", "--phone", phone)
		require.Equal(t, 1, refused.exit(commandWithin))
		require.Contains(t, refused.stderr(), refusal)
	}
	a.telegram.Flood("auth.sendCode", time.Hour)
	flooded := a.login("carl", "--phone", "+4915100000002")
	require.Equal(t, 1, flooded.exit(commandWithin))
	require.Contains(t, flooded.stderr(), "Telegram wants this account to wait until")

	require.Zero(t, a.telegram.Overlaps(), "no moment with two holders")
	for _, p := range a.listeners {
		for _, secret := range []string{"4915100000001", anna.Code, "swordfish"} {
			require.NotContains(t, p.stderr(), secret)
		}
	}
}

// shownToken returns what the QR code on the screen says.
func (a *accounts) shownToken() []byte {
	a.t.Helper()
	ring, err := seal.ParseRing(seal.Secret(a.env["SECRET_KEYS"]))
	require.NoError(a.t, err)
	var sealed string
	a.db.each("SELECT sealed_qr FROM sign_ins WHERE sealed_qr <> ''", func(rows *sql.Rows) error { return rows.Scan(&sealed) })
	url, err := ring.Open(seal.PurposeSignIn, sealed)
	require.NoError(a.t, err)
	_, encoded, found := strings.Cut(url.Reveal(), "token=")
	require.True(a.t, found)
	token, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(encoded, "="))
	require.NoError(a.t, err)
	return token
}
