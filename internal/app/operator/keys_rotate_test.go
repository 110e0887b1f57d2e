package operator_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/tgfleet/tgfleet/internal/accept/batch"
	"github.com/tgfleet/tgfleet/internal/account"
	"github.com/tgfleet/tgfleet/internal/app/operator"
	"github.com/tgfleet/tgfleet/internal/content"
	"github.com/tgfleet/tgfleet/internal/ingest"
	"github.com/tgfleet/tgfleet/internal/seal"
)

// vault is a desk whose database holds secrets, and keys.
type vault struct {
	*desk
	keys map[string]string
}

func newVault(t *testing.T) *vault {
	t.Helper()
	v := &vault{desk: setup(t), keys: map[string]string{}}
	for _, id := range []string{"A", "B", "C"} {
		key, err := seal.Generate(id)
		require.NoError(t, err)
		v.keys[id] = key.Private().Reveal()
	}
	return v
}

// secretKeys returns the keys with these ids as SECRET_KEYS holds them.
func (v *vault) secretKeys(ids string) string {
	parts := strings.Split(ids, ",")
	for i, id := range parts {
		parts[i] = v.keys[id]
	}
	return strings.Join(parts, ",")
}

func (v *vault) ring(ids string) *seal.Ring {
	v.t.Helper()
	ring, err := seal.ParseRing(seal.Secret(v.secretKeys(ids)))
	require.NoError(v.t, err)
	return ring
}

func (v *vault) seal(id, purpose, plain string) string {
	v.t.Helper()
	text, err := v.ring(id).Seal(purpose, []byte(plain))
	require.NoError(v.t, err)
	return text
}

// rotate runs the command with these keys.
func (v *vault) rotate(ids string, flags ...string) (stdout string, err error) {
	v.t.Helper()
	var out, errs bytes.Buffer
	cmd := operator.Command(operator.Env{
		Program: "tgfleet", In: strings.NewReader(""), Out: &out, Err: &errs,
		Lookup: func(name string) (string, bool) {
			value, ok := map[string]string{"DATABASE_URL": v.url, "SECRET_KEYS": v.secretKeys(ids)}[name]
			return value, ok
		},
	})
	cmd.SetArgs(append([]string{"keys", "rotate"}, flags...))
	err = cmd.ExecuteContext(v.t.Context())
	require.Empty(v.t, errs.String())
	return out.String(), err
}

// fill stores a secret of every kind, sealed with the key of that id.
func (v *vault) fill(id string) {
	v.t.Helper()
	ctx := v.t.Context()
	require.NoError(v.t, v.db.Bots().Add(ctx, account.Bot{
		ID: "bot", BotID: 1, Delivery: account.Webhook, SealedToken: v.seal(id, seal.PurposeBotToken, "token"), CreatedAt: time.Unix(1_790_000_000, 0),
	}))
	require.NoError(v.t, v.db.Connectors().Create(ctx, account.Connector{ID: "desk", Label: "desk", Kind: account.UserAccount, Status: account.New}))
	lease, held, err := v.db.Leases().Acquire(ctx, "connector:desk", "listener", time.Hour)
	require.NoError(v.t, err)
	require.True(v.t, held)
	for i := range 3 {
		session := account.Session{Authorised: true, Sealed: v.seal(id, seal.PurposeSession, fmt.Sprintf("session %d", i+1))}
		_, err := v.db.Sessions().Save(ctx, lease, "desk", session, 0)
		require.NoError(v.t, err)
	}
	_, err = v.db.SignIns().Begin(ctx, account.SignIn{
		ConnectorID: "desk", Method: account.ByCode, Step: account.Begun, SealedPhone: v.seal(id, seal.PurposeSignIn, "phone"),
		SealedCode: v.seal(id, seal.PurposeSignIn, "code"), SealedPassword: v.seal(id, seal.PurposeSignIn, "password"),
		SealedToken: v.seal(id, seal.PurposeSignIn, "sign-in token"), SealedCodeHash: v.seal(id, seal.PurposeSignIn, "hash"),
		SealedQR: v.seal(id, seal.PurposeSignIn, "qr"),
	})
	require.NoError(v.t, err)
}

// requireFilled fails unless the key of that id alone opens what fill stored.
func (v *vault) requireFilled(id string) {
	v.t.Helper()
	ring := v.ring(id)
	opens := func(purpose, query, want string) {
		v.t.Helper()
		var text string
		require.NoError(v.t, v.sql.QueryRowContext(v.t.Context(), query).Scan(&text))
		plain, err := ring.Open(purpose, text)
		require.NoError(v.t, err)
		require.Equal(v.t, want, plain.Reveal())
	}
	opens(seal.PurposeBotToken, "SELECT sealed_token FROM bots", "token")
	for version := 1; version <= 3; version++ {
		opens(seal.PurposeSession, fmt.Sprintf("SELECT sealed FROM connector_sessions WHERE version = %d", version), fmt.Sprintf("session %d", version))
	}
	for column, want := range map[string]string{
		"phone": "phone", "code": "code", "password": "password", "token": "sign-in token", "code_hash": "hash", "qr": "qr",
	} {
		opens(seal.PurposeSignIn, "SELECT sealed_"+column+" FROM sign_ins", want)
	}
}

// stored returns every sealed text.
func (v *vault) stored() (all []string) {
	v.t.Helper()
	rows, err := v.sql.QueryContext(v.t.Context(), `SELECT sealed_token FROM bots UNION ALL SELECT sealed FROM connector_sessions
		UNION ALL SELECT sealed_phone || sealed_code || sealed_password || sealed_token || sealed_code_hash || sealed_qr FROM sign_ins`)
	require.NoError(v.t, err)
	defer rows.Close() //nolint:errcheck // Err has what there is to know
	for rows.Next() {
		var text string
		require.NoError(v.t, rows.Scan(&text))
		all = append(all, text)
	}
	require.NoError(v.t, rows.Err())
	return all
}

func TestRotatedSecretsOpenWithTheNewKeyAlone(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	v.fill("A")
	before := v.stored()
	out, err := v.rotate("B,A", "--dry-run")
	require.NoError(t, err)
	require.Contains(t, out, "10 texts would be sealed again; nothing was written. The sealing key is B.")
	require.Equal(t, before, v.stored())

	out, err = v.rotate("B,A")
	require.NoError(t, err)
	require.Contains(t, out, "10 texts sealed again with B.")
	require.Regexp(t, `B +connector_sessions.sealed +3\n`, out)
	v.requireFilled("B")

	once := v.stored()
	out, err = v.rotate("B")
	require.NoError(t, err)
	require.Contains(t, out, "0 texts sealed again with B.")
	require.Equal(t, once, v.stored(), "a second run changes nothing")
	for _, secret := range append(before, once...) {
		require.NotContains(t, out, secret)
	}
}

func TestRotateLeavesEmptyTextsEmpty(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	v.fill("A")
	require.NoError(t, v.db.SignIns().Cancel(t.Context(), "desk", 1))
	_, err := v.rotate("B,A")
	require.NoError(t, err)
	require.Contains(t, v.stored(), "")
}

func TestRotateNamesWhatItCannotOpen(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	v.fill("A")
	require.NoError(t, v.db.Bots().Add(t.Context(), account.Bot{
		ID: "other", BotID: 2, Delivery: account.Webhook, SealedToken: v.seal("C", seal.PurposeBotToken, "t"), CreatedAt: time.Unix(1_790_000_000, 0),
	}))
	out, err := v.rotate("B,A")
	require.ErrorContains(t, err, "SECRET_KEYS lacks key C (1 texts)")
	require.Contains(t, out, "bots other does not open: open what is sealed for bot-token: key C is not in the ring")

	out, err = v.rotate("B", "--json")
	require.ErrorContains(t, err, "SECRET_KEYS lacks key C (1 texts)")
	var line struct {
		Unreadable []struct{ Table, Column, Row, Reason string }
		Keys       map[string]map[string]int
	}
	require.NoError(t, json.Unmarshal([]byte(out), &line))
	require.Len(t, line.Unreadable, 1)
	require.Equal(t, "other", line.Unreadable[0].Row)
	require.Equal(t, map[string]int{"bots.sealed_token": 1}, line.Keys["C"])
	for _, text := range v.stored() {
		require.False(t, text != "" && strings.Contains(out, text), "nothing of the text")
	}

	_, err = v.sql.ExecContext(t.Context(), "UPDATE bots SET sealed_token = substr(sealed_token, 1, length(sealed_token) - 4) WHERE id = 'other'")
	require.NoError(t, err)
	_, err = v.rotate("B,C")
	require.ErrorContains(t, err, "1 sealed texts do not open, though no key is missing")
}

// TestRotateOverwritesNothing has somebody change a session between the moment when it is read and the moment when it is replaced: a trigger
// on the replacement of another session of the same page does it.
func TestRotateOverwritesNothing(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	v.fill("A")
	for _, statement := range []string{
		"CREATE TABLE meanwhile (text text)",
		`CREATE TRIGGER somebody AFTER UPDATE OF sealed ON connector_sessions WHEN new.version = 1 BEGIN
			UPDATE connector_sessions SET sealed = (SELECT text FROM meanwhile) WHERE version = 3;
		END`,
	} {
		_, err := v.sql.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	_, err := v.sql.ExecContext(t.Context(), "INSERT INTO meanwhile VALUES (?)", v.seal("A", seal.PurposeSession, "newer session"))
	require.NoError(t, err)
	out, err := v.rotate("B,A")
	require.NoError(t, err)
	require.Contains(t, out, "10 texts sealed again with B.", "what was changed is looked at again")
	var text string
	require.NoError(t, v.sql.QueryRowContext(t.Context(), "SELECT sealed FROM connector_sessions WHERE version = 3").Scan(&text))
	plain, err := v.ring("B").Open(seal.PurposeSession, text)
	require.NoError(t, err)
	require.Equal(t, "newer session", plain.Reveal())
}

// TestRotateSaysWhenOthersStillSealWithTheOldKey has a process that puts a text of the old key in the place of every new one.
func TestRotateSaysWhenOthersStillSealWithTheOldKey(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	v.fill("A")
	_, err := v.sql.ExecContext(t.Context(), `CREATE TRIGGER somebody AFTER UPDATE OF sealed_token ON bots WHEN new.sealed_token LIKE 'v1.B.%'
		BEGIN UPDATE bots SET sealed_token = old.sealed_token; END`)
	require.NoError(t, err)
	_, err = v.rotate("B,A")
	require.ErrorContains(t, err, "1 texts were sealed with an older key meanwhile: restart all processes with the new SECRET_KEYS, and run this again")
}

func TestRotateSaysWhichKeysTheUpdatesNeed(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	envelope := func(plain string) ingest.Envelope {
		return ingest.Envelope{
			Source: ingest.Source{Transport: ingest.MTProto, Account: 7}, ReceivedAt: time.Unix(1_790_000_000, 0), Origin: ingest.Live,
			Format: ingest.SealedTL, Raw: []byte(v.seal("A", seal.PurposeServiceMessage, plain)),
		}
	}
	first, second := envelope("a code"), envelope("another code")
	_, err := v.db.Archive().Apply(t.Context(), content.Batch{
		Changes: []content.ChangeSet{{Update: content.Update{Envelope: first, Hash: ingest.HashOf(first.Raw), Kind: "sealed", NormaliserVersion: 1}}},
		DeadLetters: []ingest.DeadLetter{{
			Envelope: second, Class: "crashed", Error: "e", NormaliserVersion: 1, DiedAt: time.Unix(1_790_000_001, 0),
		}},
	})
	require.NoError(t, err)
	spooled := batch.Encode(batch.Batch{Envelopes: []ingest.Envelope{envelope("a third")}})
	for _, payload := range [][]byte{spooled, []byte("no batch")} {
		_, err := v.db.Spool().Put(t.Context(), ingest.Spooled{OldestAt: time.Unix(1_790_000_000, 0), Updates: 1, Payload: payload})
		require.NoError(t, err)
	}
	out, err := v.rotate("B,A")
	require.NoError(t, err)
	require.Contains(t, out, "3 sealed updates need key A (ledger 1, dead letters 1, spool 1): keep key A in SECRET_KEYS until these are gone (LEDGER_RETENTION).")
	out, err = v.rotate("A", "--json")
	require.NoError(t, err)
	require.Contains(t, out, `"updates":{"A":{"ledger":1,"dead_letters":1,"spool":1}},"updates_counted":true`)
}
